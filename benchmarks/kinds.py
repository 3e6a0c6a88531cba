"""Does semi-supervision carry a network from one kind of bursts to another that has no ground truth?

    python benchmarks/kinds.py --work FOLDER [--panoramas DIR] [--draws 3] [--report]

Labels are of clean 16-bit files (ISO 100 to 400); what is fused later are camera JPEGs of ISO 400 to 6400 under unknown
curves: the set of ablation.py, which tests. A network learns from the labels alone, or from them and the JPEGs without
their truth, or, as a bound, from the JPEGs with it. Same network, updates and crops as there. Resumable as that is, in
the same ``--work``; writes the section "kinds" of RESULTS.md and kinds.json.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablation import reference_alone, test_scenes, train_and_score
from ablation_report import mean, rounded
from ablation_rows import BUDGET, HALVES, ROWS, TRAIN, UNMASKED, make_scenes
from filelock import FileLock, Timeout

from smarthdr_cli.evaluate import bootstrap, frozen, report
from smarthdr_cli.train.config import PUBLISHED
from smarthdr_cli.train.request import Request
from smarthdr_cli.train.scene_run import plan

HERE = Path(__file__).parent
CLEAN, JPEG = "clean", "scenes"  # folders of the two sets
OWN = ROWS["first"].changes
# Label, changes of the config, the kind that is labelled, whether the JPEGs are there without their truth.
KINDS: dict[str, tuple[str, dict[str, Any], str, bool]] = {
    "other": (f"{TRAIN} clean 16-bit bursts, labelled", {"method": "supervised"}, CLEAN, False),
    "both": (f"the same and {TRAIN} JPEG bursts without truth: SmartHDR", OWN, CLEAN, True),
    "both-no-mask": ("the same, no masks", OWN | {"masks": UNMASKED}, CLEAN, True),
    "both-published": ("the same, SmartHDR as published", HALVES | {"method": "smarthdr"}, CLEAN, True),
    "own": (f"{TRAIN} JPEG bursts, labelled", {"method": "supervised"}, JPEG, False),
}


def write(found: dict[str, dict[int, dict[str, Any]]], options: argparse.Namespace, alone: float) -> None:
    """The section and its JSON."""
    rows = []
    for name, runs in found.items():
        base = {draw: one for draw, one in found["other"].items() if draw in runs} if "other" in found else {}
        gain = None
        if name != "other" and set(base) == set(runs):
            differences = mean(runs, "psnr_mu") - mean(base, "psnr_mu")
            low, high = bootstrap.interval(differences)
            gain = f"{differences.mean():+.2f} [{low:+.2f}, {high:+.2f}]"
        rows.append([KINDS[name][0], str(len(runs)), float(mean(runs, "psnr_mu").mean()),
                     float(np.nanmean(mean(runs, "psnr_mu_moving"))), gain])  # fmt: skip
    text = [
        "## From one kind of bursts to another",
        report.circumstances(),
        f"Tested on the JPEG bursts of the ablation above (set sha256 `{options.jpeg}`), where the reference alone has "
        f"{alone:.2f} dB; the clean ones: sha256 `{options.clean}`, 16-bit gamma 2.2, ISO 100 to 400, same places and "
        f"motion, other seeds. {BUDGET['iterations']} updates of {BUDGET['batch']} crops; PSNR of the student in dB.",
        report.markdown_table(["learned from", "draws", "PSNR-μ", "PSNR-μ moving", "over clean labels alone"], rows),
    ]
    section = "\n\n".join(text)
    print(section)
    report.write_section(options.out, "kinds", section)
    figures = {name: {str(draw): rounded(one) for draw, one in runs.items()} for name, runs in found.items()}
    report.write_json(options.out.with_name("kinds.json"), {"sets": [options.clean, options.jpeg], "rows": figures})


def main() -> None:
    parser = argparse.ArgumentParser(description="semi-supervision from one kind of bursts to another")
    parser.add_argument("--work", type=Path, required=True, help="folder of the scenes and runs")
    parser.add_argument("--panoramas", type=Path, help="HDR images to make the scenes from; without: procedural ones")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--report", action="store_true", help="run nothing, write what is there")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    with FileLock(options.work / "lock"):
        roots = {JPEG: make_scenes(options.panoramas, options.work / JPEG),
                 CLEAN: make_scenes(options.panoramas, options.work / CLEAN, "gamma16", 7, iso_low=100.0,
                                    iso_high=400.0)}  # fmt: skip
    options.jpeg, options.clean = (frozen.identity(roots[kind]) for kind in (JPEG, CLEAN))
    test = test_scenes(roots[JPEG])
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for draw in range(options.draws):
        for name, (_, changes, labelled, more) in KINDS.items():
            folder = options.work / f"kinds-{name}-{draw}"
            result = folder / "result.json"
            if not result.exists() and not options.report:
                unlabeled = (str(roots[JPEG] / "Training"),) if more else ()
                request = Request(data=str(roots[labelled]), labeled=None, unlabeled=unlabeled)
                folder.mkdir(exist_ok=True)
                try:
                    with FileLock(folder / "lock", blocking=False):
                        ready = plan(request, PUBLISHED | BUDGET | changes | {"seed": draw})
                        report.write_json(result, train_and_score(folder, ready, test))
                except Timeout:
                    continue
            if result.exists():
                found.setdefault(name, {})[draw] = json.loads(result.read_text())
    write(found, options, reference_alone(test[0]))


if __name__ == "__main__":
    main()
