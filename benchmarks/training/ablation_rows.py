"""The rows of the ablation, their common training budget, and the set they are trained and tested on."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smarthdr_cli.data.synth.export import benchmark_config, write_benchmark
from smarthdr_cli.data.synth.sources import load_bank

LABELS = 5  # labelled scenes
TRAIN, TEST = 75, 60  # scenes
LABEL_COUNTS = (1, 2, 10, 20)  # beside LABELS and TRAIN
SUPERVISED_ROW, ALL_LABELS_ROW, PUBLISHED_ROW, DEFAULT_ROW = "labelled", "all", "smarthdr", "first"
# Half the widths of saf, so that fifty runs fit into some hours of a CPU.
MODEL = {"name": "saf", "encoder": 16, "motion": 32, "hidden": 8, "match": 8, "verify": 24, "refine": 32}
# One update costs several of MODEL, so its rows have fewer.
SMALL_GFHDR = {"model": {"name": "gfhdr", "dim": 24, "blocks": 3, "depth": 2, "heads": 3}, "iterations": 500,
               "validate_every": 250}  # fmt: skip
BUDGET: dict[str, Any] = {
    "model": MODEL, "iterations": 2000, "batch": 4, "crop": 96, "learning_rate": 6e-4, "decay": 0.7, "warmup": 50,
    "precision": "bf16", "validate_every": 500,
}  # fmt: skip
UNMASKED = {"patch": False, "pixel": False}
# Four crops per update in every row, half of them unlabelled in semi-supervised rows.
THIRDS = {"batch": 2, "batch_unlabeled": 1, "batch_made": 1}
MADE = {"batch": 3, "batch_made": 1}
# With one or two labelled scenes a band is held out instead of a scene; the rest is too small for crops of 96 px.
FEW: dict[str, Any] = {"crop": 64, "batch": 8}
HALVES = {"batch": 2, "batch_unlabeled": 2, "labelled_first": 0.2, "refresh": 400}


@dataclass(frozen=True)
class Row:
    """``label``: in the table. ``changes``: to the config. ``labeled``: scenes with ground truth, None for all.

    ``sweep``: one draw only. ``versus``: the row that differs in the one part this row tests.
    """

    label: str
    changes: dict[str, Any]
    labeled: int | None = LABELS
    sweep: bool = False
    versus: str | None = None


def semi(label: str, *, labeled: int = LABELS, sweep: bool = False, versus: str | None = None, **changes: Any) -> Row:
    """A row that also learns from unlabelled bursts, by SmartHDR unless ``method`` is given."""
    return Row(label, HALVES | {"method": "smarthdr"} | changes, labeled, sweep, versus)


def default(label: str, *, labeled: int = LABELS, sweep: bool = True, versus: str | None = None, **changes: Any) -> Row:
    """SmartHDR with the defaults of ``smarthdr train``, changed in one part."""
    defaults = {"views": 4, "weight_cells": 1.0, "fill": "selfhdr-first"}
    return semi(label, labeled=labeled, sweep=sweep, versus=versus, **defaults | changes)


def few(labeled: int, parts: int = 1) -> dict[str, Any]:
    """Changes for very few labels: smaller crops, about as many pixels; ``parts`` 2: half of them unlabelled."""
    if labeled >= LABELS:
        return {}
    crops = FEW["batch"] // parts
    return FEW | {"batch": crops} | ({"batch_unlabeled": crops} if parts > 1 else {})


ROWS = {
    "labelled": Row("labelled only", {"method": "supervised"}),
    "smarthdr": semi("SmartHDR as published", versus="labelled"),
    "no-patch": semi("− patch mask", masks={"patch": False}, versus="smarthdr"),
    "no-pixel": semi("− pixel mask", masks={"pixel": False}, versus="smarthdr"),
    "no-mask": semi("− all masking", masks=UNMASKED, versus="smarthdr"),
    "no-strong": semi("− strong augmentation", strong=False, sweep=True, versus="smarthdr"),
    "no-ema": semi("− EMA (teacher = student)", teacher="copy", sweep=True, versus="smarthdr"),
    "smae": semi("SMAE weights", method="smae"),
    "fshdr": semi("FSHDR", method="fshdr"),
    "selfhdr": semi("SelfHDR (no labels)", method="selfhdr", labeled=0, batch_unlabeled=4),
    "step": semi("+ labels every step", pseudo="step", sweep=True, versus="smarthdr"),
    "adaptive": semi("+ adaptive τ", masks={"adaptive": True}, sweep=True, versus="smarthdr"),
    "views": semi("+ labels from 4 views", views=4, versus="smarthdr"),
    "cells": semi("+ 4 views, cells like the reference's", views=4, weight_cells=1.0, versus="views"),
    "fill": semi("+ 4 views, SelfHDR where masked", views=4, fill="selfhdr", versus="views"),
    "extras": semi("+ 4 views, cells, SelfHDR where masked", views=4, weight_cells=1.0, fill="selfhdr", versus="cells"),
    "extras-no-mask": semi("+ 4 views, cells, − all masking", views=4, weight_cells=1.0, masks=UNMASKED,
                           versus="cells"),
    "first": default("**SmartHDR by default**: 4 views, cells, SelfHDR first", sweep=False, versus="labelled"),
    "first-no-mask": default("the default − all masking", sweep=False, versus="first", masks=UNMASKED),
    "first-no-patch": default("the default − patch mask", versus="first", masks={"patch": False}),
    "first-no-pixel": default("the default − pixel mask", versus="first", masks={"pixel": False}),
    "first-no-strong": default("the default − strong augmentation", versus="first", strong=False),
    "first-no-ema": default("the default − EMA (teacher = student)", versus="first", teacher="copy"),
    "first-no-pseudo": default("the default − pseudo-labels: SelfHDR's targets, five labels", versus="first",
                                masks={"tau_patch": 1e-9}),
    "first-made": default("the default + bursts made from labels", versus="first", **THIRDS),
    "made": semi("+ 4 views, cells, bursts made from labels", views=4, weight_cells=1.0, versus="cells", **THIRDS),
    "made-no-mask": semi("+ 4 views, cells, bursts made from labels, − all masking", views=4, weight_cells=1.0,
                         masks=UNMASKED, versus="made", **THIRDS),
    "labelled-made": Row("labelled only, bursts made from labels", {"method": "supervised", **MADE}, versus="labelled"),
    "all-made": Row("all 75 labelled, bursts made from labels", {"method": "supervised", **MADE}, None, versus="all"),
    "all": Row("all 75 labelled", {"method": "supervised"}, None),
    **{f"tau-{t}": default(f"τ = {t}", masks={"tau_patch": t, "tau_pixel": t}, versus="first")
       for t in (0.2, 0.6, 0.8)},
    **{f"alpha-{a}": default(f"α = {a}", ema=a, versus="first") for a in (0.99, 0.9999)},
    "gfhdr-labelled": Row("small gfhdr, 500 updates, labelled only", {"method": "supervised", **SMALL_GFHDR},
                          sweep=True),
    "gfhdr": default("small gfhdr, 500 updates, SmartHDR by default", versus="gfhdr-labelled", refresh=100,
                     **SMALL_GFHDR),
    **{f"labelled-{n}": Row(f"labelled only, {n}", {"method": "supervised", **few(n)}, n, True)
       for n in LABEL_COUNTS},
    **{f"first-{n}": default(f"SmartHDR by default, {n}", labeled=n, versus=f"labelled-{n}", **few(n, 2))
       for n in LABEL_COUNTS},
}  # fmt: skip


def make_scenes(panoramas: Path | None, folder: Path, kind: str = "camera8", seed: int = 0, **changes: Any) -> Path:
    """Make the set: 8-bit JPEG under random camera curves, 2 to 3 EV apart, ISO 400 to 6400, up to four moving objects.

    Test scenes come from held-out sources. ``kind``, ``changes``: of ``SynthConfig``, for another set.
    """
    if folder.exists():
        return folder
    defaults: dict[str, Any] = {"objects": 4, "iso_low": 400.0, "ev_steps": (2.0, 2.5, 3.0)}
    config = replace(benchmark_config(kind, (128, 192)), **defaults | changes)
    partial = folder.with_name(folder.name + ".partial")
    for part, count, held_out in (("Training", TRAIN, False), ("Test", TEST, True)):
        write_benchmark(partial / part, load_bank(panoramas, held_out=held_out), count, seed + held_out, config)
    return partial.rename(folder)
