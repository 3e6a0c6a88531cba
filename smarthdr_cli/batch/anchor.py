"""One brightness for a shoot: the exposure that every set is anchored to, and where each set stands to it.

Absolute exposure is ``log2(time * ISO/100 / N**2)``, seconds and f-number N, as EXIF states it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from smarthdr_cli.burst.burst import Burst, Exposure
from smarthdr_cli.burst.exif import exposure_value
from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.grouping.header import Header

FACTORS = {"time": "exposure time", "aperture": "aperture", "iso": "ISO"}
MAX_EV = 60.0


@dataclass(frozen=True)
class CommonExposure:
    """``ev``: the absolute exposure whose clip is 1 in every result. ``assumed``: factors ("aperture", "iso") that no
    frame of the shoot states and that count as equal throughout: a manual lens states no aperture."""

    ev: float
    assumed: tuple[str, ...] = ()

    def check(self, name: str, exposure: Exposure | Header) -> float:
        """The absolute exposure of the file ``name``. Raises InputError where it is not stated: it would be a guess."""
        missing = [
            words
            for factor, words in FACTORS.items()
            if getattr(exposure, factor) is None and factor not in self.assumed
        ]
        if missing or exposure.time is None:
            raise InputError(f"{name} states no {' and no '.join(missing)}, which a common exposure needs")
        return exposure_value(exposure.time, exposure.aperture, exposure.iso)

    def of_reference(self, burst: Burst) -> float:
        """The absolute exposure of the burst's reference. Raises InputError."""
        frame = burst.frames[burst.reference]
        return self.check(frame.path.name, frame.exposure)


def common_exposure(
    sets: Sequence[Sequence[Path]], headers: Mapping[Path, Header], ev: float | None = None
) -> tuple[CommonExposure, tuple[str, ...]]:
    """The exposure to anchor to, and what is assumed for it.

    ``ev``, or the median over the sets of each set's middle exposure, which is its reference unless its pixels say
    otherwise; only headers are read for it. Raises UsageError for an ``ev`` beyond reason, InputError where no set
    states its exposures.
    """
    if ev is not None and not (math.isfinite(ev) and abs(ev) <= MAX_EV):
        raise UsageError(f"--common-ev {ev:g}: use a number of EV between -{MAX_EV:g} and {MAX_EV:g}")
    every = [headers[path] for frames in sets for path in frames if path in headers]
    assumed = tuple(factor for factor in ("aperture", "iso") if all(getattr(h, factor) is None for h in every))
    notes = tuple(f"no frame states its {FACTORS[factor]}: the same for all sets is assumed" for factor in assumed)
    if ev is not None:
        return CommonExposure(ev, assumed), notes
    rule = CommonExposure(0.0, assumed)
    middles = [middle for frames in sets if (middle := _middle(frames, headers, rule)) is not None]
    if not middles:
        raise InputError("no set states exposure time, aperture and ISO, which a common exposure needs")
    return CommonExposure(round(median(middles), 4), assumed), notes


def _middle(frames: Iterable[Path], headers: Mapping[Path, Header], rule: CommonExposure) -> float | None:
    known = []
    for path in frames:
        if path not in headers:
            return None
        try:
            known.append(rule.check(path.name, headers[path]))
        except InputError:
            return None
    return median(known)
