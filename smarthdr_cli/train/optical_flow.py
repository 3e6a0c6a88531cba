"""Displacement between differently exposed frames by OpenCV's dense inverse search (Kroeger et al., ECCV 2016).

The search sees both frames as the brighter of the two would have recorded them, as 8-bit gamma-coded grey: what clips
in one is flat in both. It runs on the CPU, pair by pair, whatever the batch's device, and is deterministic.
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.pairwise import common_exposure, grey, inside_frame, warp

MIN_SIDE = 16  # px; below it the search has no pyramid
MIN_VISIBLE = 0.99  # share of a warped pixel's support that is valid


class Flows(NamedTuple):
    """``forward``: (B, N-1, 2, H, W) displacement (x, y) in pixels from the reference to each other frame, on the
    reference's grid; ``backward``: from each other frame to the reference, on that frame's grid."""

    forward: Tensor
    backward: Tensor


def dense_flows(batch: Batch) -> Flows:
    """Both fields for every non-reference frame. Raises ValueError for frames under 16 pixels."""
    b, n, _, h, w = batch.frames.shape
    if min(h, w) < MIN_SIDE:
        raise ValueError(f"optical flow needs at least {MIN_SIDE} pixels each way, got {h}x{w}")
    reference = batch.frames[:, :1].expand(-1, n - 1, -1, -1, -1).flatten(0, 1)
    references, others, _ = common_exposure(reference, batch.frames[:, 1:].flatten(0, 1), batch.evs[:, 1:].reshape(-1))
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    start = np.zeros((h, w, 2), np.float32)
    fields = [
        [search.calc(first, second, start.copy()), search.calc(second, first, start.copy())]
        for first, second in zip(grey(references), grey(others), strict=True)
    ]
    flow = torch.from_numpy(np.asarray(fields, np.float32)).to(batch.frames.device)
    flow = flow.view(b, n - 1, 2, h, w, 2).movedim(-1, 3)
    return Flows(flow[:, :, 0].contiguous(), flow[:, :, 1].contiguous())


def consistent(flows: Flows) -> Tensor:
    """(B, N-1, 1, H, W): 1 where the way to the other frame and back ends near the start, inside the image.

    |f + b'|^2 < 0.01 (|f|^2 + |b'|^2) + 0.5, b' the way back from where f leads (Sundaram, Brox and Keutzer, "Dense
    point trajectories by GPU-accelerated large displacement optical flow", ECCV 2010, eq. 5).
    """
    forward, backward = flows.forward.flatten(0, 1), flows.backward.flatten(0, 1)
    back = warp(backward, forward)
    round_trip = (forward + back).square().sum(dim=1, keepdim=True)
    length = forward.square().sum(dim=1, keepdim=True) + back.square().sum(dim=1, keepdim=True)
    mask = (round_trip < 0.01 * length + 0.5).float() * inside_frame(forward)
    return mask.view(*flows.forward.shape[:2], 1, *mask.shape[-2:])
