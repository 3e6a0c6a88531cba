"""Does semi-supervision carry a network from one kind of bursts to another that has no ground truth?

    python benchmarks/kinds.py --work FOLDER [--panoramas DIR] [--draws 3] [--report]

Labels are of clean 16-bit files (ISO 100 to 400), or of tripod bursts in which nothing moves, as anyone can shoot them
with truth; what is fused later are camera JPEGs of ISO 400 to 6400 under unknown curves, handheld, with things that
move: the set of ablation.py, which tests. A network learns from the labels alone, or from them and the JPEGs without
their truth, or, as a bound, from the JPEGs with it. Same network, updates and crops as there. Resumable as that is, in
the same ``--work``; writes the section "kinds" of RESULTS.md and kinds.json.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ablation import reference_alone, test_scenes, train_and_score
from ablation_report import mean, rounded
from ablation_rows import BUDGET, HALVES, LABELS, ROWS, TRAIN, UNMASKED, make_scenes
from filelock import FileLock, Timeout

from smarthdr_cli.evaluate import bootstrap, frozen, report
from smarthdr_cli.train.methods.smarthdr import PUBLISHED
from smarthdr_cli.train.run_folder import DataRequest
from smarthdr_cli.train.scene_data import prepare_run

HERE = Path(__file__).parent
CLEAN, STILL, JPEG = "clean", "still", "scenes"  # folders of the sets
OWN = ROWS["first"].changes


class Kind(NamedTuple):
    """``label``: in the table. ``changes``: of the config. ``labelled``: the kind that is. ``more``: whether the JPEGs
    are there without their truth. ``few``: only ``LABELS`` scenes are there with labels. ``over``: what it is held
    against.
    """

    label: str
    changes: dict[str, Any]
    labelled: str = CLEAN
    more: bool = True
    few: bool = False
    over: str = "other"


SUPERVISED = {"method": "supervised"}
KINDS = {
    "other": Kind(f"{TRAIN} clean 16-bit bursts, labelled", SUPERVISED, more=False),
    "both": Kind(f"the same and {TRAIN} JPEG bursts without truth: SmartHDR", OWN),
    "both-no-mask": Kind("the same, no masks", OWN | {"masks": UNMASKED}),
    "both-published": Kind("the same, SmartHDR as published", HALVES | {"method": "smarthdr"}),
    "own": Kind(f"{TRAIN} JPEG bursts, labelled", SUPERVISED, JPEG, more=False),
    "still": Kind(
        f"{TRAIN} tripod JPEG bursts in which nothing moves, labelled", SUPERVISED, STILL, more=False, over="still"
    ),
    "still-both": Kind(f"the same and {TRAIN} handheld ones without truth: SmartHDR", OWN, STILL, over="still"),
    "still-both-no-mask": Kind("the same, no masks", OWN | {"masks": UNMASKED}, STILL, over="still"),
    "still-both-published": Kind(
        "the same, SmartHDR as published", HALVES | {"method": "smarthdr"}, STILL, over="still"
    ),
    "few-still": Kind(
        f"{LABELS} of those tripod bursts, labelled", SUPERVISED, STILL, more=False, few=True, over="few-still"
    ),
    "few-still-both": Kind(
        f"the same and {TRAIN} handheld ones without truth: SmartHDR", OWN, STILL, few=True, over="few-still"
    ),
    "few-still-both-no-mask": Kind("the same, no masks", OWN | {"masks": UNMASKED}, STILL, few=True, over="few-still"),
    "few": Kind(f"{LABELS} clean 16-bit bursts, labelled", SUPERVISED, more=False, few=True, over="few"),
    "few-both": Kind(f"the same and {TRAIN} JPEG bursts without truth: SmartHDR", OWN, few=True, over="few"),
    "few-both-no-mask": Kind("the same, no masks", OWN | {"masks": UNMASKED}, few=True, over="few"),
}


def chosen(root: Path, draw: int) -> Path:
    """A folder with ``LABELS`` of a set's scenes to train on and no others."""
    folder = root.with_name(f"{root.name}-{LABELS}-{draw}")
    if not folder.exists():
        scenes = sorted((root / "Training").iterdir())
        partial = folder.with_name(folder.name + ".partial")
        for index in np.random.default_rng(draw).choice(len(scenes), LABELS, replace=False):
            shutil.copytree(scenes[index], partial / "Training" / scenes[index].name)
        partial.rename(folder)
    return folder


def write(found: dict[str, dict[int, dict[str, Any]]], options: argparse.Namespace, alone: float) -> None:
    """The section and its JSON."""
    rows = []
    for name, runs in found.items():
        kind = KINDS[name]
        base = {draw: one for draw, one in found.get(kind.over, {}).items() if draw in runs}
        gain = None
        if name != kind.over and set(base) == set(runs):
            differences = mean(runs, "psnr_mu") - mean(base, "psnr_mu")
            low, high = bootstrap.interval(differences)
            gain = f"{differences.mean():+.2f} [{low:+.2f}, {high:+.2f}]"
        rows.append([kind.label, str(len(runs)), float(mean(runs, "psnr_mu").mean()),
                     float(np.nanmean(mean(runs, "psnr_mu_moving"))), gain])  # fmt: skip
    text = [
        "## From one kind of bursts to another",
        report.circumstances(),
        f"Tested on the JPEG bursts of the ablation above (set sha256 `{options.sets[JPEG]}`), where the reference "
        f"alone has {alone:.2f} dB. The clean ones: sha256 `{options.sets[CLEAN]}`, 16-bit gamma 2.2, ISO 100 to 400, "
        f"same places and motion, other seeds. Those from a tripod: sha256 `{options.sets[STILL]}`, the cameras of the "
        f"JPEG bursts, nothing moves. {BUDGET['iterations']} updates of {BUDGET['batch']} crops; PSNR in dB, of the "
        "student.",
        report.markdown_table(["learned from", "draws", "PSNR-μ", "PSNR-μ moving", "over those labels alone"], rows),
    ]
    section = "\n\n".join(text)
    print(section)
    report.write_section(options.out, "kinds", section)
    figures = {name: {str(draw): rounded(one) for draw, one in runs.items()} for name, runs in found.items()}
    report.write_json(options.out.with_name("kinds.json"), {"sets": options.sets, "rows": figures})


def main() -> None:
    parser = argparse.ArgumentParser(description="semi-supervision from one kind of bursts to another")
    parser.add_argument("--work", type=Path, required=True, help="folder of the scenes and runs")
    parser.add_argument("--panoramas", type=Path, help="HDR images to make the scenes from; without: procedural ones")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--rows", nargs="*", choices=KINDS, help="only these (--report writes all that are there)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--report", action="store_true", help="run nothing, write what is there")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    with FileLock(options.work / "lock"):
        roots = {JPEG: make_scenes(options.panoramas, options.work / JPEG),
                 CLEAN: make_scenes(options.panoramas, options.work / CLEAN, "gamma16", 7, iso_low=100.0,
                                    iso_high=400.0),
                 STILL: make_scenes(options.panoramas, options.work / STILL, seed=7, shake="tripod",
                                    objects=0)}  # fmt: skip
    options.sets = {kind: frozen.identity(root) for kind, root in roots.items()}
    test = test_scenes(roots[JPEG])
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for draw in range(options.draws):
        for name, kind in KINDS.items():
            folder = options.work / f"kinds-{name}-{draw}"
            result = folder / "result.json"
            wanted = not options.report and (not options.rows or name in options.rows)
            if wanted and not result.exists():
                unlabeled = (str(roots[JPEG] / "Training"),) if kind.more else ()
                data = chosen(roots[kind.labelled], draw) if kind.few else roots[kind.labelled]
                request = DataRequest(data=str(data), labeled=None, unlabeled=unlabeled)
                folder.mkdir(exist_ok=True)
                try:
                    with FileLock(folder / "lock", blocking=False):
                        ready = prepare_run(request, PUBLISHED | BUDGET | kind.changes | {"seed": draw})
                        report.write_json(result, train_and_score(folder, ready, test))
                except Timeout:
                    continue
            if result.exists():
                found.setdefault(name, {})[draw] = json.loads(result.read_text())
    write(found, options, reference_alone(test[0]))


if __name__ == "__main__":
    main()
