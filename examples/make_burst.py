"""Path-trace the example burst: three handheld JPEGs, the ground truth, the mask of moving objects, and figures.

Needs Mitsuba 3 (`pip install mitsuba==3.9.1`; not a dependency of smarthdr). Its LLVM variant needs a recent LLVM
library: 19 works, 14 and 15 do not (Debian: `apt-get install libllvm19`, then
`export DRJIT_LIBLLVM_PATH=/usr/lib/x86_64-linux-gnu/libLLVM-19.so`). `--variant scalar_rgb` needs none and takes twice
as long.

    python examples/make_burst.py             # 15 minutes on two idle cores
    python examples/make_burst.py --draft     # small and noisy preview
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import mitsuba as mi
import numpy as np
import OpenEXR
from PIL import Image
from scene import camera, denoise, render

HERE = Path(__file__).resolve().parent
SAMPLES = ((12, 16), (40, 40), (20, 20))  # per pixel of each shot: direct light (for each of four lights), indirect
SHORT_CLIP = 8.0  # clip of the short frame in units of the reference's
FULL_WIDTH = 1200  # pixels


def render_raw(
    shot: camera.Shot, samples: tuple[int, int], size: tuple[int, int], folder: Path | None
) -> dict[str, Any]:
    """Noisy halves and features of one shot, read from ``folder`` where they are there, else rendered."""
    path = folder / f"{shot.name}.npz" if folder else None
    if path and path.exists():
        with np.load(path) as stored:
            return dict(stored)
    seed = 1_000_000 * (1 + camera.SHOTS.index(shot))
    raw = render.render_features(shot, size) | render.render_halves(shot, size, samples, seed)
    if shot.fine_crop:
        x, y, w, h = crop = tuple(round(v * size[0] / FULL_WIDTH) for v in shot.fine_crop)
        fine = render.render_features(shot, size, crop) | render.render_halves(shot, size, samples, 9_000_000, crop)
        for name, image in fine.items():
            raw[name][y : y + h, x : x + w] = image
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, allow_pickle=False, **raw)
    return raw


def write_truth(path: Path, radiance: Any) -> None:
    """Write (H, W, 3) radiance, 1.0 = the reference's clip, as half float with ZIP and Rec. 709 primaries."""
    header = {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "chromaticities": (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290),
        "comments": "smarthdr example: ground truth at the reference frame's moment and pose; 1.0 = reference clip",
    }
    OpenEXR.File(header, {"RGB": np.ascontiguousarray(radiance.astype(np.float16))}).write(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "burst")
    parser.add_argument("--width", type=int, default=FULL_WIDTH, help="width of the 4:3 images")
    parser.add_argument("--samples", type=float, default=1.0, help="factor on the samples per pixel of every frame")
    parser.add_argument("--raw", type=Path, help="folder of the noisy renders: read where they are there, else written")
    parser.add_argument("--variant", default="llvm_ad_rgb")
    parser.add_argument("--draft", action="store_true", help="a third of the width and a quarter of the samples")
    args = parser.parse_args()
    if args.draft:
        args.width, args.samples = 400, 0.25
    mi.set_variant(args.variant)

    size = (args.width, args.width * 3 // 4)
    args.out.mkdir(parents=True, exist_ok=True)
    reference = next(shot for shot in camera.SHOTS if shot.shutter_speed == camera.REFERENCE_SHUTTER_SPEED)
    facts: dict[str, Any] = {"size": size, "reference": f"{reference.name}.jpg", "frames": []}
    start = time.monotonic()
    for i, shot in enumerate(camera.SHOTS):
        samples = round(args.samples * SAMPLES[i][0]), round(args.samples * SAMPLES[i][1])
        raw = render_raw(shot, samples, size, args.raw)
        noisy = [raw[f"e{k}"] + raw[f"d{k}"] + raw[f"b{k}"] for k in range(2)]
        denoised, removed_energy = denoise.denoise(raw)
        radiance = (denoised[0] + denoised[1]) / 2
        codes = camera.expose(radiance, shot, np.random.default_rng(2026 + i))
        camera.write_jpeg(args.out / f"{shot.name}.jpg", codes, shot)
        frame = {
            "file": f"{shot.name}.jpg",
            "exposure_time": f"1/{shot.shutter_speed}",
            "ev": float(np.log2(reference.shutter_speed / shot.shutter_speed)),
            "clipped": float((codes == 255).any(-1).mean()),
            "monte_carlo_rms_mu_raw": denoise.residual_noise(noisy, SHORT_CLIP),
            "monte_carlo_rms_mu": denoise.residual_noise(denoised, SHORT_CLIP),
            "fireflies_energy": removed_energy,
        }
        if shot is reference:
            write_truth(args.out / "truth.exr", radiance)
            depth = raw["depth"]
        facts["frames"].append(frame)
        print(json.dumps(frame), f"{time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    for shot, frame in zip(camera.SHOTS, facts["frames"], strict=True):
        names = ("moved_px_median", "parallax_px_median", "parallax_px_95")
        frame |= dict(zip(names, render.measure_parallax(depth, shot, reference), strict=True))
    moving = render.render_moving_mask(camera.SHOTS, reference, size).astype(np.uint8)
    moving = cv2.dilate(moving, np.ones((5, 5), np.uint8))
    Image.fromarray(moving * 255).convert("1").save(args.out / "moving.png", optimize=True)
    facts["moving"] = float(moving.mean())
    (args.out / "facts.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
