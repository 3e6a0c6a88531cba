import multiprocessing

import pytest
import torch

from smarthdr_cli.data.datasets import find_scenes
from smarthdr_cli.data.prepared import prepare
from smarthdr_cli.data.splits import draw_split
from smarthdr_cli.data.synth.burst import make_batch
from smarthdr_cli.data.synth.config import SynthConfig
from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
from smarthdr_cli.data.synth.sources import load_bank
from smarthdr_cli.train.scene_data import SceneData

TINY = {"name": "saf", "encoder": 8, "motion": 12, "hidden": 4, "match": 4, "verify": 12, "refine": 12}
SYNTH = {"height": 32, "width": 32, "objects": 1, "frames": [3]}


@pytest.fixture(scope="session")
def bank():
    """Two procedural scenes."""
    return load_bank(None, procedural=2, seed=5)


@pytest.fixture(scope="session")
def values():
    """A run that takes seconds."""
    return {"model": TINY, "synth": SYNTH, "batch": 2, "iterations": 6, "validate_every": 3, "validation_bursts": 2,
            "precision": "fp32", "pool": 4, "replay": 2, "motion_steps": 0, "warmup": 1}  # fmt: skip


@pytest.fixture(scope="session")
def batch(bank):
    """Two bursts of 48 pixels."""
    config = SynthConfig(height=48, width=48, objects=2)
    return make_batch(bank, config, torch.Generator().manual_seed(1), 2)


@pytest.fixture(scope="session")
def scene_values():
    """A run on ``scenes`` that takes a second: 3 updates on labels, then epochs of 4."""
    return {"model": TINY, "batch": 2, "batch_unlabeled": 2, "crop": 32, "iterations": 12, "validate_every": 6,
            "precision": "fp32", "warmup": 1, "decay": 0.0, "labelled_first": 0.25, "refresh": 4, "weight_vgg": 0.0,
            "method": "smarthdr", "masks": {"side": 16}}  # fmt: skip


@pytest.fixture(scope="session")
def scene_root(bank, tmp_path_factory):
    """Seven scenes of 64x96 in the Kalantari layout, three frames each."""
    root = tmp_path_factory.mktemp("benchmark")
    write_benchmark(root, bank, 7, 3, benchmark_config("gamma16", (64, 96)))
    return root


@pytest.fixture(scope="session")
def prepared_cache(tmp_path_factory):
    """Where prepared scenes are kept."""
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="session")
def scenes(scene_root, prepared_cache):
    """Four of them labelled, one held out, two without truth."""
    split = draw_split(find_scenes(scene_root), 5, 0)
    roles = (split.labeled, split.unlabeled, split.held_out)
    return SceneData(*(tuple(prepare(role, prepared_cache, align="none")) for role in roles))


@pytest.fixture(autouse=True)
def _one_thread():
    """A second thread does not pay for images this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def processes():
    """Processes forked from one that has imported torch and training and does nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["smarthdr_cli.train.run", "smarthdr_cli.models.saf"])
    return context
