"""Does learning from unlabelled bursts pay, and which part of the method does it? One table, made run by run.

    python benchmarks/ablation.py --work FOLDER [--panoramas DIR] [--rows NAME ...] [--draws 3] [--iterations N]

Makes a synthetic benchmark (75 scenes to train on, 60 to test), trains every row of ``ablation_rows.ROWS`` on it with
the same network and number of updates, once for each draw of the labelled scenes (the same draws for all rows), scores
student and teacher on the test scenes, and writes the section "ablation" of RESULTS.md, ablation.json and two pictures
from what is there. It can be stopped at any moment and started again: finished runs are kept in ``--work`` and in
ablation.json, unfinished ones go on from their last state. Started twice at once, the two share the runs.
``--report`` only writes.
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
from ablation_report import write
from ablation_rows import BUDGET, ROWS, make_scenes
from filelock import FileLock, Timeout

from smarthdr_cli.data.datasets import find_scenes
from smarthdr_cli.data.prepared import PreparedScene, prepare
from smarthdr_cli.data.splits import SceneBand
from smarthdr_cli.evaluate import frozen, metrics, report
from smarthdr_cli.models.checkpoint import load_model
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.train.config import PUBLISHED
from smarthdr_cli.train.pseudo_labels import predict_scene
from smarthdr_cli.train.request import Request
from smarthdr_cli.train.scene_run import Plan, cache_home, plan, run_scenes
from smarthdr_cli.train.state import read_state

HERE = Path(__file__).parent
Results = dict[str, dict[int, dict[str, Any]]]


def score(weights: Path, scenes: list[PreparedScene], moving: list[np.ndarray]) -> dict[str, list[float]]:
    """PSNR-mu, PSNR-l and PSNR-mu on moving pixels of every scene; published protocol, the short clip at 1."""
    model, _ = load_model(weights)
    model.set_finest_cell(CELL)  # as it learned
    model = model.to(memory_format=torch.channels_last)
    found: dict[str, list[float]] = {"psnr_mu": [], "psnr_l": [], "psnr_mu_moving": []}
    for scene, mask in zip(scenes, moving, strict=True):
        first, last = scene.rows
        _, _, target = scene.crop(first, 0, last - first, scene.size[1])
        assert target is not None
        scale = 2.0 ** min(scene.evs)
        light = predict_scene(model, scene, torch.device("cpu"), BUDGET["precision"]).radiance[0]
        ours, truth = ((x * scale).clamp(0, 1).permute(1, 2, 0).numpy() for x in (light, target))
        found["psnr_mu"].append(metrics.psnr_mu(ours, truth))
        found["psnr_l"].append(metrics.psnr_l(ours, truth))
        found["psnr_mu_moving"].append(metrics.psnr_mu(ours, truth, mask))
    return found


def key_of(name: str, draw: int, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """What a run is known by: its config, labels and scenes; and the config."""
    row = ROWS[name]
    values = BUDGET | {"iterations": options.iterations} | row.changes | {"seed": draw}
    text = json.dumps([values, row.labeled, options.set], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16], values


def planned(name: str, values: dict[str, Any], options: argparse.Namespace) -> Plan:
    """The run before it starts. What is beyond the paper is off unless the row has it on."""
    return plan(Request(data=str(options.scenes), labeled=ROWS[name].labeled), PUBLISHED | values)


def train_and_score(folder: Path, ready: Plan, test: tuple[list[PreparedScene], list[np.ndarray]]) -> dict[str, Any]:
    """A run to its end, taken up where it was left, and what student and teacher reach on the test scenes. Ends the
    program where a signal stopped it.
    """
    began = time.perf_counter()
    run_scenes(folder, ready, device="cpu", resume=(folder / "state.pt").exists())
    if read_state(folder / "state.pt", torch.device("cpu"))["step"] < ready.config.iterations:
        raise SystemExit("stopped; the same command goes on")
    result: dict[str, Any] = {"seconds": time.perf_counter() - began, "labeled": ready.split.to_dict()["labeled"]}
    result["last"] = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    for role, file in (("student", "model"), ("teacher", "teacher")):
        result[role] = score(folder / f"{file}.safetensors", *test)
    return result


def run(name: str, draw: int, options: argparse.Namespace, test: tuple[list[PreparedScene], list[np.ndarray]]) -> None:
    """One run, unless its result is there already or another process is at it."""
    folder = options.work / f"{name}-{draw}"
    key, values = key_of(name, draw, options)
    if draw in results(options).get(name, {}):
        return
    if (folder / "key").exists() and (folder / "key").read_text() != key:
        raise SystemExit(f"{folder} is of another experiment; remove it or choose another --work")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", blocking=False):
            (folder / "key").write_text(key)
            result = {"key": key} | train_and_score(folder, planned(name, values, options), test)
            report.write_json(folder / "result.json", result)
            mean = np.mean(result["student"]["psnr_mu"])
            print(f"{name}-{draw}: {mean:.2f} dB in {result['seconds']:.0f} s", flush=True)
    except Timeout:
        return


def results(options: argparse.Namespace) -> Results:
    """What has been measured, in ``--work`` or before: row, draw, result."""
    earlier: dict[str, Any] = {}
    if options.json.exists():
        earlier = json.loads(options.json.read_text())["rows"]
    found: Results = {}
    for name in ROWS:
        for draw in range(options.draws):
            file = options.work / f"{name}-{draw}" / "result.json"
            known = json.loads(file.read_text()) if file.exists() else earlier.get(name, {}).get(str(draw))
            if known is not None and known["key"] == key_of(name, draw, options)[0]:
                found.setdefault(name, {})[draw] = known
    return found


def reference_alone(scenes: list[PreparedScene]) -> float:
    """Mean PSNR-mu of what the reference frame alone gives."""
    found = []
    for scene in scenes:
        first, last = scene.rows
        frames, _, target = scene.crop(first, 0, last - first, scene.size[1])
        assert target is not None
        scale = 2.0 ** min(scene.evs)
        ours, truth = ((x * scale).clamp(0, 1).permute(1, 2, 0).numpy() for x in (frames[0], target))
        found.append(metrics.psnr_mu(ours, truth))
    return float(np.mean(found))


def test_scenes(root: Path) -> tuple[list[PreparedScene], list[np.ndarray]]:
    """The test scenes of a set, prepared, and where something moves in them."""
    parts = [SceneBand(scene) for scene in find_scenes(root) if scene.split == "test"]
    moving = [frozen.read_scene(part.scene.frames[0].parent).moving for part in parts]
    return prepare(parts, cache_home() / "prepared"), moving


def main() -> None:
    parser = argparse.ArgumentParser(description="SmartHDR, its rivals and its parts")
    parser.add_argument("--work", type=Path, required=True, help="folder of the scenes and runs")
    parser.add_argument("--panoramas", type=Path, help="HDR images to make the scenes from; without: procedural ones")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=BUDGET["iterations"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--report", action="store_true", help="run nothing, write what is there")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.json = options.out.with_name("ablation.json")
    options.work.mkdir(parents=True, exist_ok=True)
    with FileLock(options.work / "lock"):
        options.scenes = make_scenes(options.panoramas, options.work / "scenes")
    options.set = frozen.identity(options.scenes)
    test = test_scenes(options.scenes)
    if not options.report:
        for draw in range(options.draws):
            for name in options.rows:
                if draw == 0 or not ROWS[name].sweep:
                    run(name, draw, options, test)
    write(results(options), options, reference_alone(test[0]), planned)


if __name__ == "__main__":
    sys.exit(main())
