"""What a fusion returns: linear radiance, its uncertainty, and the record of how it was made."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.colorspace import ColorSpace
from smarthdr_cli.errors import UncertaintyLimitError, UsageError


@dataclass(frozen=True)
class FusionResult:
    """A fused burst.

    ``radiance``: (H, W, 3) float32, linear, in ``colorspace``; 1.0 is the clip level of the exposure ``anchor_ev``
    (EV relative to the reference: 0 anchors to the reference frame, negative to a shorter one). May hold negatives
    from the colour conversion. ``uncertainty``: (H, W) float32, the 68 % quantile of |error| in the mu-law domain
    (mu = 5000, shortest frame's clip = 1), mean over channels. ``scale_short``: radiance * scale_short has the shortest
    frame's clip at 1. ``report`` is the JSON object printed by --json (inputs, exposures, response, model, options,
    share of pixels the network changed).
    """

    radiance: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    colorspace: ColorSpace
    anchor_ev: float
    scale_short: float
    burst: Burst
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def mean_uncertainty(self) -> float:
        """The mean of ``uncertainty`` over the picture: ``report["uncertainty"]["mean"]``, the level of the heatmap.

        An error of one stop is log(2) / log(5001) = 0.081 in the mu-law domain, in all but the last stops of shadow. A
        pixel clipped in every frame counts as 1.
        """
        return float(self.uncertainty.mean(dtype=np.float64))

    def check_uncertainty(self, limit: float) -> None:
        """Raises UncertaintyLimitError where the picture's mean uncertainty is above ``limit``.

        UsageError for a limit that is none, see ``check_limit``.
        """
        check_limit(limit)
        mean = self.mean_uncertainty
        if not mean <= limit:
            clipped = float((self.uncertainty >= 1).mean())
            why = f" ({clipped:.1%} of the picture is clipped in every frame)" if clipped >= 0.0005 else ""
            raise UncertaintyLimitError(f"the mean uncertainty of the picture is {mean:.4f}, above {limit:g}{why}")


def check_limit(limit: float) -> None:
    """Raises UsageError unless the limit of the mean uncertainty lies above 0 and below 1, as every mean does."""
    if not 0 < limit < 1:
        raise UsageError(f"--fail-if-uncertainty-above {limit:g}: use a number above 0 and below 1, such as 0.013")
