"""The camera curve of a burst once more, seen through the optical flow.

A curve is estimated from places that two frames show alike. Where much of a picture moves these are few, and what moves
contradicts every curve: the estimate is refused, and sRGB assumed. The coarse flow does not need a good curve. Sampled
through it, bursts agree on one whose aligned frames agreed on none.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.response import apply_clip_level, compensate_gains, estimate_response, sample_blocks

F32 = NDArray[np.float32]

MIN_MOVING = 0.1  # of the picture, from which flow may change a curve on which the aligned frames agree
REPLACES_SRGB = "seen through the optical flow, the frames agree on a camera curve: it takes the place of sRGB"


def refined_response(source: AlignedBurst, flows: Mapping[int, F32]) -> AlignedBurst:
    """``source`` with the curve that its frames give through ``flows``; itself where its curve is not its own, where
    too little moves, or where the frames agree on no curve.

    ``flows``: (h, w, 2) displacement in reference pixels on cells of the picture, by frame. Gains that the frames had
    are measured again.
    """
    moving = max((float(flow.any(-1).mean()) for flow in flows.values()), default=0.0)
    if not source.estimated or moving <= (0 if source.response.name == "srgb" else MIN_MOVING):
        return source
    samples = sample_blocks(source.burst, source.alignment, flows=flows)
    response = estimate_response(source.burst, samples, robust=True).response
    if response is None:
        return source
    response = apply_clip_level(response, source.burst, source.alignment)
    curves = compensate_gains(source.burst, samples, response)[0] if source.curves else ()
    return replace(source, response=response, curves=curves, curve_error_ev=response.record["pair_error_ev"])
