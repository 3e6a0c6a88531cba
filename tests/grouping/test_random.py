"""Shoots drawn at random, no file written: how often frames of two views end in one set, how often a set is found."""

import random
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.grouping import thumbnails
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.grouping.segmentation import group_row

from .shoot import orders, picture

PAUSES = {"flagged": (0.05, 0.5), "bias": (0.05, 0.5), "hand": (0.3, 2.0), "slow hand": (2.0, 9.0), "bare": (0.1, 1.0)}
MODES = {"flagged": 2, "bias": 0, "hand": 1, "slow hand": 1, "bare": None}


@dataclass(frozen=True)
class Frame:
    owner: int  # the true set's number; below 0 a single frame
    view: int
    ev: float
    shift: int


@lru_cache(maxsize=1000)
def tiny(view: int, ev: float, shift: int) -> thumbnails.Tiny:
    return thumbnails.tiny_of(np.asarray(picture(view, ev, shift).convert("L")))


def draw(seed: int, style: str) -> tuple[list[Header], dict[Path, Frame]]:
    """Two to eight brackets of one kind with frames between them, of views that mostly change."""
    rng = random.Random(f"{style} {seed}")
    resolution = rng.choice((1.0, 0.01))
    count = rng.choice((2, 3, 3, 3, 5, 5, 7, 9))
    step = min(rng.choice((1 / 3, 2 / 3, 1, 1, 2, 2, 3)), 8 / count)
    evs = orders(count, step)[rng.choice(("-0+", "+0-", "0-+", "0-+-+"))] if count > 2 else [0.0, -step]
    if style == "slow hand":
        evs = sorted(evs, reverse=rng.random() < 0.5)
    between = rng.choice(((0.2, 2), (2, 8), (5, 60)))
    base, among, again = rng.choice((1 / 500, 1 / 60, 1 / 10, 1, 4)), rng.choice((0, 0.3, 0.8)), rng.choice((0, 0, 0.3))
    clock, view = 1e9 + rng.random(), rng.randrange(10**6)
    headers: list[Header] = []
    truth: dict[Path, Frame] = {}

    def take(ev: float, owner: int, bias: float | None, mode: int | None, shift: int) -> None:
        nonlocal clock
        path = Path(f"IMG_{len(headers) + 1:04d}.JPG")
        start = float(int(clock)) if resolution == 1 else round(clock, 2)
        headers.append(
            Header(
                path,
                size=(96, 64),
                model="X",
                serial="1",
                start=start,
                resolution=resolution,
                time=base * 2.0**ev,
                aperture=8.0,
                iso=100.0,
                bias=bias,
                manual=None if mode is None else mode == 1,
                stated=mode == 2,
            )
        )
        truth[path] = Frame(owner, view, round(ev, 3), shift)
        clock += base * 2.0**ev

    for number in range(rng.randint(2, 8)):
        view += rng.random() > again
        drift = rng.choice((0, 1 / 3, -1 / 3, 2 / 3)) if style in ("bias", "bare") else 0.0
        while rng.random() < among * 0.6:
            alone = rng.choice((-2, -1, 0, 0, 1 / 3, 1, 2)) if "hand" in style else drift
            single = 0 if MODES[style] == 2 else MODES[style]
            take(alone, -1 - len(headers), None if style == "bare" else 0.0, single, 0)
            clock += rng.uniform(*between)
            view += rng.random() < 0.8
        for ev in evs:
            bias = {"flagged": ev, "bias": ev, "bare": None}.get(style, 0.0)
            take(drift + ev, number, bias, MODES[style], rng.randint(-2, 2))
            clock += rng.uniform(*PAUSES[style])
        clock += rng.uniform(*between)
    return headers, truth


def outcome(seed: int, style: str) -> Counter[str]:
    headers, truth = draw(seed, style)

    def tinies(wanted: list[Header]) -> list[thumbnails.Tiny]:
        return [tiny(f.view, f.ev, f.shift) for f in (truth[h.path] for h in wanted)]

    found = group_row(headers, bracket=None, gap=None, whole_folder=False, tinies=tinies)  # type: ignore[arg-type]
    sizes = Counter(frame.owner for frame in truth.values())
    seen = Counter(true=sum(owner >= 0 for owner in sizes))
    for one in found:
        frames = [truth[h.path] for h in one.frames]
        if len(frames) < 2:
            continue
        owners, views = {f.owner for f in frames}, {f.view for f in frames}
        if len(owners) == 1:
            seen["whole" if sizes[frames[0].owner] == len(frames) else "part"] += not one.ambiguous
        else:
            seen["two views" if len(views) > 1 else "one view"] += not one.ambiguous
        seen["ambiguous"] += one.ambiguous
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("style", "found"), [("flagged", 0.97), ("bias", 0.97), ("hand", 0.94), ("slow hand", 0.88), ("bare", 0.93)]
)
def test_random_shoots(style: str, found: float) -> None:
    total: Counter[str] = sum((outcome(seed, style) for seed in range(120)), Counter())
    print(style, dict(total))
    assert total["two views"] <= 0.002 * total["true"]
    assert total["one view"] <= 0.03 * total["true"]  # a frame taken alone of a view that was then bracketed
    assert total["whole"] >= found * total["true"]
