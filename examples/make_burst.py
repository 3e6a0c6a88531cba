"""Path-trace the example burst: three handheld JPEGs, the ground truth, a mask of what moved, and the facts.

Needs Mitsuba 3 (`pip install mitsuba==3.9.1`; not a dependency of smarthdr). Its LLVM variant wants a recent LLVM
library: 19 works, 14 and 15 do not (Debian: `apt-get install libllvm19`, then
`export DRJIT_LIBLLVM_PATH=/usr/lib/x86_64-linux-gnu/libLLVM-19.so`). Without one, `--variant scalar_rgb` takes about
twice as long.

    python examples/make_burst.py             # a quarter of an hour on two idle cores
    python examples/make_burst.py --draft     # small and noisy, for a look
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
SAMPLES = ((12, 16), (40, 40), (20, 20))  # a pixel, short to long: direct (for each of the four lights), bounced
SHORT_CLIP = 8.0  # the short frame's clip in the reference's


def render_raw(shot: camera.Shot, spp: tuple[int, int], size: tuple[int, int], keep: Path | None) -> dict[str, Any]:
    """Noisy halves and features of one shot, from ``keep`` where they were rendered before."""
    kept = keep / f"{shot.name}.npz" if keep else None
    if kept and kept.exists():
        with np.load(kept) as stored:
            return dict(stored)
    raw = render.features(shot, size) | render.halves(shot, size, spp, seed=1_000_000 * (1 + camera.SHOTS.index(shot)))
    if shot.window:
        x, y, w, h = window = tuple(round(v * size[0] / 1200) for v in shot.window)
        finer = render.features(shot, size, window) | render.halves(shot, size, spp, seed=9_000_000, window=window)
        for name, part in finer.items():
            raw[name][y : y + h, x : x + w] = part
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, allow_pickle=False, **raw)
    return raw


def write_truth(path: Path, radiance: Any) -> None:
    """Half float, ZIP, Rec. 709 primaries; 1.0 is the reference's clip."""
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
    parser.add_argument("--width", type=int, default=1200, help="4:3 pictures of this width")
    parser.add_argument("--samples", type=float, default=1.0, help="a factor on the samples of every frame")
    parser.add_argument("--raw", type=Path, help="keep the noisy renders here, and develop from them when they exist")
    parser.add_argument("--variant", default="llvm_ad_rgb")
    parser.add_argument("--draft", action="store_true", help="a third of the width, a quarter of the samples")
    args = parser.parse_args()
    if args.draft:
        args.width, args.samples = 400, 0.25
    mi.set_variant(args.variant)

    size = (args.width, args.width * 3 // 4)
    args.out.mkdir(parents=True, exist_ok=True)
    reference = next(shot for shot in camera.SHOTS if shot.speed == camera.REFERENCE_SPEED)
    facts: dict[str, Any] = {"size": size, "reference": f"{reference.name}.jpg", "frames": []}
    began = time.monotonic()
    for i, shot in enumerate(camera.SHOTS):
        spp = round(args.samples * SAMPLES[i][0]), round(args.samples * SAMPLES[i][1])
        raw = render_raw(shot, spp, size, args.raw)
        noisy = [raw[f"e{k}"] + raw[f"d{k}"] + raw[f"b{k}"] for k in range(2)]
        smooth, removed = denoise.denoise(raw)
        radiance = (smooth[0] + smooth[1]) / 2
        codes = camera.expose(radiance, shot, np.random.default_rng(2026 + i))
        camera.write_jpeg(args.out / f"{shot.name}.jpg", codes, shot)
        frame = {
            "file": f"{shot.name}.jpg",
            "exposure_time": f"1/{shot.speed}",
            "ev": float(np.log2(reference.speed / shot.speed)),
            "clipped": float((codes == 255).any(-1).mean()),
            "monte_carlo_rms_mu_raw": denoise.residual_noise(noisy, SHORT_CLIP),
            "monte_carlo_rms_mu": denoise.residual_noise(smooth, SHORT_CLIP),
            "fireflies_energy": removed,
        }
        if shot is reference:
            write_truth(args.out / "truth.exr", radiance)
            depth = raw["depth"]
        facts["frames"].append(frame)
        print(json.dumps(frame), f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    for shot, frame in zip(camera.SHOTS, facts["frames"], strict=True):
        names = ("moved_px_median", "parallax_px_median", "parallax_px_95")
        frame |= dict(zip(names, render.parallax(depth, shot, reference), strict=True))
    moved = cv2.dilate(render.movers(camera.SHOTS, reference, size).astype(np.uint8), np.ones((5, 5), np.uint8))
    Image.fromarray(moved * 255).convert("1").save(args.out / "moving.png", optimize=True)
    facts["moving"] = float(moved.mean())
    (args.out / "facts.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
