"""One response of a camera, from one of its bursts or from many.

    minimise over c:  sum over bursts b and pairs of (ln f(z_i) - ln f(z_j) - ln t_i + ln t_j)^2 + prior(c) B

The equations of `crf_fit` of all B bursts are solved together, under their stated exposures. The prior is as strong
against all bursts as it is against one: it limits what they have in common, the bias of noise in the shadows, which
more bursts do not average out.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.align import Alignment
from smarthdr_cli.burst.burst import Burst, CaptureMetadata
from smarthdr_cli.errors import InputError
from smarthdr_cli.radiometry import Response
from smarthdr_cli.response.crf_acceptance import DEFAULT_LIMITS, fit_and_assess
from smarthdr_cli.response.crf_basis import PriorWidths, make_prior
from smarthdr_cli.response.crf_estimate import CrfEstimate, estimate_response, to_response
from smarthdr_cli.response.crf_fit import PairEquations, fit_crf, pair_equations
from smarthdr_cli.response.samples import Samples, sample_blocks

MAX_EQUATIONS = 240_000  # of all bursts; more cost memory and add nothing


def calibrate(burst: Burst, alignment: Alignment) -> Response:
    """The curve of ``burst`` for a calibration file, with the camera's name in its record.

    Raises InputError with the reason where the frames cannot support one.
    """
    estimate = estimate_response(burst, sample_blocks(burst, alignment), name="calibrated")
    if estimate.response is None:
        raise InputError(f"no camera curve can be calibrated from these frames: {estimate.note}")
    record = _camera(burst.frames[burst.reference].capture) | {"frames": len(burst)} | estimate.record
    return replace(estimate.response, record=record)


class CameraCalibrator:
    """Bursts of one camera, added one at a time and kept as samples only: a megabyte a frame at most.

    ``refused``: the reasons of the bursts that support no curve of their own.
    """

    def __init__(self) -> None:
        self._accepted: list[tuple[Samples, Burst]] = []
        self.refused: list[str] = []

    def __len__(self) -> int:
        """The number of bursts that support a curve."""
        return len(self._accepted)

    def add(self, burst: Burst, alignment: Alignment) -> bool:
        """Add ``burst`` where it supports a curve of its own; else keep the reason in ``refused``."""
        if float(np.ptp(burst.evs)) < DEFAULT_LIMITS.min_spread_ev:
            self.refused.append(f"the exposures span less than {DEFAULT_LIMITS.min_spread_ev} EV")
            return False
        samples = sample_blocks(burst, alignment)
        assessed = fit_and_assess(samples, burst, DEFAULT_LIMITS)
        if assessed is None or assessed.refusal:
            self.refused.append("too little is well exposed in two frames" if assessed is None else assessed.refusal)
            return False
        self._accepted.append((samples, _without_pixels(burst)))
        return True

    def estimate(self, name: str = "calibrated") -> CrfEstimate:
        """The curve of all bursts; without a response where none supports one, or where they do not agree on any."""
        count = len(self._accepted)
        record: dict[str, Any] = {"sets": count, "sets_refused": len(self.refused)}
        if not count:
            reason = self.refused[0] if self.refused else "there are no bursts"
            return CrfEstimate(None, f"no set supports a curve: {reason}", record)
        equations: list[PairEquations] = []
        frames = 0
        for samples, burst in self._accepted:
            of_burst = pair_equations(samples, burst.evs)
            share = min(1.0, MAX_EQUATIONS / count / sum(map(len, of_burst)))
            equations += [_thinned(e, share, frames) for e in of_burst]
            frames += len(burst)
        prior = make_prior(PriorWidths().scaled(count**-0.5))
        fit = fit_crf(tuple(equations), prior, np.zeros((frames, 0)))
        agreeing = fit.agreeing_share
        record |= {"frames": frames, "equations": fit.count, "agreeing": round(agreeing, 4)}
        if agreeing < DEFAULT_LIMITS.min_agreeing:
            return CrfEstimate(None, f"the sets agree on no one curve (only {agreeing:.0%} of their pixels do)", record)
        deepest = max((burst for _, burst in self._accepted), key=lambda b: int(b.frames[0].codes.dtype.itemsize))
        camera = _camera(self._accepted[0][1].frames[0].capture)
        return CrfEstimate(to_response(fit, name, deepest, camera | record), "", record)


def _camera(capture: CaptureMetadata) -> dict[str, Any]:
    """Make, model and date as far as they are known."""
    origin = {"make": capture.make, "model": capture.model, "date": capture.datetime}
    return {key: value for key, value in origin.items() if value is not None}


def _thinned(equations: PairEquations, share: float, first_frame: int) -> PairEquations:
    """An evenly spread ``share`` of the equations, their frames numbered from ``first_frame``."""
    count = max(1, round(share * len(equations)))
    use: NDArray[np.intp] = np.linspace(0, len(equations) - 1, count).astype(np.intp)
    return replace(
        equations,
        pair=(equations.pair[0] + first_frame, equations.pair[1] + first_frame),
        blocks=equations.blocks[use],
        dark_code=equations.dark_code[use],
        bright_code=equations.bright_code[use],
        dark_spread=equations.dark_spread[use],
        bright_spread=equations.bright_spread[use],
    )


def _without_pixels(burst: Burst) -> Burst:
    """``burst`` without its pixels, but with their depth."""
    frames = tuple(replace(f, codes=np.zeros((0, 0, 3), f.codes.dtype), clipped=None) for f in burst.frames)
    return Burst(frames, burst.reference)
