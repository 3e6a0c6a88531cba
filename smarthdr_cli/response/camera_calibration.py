"""One camera's curve from many of its bursts: the pairwise equations of all of them, solved together."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.response.crf_basis import make_prior
from smarthdr_cli.response.crf_estimate import (
    BEND,
    MIN_AGREEING,
    MIN_SPREAD,
    SIZE,
    TINT,
    Estimate,
    as_response,
    explain,
)
from smarthdr_cli.response.crf_fit import CUTOFF, Rows, make_rows, solve
from smarthdr_cli.response.samples import Samples, draw

MAX_EQUATIONS = 240_000  # of all bursts; more cost memory and add nothing


class Shoot:
    """Bursts of one camera, taken in one at a time and kept as samples only: a megabyte a frame at most."""

    def __init__(self) -> None:
        self._parts: list[tuple[Samples, Burst]] = []
        self.refused: list[str] = []

    def __len__(self) -> int:
        """The number of bursts that can tell of the curve."""
        return len(self._parts)

    def add(self, burst: Burst, alignment: Alignment) -> bool:
        """Take in ``burst`` where it supports a curve of its own; else keep the reason in ``refused``."""
        if float(np.ptp(burst.evs)) < MIN_SPREAD:
            self.refused.append(f"the exposures span less than {MIN_SPREAD} EV")
            return False
        samples = draw(burst, alignment)
        found = explain(samples, burst)
        if found is None or found.refusal:
            self.refused.append("too little is well exposed in two frames" if found is None else found.refusal)
            return False
        self._parts.append((samples, _hollow(burst)))
        return True

    def estimate(self, name: str = "calibrated") -> Estimate:
        """The curve of all bursts taken in (Debevec and Malik 1997, eq. 3, over the shoot), stated exposures as true.

        An Estimate without one where no burst supports it, or where they do not agree on any.
        """
        record: dict[str, Any] = {"sets": len(self._parts), "sets_refused": len(self.refused)}
        if not self._parts:
            reason = self.refused[0] if self.refused else "there are no bursts"
            return Estimate(None, f"no set supports a curve: {reason}", record)
        rows: list[Rows] = []
        first = 0
        for samples, burst in self._parts:
            own = make_rows(samples, burst.evs)
            share = min(1.0, MAX_EQUATIONS / len(self._parts) / sum(len(row.low) for row in own))
            rows += [_thinned(row, share, first) for row in own]
            first += len(burst)
        # The prior as strong against all bursts as it is against one: it holds back what they have in common, the bias
        # of noise in the shadows, which more of them do not average out.
        alike = len(self._parts) ** -0.5
        fit = solve(tuple(rows), make_prior(BEND * alike, SIZE * alike, TINT * alike), np.zeros((first, 0)))
        pairs = list(zip(fit.residuals, fit.sigmas, strict=True))
        agreeing = sum(int(np.sum(np.abs(r) < CUTOFF * s)) for r, s in pairs) / sum(len(r) for r, _ in pairs)
        record |= {"frames": first, "equations": sum(len(r) for r, _ in pairs), "agreeing": round(agreeing, 4)}
        if agreeing < MIN_AGREEING:
            return Estimate(None, f"the sets agree on no one curve (only {agreeing:.0%} of their pixels do)", record)
        deepest = max((burst for _, burst in self._parts), key=lambda b: int(b.frames[0].codes.dtype.itemsize))
        capture = self._parts[0][1].frames[0].capture
        origin = {"make": capture.make, "model": capture.model, "date": capture.datetime}
        known = {key: value for key, value in origin.items() if value is not None}
        return Estimate(as_response(fit, name, deepest, known | record), "", record)


def _thinned(row: Rows, share: float, first: int) -> Rows:
    """Evenly so many of the equations, the frames numbered from ``first``."""
    use: NDArray[np.intp] = np.linspace(0, len(row.low) - 1, max(1, round(share * len(row.low)))).astype(np.intp)
    return replace(
        row, pair=(row.pair[0] + first, row.pair[1] + first), low=row.low[use], high=row.high[use],
        spread_low=row.spread_low[use], spread_high=row.spread_high[use],
    )  # fmt: skip


def _hollow(burst: Burst) -> Burst:
    """``burst`` without its pixels but with their depth."""
    frames = tuple(replace(f, codes=np.zeros((0, 0, 3), f.codes.dtype), clipped=None) for f in burst.frames)
    return Burst(frames, burst.reference)
