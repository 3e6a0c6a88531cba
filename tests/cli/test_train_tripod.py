"""A user's labelled scene: many exposures from a tripod, merged as the truth, and three of them as the burst."""

import shutil
import tomllib
from fractions import Fraction
from pathlib import Path

import numpy as np

from smarthdr_cli.data.datasets import find_scenes
from smarthdr_cli.data.prepared import prepare
from smarthdr_cli.data.splits import SceneBand
from tests.support.shoots import TIMES, scene

from .conftest import HEIGHT, SEED, WIDTH, Run, WriteBurst

EVERY = tuple(Fraction(1, 1600) * 2**n for n in range(8))  # a stop apart, past TIMES on both sides
CONFIG = 'crop = 32\n[model]\nname = "saf"\nencoder = 8\nmotion = 12\nhidden = 4\nmatch = 4\nverify = 12\nrefine = 12\n'


def tripod(tmp_path: Path, write_burst: WriteBurst, smarthdr: Run) -> Path:
    """A folder with one scene: three frames two stops apart, the truth merged from all eight."""
    frames = write_burst("stack", true=EVERY, stated=EVERY)
    desk = tmp_path / "scenes" / "desk"
    desk.mkdir(parents=True)
    for time in TIMES:
        shutil.copy(frames[EVERY.index(time)], desk)
    done = smarthdr("fuse", *frames, "--reference", EVERY.index(TIMES[1]) + 1, "--deghost", "off", "--response", "srgb",
                    "-o", desk / "HDRImg.exr")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    return desk.parent


def test_the_merged_truth_is_the_radiance_of_the_scene(tmp_path: Path, write_burst: WriteBurst, smarthdr: Run) -> None:
    (tripod_scene,) = find_scenes(tripod(tmp_path, write_burst, smarthdr))
    assert len(tripod_scene.frames) == 3
    (prepared,) = prepare([SceneBand(tripod_scene)], tmp_path / "cache", response="srgb")
    _, _, target = prepared.crop(0, 0, HEIGHT, WIDTH)
    assert target is not None
    scale = 2.0 ** -round(min(prepared.evs))  # of the shortest of the three, at which the truth is capped
    truth = np.minimum(scene(SEED, WIDTH, HEIGHT), scale)
    light = target.permute(1, 2, 0).numpy()
    scaled = light / np.median(light) * np.median(truth)  # the reference may be another of the three
    assert np.median(np.abs(scaled / truth - 1)) < 0.03
    assert np.quantile(np.abs(scaled / truth - 1), 0.95) < 0.15


def test_training_takes_the_scene_as_labelled(tmp_path: Path, write_burst: WriteBurst, smarthdr: Run) -> None:
    root = tripod(tmp_path, write_burst, smarthdr)
    handheld = tmp_path / "brackets"
    handheld.mkdir()
    shutil.move(write_burst("moving", shift=2)[0].parent, handheld / "moving")
    config = tmp_path / "small.toml"
    config.write_text(CONFIG)
    done = smarthdr("train", "--data", root, "--unlabeled", handheld, "--labeled", 1, "--config", config, "--batch", 2,
                    "-o", tmp_path / "run", "--dry-run")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "labelled: desk" in done.stderr
    assert "unlabelled: 1 scenes" in done.stderr
    assert tomllib.loads(done.stdout)["method"] == "smarthdr"
