"""Domain transfer: semi-supervised training from one kind of labelled bursts to another without ground truth.

    python -m benchmarks.training.domain_transfer --work FOLDER [--panoramas DIR] [--draws 3] [--report]

Labelled: clean 16-bit bursts (ISO 100 to 400), or static tripod JPEG bursts, whose truth anyone can shoot. Target and
test: the set of ``ablation.py``, handheld camera JPEGs of ISO 400 to 6400 under unknown curves with moving objects.
A network learns from the labelled bursts alone, from them and the target bursts without truth, or, as a bound, from the
target bursts with truth. Network, updates and crops are those of ``ablation.py``; resumable as it is, in the same
``--work``. Writes the section "kinds" of RESULTS.md and kinds.json.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout

from benchmarks.lib.frozen_set import set_identity
from benchmarks.lib.results_file import RESULTS, write_json, write_section
from benchmarks.training.ablation import read_test_set, reference_psnr, train_and_score
from benchmarks.training.ablation_report import Results, mean_over_draws, rounded, with_interval
from benchmarks.training.ablation_rows import BUDGET, HALVES, LABELS, ROWS, TRAIN, UNMASKED, make_scenes
from smarthdr_cli.evaluate.tables import markdown_table, measurement_conditions
from smarthdr_cli.train.methods.smarthdr import PUBLISHED
from smarthdr_cli.train.run_folder import DataRequest
from smarthdr_cli.train.scene_data import prepare_run

CLEAN, STATIC, JPEG = "clean", "still", "scenes"  # folders of the sets
DEFAULT = ROWS["first"].changes


class Experiment(NamedTuple):
    """``label``: in the table. ``changes``: to the config. ``labelled``: the set with labels.

    ``with_target``: whether the target bursts take part without truth. ``few``: only ``LABELS`` labelled scenes.
    ``baseline``: the experiment it is compared with.
    """

    label: str
    changes: dict[str, Any]
    labelled: str = CLEAN
    with_target: bool = True
    few: bool = False
    baseline: str = "other"


SUPERVISED = {"method": "supervised"}
EXPERIMENTS = {
    "other": Experiment(f"{TRAIN} clean 16-bit bursts, labelled", SUPERVISED, with_target=False),
    "both": Experiment(f"the same and {TRAIN} JPEG bursts without truth: SmartHDR", DEFAULT),
    "both-no-mask": Experiment("the same, no masks", DEFAULT | {"masks": UNMASKED}),
    "both-published": Experiment("the same, SmartHDR as published", HALVES | {"method": "smarthdr"}),
    "own": Experiment(f"{TRAIN} JPEG bursts, labelled", SUPERVISED, JPEG, with_target=False),
    "still": Experiment(
        f"{TRAIN} tripod JPEG bursts in which nothing moves, labelled",
        SUPERVISED,
        STATIC,
        with_target=False,
        baseline="still",
    ),
    "still-both": Experiment(
        f"the same and {TRAIN} handheld ones without truth: SmartHDR", DEFAULT, STATIC, baseline="still"
    ),
    "still-both-no-mask": Experiment("the same, no masks", DEFAULT | {"masks": UNMASKED}, STATIC, baseline="still"),
    "still-both-published": Experiment(
        "the same, SmartHDR as published", HALVES | {"method": "smarthdr"}, STATIC, baseline="still"
    ),
    "few-still": Experiment(
        f"{LABELS} of those tripod bursts, labelled",
        SUPERVISED,
        STATIC,
        with_target=False,
        few=True,
        baseline="few-still",
    ),
    "few-still-both": Experiment(
        f"the same and {TRAIN} handheld ones without truth: SmartHDR", DEFAULT, STATIC, few=True, baseline="few-still"
    ),
    "few-still-both-no-mask": Experiment(
        "the same, no masks", DEFAULT | {"masks": UNMASKED}, STATIC, few=True, baseline="few-still"
    ),
    "few": Experiment(
        f"{LABELS} clean 16-bit bursts, labelled", SUPERVISED, with_target=False, few=True, baseline="few"
    ),
    "few-both": Experiment(
        f"the same and {TRAIN} JPEG bursts without truth: SmartHDR", DEFAULT, few=True, baseline="few"
    ),
    "few-both-no-mask": Experiment("the same, no masks", DEFAULT | {"masks": UNMASKED}, few=True, baseline="few"),
}


def few_scenes(root: Path, draw: int) -> Path:
    """A folder with ``LABELS`` of a set's training scenes and no others."""
    folder = root.with_name(f"{root.name}-{LABELS}-{draw}")
    if not folder.exists():
        scenes = sorted((root / "Training").iterdir())
        partial = folder.with_name(folder.name + ".partial")
        for index in np.random.default_rng(draw).choice(len(scenes), LABELS, replace=False):
            shutil.copytree(scenes[index], partial / "Training" / scenes[index].name)
        partial.rename(folder)
    return folder


def write(results: Results, options: argparse.Namespace, reference: float) -> None:
    """Write the section and its JSON."""
    rows = []
    for name, runs in results.items():
        experiment = EXPERIMENTS[name]
        base = {draw: run for draw, run in results.get(experiment.baseline, {}).items() if draw in runs}
        gain = None
        psnr = mean_over_draws(runs, "psnr_mu")
        if name != experiment.baseline and set(base) == set(runs):
            gain = with_interval(psnr - mean_over_draws(base, "psnr_mu"))
        moving = float(np.nanmean(mean_over_draws(runs, "psnr_mu_moving")))
        rows.append([experiment.label, str(len(runs)), float(psnr.mean()), moving, gain])
    text = [
        "## From one kind of bursts to another",
        measurement_conditions(),
        f"Tested on the JPEG bursts of the ablation above (set sha256 `{options.sets[JPEG]}`), where the reference "
        f"alone has {reference:.2f} dB. The clean ones: sha256 `{options.sets[CLEAN]}`, 16-bit gamma 2.2, ISO 100 to "
        f"400, same places and motion, other seeds. Those from a tripod: sha256 `{options.sets[STATIC]}`, the "
        f"cameras of the JPEG bursts, nothing moves. {BUDGET['iterations']} updates of "
        f"{BUDGET['batch']} crops; PSNR in dB, of the student.",
        markdown_table(["learned from", "draws", "PSNR-μ", "PSNR-μ moving", "over those labels alone"], rows),
    ]
    section = "\n\n".join(text)
    print(section)
    write_section(options.out, "kinds", section)
    figures = {name: {str(draw): rounded(run) for draw, run in runs.items()} for name, runs in results.items()}
    write_json(options.out.with_name("kinds.json"), {"sets": options.sets, "rows": figures})


def main() -> None:
    parser = argparse.ArgumentParser(description="semi-supervised training across kinds of bursts")
    parser.add_argument("--work", type=Path, required=True, help="folder of the scenes and runs")
    parser.add_argument("--panoramas", type=Path, help="HDR images to make the scenes of; else procedural ones")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument(
        "--rows", nargs="*", choices=EXPERIMENTS, help="only these (--report writes all that are there)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--report", action="store_true", help="train nothing, write what is there")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    with FileLock(options.work / "lock"):
        roots = {JPEG: make_scenes(options.panoramas, options.work / JPEG),
                 CLEAN: make_scenes(options.panoramas, options.work / CLEAN, "gamma16", 7, iso_low=100.0,
                                    iso_high=400.0),
                 STATIC: make_scenes(options.panoramas, options.work / STATIC, seed=7, shake="tripod",
                                    objects=0)}  # fmt: skip
    options.sets = {kind: set_identity(root) for kind, root in roots.items()}
    test = read_test_set(roots[JPEG])
    results: Results = {}
    for draw in range(options.draws):
        for name, experiment in EXPERIMENTS.items():
            folder = options.work / f"kinds-{name}-{draw}"
            result_file = folder / "result.json"
            wanted = not options.report and (not options.rows or name in options.rows)
            if wanted and not result_file.exists():
                unlabeled = (str(roots[JPEG] / "Training"),) if experiment.with_target else ()
                data = few_scenes(roots[experiment.labelled], draw) if experiment.few else roots[experiment.labelled]
                request = DataRequest(data=str(data), labeled=None, unlabeled=unlabeled)
                folder.mkdir(exist_ok=True)
                try:
                    with FileLock(folder / "lock", blocking=False):
                        run_plan = prepare_run(request, PUBLISHED | BUDGET | experiment.changes | {"seed": draw})
                        write_json(result_file, train_and_score(folder, run_plan, test))
                except Timeout:
                    continue
            if result_file.exists():
                results.setdefault(name, {})[draw] = json.loads(result_file.read_text())
    write(results, options, reference_psnr(test[0]))


if __name__ == "__main__":
    main()
