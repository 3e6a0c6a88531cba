"""Make the README's pictures from the example burst: the inputs, the result, the heatmap, and what a plain merge does.

    python examples/make_pictures.py

The plain merge is OpenCV's MergeDebevec on the frames as they lie, under gamma 2.2 and the exposures EXIF states, as in
benchmarks/RESULTS.md. It is brought to our brightness by one factor and tone-mapped by the same code.
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
from smarthdr_cli.output.preview import render_srgb
from smarthdr_cli.output.write import write_uncertainty

HERE = Path(__file__).resolve().parent
LARGEST = 150_000  # bytes a picture
WIDTH = 1000  # pixels of a whole picture
CROP = 240  # pixels of a detail, shown at twice its size
U8 = NDArray[np.uint8]


def plain_merge(fused: FusionResult) -> FusionResult:
    """MergeDebevec of the same frames, in the units of ``fused``."""
    times = np.exp2(fused.burst.evs - fused.burst.evs[0]).tolist()
    merged = debevec([frame.codes for frame in fused.burst.frames], times, curve="gamma2.2")
    merged = convert_rgb(np.nan_to_num(merged, posinf=0.0), fused.burst.frames[0].colorspace, REC709)
    seen = (fused.radiance > 0.01).all(axis=-1) & (fused.radiance < 1).all(axis=-1)
    factor = np.median(fused.radiance[seen]) / np.median(merged[seen])
    return replace(fused, radiance=np.asarray(merged * np.float32(factor), np.float32))


def heatmap(fused: FusionResult) -> U8:
    """The uncertainty as ``--uncertainty FILE.png`` draws it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "heat.png"
        write_uncertainty(fused, path)
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))


def shrink(picture: U8, width: int) -> U8:
    height = round(picture.shape[0] * width / picture.shape[1])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def labelled(pictures: dict[str, U8]) -> U8:
    """Side by side, each under its name."""
    font = ImageFont.load_default(18)
    gap, head = 6, 28
    height, width = next(iter(pictures.values())).shape[:2]
    sheet = Image.new("RGB", (len(pictures) * (width + gap) - gap, height + head), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (name, picture) in enumerate(pictures.items()):
        sheet.paste(Image.fromarray(picture), (place * (width + gap), head))
        draw.text((place * (width + gap) + 2, 3), name, fill="black", font=font)
    return np.asarray(sheet)


def busiest(interest: NDArray[np.float32]) -> tuple[slice, slice]:
    """The square with the most of an (H, W) measure of interest."""
    total = cv2.boxFilter(interest, -1, (CROP, CROP), anchor=(0, 0), borderType=cv2.BORDER_REFLECT)[
        : 1 - CROP, : 1 - CROP
    ]
    top, left = np.unravel_index(int(total.argmax()), total.shape)
    return slice(int(top), int(top) + CROP), slice(int(left), int(left) + CROP)


def save(path: Path, picture: U8) -> None:
    """JPEG at the best quality that keeps it small. Raises ValueError where none does."""
    for quality in range(92, 40, -4):
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "JPEG", quality=quality, optimize=True)
        if stream.tell() <= LARGEST:
            path.write_bytes(stream.getvalue())
            print(f"{path.name}: {picture.shape[1]}x{picture.shape[0]}, quality {quality}, {stream.tell() // 1000} kB")
            return
    raise ValueError(f"{path.name} cannot be kept under {LARGEST} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "pictures")
    parser.add_argument("--weights", help="other weights than the installed ones")
    arguments = parser.parse_args()
    options: dict[str, Any] = {"weights": arguments.weights} if arguments.weights else {}
    fused = fuse(sorted((HERE / "burst").glob("img*.jpg")), **options)
    ours = np.asarray(render_srgb(fused, 8), np.uint8)
    plain = np.asarray(render_srgb(plain_merge(fused), 8), np.uint8)
    codes = {frame.path.name: np.asarray(frame.codes, np.uint8) for frame in fused.burst.frames}
    arguments.out.mkdir(parents=True, exist_ok=True)
    named = zip(codes.items(), fused.burst.evs, strict=True)
    strip = {f"{name}, {ev:+.0f} EV": shrink(picture, 400) for (name, picture), ev in named}
    save(arguments.out / "inputs.jpg", labelled(strip))
    save(arguments.out / "result.jpg", shrink(ours, WIDTH))
    save(arguments.out / "plain.jpg", shrink(plain, WIDTH))
    save(arguments.out / "uncertainty.jpg", shrink(heatmap(fused), WIDTH))
    reference = codes[fused.burst.frames[fused.burst.reference].path.name]
    with Image.open(HERE / "burst" / "moving.png") as mask:
        moving = np.asarray(mask.convert("L"), np.float32)
    clipped = (reference >= 254).any(axis=-1).astype(np.float32)
    for name, where in (("moving", busiest(moving)), ("highlights", busiest(clipped))):
        crops = {"reference frame": reference, "plain merge": plain, "smarthdr": ours}
        large = {k: np.asarray(cv2.resize(v[where], None, fx=2, fy=2), np.uint8) for k, v in crops.items()}
        save(arguments.out / f"{name}.jpg", labelled(large))


if __name__ == "__main__":
    main()
