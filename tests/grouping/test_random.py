"""Shoots drawn at random, without files: how often a set joins frames of two views, how often a set is found."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.grouping.header import Header
from smarthdr_cli.grouping.result import BracketSet
from smarthdr_cli.grouping.segmentation import segment_frames
from smarthdr_cli.grouping.thumbnails import Thumbnail, make_thumbnail
from tests.support.camera_files import orders, picture

GAPS_S = {"flagged": (0.05, 0.5), "bias": (0.05, 0.5), "hand": (0.3, 2.0), "slow hand": (2.0, 9.0), "bare": (0.1, 1.0)}
EXPOSURE_MODE = {"flagged": 2, "bias": 0, "hand": 1, "slow hand": 1, "bare": None}


@dataclass(frozen=True)
class Frame:
    """``owner``: number of the true set, below 0 for a single frame."""

    owner: int
    view: int
    ev: float
    shift: int


@lru_cache(maxsize=1000)
def thumbnail(view: int, ev: float, shift: int) -> Thumbnail:
    return make_thumbnail(np.asarray(picture(view, ev, shift).convert("L")))


def draw(seed: int, style: str) -> tuple[list[Header], dict[Path, Frame]]:
    """Two to eight brackets of one kind with frames between them, of views that mostly change."""
    rng = random.Random(f"{style} {seed}")
    clock_step = rng.choice((1.0, 0.01))
    count = rng.choice((2, 3, 3, 3, 5, 5, 7, 9))
    step = min(rng.choice((1 / 3, 2 / 3, 1, 1, 2, 2, 3)), 8 / count)
    evs = orders(count, step)[rng.choice(("-0+", "+0-", "0-+", "0-+-+"))] if count > 2 else [0.0, -step]
    if style == "slow hand":
        evs = sorted(evs, reverse=rng.random() < 0.5)
    between = rng.choice(((0.2, 2), (2, 8), (5, 60)))
    base, singles, same_view = (
        rng.choice((1 / 500, 1 / 60, 1 / 10, 1, 4)),
        rng.choice((0, 0.3, 0.8)),
        rng.choice((0, 0, 0.3)),
    )
    clock, view = 1e9 + rng.random(), rng.randrange(10**6)
    headers: list[Header] = []
    truth: dict[Path, Frame] = {}

    def take(ev: float, owner: int, bias: float | None, mode: int | None, shift: int) -> None:
        nonlocal clock
        path = Path(f"IMG_{len(headers) + 1:04d}.JPG")
        headers.append(
            Header(
                path,
                size=(96, 64),
                model="X",
                serial="1",
                timestamp=float(int(clock)) if clock_step == 1 else round(clock, 2),
                clock_step=clock_step,
                time=base * 2.0**ev,
                aperture=8.0,
                iso=100.0,
                bias=bias,
                manual_exposure=None if mode is None else mode == 1,
                auto_bracket=mode == 2,
            )
        )
        truth[path] = Frame(owner, view, round(ev, 3), shift)
        clock += base * 2.0**ev

    for number in range(rng.randint(2, 8)):
        view += rng.random() > same_view
        drift = rng.choice((0, 1 / 3, -1 / 3, 2 / 3)) if style in ("bias", "bare") else 0.0
        while rng.random() < singles * 0.6:
            ev = rng.choice((-2, -1, 0, 0, 1 / 3, 1, 2)) if "hand" in style else drift
            mode = 0 if EXPOSURE_MODE[style] == 2 else EXPOSURE_MODE[style]
            take(ev, -1 - len(headers), None if style == "bare" else 0.0, mode, 0)
            clock += rng.uniform(*between)
            view += rng.random() < 0.8
        for ev in evs:
            bias = {"flagged": ev, "bias": ev, "bare": None}.get(style, 0.0)
            take(drift + ev, number, bias, EXPOSURE_MODE[style], rng.randint(-2, 2))
            clock += rng.uniform(*GAPS_S[style])
        clock += rng.uniform(*between)
    return headers, truth


def outcome(seed: int, style: str) -> Counter[str]:
    """Numbers of true sets, and of certain sets by what they hold."""
    headers, truth = draw(seed, style)

    def read_thumbnails(wanted: Sequence[Header]) -> list[Thumbnail | None]:
        return [thumbnail(f.view, f.ev, f.shift) for f in (truth[h.path] for h in wanted)]

    results = segment_frames(
        headers, user_length=None, max_gap=None, whole_folder=False, read_thumbnails=read_thumbnails
    )
    sizes = Counter(frame.owner for frame in truth.values())
    counts = Counter(true=sum(owner >= 0 for owner in sizes))
    for bracket_set in results:
        if not isinstance(bracket_set, BracketSet):
            continue
        frames = [truth[path] for path in bracket_set.frames]
        owners, views = {f.owner for f in frames}, {f.view for f in frames}
        if bracket_set.ambiguous:
            counts["ambiguous"] += 1
        elif len(owners) == 1:
            counts["whole" if sizes[frames[0].owner] == len(frames) else "part"] += 1
        else:
            counts["two views" if len(views) > 1 else "one view"] += 1
    return counts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("style", "min_found"), [("flagged", 0.97), ("bias", 0.97), ("hand", 0.94), ("slow hand", 0.88), ("bare", 0.93)]
)
def test_random_shoots(style: str, min_found: float) -> None:
    total: Counter[str] = sum((outcome(seed, style) for seed in range(120)), Counter())
    print(style, dict(total))
    assert total["two views"] <= 0.002 * total["true"]
    assert total["one view"] <= 0.03 * total["true"]  # a frame taken alone of a view that was then bracketed
    assert total["whole"] >= min_found * total["true"]
