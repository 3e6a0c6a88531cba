"""Does learning from unlabelled bursts pay, and which part of the method does it? One table, made run by run.

    python benchmarks/ablation.py --work FOLDER [--panoramas DIR] [--rows NAME ...] [--draws 3] [--iterations N]

Makes a synthetic benchmark (75 scenes to train on, 60 to test), trains every row of ``ROWS`` on it with the same
network and number of updates, once for each draw of the labelled scenes (the same draws for all rows), scores student
and teacher on the test scenes, and writes the section "ablation" of RESULTS.md and ablation.json from what is there.
It can be stopped at any moment and started again: finished runs are kept in ``--work``, unfinished ones go on from
their last state. ``--report`` only writes.
"""

import argparse
import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smarthdr_cli.data.home import own_benchmark
from smarthdr_cli.data.labels import Part
from smarthdr_cli.data.layouts import find_scenes
from smarthdr_cli.data.prepare import Prepared, prepare
from smarthdr_cli.evaluate import bootstrap, frozen, metrics, report
from smarthdr_cli.models.load import load_model
from smarthdr_cli.train.pseudo import predict_scene
from smarthdr_cli.train.request import Request
from smarthdr_cli.train.scene_run import cache_home, plan, run_scenes

HERE = Path(__file__).parent
LABELS = 5
FLOOR, ROOF, OURS = "labelled", "all", "smarthdr"
# Widths halved, so that fifty runs fit into some hours of a CPU; the method does not know.
MODEL = {"name": "saf", "encoder": 16, "motion": 32, "hidden": 8, "match": 8, "verify": 24, "refine": 32}
BUDGET: dict[str, Any] = {
    "model": MODEL, "iterations": 1500, "batch": 4, "batch_unlabeled": 4, "crop": 128, "learning_rate": 1e-3,
    "decay": 0.3, "warmup": 50, "precision": "bf16", "validate_every": 250, "labelled_first": 0.2, "refresh": 200,
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """``label``: in the table. ``changes``: of the config. ``labeled``: scenes with ground truth, None for all."""

    label: str
    changes: dict[str, Any]
    labeled: int | None = LABELS
    sweep: bool = False  # one draw will do


def semi(label: str, masks: dict[str, Any] | None = None, **changes: Any) -> Row:
    return Row(label, {"method": "smarthdr", **({"masks": masks} if masks else {}), **changes})


ROWS = {
    "labelled": Row("labelled only", {"method": "supervised"}),
    "smarthdr": semi("SmartHDR"),
    "no-patch": semi("− patch mask", {"patch": False}),
    "no-pixel": semi("− pixel mask", {"pixel": False}),
    "no-mask": semi("− all masking", {"patch": False, "pixel": False}),
    "no-strong": semi("− strong augmentation", strong=False),
    "no-ema": semi("− EMA (teacher = student)", teacher="copy"),
    "smae": Row("SMAE weights", {"method": "smae"}),
    "fshdr": Row("FSHDR", {"method": "fshdr"}),
    "selfhdr": Row("SelfHDR (no labels)", {"method": "selfhdr"}, 0),
    "step": semi("SmartHDR, labels every step", pseudo="step"),
    "adaptive": semi("SmartHDR, adaptive τ", {"adaptive": True}),
    "fill": semi("SmartHDR, SelfHDR where masked", fill="selfhdr"),
    "gradient": semi("SmartHDR, gradient term", weight_gradient=0.2),
    "all": Row("all 75 labelled", {"method": "supervised"}, None),
    **{f"tau-{t}": Row(f"τ = {t}", {"method": "smarthdr", "masks": {"tau_patch": t, "tau_pixel": t}}, sweep=True)
       for t in (0.2, 0.6, 0.8)},
    **{f"alpha-{a}": Row(f"α = {a}", {"method": "smarthdr", "ema": a}, sweep=True) for a in (0.99, 0.9999)},
    **{f"labelled-{n}": Row(f"labelled only, {n}", {"method": "supervised"}, n, True) for n in (1, 2, 10, 20)},
    **{f"smarthdr-{n}": Row(f"SmartHDR, {n}", {"method": "smarthdr"}, n, True) for n in (1, 2, 10, 20)},
}  # fmt: skip


def score(weights: Path, scenes: list[Prepared], moving: list[np.ndarray]) -> dict[str, list[float]]:
    """PSNR-mu, PSNR-l and PSNR-mu on moving pixels of every scene; published protocol, the short clip at 1."""
    model, _ = load_model(weights)
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


def run(name: str, draw: int, options: argparse.Namespace, test: tuple[list[Prepared], list[np.ndarray]]) -> None:
    """One run, unless its result is there already."""
    row = ROWS[name]
    values = BUDGET | {"iterations": options.iterations} | row.changes | {"seed": draw}
    key = hashlib.sha256(json.dumps([values, row.labeled, options.set], sort_keys=True).encode()).hexdigest()[:16]
    folder = options.work / f"{name}-{draw}"
    if folder.exists() and (not (folder / "key").exists() or (folder / "key").read_text() != key):
        raise SystemExit(f"{folder} is of another experiment; remove it or choose another --work")
    if (folder / "result.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key").write_text(key)
    began = time.perf_counter()
    planned = plan(Request(data=str(options.scenes), labeled=row.labeled), values)
    run_scenes(folder, planned, device="cpu", resume=(folder / "state.pt").exists())
    result = {"key": key, "seconds": time.perf_counter() - began, "labeled": planned.split.to_dict()["labeled"]}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    result["last"] = lines[-1]
    for role, file in (("student", "model"), ("teacher", "teacher")):
        result[role] = score(folder / f"{file}.safetensors", *test)
    report.write_json(folder / "result.json", result)
    print(f"{name}-{draw}: {np.mean(result['student']['psnr_mu']):.2f} dB in {result['seconds']:.0f} s", flush=True)


def results(options: argparse.Namespace) -> dict[str, dict[int, dict[str, Any]]]:
    """What has been measured: row, draw, result."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for name in ROWS:
        for draw in range(options.draws):
            file = options.work / f"{name}-{draw}" / "result.json"
            if file.exists():
                found.setdefault(name, {})[draw] = json.loads(file.read_text())
    return found


def mean(result: dict[int, dict[str, Any]], key: str, role: str = "student") -> np.ndarray:
    """(scenes,) figures averaged over draws; a scene without moving pixels is NaN."""
    return np.mean([[np.nan if v is None else v for v in one[role][key]] for one in result.values()], axis=0)


def table(found: dict[str, dict[int, dict[str, Any]]], names: list[str]) -> str:
    """One line a row: figures, difference to labels alone on the same draws with its interval, share of the gap."""
    header = [
        "row",
        "draws",
        "PSNR-μ",
        "PSNR-l",
        "PSNR-μ moving",
        "teacher",
        "over labelled only",
        "gap closed",
        "kept",
    ]
    rows = []
    for name in names:
        if name not in found:
            continue
        own = found[name]
        base = {d: r for d, r in found.get(FLOOR, {}).items() if d in own}
        top = {d: r for d, r in found.get(ROOF, {}).items() if d in own}
        gain: str | None = None
        closed: str | None = None
        if base and name != FLOOR and set(base) == set(own):
            differences = mean(own, "psnr_mu") - mean(base, "psnr_mu")
            low, high = bootstrap.interval(differences)
            gain = f"{differences.mean():+.2f} [{low:+.2f}, {high:+.2f}]"
            gap = (mean(top, "psnr_mu") - mean(base, "psnr_mu")).mean() if set(top) == set(own) else 0.0
            closed = f"{100 * differences.mean() / gap:.0f} %" if gap > 0.1 else None
        kept = [r["last"].get("kept") for r in own.values()]
        rows.append([
            ROWS[name].label, str(len(own)), float(mean(own, "psnr_mu").mean()), float(mean(own, "psnr_l").mean()),
            float(np.nanmean(mean(own, "psnr_mu_moving"))), float(mean(own, "psnr_mu", "teacher").mean()), gain, closed,
            None if None in kept else f"{100 * float(np.mean(kept)):.0f} %",
        ])  # fmt: skip
    return report.markdown_table(header, rows)


def write(options: argparse.Namespace) -> None:
    found = results(options)
    if not found:
        raise SystemExit("nothing has been measured yet")
    main_rows = [name for name, row in ROWS.items() if not row.sweep]
    sweeps = [name for name, row in ROWS.items() if row.sweep]
    budget = BUDGET | {"iterations": options.iterations}
    parts = [
        "## Learning from unlabelled bursts",
        report.circumstances(),
        f"{options.counts}, set sha256 `{options.set}`; {LABELS} scenes labelled (one of them held out) unless a row "
        "says otherwise, the others without ground truth. Every row: the same `saf` at half widths, "
        f"{budget['iterations']} updates of {budget['batch']} labelled and {budget['batch_unlabeled']} unlabelled "
        f"crops of {budget['crop']}, the same draws of labels.",
        "PSNR on the test scenes after alignment, published protocol (short clip = 1, unscaled), student unless a "
        "column says teacher; intervals: 95 % over test scenes; closed: of the gap to all labelled. The VGG term of "
        "the published loss was not measured: ImageNet weights could not be had.",
        table(found, main_rows),
    ]
    if any(name in found for name in sweeps):
        parts += ["Sweeps, one draw (compare with draw 0 of the rows above):", table(found, sweeps)]
    section = "\n\n".join(parts)
    print(section)
    report.write_section(options.out, "ablation", section)
    report.write_json(options.out.with_name("ablation.json"), {"set": options.set, "budget": budget, "rows": {
        name: {str(d): {k: r[k] for k in ("seconds", "student", "teacher", "last")} for d, r in draws.items()}
        for name, draws in found.items()}})  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="SmartHDR, its rivals and its parts")
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--panoramas", type=Path, help="HDR images to make the scenes from; without: procedural ones")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=BUDGET["iterations"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--report", action="store_true", help="run nothing, write what is there")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.scenes = own_benchmark(options.panoramas, 0)
    options.set = frozen.identity(options.scenes)
    scenes = find_scenes(options.scenes)
    parts = [Part(scene) for scene in scenes if scene.split == "test"]
    options.counts = f"{len(scenes) - len(parts)} scenes to train on and {len(parts)} to test"
    if not options.report:
        test = prepare(parts, cache_home() / "prepared")
        moving = [frozen.read_scene(part.scene.frames[0].parent).moving for part in parts]
        for draw in range(options.draws):
            for name in options.rows:
                if draw == 0 or not ROWS[name].sweep:
                    run(name, draw, options, (test, moving))
    write(options)


if __name__ == "__main__":
    sys.exit(main())
