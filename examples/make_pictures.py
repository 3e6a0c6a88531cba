"""Make the images of the README from the example burst: inputs, result, uncertainty, and a merge without deghosting.

    python examples/make_pictures.py

The plain merge is OpenCV's MergeDebevec of the unaligned frames, under gamma 2.2 and the exposures in EXIF, as in
benchmarks/RESULTS.md. One factor scales it to the brightness of the result; both are tone-mapped by the same code.
"""

import argparse
import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from smarthdr_cli import FusionResult, fuse
from smarthdr_cli.colorspace import REC709, convert_rgb
from smarthdr_cli.evaluate.methods import debevec
from smarthdr_cli.output.heatmap import draw_legend
from smarthdr_cli.output.preview import render_srgb
from smarthdr_cli.output.write import write_uncertainty

HERE = Path(__file__).resolve().parent
MAX_BYTES = 150_000  # of an image
WIDTH = 1000  # pixels of a full image
CROP = 240  # pixels of a detail, enlarged twice
U8 = NDArray[np.uint8]


def plain_merge(fused: FusionResult) -> FusionResult:
    """MergeDebevec of the same frames, in the units of ``fused``."""
    times = np.exp2(fused.burst.evs - fused.burst.evs[0]).tolist()
    merged = debevec([frame.codes for frame in fused.burst.frames], times, curve="gamma2.2")
    merged = convert_rgb(np.nan_to_num(merged, posinf=0.0), fused.burst.frames[0].colorspace, REC709)
    well_exposed = (fused.radiance > 0.01).all(axis=-1) & (fused.radiance < 1).all(axis=-1)
    factor = np.median(fused.radiance[well_exposed]) / np.median(merged[well_exposed])
    return replace(fused, radiance=np.asarray(merged * np.float32(factor), np.float32))


def heatmap(fused: FusionResult) -> U8:
    """The uncertainty as ``--uncertainty FILE.png`` draws it, above its legend."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "heat.png"
        write_uncertainty(fused, path)
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    return np.concatenate([pixels, draw_legend(pixels.shape[1])])


def shrink(picture: U8, width: int) -> U8:
    """Resize to ``width`` pixels by area means."""
    height = round(picture.shape[0] * width / picture.shape[1])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def side_by_side(pictures: dict[str, U8]) -> U8:
    """The pictures in a row, each under its name."""
    font = ImageFont.load_default(18)
    gap, header = 6, 28
    height, width = next(iter(pictures.values())).shape[:2]
    sheet = Image.new("RGB", (len(pictures) * (width + gap) - gap, height + header), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (name, picture) in enumerate(pictures.items()):
        sheet.paste(Image.fromarray(picture), (column * (width + gap), header))
        draw.text((column * (width + gap) + 2, 3), name, fill="black", font=font)
    return np.asarray(sheet)


def densest_crop(density: NDArray[np.float32]) -> tuple[slice, slice]:
    """Rows and columns of the ``CROP`` square with the largest sum of an (H, W) density."""
    total = cv2.boxFilter(density, -1, (CROP, CROP), anchor=(0, 0), borderType=cv2.BORDER_REFLECT)[
        : 1 - CROP, : 1 - CROP
    ]
    top, left = np.unravel_index(int(total.argmax()), total.shape)
    return slice(int(top), int(top) + CROP), slice(int(left), int(left) + CROP)


def save(path: Path, picture: U8) -> None:
    """Write a JPEG at the best quality within ``MAX_BYTES``. Raises ValueError where there is none."""
    for quality in range(92, 40, -4):
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "JPEG", quality=quality, optimize=True)
        if stream.tell() <= MAX_BYTES:
            path.write_bytes(stream.getvalue())
            print(f"{path.name}: {picture.shape[1]}x{picture.shape[0]}, quality {quality}, {stream.tell() // 1000} kB")
            return
    raise ValueError(f"{path.name} cannot be kept under {MAX_BYTES} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "pictures")
    parser.add_argument("--weights", help="other weights than the installed ones")
    arguments = parser.parse_args()
    options: dict[str, Any] = {"weights": arguments.weights} if arguments.weights else {}
    fused = fuse(sorted((HERE / "burst").glob("img*.jpg")), **options)
    result = np.asarray(render_srgb(fused, 8), np.uint8)
    plain = np.asarray(render_srgb(plain_merge(fused), 8), np.uint8)
    codes = {frame.path.name: np.asarray(frame.codes, np.uint8) for frame in fused.burst.frames}
    arguments.out.mkdir(parents=True, exist_ok=True)
    named = zip(codes.items(), fused.burst.evs, strict=True)
    strip = {f"{name}, {ev:+.0f} EV": shrink(picture, 400) for (name, picture), ev in named}
    save(arguments.out / "inputs.jpg", side_by_side(strip))
    save(arguments.out / "result.jpg", shrink(result, WIDTH))
    save(arguments.out / "plain.jpg", shrink(plain, WIDTH))
    save(arguments.out / "uncertainty.jpg", shrink(heatmap(fused), WIDTH))
    reference = codes[fused.burst.frames[fused.burst.reference].path.name]
    with Image.open(HERE / "burst" / "moving.png") as mask:
        moving = np.asarray(mask.convert("L"), np.float32)
    clipped = (reference >= 254).any(axis=-1).astype(np.float32)
    for name, crop in (("moving", densest_crop(moving)), ("highlights", densest_crop(clipped))):
        crops = {"reference frame": reference, "plain merge": plain, "smarthdr": result}
        large = {k: np.asarray(cv2.resize(v[crop], None, fx=2, fy=2), np.uint8) for k, v in crops.items()}
        save(arguments.out / f"{name}.jpg", side_by_side(large))


if __name__ == "__main__":
    main()
