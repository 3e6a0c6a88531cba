"""The report of ``ablation.py``: tables, a chart over the number of labels, a figure of the uncertainty masks."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.lib.results_file import write_json, write_section
from benchmarks.training import masks
from benchmarks.training.ablation_rows import (
    ALL_LABELS_ROW,
    BUDGET,
    DEFAULT_ROW,
    LABEL_COUNTS,
    LABELS,
    PUBLISHED_ROW,
    ROWS,
    SUPERVISED_ROW,
    TEST,
    TRAIN,
)
from smarthdr_cli.data.cache import cache_home
from smarthdr_cli.data.datasets import find_scenes
from smarthdr_cli.data.prepared import prepare
from smarthdr_cli.data.splits import SceneBand
from smarthdr_cli.evaluate.figures import PALETTE, Curve, line_chart
from smarthdr_cli.evaluate.metrics import bootstrap_interval
from smarthdr_cli.evaluate.tables import markdown_table, measurement_conditions
from smarthdr_cli.train.scene_data import PreparedRun

Results = dict[str, dict[int, dict[str, Any]]]  # by row and draw
MIN_GAP_DB = 0.1  # between all labels and few, below which the share closed says nothing
CHART, FIGURE = "ablation-labels.png", "ablation-masks.jpg"


def mean_over_draws(runs: dict[int, dict[str, Any]], key: str, role: str = "student") -> np.ndarray:
    """(scenes,) scores averaged over draws; NaN for a scene without moving pixels."""
    return np.mean([[np.nan if v is None else v for v in run[role][key]] for run in runs.values()], axis=0)


def with_interval(differences: np.ndarray) -> str:
    """The mean of (scenes,) differences with its 95 % interval."""
    low, high = bootstrap_interval(differences.tolist())
    return f"{differences.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


def rows_table(results: Results, names: list[str]) -> str:
    """Per row: scores, difference to labels alone on the same draws with its interval, share of the gap closed."""
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
        if name not in results:
            continue
        runs = results[name]
        base = {d: r for d, r in results.get(SUPERVISED_ROW, {}).items() if d in runs}
        top = {d: r for d, r in results.get(ALL_LABELS_ROW, {}).items() if d in runs}
        gain: str | None = None
        closed: str | None = None
        same_network = "model" not in ROWS[name].changes
        if base and same_network and name != SUPERVISED_ROW and set(base) == set(runs):
            base_psnr = mean_over_draws(base, "psnr_mu")
            differences = mean_over_draws(runs, "psnr_mu") - base_psnr
            gain = with_interval(differences)
            gap = (mean_over_draws(top, "psnr_mu") - base_psnr).mean() if set(top) == set(runs) else 0.0
            closed = f"{100 * differences.mean() / gap:.0f} %" if gap > MIN_GAP_DB else None
        kept_shares = [run["last"].get("kept") for run in runs.values()]
        psnrs = [float(mean_over_draws(runs, key).mean()) for key in ("psnr_mu", "psnr_l")]
        moving = float(np.nanmean(mean_over_draws(runs, "psnr_mu_moving")))
        teacher = float(mean_over_draws(runs, "psnr_mu", "teacher").mean())
        kept_share = None if None in kept_shares else f"{100 * float(np.mean(kept_shares)):.0f} %"
        rows.append([ROWS[name].label, str(len(runs)), *psnrs, moving, teacher, gain, closed, kept_share])
    return markdown_table(header, rows)


def parts_table(results: Results) -> str:
    """Each row against the row it differs from in one part, by scene on the draws that both have."""
    rows = []
    for name, row in ROWS.items():
        other = row.versus
        draws = sorted(set(results.get(name, {})) & set(results.get(other or "", {})))
        if other is not None and draws:
            psnr, other_psnr = (
                mean_over_draws({draw: results[key][draw] for draw in draws}, "psnr_mu") for key in (name, other)
            )
            rows.append([row.label, ROWS[other].label, str(len(draws)), with_interval(psnr - other_psnr)])
    return markdown_table(["row", "against", "draws", "PSNR-μ"], rows) if rows else ""


def write_labels_chart(path: Path, results: Results, reference_psnr: float) -> bool:
    """Chart of quality over the number of labelled scenes, first draw; False where there are too few runs for one."""
    curves = []
    for name, label, colour in ((SUPERVISED_ROW, "labelled only", PALETTE[1]), (DEFAULT_ROW, "SmartHDR", PALETTE[0])):
        row_of_count = {n: f"{name}-{n}" if n != LABELS else name for n in (*LABEL_COUNTS, LABELS)}
        row_of_count |= {TRAIN: ALL_LABELS_ROW} if name == SUPERVISED_ROW else {}
        points = [(n, mean_over_draws({0: results[row][0]}, "psnr_mu").mean() - reference_psnr)
                  for n, row in sorted(row_of_count.items()) if 0 in results.get(row, {})]  # fmt: skip
        if len(points) > 2:
            x, y = zip(*points, strict=True)
            curves.append(Curve(label, np.array(x, float), np.maximum(np.array(y, float), 0), colour))
    if curves:
        image = line_chart("What labels are worth", "labelled scenes", "PSNR-mu over the reference alone, dB", curves)
        cv2.imwrite(str(path), image[..., ::-1])
    return bool(curves)


def write_masks_figure(
    path: Path, options: argparse.Namespace, plan_row: Callable[..., PreparedRun], values: dict[str, Any]
) -> str:
    """Figure of the masks in the first draw of SmartHDR, and its table as Markdown; empty without that run."""
    run = options.work / f"{PUBLISHED_ROW}-0"
    if not (run / "teacher.safetensors").exists():
        return ""
    run_plan = plan_row(PUBLISHED_ROW, values, options)
    names = [scene.band.scene.name for scene in run_plan.data.unlabeled]
    by_name = {scene.name: scene for scene in find_scenes(options.scenes)}
    truths = prepare([SceneBand(by_name[name]) for name in names], cache_home() / "prepared")
    scores = masks.write_figure(path, run, run_plan, list(run_plan.data.unlabeled), truths)
    rules = dict.fromkeys(name.split(":")[0] for name in scores)
    rows = [[rule, f"{100 * scores[f'{rule}: kept']:.0f} %", f"{scores[f'{rule}: error kept']:.4f}",
             f"{scores[f'{rule}: error dropped']:.4f}"] for rule in rules]  # fmt: skip
    return markdown_table(["of the pseudo-labels, at the end", "kept", "error kept", "error dropped"], rows)


def rounded(value: Any) -> Any:
    """``value`` with all floats rounded to four decimals."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return round(value, 4) if isinstance(value, float) else value


def write(
    results: Results, options: argparse.Namespace, reference_psnr: float, plan_row: Callable[..., PreparedRun]
) -> None:
    """Write the section, its JSON and its figures. Ends the program where there is no result."""
    if not results:
        raise SystemExit("nothing has been measured yet")
    budget = BUDGET | {"iterations": options.iterations}
    sweeps = [name for name, row in ROWS.items() if row.sweep]
    text = [
        "## Learning from unlabelled bursts",
        measurement_conditions(),
        f"{TRAIN} scenes to train on and {TEST} to test, set sha256 `{options.set}`; {LABELS} scenes labelled (one of "
        "them held out) unless a row says otherwise, the others without ground truth. Every row: the same `saf` at "
        f"half widths (but for gfhdr's), {budget['iterations']} updates of {budget['batch']} crops of {budget['crop']} "
        "pixels, the same draws of labels. Where unlabelled bursts take part, half of the crops are theirs after a "
        "fifth of the updates (all of SelfHDR's; a quarter where another quarter are bursts made from labels). A sign "
        "before a name: SmartHDR as published with (+) or without (−) that part. One or two labels: 8 crops of 64. "
        f"The reference frame alone: {reference_psnr:.2f} dB.",
        "PSNR on the test scenes after alignment, published protocol (short clip = 1, unscaled), student unless a "
        "column says teacher; intervals: 95 % over test scenes; closed: of the gap to all labelled. The VGG term of "
        "the published loss was not measured: ImageNet weights could not be had.",
        rows_table(results, [name for name, row in ROWS.items() if not row.sweep]),
    ]
    if any(name in results for name in sweeps):
        text += ["Sweeps and single parts, one draw:", rows_table(results, sweeps)]
    if comparisons := parts_table(results):
        text += ["What one part changes, on the same draws:", comparisons]
    if write_labels_chart(options.out.with_name(CHART), results, reference_psnr):
        text.append(f"![PSNR over the number of labelled scenes]({CHART})")
    values = budget | ROWS[PUBLISHED_ROW].changes | {"seed": 0}
    if masks_table := write_masks_figure(options.out.with_name(FIGURE), options, plan_row, values):
        text += [masks_table, f"![What the masks drop]({FIGURE})"]
    section = "\n\n".join(text)
    print(section)
    write_section(options.out, "ablation", section)
    rows = {name: {str(d): rounded(r) for d, r in draws.items()} for name, draws in results.items()}
    write_json(options.json, {"set": options.set, "budget": budget, "reference": reference_psnr, "rows": rows})
