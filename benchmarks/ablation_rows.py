"""The rows of the ablation, their common budget, and the scenes they are trained and tested on."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smarthdr_cli.data.scenes import load_bank
from smarthdr_cli.data.write import benchmark_config, write_benchmark

LABELS = 5
TRAIN, TEST = 75, 60
FLOOR, ROOF, OURS = "labelled", "all", "smarthdr"
# Widths halved, so that fifty runs fit into some hours of a CPU; the method does not know.
MODEL = {"name": "saf", "encoder": 16, "motion": 32, "hidden": 8, "match": 8, "verify": 24, "refine": 32}
SMALL_GFHDR = {"name": "gfhdr", "dim": 24, "blocks": 3, "depth": 2, "heads": 3}
BUDGET: dict[str, Any] = {
    "model": MODEL, "iterations": 2000, "batch": 4, "crop": 96, "learning_rate": 6e-4, "decay": 0.7, "warmup": 50,
    "precision": "bf16", "validate_every": 500,
}  # fmt: skip
UNMASKED = {"patch": False, "pixel": False}
# Four crops an update in every row: half of them unlabelled where there are such.
THIRDS = {"batch": 2, "batch_unlabeled": 1, "batch_made": 1}
MADE = {"batch": 3, "batch_made": 1}
HALVES = {"batch": 2, "batch_unlabeled": 2, "labelled_first": 0.2, "refresh": 400}


@dataclass(frozen=True)
class Row:
    """``label``: in the table. ``changes``: of the config. ``labeled``: scenes with ground truth, None for all."""

    label: str
    changes: dict[str, Any]
    labeled: int | None = LABELS
    sweep: bool = False  # one draw will do


def semi(label: str, *, labeled: int = LABELS, sweep: bool = False, **changes: Any) -> Row:
    """A row that learns from unlabelled bursts too, by SmartHDR unless ``method`` says otherwise."""
    return Row(label, HALVES | {"method": "smarthdr"} | changes, labeled, sweep)


ROWS = {
    "labelled": Row("labelled only", {"method": "supervised"}),
    "smarthdr": semi("SmartHDR"),
    "no-patch": semi("− patch mask", masks={"patch": False}),
    "no-pixel": semi("− pixel mask", masks={"pixel": False}),
    "no-mask": semi("− all masking", masks=UNMASKED),
    "no-strong": semi("− strong augmentation", strong=False),
    "no-ema": semi("− EMA (teacher = student)", teacher="copy"),
    "smae": semi("SMAE weights", method="smae"),
    "fshdr": semi("FSHDR", method="fshdr"),
    "selfhdr": semi("SelfHDR (no labels)", method="selfhdr", labeled=0, batch_unlabeled=4),
    "step": semi("SmartHDR, labels every step", pseudo="step"),
    "adaptive": semi("SmartHDR, adaptive τ", masks={"adaptive": True}),
    "gradient": semi("SmartHDR, gradient term", weight_gradient=0.2),
    "views": semi("SmartHDR, labels from 4 views", views=4),
    "cells": semi("SmartHDR, 4 views, cells like the reference's", views=4, weight_cells=1.0),
    "fill": semi("SmartHDR, 4 views, SelfHDR where masked", views=4, fill="selfhdr"),
    "extras": semi("SmartHDR, 4 views, cells, SelfHDR where masked", views=4, weight_cells=1.0, fill="selfhdr"),
    "extras-no-mask": semi("SmartHDR, 4 views, cells, − all masking", views=4, weight_cells=1.0, masks=UNMASKED),
    "first": semi("SmartHDR, 4 views, cells, SelfHDR first", views=4, weight_cells=1.0, fill="selfhdr-first"),
    "first-no-mask": semi("the same, − all masking", views=4, weight_cells=1.0, fill="selfhdr-first", masks=UNMASKED),
    "first-made": semi("SmartHDR, 4 views, cells, SelfHDR first, bursts made from labels", views=4, weight_cells=1.0,
                       fill="selfhdr-first", **THIRDS),
    "noise": semi("SmartHDR, 4 views, cells, noise on the student", views=4, weight_cells=1.0, noise_iso=12800.0),
    "made": semi("SmartHDR, 4 views, cells, bursts made from labels", views=4, weight_cells=1.0, **THIRDS),
    "made-no-mask": semi("the same, − all masking", views=4, weight_cells=1.0, masks=UNMASKED, **THIRDS),
    "labelled-made": Row("labelled only, bursts made from labels", {"method": "supervised", **MADE}),
    "all-made": Row("all 75 labelled, bursts made from labels", {"method": "supervised", **MADE}, None),
    "all": Row("all 75 labelled", {"method": "supervised"}, None),
    **{f"tau-{t}": semi(f"τ = {t}", masks={"tau_patch": t, "tau_pixel": t}, sweep=True) for t in (0.2, 0.6, 0.8)},
    **{f"alpha-{a}": semi(f"α = {a}", ema=a, sweep=True) for a in (0.99, 0.9999)},
    "gfhdr": semi("SmartHDR on a small gfhdr", sweep=True, model=SMALL_GFHDR),
    **{f"labelled-{n}": Row(f"labelled only, {n}", {"method": "supervised"}, n, True) for n in (1, 2, 10, 20)},
    **{f"smarthdr-{n}": semi(f"SmartHDR, {n}", labeled=n, sweep=True) for n in (1, 2, 10, 20)},
}  # fmt: skip


def make_scenes(panoramas: Path | None, folder: Path) -> Path:
    """The set: 8-bit JPEG under random camera curves, 2 to 3 EV apart, ISO 400 to 6400, up to four things that move.

    Test scenes come from held-out sources.
    """
    if folder.exists():
        return folder
    config = replace(benchmark_config("camera8", (128, 192)), objects=4, iso_low=400.0, ev_steps=(2.0, 2.5, 3.0))
    partial = folder.with_name(folder.name + ".partial")
    for part, count, held_out in (("Training", TRAIN, False), ("Test", TEST, True)):
        write_benchmark(partial / part, load_bank(panoramas, held_out=held_out), count, int(held_out), config)
    return partial.rename(folder)
