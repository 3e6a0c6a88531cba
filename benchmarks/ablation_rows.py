"""The rows of the ablation, their common budget, and the scenes they are trained and tested on."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
from smarthdr_cli.data.synth.sources import load_bank

LABELS = 5
TRAIN, TEST = 75, 60
COUNTS = (1, 2, 10, 20)  # of labelled scenes, beside LABELS and TRAIN
FLOOR, ROOF, OURS, DEFAULT = "labelled", "all", "smarthdr", "first"
# Widths halved, so that fifty runs fit into some hours of a CPU; the method does not know.
MODEL = {"name": "saf", "encoder": 16, "motion": 32, "hidden": 8, "match": 8, "verify": 24, "refine": 32}
# An update of this costs several times one of MODEL, so that its rows have fewer updates.
SMALL_GFHDR = {"model": {"name": "gfhdr", "dim": 24, "blocks": 3, "depth": 2, "heads": 3}, "iterations": 500,
               "validate_every": 250}  # fmt: skip
BUDGET: dict[str, Any] = {
    "model": MODEL, "iterations": 2000, "batch": 4, "crop": 96, "learning_rate": 6e-4, "decay": 0.7, "warmup": 50,
    "precision": "bf16", "validate_every": 500,
}  # fmt: skip
UNMASKED = {"patch": False, "pixel": False}
# Four crops an update in every row: half of them unlabelled where there are such.
THIRDS = {"batch": 2, "batch_unlabeled": 1, "batch_made": 1}
MADE = {"batch": 3, "batch_made": 1}
# Of one or two labelled scenes a band is held out, not a scene, and what is left holds no crop of 96 pixels.
FEW: dict[str, Any] = {"crop": 64, "batch": 8}
HALVES = {"batch": 2, "batch_unlabeled": 2, "labelled_first": 0.2, "refresh": 400}


@dataclass(frozen=True)
class Row:
    """``label``: in the table. ``changes``: of the config. ``labeled``: scenes with ground truth, None for all.

    ``twin``: the row that differs in the one part this row is about.
    """

    label: str
    changes: dict[str, Any]
    labeled: int | None = LABELS
    sweep: bool = False  # one draw will do
    twin: str | None = None


def semi(label: str, *, labeled: int = LABELS, sweep: bool = False, twin: str | None = None, **changes: Any) -> Row:
    """A row that learns from unlabelled bursts too, by SmartHDR unless ``method`` says otherwise."""
    return Row(label, HALVES | {"method": "smarthdr"} | changes, labeled, sweep, twin)


def ours(label: str, *, labeled: int = LABELS, sweep: bool = True, twin: str | None = None, **changes: Any) -> Row:
    """SmartHDR with what won, the default of ``smarthdr train``, changed in one part."""
    won = {"views": 4, "weight_cells": 1.0, "fill": "selfhdr-first"}
    return semi(label, labeled=labeled, sweep=sweep, twin=twin, **won | changes)


def few(labeled: int, parts: int = 1) -> dict[str, Any]:
    """What rows of very few labels change: about as many pixels an update in smaller crops, half of them unlabelled for
    ``parts`` 2."""
    if labeled >= LABELS:
        return {}
    share = FEW["batch"] // parts
    return FEW | {"batch": share} | ({"batch_unlabeled": share} if parts > 1 else {})


ROWS = {
    "labelled": Row("labelled only", {"method": "supervised"}),
    "smarthdr": semi("SmartHDR as published", twin="labelled"),
    "no-patch": semi("− patch mask", masks={"patch": False}, twin="smarthdr"),
    "no-pixel": semi("− pixel mask", masks={"pixel": False}, twin="smarthdr"),
    "no-mask": semi("− all masking", masks=UNMASKED, twin="smarthdr"),
    "no-strong": semi("− strong augmentation", strong=False, sweep=True, twin="smarthdr"),
    "no-ema": semi("− EMA (teacher = student)", teacher="copy", sweep=True, twin="smarthdr"),
    "smae": semi("SMAE weights", method="smae"),
    "fshdr": semi("FSHDR", method="fshdr"),
    "selfhdr": semi("SelfHDR (no labels)", method="selfhdr", labeled=0, batch_unlabeled=4),
    "step": semi("+ labels every step", pseudo="step", sweep=True, twin="smarthdr"),
    "adaptive": semi("+ adaptive τ", masks={"adaptive": True}, sweep=True, twin="smarthdr"),
    "views": semi("+ labels from 4 views", views=4, twin="smarthdr"),
    "cells": semi("+ 4 views, cells like the reference's", views=4, weight_cells=1.0, twin="views"),
    "fill": semi("+ 4 views, SelfHDR where masked", views=4, fill="selfhdr", twin="views"),
    "extras": semi("+ 4 views, cells, SelfHDR where masked", views=4, weight_cells=1.0, fill="selfhdr", twin="cells"),
    "extras-no-mask": semi("+ 4 views, cells, − all masking", views=4, weight_cells=1.0, masks=UNMASKED, twin="cells"),
    "first": ours("**SmartHDR by default**: 4 views, cells, SelfHDR first", sweep=False, twin="labelled"),
    "first-no-mask": ours("the default − all masking", sweep=False, twin="first", masks=UNMASKED),
    "first-no-patch": ours("the default − patch mask", twin="first", masks={"patch": False}),
    "first-no-pixel": ours("the default − pixel mask", twin="first", masks={"pixel": False}),
    "first-no-strong": ours("the default − strong augmentation", twin="first", strong=False),
    "first-no-ema": ours("the default − EMA (teacher = student)", twin="first", teacher="copy"),
    "first-no-pseudo": ours("the default − pseudo-labels: SelfHDR's targets, five labels", twin="first",
                            masks={"tau_patch": 1e-9}),
    "first-made": ours("the default + bursts made from labels", twin="first", **THIRDS),
    "made": semi("+ 4 views, cells, bursts made from labels", views=4, weight_cells=1.0, twin="cells", **THIRDS),
    "made-no-mask": semi("+ 4 views, cells, bursts made from labels, − all masking", views=4, weight_cells=1.0,
                         masks=UNMASKED, twin="made", **THIRDS),
    "labelled-made": Row("labelled only, bursts made from labels", {"method": "supervised", **MADE}, twin="labelled"),
    "all-made": Row("all 75 labelled, bursts made from labels", {"method": "supervised", **MADE}, None, twin="all"),
    "all": Row("all 75 labelled", {"method": "supervised"}, None),
    **{f"tau-{t}": ours(f"τ = {t}", masks={"tau_patch": t, "tau_pixel": t}, twin="first") for t in (0.2, 0.6, 0.8)},
    **{f"alpha-{a}": ours(f"α = {a}", ema=a, twin="first") for a in (0.99, 0.9999)},
    "gfhdr-labelled": Row("small gfhdr, 500 updates, labelled only", {"method": "supervised", **SMALL_GFHDR},
                          sweep=True),
    "gfhdr": ours("small gfhdr, 500 updates, SmartHDR by default", twin="gfhdr-labelled", refresh=100, **SMALL_GFHDR),
    **{f"labelled-{n}": Row(f"labelled only, {n}", {"method": "supervised", **few(n)}, n, True) for n in COUNTS},
    **{f"first-{n}": ours(f"SmartHDR by default, {n}", labeled=n, twin=f"labelled-{n}", **few(n, 2)) for n in COUNTS},
}  # fmt: skip


def make_scenes(panoramas: Path | None, folder: Path, kind: str = "camera8", seed: int = 0, **changes: Any) -> Path:
    """The set: 8-bit JPEG under random camera curves, 2 to 3 EV apart, ISO 400 to 6400, up to four things that move.

    Test scenes come from held-out sources. ``kind``, ``changes``: of the maker's settings, for a set that differs.
    """
    if folder.exists():
        return folder
    usual: dict[str, Any] = {"objects": 4, "iso_low": 400.0, "ev_steps": (2.0, 2.5, 3.0)}
    config = replace(benchmark_config(kind, (128, 192)), **usual | changes)
    partial = folder.with_name(folder.name + ".partial")
    for part, count, held_out in (("Training", TRAIN, False), ("Test", TEST, True)):
        write_benchmark(partial / part, load_bank(panoramas, held_out=held_out), count, seed + held_out, config)
    return partial.rename(folder)
