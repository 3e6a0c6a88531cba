"""Ablation of semi-supervised training: the gain from unlabelled bursts, and the contribution of each part.

    python -m benchmarks.training.ablation --work FOLDER [--panoramas DIR] [--rows NAME ...] [--draws 3]

Makes a synthetic set (75 training, 60 test scenes), trains every row of ``ablation_rows.ROWS`` on it with the same
network and number of updates, once per draw of the labelled scenes (the same draws for all rows), and scores student
and teacher on the test scenes. Writes the section "ablation" of RESULTS.md, ablation.json and two figures.

Resumable: finished runs are kept in ``--work`` and in ablation.json, unfinished ones continue from their last state.
Several processes with the same ``--work`` share the runs. ``--report`` writes what is there and trains nothing.
"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from benchmarks.lib.frozen_set import read_frozen_scene, set_identity
from benchmarks.lib.results_file import RESULTS, write_json
from benchmarks.training.ablation_report import Results, write
from benchmarks.training.ablation_rows import BUDGET, ROWS, make_scenes
from smarthdr_cli.data.cache import cache_home
from smarthdr_cli.data.datasets import find_scenes
from smarthdr_cli.data.prepared import PreparedScene, prepare
from smarthdr_cli.data.splits import SceneBand
from smarthdr_cli.evaluate import metrics
from smarthdr_cli.models.checkpoint import load_model
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.train.methods.smarthdr import PUBLISHED
from smarthdr_cli.train.pseudo_labels import predict_scene
from smarthdr_cli.train.run import run_scenes
from smarthdr_cli.train.run_folder import DataRequest
from smarthdr_cli.train.scene_data import PreparedRun, prepare_run
from smarthdr_cli.train.state import read_state

TestSet = tuple[list[PreparedScene], list[np.ndarray]]  # scenes, their moving pixels (H, W)


def score(weights: Path, scenes: list[PreparedScene], moving: list[np.ndarray]) -> dict[str, list[float]]:
    """PSNR-mu, PSNR-l and PSNR-mu on moving pixels of every scene; published protocol, shortest clip = 1."""
    model, _ = load_model(weights)
    if isinstance(model, SAF):
        model.finest = CELL  # as in training
    model = model.to(memory_format=torch.channels_last)
    scores: dict[str, list[float]] = {"psnr_mu": [], "psnr_l": [], "psnr_mu_moving": []}
    for scene, mask in zip(scenes, moving, strict=True):
        first, last = scene.rows
        _, _, target = scene.crop(first, 0, last - first, scene.size[1])
        assert target is not None
        scale = 2.0 ** min(scene.evs)
        light = predict_scene(model, scene, torch.device("cpu"), BUDGET["precision"]).radiance[0]
        prediction, truth = ((x * scale).clamp(0, 1).permute(1, 2, 0).numpy() for x in (light, target))
        scores["psnr_mu"].append(metrics.psnr_mu(prediction, truth))
        scores["psnr_l"].append(metrics.psnr_l(prediction, truth))
        scores["psnr_mu_moving"].append(metrics.psnr_mu(prediction, truth, mask))
    return scores


def key_of(name: str, draw: int, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The key of a run, a hash of its config, labels and scenes; and the changed settings of the config."""
    row = ROWS[name]
    values = BUDGET | {"iterations": options.iterations} | row.changes | {"seed": draw}
    text = json.dumps([values, row.labeled, options.set], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16], values


def plan_row(name: str, values: dict[str, Any], options: argparse.Namespace) -> PreparedRun:
    """The plan of a run. Extensions of the paper are off unless the row turns them on."""
    return prepare_run(DataRequest(data=str(options.scenes), labeled=ROWS[name].labeled), PUBLISHED | values)


def train_and_score(folder: Path, run_plan: PreparedRun, test: TestSet) -> dict[str, Any]:
    """Finish a run, resumed where it was stopped, and score student and teacher on the test scenes.

    Ends the program where a signal stops the run.
    """
    start = time.perf_counter()
    run_scenes(folder, run_plan, device="cpu", resume=(folder / "state.pt").exists())
    if read_state(folder / "state.pt", torch.device("cpu"))["step"] < run_plan.config.iterations:
        raise SystemExit("stopped; the same command continues")
    result: dict[str, Any] = {"seconds": time.perf_counter() - start, "labeled": run_plan.split.to_dict()["labeled"]}
    result["last"] = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    for role, file in (("student", "model"), ("teacher", "teacher")):
        result[role] = score(folder / f"{file}.safetensors", *test)
    return result


def run_row(name: str, draw: int, options: argparse.Namespace, test: TestSet) -> None:
    """One run, unless its result exists or another process works on it."""
    folder = options.work / f"{name}-{draw}"
    key, values = key_of(name, draw, options)
    if draw in collect_results(options).get(name, {}):
        return
    if (folder / "key").exists() and (folder / "key").read_text() != key:
        raise SystemExit(f"{folder} belongs to another experiment; remove it or choose another --work")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", blocking=False):
            (folder / "key").write_text(key)
            result = {"key": key} | train_and_score(folder, plan_row(name, values, options), test)
            write_json(folder / "result.json", result)
            mean = np.mean(result["student"]["psnr_mu"])
            print(f"{name}-{draw}: {mean:.2f} dB in {result['seconds']:.0f} s", flush=True)
    except Timeout:
        return


def collect_results(options: argparse.Namespace) -> Results:
    """Results by row and draw, from ``--work`` or from ablation.json."""
    earlier: dict[str, Any] = {}
    if options.json.exists():
        earlier = json.loads(options.json.read_text())["rows"]
    results: Results = {}
    for name in ROWS:
        for draw in range(options.draws):
            file = options.work / f"{name}-{draw}" / "result.json"
            result = json.loads(file.read_text()) if file.exists() else earlier.get(name, {}).get(str(draw))
            if result is not None and result["key"] == key_of(name, draw, options)[0]:
                results.setdefault(name, {})[draw] = result
    return results


def reference_psnr(scenes: list[PreparedScene]) -> float:
    """Mean PSNR-mu of the reference frame alone."""
    scores = []
    for scene in scenes:
        first, last = scene.rows
        frames, _, target = scene.crop(first, 0, last - first, scene.size[1])
        assert target is not None
        scale = 2.0 ** min(scene.evs)
        reference, truth = ((x * scale).clamp(0, 1).permute(1, 2, 0).numpy() for x in (frames[0], target))
        scores.append(metrics.psnr_mu(reference, truth))
    return float(np.mean(scores))


def read_test_set(root: Path) -> TestSet:
    """The test scenes of a set, prepared, and their moving pixels."""
    parts = [SceneBand(scene) for scene in find_scenes(root) if scene.split == "test"]
    moving = [read_frozen_scene(part.scene.frames[0].parent).moving for part in parts]
    return prepare(parts, cache_home() / "prepared"), moving


def main() -> None:
    parser = argparse.ArgumentParser(description="ablation of semi-supervised training")
    parser.add_argument("--work", type=Path, required=True, help="folder of the scenes and runs")
    parser.add_argument("--panoramas", type=Path, help="HDR images to make the scenes of; else procedural ones")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=BUDGET["iterations"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--report", action="store_true", help="train nothing, write what is there")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.json = options.out.with_name("ablation.json")
    options.work.mkdir(parents=True, exist_ok=True)
    with FileLock(options.work / "lock"):
        options.scenes = make_scenes(options.panoramas, options.work / "scenes")
    options.set = set_identity(options.scenes)
    test = read_test_set(options.scenes)
    if not options.report:
        for draw in range(options.draws):
            for name in options.rows:
                if draw == 0 or not ROWS[name].sweep:
                    run_row(name, draw, options, test)
    write(collect_results(options), options, reference_psnr(test[0]), plan_row)


if __name__ == "__main__":
    sys.exit(main())
