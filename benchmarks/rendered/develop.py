"""A frozen set of rendered scenes: renders through the camera of smarthdr_cli/data into the layout of its writer."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from rendered.moved import true_motion
from rendered.places import draw_scenery
from rendered.scenery import Scenery
from rendered.shown import Renderer, Shown
from rendered.stage import MOMENTS
from smarthdr_cli.data.synth.burst import RenderedBurst, SyntheticBurst, draw_exposures, simulate_camera
from smarthdr_cli.data.synth.config import SynthConfig
from smarthdr_cli.data.synth.export import benchmark_config, write_scene

EV_STEPS = (2.0, 2.5, 3.0)


def config_of(kind: str, size: tuple[int, int]) -> SynthConfig:
    """The camera and the exposures of a set; ``kind`` is gamma16 or camera8, ``size`` (H, W)."""
    return replace(benchmark_config(kind, size), ev_steps=EV_STEPS)


def burst_of(
    shown: dict[int, Shown],
    motion: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]],
    config: SynthConfig,
    generator: torch.Generator,
) -> SyntheticBurst:
    """One burst of a scene's frames by moment; ``motion``: displacement, seen and carried of all but the reference.

    The same generator gives the same exposures, level and noise in both kinds.
    """
    evs, times = draw_exposures(config, generator, 1, len(MOMENTS))
    order = [int(t) for t in times[0]]
    light = torch.stack([torch.from_numpy(shown[at].radiance).permute(2, 0, 1) for at in order])[None]
    flow = torch.stack([torch.from_numpy(motion[at][0]).permute(2, 0, 1) for at in order[1:]])[None]
    seen = torch.stack([torch.from_numpy(motion[at][1])[None] for at in order[1:]])[None]
    moving = np.any([~motion[at][1] | motion[at][2] for at in order[1:]], axis=0)
    rendered = RenderedBurst(light, flow, seen.float(), torch.from_numpy(moving)[None, None])
    return simulate_camera(rendered, config, generator, evs, oracle=True)


def write_rendered(
    out: Path, kinds: Sequence[str], numbers: Iterable[int], seed: int, size: tuple[int, int], renderer: Renderer,
    on_scene: Callable[[Scenery], None] = lambda _: None,
) -> None:  # fmt: skip
    """Scenes of ``numbers``, from 0, as folders ``out/KIND/NNN``, NNN from 001; rendered once for all kinds.

    A scene that is there in all kinds is left as it is, so that a set is gone on with; its moving.png comes last.
    """
    for number in numbers:
        folders = {kind: out / kind / f"{number + 1:03d}" for kind in kinds}
        if all((folder / "moving.png").exists() for folder in folders.values()):
            continue
        scenery = draw_scenery(seed, number, size)
        shown = renderer(scenery, size)
        hits = {moment: frame.hits for moment, frame in shown.items()}
        motion = {moment: true_motion(scenery, hits, moment) for moment in MOMENTS if moment}
        for kind, folder in folders.items():
            generator = torch.Generator().manual_seed(seed * 100_003 + number)
            burst = burst_of(shown, motion, config_of(kind, size), generator)
            folder.mkdir(parents=True, exist_ok=True)
            write_scene(folder, burst, np.random.default_rng([seed, number]))
        on_scene(scenery)
