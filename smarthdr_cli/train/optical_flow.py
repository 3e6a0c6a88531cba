"""Displacement between differently exposed frames by OpenCV's dense inverse search (Kroeger et al., ECCV 2016).

Both frames are shown to it as the brighter of the two would have recorded them, gamma-coded grey of 8 bits, so that
what clips in one is flat in both. Runs on the CPU, pair by pair, whatever the device of the batch. The same input gives
the same field.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.models.pairwise import common_exposure, inside_frame, warp

SMALLEST = 16  # pixels; below it the search has no pyramid


class Flows(NamedTuple):
    """``forward``: (B, N-1, 2, H, W) displacement (x, y) in pixels from the reference to each other frame, on the
    reference's grid; ``backward``: from each other frame to the reference, on that frame's grid."""

    forward: Tensor
    backward: Tensor


def dense_flows(batch: Batch) -> Flows:
    """Both fields for every non-reference frame. Raises ValueError for frames under 16 pixels."""
    b, n, _, h, w = batch.frames.shape
    if min(h, w) < SMALLEST:
        raise ValueError(f"optical flow needs at least {SMALLEST} pixels each way, got {h}x{w}")
    reference = batch.frames[:, :1].expand(-1, n - 1, -1, -1, -1).flatten(0, 1)
    first, second, _ = common_exposure(reference, batch.frames[:, 1:].flatten(0, 1), batch.evs[:, 1:].reshape(-1))
    grey = [_grey(codes) for codes in (first, second)]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    fields = [[search.calc(a, c, _start(a)), search.calc(c, a, _start(a))] for a, c in zip(*grey, strict=True)]
    found = torch.from_numpy(np.asarray(fields, np.float32)).to(batch.frames.device)
    found = found.view(b, n - 1, 2, h, w, 2).movedim(-1, 3)
    return Flows(found[:, :, 0].contiguous(), found[:, :, 1].contiguous())


def _grey(codes: Tensor) -> NDArray[np.uint8]:
    grey = codes.detach().float().mean(dim=1).nan_to_num(0.0).mul(255).round().clamp(0, 255)
    return np.asarray(grey.cpu().numpy(), np.uint8)


def _start(like: NDArray[Any]) -> NDArray[np.float32]:
    return np.zeros((*like.shape, 2), np.float32)


def consistent(flows: Flows) -> Tensor:
    """(B, N-1, 1, H, W): 1 where going to the other frame and back ends near the start, and inside the picture.

    |f + b'|^2 < 0.01 (|f|^2 + |b'|^2) + 0.5, b' the way back from where f leads (Sundaram, Brox and Keutzer, "Dense
    point trajectories by GPU-accelerated large displacement optical flow", ECCV 2010, eq. 5).
    """
    forward, backward = flows.forward.flatten(0, 1), flows.backward.flatten(0, 1)
    back = warp(backward, forward)
    round_trip = (forward + back).square().sum(dim=1, keepdim=True)
    size = forward.square().sum(dim=1, keepdim=True) + back.square().sum(dim=1, keepdim=True)
    good = (round_trip < 0.01 * size + 0.5).float() * inside_frame(forward)
    return good.view(*flows.forward.shape[:2], 1, *good.shape[-2:])
