"""What a fusion returns: linear radiance, its uncertainty, and the record of how it was made."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.color import ColorSpace


@dataclass(frozen=True)
class Fused:
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
