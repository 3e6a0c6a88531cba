"""The second frozen set: rendered bursts of random scenes, from another generator than the training's.

    python -m benchmarks.renderer.make_set --set FOLDER --panoramas FOLDER [--scenes 24] [--seed N]
    python -m benchmarks.quality.run --set FOLDER --section renders

Rooms, streets, table tops, gardens, porches and nights with true depth; hand shake of centimetres and tenths of a
degree to a degree; thrown objects, people, swarms, plants in the wind, swinging lamps; thin bars, plain and textured
walls, lamps many stops above what they light. In the set of the default seed static points shift between two frames by
4 px in the median burst (17 at most), of which a homography leaves 1 px at the 95th percentile (16 at most), and moving
ones by 11 px (75 at most). Panoramas (those held out from training, see ``smarthdr_cli/data/synth/sources.py``) serve
as environment only. Camera, noise, clipping, curves and files are those of the first set.

Mitsuba 3 casts the rays; it is no dependency: `pip install mitsuba==3.9.1` and an LLVM library (see
examples/make_burst.py). Light is a finite number of fixed lights (``lighting.py``), so that the truth has no
Monte-Carlo noise and the same seed gives the same image, bit by bit. About eight CPU seconds per scene; existing scenes
are kept.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.renderer import scenes_indoor, scenes_outdoor
from benchmarks.renderer.ground_truth_flow import true_flow
from benchmarks.renderer.lighting import sky_panorama
from benchmarks.renderer.raycast import RenderedFrame, Renderer
from benchmarks.renderer.scene import MOMENTS, Scene
from benchmarks.renderer.shading import render_frames
from smarthdr_cli.data.synth.burst import RenderedBurst, SyntheticBurst, draw_exposures, simulate_camera
from smarthdr_cli.data.synth.config import SynthConfig
from smarthdr_cli.data.synth.export import benchmark_config, write_scene

KINDS = ("gamma16", "camera8")
SCENES, SEED, SIZE = 24, 2026112004, (256, 384)
EV_STEPS = (2.0, 2.5, 3.0)
PANORAMAS = (
    *scenes_outdoor.DAY_PANORAMAS,
    *scenes_indoor.INDOOR_PANORAMAS,
    *scenes_outdoor.NIGHT_PANORAMAS,
)  # all held out from training
SCENE_KINDS = {
    "room": scenes_indoor.room,
    "street": scenes_outdoor.street,
    "table": scenes_indoor.table_close_up,
    "garden": scenes_outdoor.garden,
    "porch": scenes_outdoor.porch,
    "night": scenes_outdoor.night,
}


def draw_scene(seed: int, number: int, size: tuple[int, int]) -> Scene:
    """Scene ``number`` of the set ``seed``, the kinds of ``SCENE_KINDS`` in turn; ``size``: (H, W) of its images."""
    kind = tuple(SCENE_KINDS)[number % len(SCENE_KINDS)]
    builder, sky = SCENE_KINDS[kind](np.random.default_rng([seed, number]), size)
    return builder.build(f"{number + 1:03d} {kind}", sky)


def camera_config(kind: str, size: tuple[int, int]) -> SynthConfig:
    """Camera and exposures of a set; ``kind``: gamma16 or camera8, ``size``: (H, W)."""
    return replace(benchmark_config(kind, size), ev_steps=EV_STEPS)


def photograph_frames(
    frames: dict[int, RenderedFrame],
    flows: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]],
    config: SynthConfig,
    generator: torch.Generator,
) -> SyntheticBurst:
    """One burst of rendered frames by moment; ``flows``: ``true_flow`` of all moments but the reference.

    The same generator state gives the same exposures, level and noise in both kinds.
    """
    evs, times = draw_exposures(config, generator, 1, len(MOMENTS))
    order = [int(t) for t in times[0]]
    light = torch.stack([torch.from_numpy(frames[moment].radiance).permute(2, 0, 1) for moment in order])[None]
    flow = torch.stack([torch.from_numpy(flows[moment][0]).permute(2, 0, 1) for moment in order[1:]])[None]
    visible = torch.stack([torch.from_numpy(flows[moment][1])[None] for moment in order[1:]])[None]
    moving = np.any([~flows[moment][1] | flows[moment][2] for moment in order[1:]], axis=0)
    rendered = RenderedBurst(light, flow, visible.float(), torch.from_numpy(moving)[None, None])
    return simulate_camera(rendered, config, generator, evs, oracle=True)


def write_set(
    out: Path,
    kinds: Sequence[str],
    numbers: Iterable[int],
    seed: int,
    size: tuple[int, int],
    renderer: Renderer,
    on_scene: Callable[[Scene], None] = lambda _: None,
) -> None:
    """Write scenes ``numbers``, from 0, as folders ``out/KIND/NNN``, NNN from 001, each rendered once for all kinds.

    Keeps a scene that exists in all kinds (its moving.png is written last), so that a set can be continued.
    """
    for number in numbers:
        folders = {kind: out / kind / f"{number + 1:03d}" for kind in kinds}
        if all((folder / "moving.png").exists() for folder in folders.values()):
            continue
        scene = draw_scene(seed, number, size)
        frames = renderer(scene, size)
        hits = {moment: frame.hits for moment, frame in frames.items()}
        flows = {moment: true_flow(scene, hits, moment) for moment in MOMENTS if moment}
        for kind, folder in folders.items():
            generator = torch.Generator().manual_seed(seed * 100_003 + number)
            burst = photograph_frames(frames, flows, camera_config(kind, size), generator)
            folder.mkdir(parents=True, exist_ok=True)
            write_scene(folder, burst, np.random.default_rng([seed, number]))
        on_scene(scene)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="a frozen set of rendered bursts")
    parser.add_argument("--set", type=Path, required=True, help="folder to make it in")
    parser.add_argument("--panoramas", type=Path, required=True, help="folder of HDR panoramas (.exr, .hdr)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--width", type=int, default=SIZE[1], help="of the images, 3:2")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    sources = {p.stem: p for p in options.panoramas.glob("*") if p.suffix in {".exr", ".hdr"}}
    missing = sorted(set(PANORAMAS) - sources.keys())
    if missing:
        raise SystemExit(f"{options.panoramas}: panoramas are missing: {', '.join(missing)}")
    try:
        from benchmarks.renderer.mitsuba_raycast import MitsubaCaster
    except ImportError as error:
        raise SystemExit(f"make_set.py casts rays with Mitsuba 3: pip install mitsuba==3.9.1 ({error})") from error
    start = time.monotonic()

    def render(scene: Scene, size: tuple[int, int]) -> dict[int, RenderedFrame]:
        return render_frames(scene, size, sky_panorama(scene, sources), MitsubaCaster)

    def log(scene: Scene) -> None:
        spent = f"{time.process_time():.0f} s of CPU, {time.monotonic() - start:.0f} s"
        print(f"{scene.name}: {len(scene.objects)} objects; {spent}", file=sys.stderr, flush=True)

    size = (options.width * 2 // 3, options.width)
    write_set(options.set, options.kinds, range(options.scenes), options.seed, size, render, log)


if __name__ == "__main__":
    main()
