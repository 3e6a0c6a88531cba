"""What ablation.py writes: the tables, a chart over the number of labels, and what the masks drop."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import masking
import numpy as np
from ablation_rows import BUDGET, COUNTS, DEFAULT, FLOOR, LABELS, OURS, ROOF, ROWS, TEST, TRAIN

from smarthdr_cli.data.datasets import find_scenes
from smarthdr_cli.data.prepared import prepare
from smarthdr_cli.data.splits import SceneBand
from smarthdr_cli.evaluate import bootstrap, plot, report
from smarthdr_cli.train.scene_run import Plan, cache_home

Results = dict[str, dict[int, dict[str, Any]]]
CHART, FIGURE = "ablation-labels.png", "ablation-masks.jpg"


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
        alike = "model" not in ROWS[name].changes  # another network's rows compare with each other only
        if base and alike and name != FLOOR and set(base) == set(own):
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


def parts(found: Results) -> str:
    """Each row against the row it differs from in one part, scene by scene on the draws that both have."""
    rows = []
    for name, row in ROWS.items():
        draws = sorted(set(found.get(name, {})) & set(found.get(row.twin or "", {})))
        if row.twin is not None and draws:
            own, twin = (mean({d: found[each][d] for d in draws}, "psnr_mu") for each in (name, row.twin))
            low, high = bootstrap.interval(own - twin)
            change = f"{(own - twin).mean():+.2f} [{low:+.2f}, {high:+.2f}]"
            rows.append([row.label, ROWS[row.twin].label, str(len(draws)), change])
    return report.markdown_table(["row", "against", "draws", "PSNR-μ"], rows) if rows else ""


def chart(path: Path, found: Results, alone: float) -> bool:
    """Quality over the number of labelled scenes, first draw; whether there is enough for one."""
    curves = []
    for name, label, colour in ((FLOOR, "labelled only", plot.PALETTE[1]), (DEFAULT, "SmartHDR", plot.PALETTE[0])):
        known = {n: f"{name}-{n}" if n != LABELS else name for n in (*COUNTS, LABELS)}
        known |= {TRAIN: ROOF} if name == FLOOR else {}
        points = [(n, mean({0: found[row][0]}, "psnr_mu").mean() - alone)
                  for n, row in sorted(known.items()) if 0 in found.get(row, {})]  # fmt: skip
        if len(points) > 2:  # two make a line whatever was measured
            x, y = zip(*points, strict=True)
            curves.append(plot.Curve(label, np.array(x, float), np.maximum(np.array(y, float), 0), colour))
    if curves:
        picture = plot.lines("What labels are worth", "labelled scenes", "PSNR-mu over the reference alone, dB", curves)
        cv2.imwrite(str(path), picture[..., ::-1])
    return bool(curves)


def figure(path: Path, options: argparse.Namespace, planned: Callable[..., Plan], values: dict[str, Any]) -> str:
    """What the masks drop in the first draw of SmartHDR, as a picture and a table; empty where the run is not there."""
    run = options.work / f"{OURS}-0"
    if not (run / "teacher.safetensors").exists():
        return ""
    ready = planned(OURS, values, options)
    names = [scene.band.scene.name for scene in ready.data.unlabeled]
    by_name = {scene.name: scene for scene in find_scenes(options.scenes)}
    truths = prepare([SceneBand(by_name[name]) for name in names], cache_home() / "prepared")
    scores = masking.picture(path, run, ready, list(ready.data.unlabeled), truths)
    rules = dict.fromkeys(name.split(":")[0] for name in scores)
    rows = [[rule, f"{100 * scores[f'{rule}: kept']:.0f} %", f"{scores[f'{rule}: error kept']:.4f}",
             f"{scores[f'{rule}: error dropped']:.4f}"] for rule in rules]  # fmt: skip
    return report.markdown_table(["of the pseudo-labels, at the end", "kept", "error kept", "error dropped"], rows)


def rounded(value: Any) -> Any:
    """The same with four decimals: a figure in dB has no more."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


def write(found: Results, options: argparse.Namespace, alone: float, planned: Callable[..., Plan]) -> None:
    """The section, its JSON and its pictures. Ends the program where nothing has been measured."""
    if not found:
        raise SystemExit("nothing has been measured yet")
    budget = BUDGET | {"iterations": options.iterations}
    sweeps = [name for name, row in ROWS.items() if row.sweep]
    text = [
        "## Learning from unlabelled bursts",
        report.circumstances(),
        f"{TRAIN} scenes to train on and {TEST} to test, set sha256 `{options.set}`; {LABELS} scenes labelled (one of "
        "them held out) unless a row says otherwise, the others without ground truth. Every row: the same `saf` at "
        f"half widths (but for gfhdr's), {budget['iterations']} updates of {budget['batch']} crops of {budget['crop']} "
        "pixels, the same draws of labels. Where unlabelled bursts take part, half of the crops are theirs after a "
        "fifth of the updates (all of SelfHDR's; a quarter where another quarter are bursts made from labels). A sign "
        "before a name: SmartHDR as published with (+) or without (−) that part. One or two labels: 8 crops of 64. "
        f"The reference frame alone: {alone:.2f} dB.",
        "PSNR on the test scenes after alignment, published protocol (short clip = 1, unscaled), student unless a "
        "column says teacher; intervals: 95 % over test scenes; closed: of the gap to all labelled. The VGG term of "
        "the published loss was not measured: ImageNet weights could not be had.",
        table(found, [name for name, row in ROWS.items() if not row.sweep]),
    ]
    if any(name in found for name in sweeps):
        text += ["Sweeps and single parts, one draw:", table(found, sweeps)]
    if each := parts(found):
        text += ["What one part changes, on the same draws:", each]
    if chart(options.out.with_name(CHART), found, alone):
        text.append(f"![PSNR over the number of labelled scenes]({CHART})")
    values = budget | ROWS[OURS].changes | {"seed": 0}
    if masks := figure(options.out.with_name(FIGURE), options, planned, values):
        text += [masks, f"![What the masks drop]({FIGURE})"]
    section = "\n\n".join(text)
    print(section)
    report.write_section(options.out, "ablation", section)
    rows = {name: {str(d): rounded(r) for d, r in draws.items()} for name, draws in found.items()}
    report.write_json(options.json, {"set": options.set, "budget": budget, "reference": alone, "rows": rows})
