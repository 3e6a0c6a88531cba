"""Bursts in memory, aligned bursts without files and small random networks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from smarthdr_cli.align import Alignment
from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.burst.burst import Burst, CaptureMetadata, Exposure, Frame
from smarthdr_cli.colorspace import SRGB
from smarthdr_cli.fusion.burst_model import fit_burst, frame_order
from smarthdr_cli.fusion.memory_budget import MemoryBudget
from smarthdr_cli.fusion.motion import PairMotion, coarse_motions, find_motions
from smarthdr_cli.fusion.motion_refinement import DEFAULT_CONFIG
from smarthdr_cli.fusion.network_fusion import SAFFuser
from smarthdr_cli.fusion.result import FuserRecord
from smarthdr_cli.fusion.static_merge import StaticFuser
from smarthdr_cli.models.saf import SAF, SAFConfig
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.radiometry import Response

GAMMA = Response("gamma2.2", np.tile(np.linspace(0, 1, 1024) ** 2.2, (3, 1)).astype(np.float32), {})
GAMMA8 = Response("gamma2.2", np.tile(np.linspace(0, 1, 256) ** 2.2, (3, 1)).astype(np.float32), {})
LINEAR = Response("linear", np.tile(np.linspace(0, 1, 256, dtype=np.float32), (3, 1)), {})
SMALL = SAFConfig(encoder=8, motion=12, hidden=4, verify=12, refine=12, finest=4)


def frame(codes, ev, white=None, clipped=None, space=SRGB):
    """A frame of (H, W, 3) ``codes``; floats are linear, integers display-referred."""
    white = {"uint8": 255, "uint16": 65535, "float32": 1.0}[str(codes.dtype)] if white is None else white
    encoding = "linear" if codes.dtype == np.float32 else "display"
    exposure, capture = Exposure(ev, source="ev"), CaptureMetadata()
    return Frame(Path(f"{ev:+g}.tif"), codes, white, encoding, exposure, space, capture, "", "array", clipped)


def texture(height, width, seed=0, low=0.02, high=0.9):
    """(H, W, 3) radiance with smooth detail between two levels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = sum(
        np.sin(
            x[..., None] * rng.uniform(0.02, 0.5, 3) + y[..., None] * rng.uniform(0.02, 0.5, 3) + rng.uniform(0, 6, 3)
        )
        for _ in range(5)
    )
    waves = (waves - waves.min()) / np.ptp(waves)
    return (low + (high - low) * waves).astype(np.float32)


def bright(height, width):
    """Texture from deep shadow to two stops above the reference's clip."""
    light = texture(height, width, seed=4, low=0.01, high=0.9)
    light[40:90, 100:150] *= 4
    return light


def burst_of(light, evs, reference, bits=16, gamma=True):
    """A tripod burst of (H, W, 3) radiance in reference units: exposed, clipped, coded."""
    frames = []
    for ev in evs:
        linear = np.clip(light * 2.0**ev, 0, 1)
        if bits == 32:
            frames.append(frame(linear.astype(np.float32), ev))
            continue
        codes = linear ** (1 / 2.2) if gamma else linear
        dtype, white = (np.uint8, 255) if bits == 8 else (np.uint16, 65535)
        frames.append(frame(np.round(codes * white).astype(dtype), ev))
    return Burst(tuple(frames), reference)


def noisy(light, evs=(-2.0, 0.0, 2.0), bits=16, well=1500.0, seed=0):
    """A tripod burst with the photon noise of a full well of ``well`` electrons."""
    rng = np.random.default_rng(seed)
    frames = []
    dtype, white = (np.uint8, 255) if bits == 8 else (np.uint16, 65535)
    for ev in evs:
        exposed = light * 2.0**ev
        measured = exposed + np.sqrt(exposed / well + 1e-6) * rng.standard_normal(light.shape)
        frames.append(frame(np.round(np.clip(measured, 0, 1) ** (1 / 2.2) * white).astype(dtype), ev))
    return Burst(tuple(frames), evs.index(0.0))


def with_changed_patch(burst, number, rectangle, factor):
    """``burst`` with the light in one rectangle (top, left, height, width) of frame ``number`` multiplied."""
    target = burst.frames[number]
    codes = target.codes.copy()
    top, left, height, width = rectangle
    patch = codes[top : top + height, left : left + width]
    patch[:] = (patch * factor ** (1 / 2.2)).clip(0, 65535).astype(codes.dtype)
    return replace(burst, frames=tuple(replace(f, codes=codes) if f is target else f for f in burst.frames))


def aligned(burst, response=None, homographies=None):
    """``burst`` under ``response``, by default the one it was coded with, and ``homographies``, by default identity."""
    if response is None:
        response = {"uint8": GAMMA8, "uint16": GAMMA, "float32": LINEAR}[str(burst.frames[0].codes.dtype)]
    alignment = Alignment.identity(len(burst))
    if homographies is not None:
        alignment = Alignment(
            np.asarray(homographies, np.float64), tuple(bool((h != np.eye(3)).any()) for h in homographies)
        )
    return AlignedBurst(burst, response, alignment)


def shift_homography(x, y):
    """For ``aligned``: the frame lies ``x`` pixels to the right of the reference's view and ``y`` below."""
    return np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1.0]])


def random_network(seed=0, config=SMALL, heads=0.3, flow=0.05, **overrides):
    """saf with random heads of that scale, ``flow`` for the motion head; 0 leaves everything where it is.

    ``overrides``: the scale of one head, "motion", "verify" or "residual".
    """
    torch.manual_seed(seed)
    model = SAF(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, layer in (
            ("motion", model.motion_head),
            ("verify", model.verify_head),
            ("residual", model.residual_head),
        ):
            size = overrides.get(name, flow if name == "motion" else heads)
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * size)
            layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) * size)
        model.judge.last.weight.copy_(torch.randn(model.judge.last.weight.shape, generator=generator) * 0.3)
    if not flow:
        model.motion_level = lambda ref, moved, ev, state: state  # no displacement, trust logit 1
    return model.eval()


def saf_fuser(model, dtype=torch.float32, calibration=None, device="cpu"):
    """A ``Fuser`` of a saf network."""
    model = model.to(device=device, dtype=dtype, memory_format=torch.channels_last)
    record = FuserRecord({"name": "test", "network": "saf", "sha256": "0" * 64}, device, str(dtype))
    return SAFFuser(model, torch.device(device), dtype, calibration, record)


def fused(fuser, burst, tile=0, *, strong=False, on_progress=lambda _share: None):
    """What a ``Fuser`` or a network of saf makes of an aligned burst, in tiles of ``tile`` pixels, 0 for one."""
    fuser = saf_fuser(fuser, fuser.residual_head.weight.dtype) if isinstance(fuser, SAF) else fuser
    return fuser.fuse(burst, MemoryBudget(tile, 1), strong=strong, on_progress=on_progress)


def static_merged(burst, tile=0):
    """The image of ``--deghost off``."""
    return fused(StaticFuser(), burst, tile).image


def motion_of(model, burst, refinement=DEFAULT_CONFIG) -> PairMotion:
    """The motion of the frame nearest in exposure to the reference of an aligned burst."""
    order = frame_order(burst.burst.evs, burst.burst.reference)
    cells = {index: burst.downsample(index, CELL) for index in order}
    coarse = coarse_motions(model, cells, order, burst.burst.evs, torch.device("cpu"), 1)
    flows = {order[n]: PairMotion(motion).cells(*cells[order[0]].shape[:2]) for n, motion in coarse.items()}
    return find_motions(burst, fit_burst(burst, order, cells, flows), coarse, 1, refinement)[1]


def mu(h):
    """The mu-law, on arrays."""
    return np.log1p(5000 * np.maximum(h, 0)) / np.log1p(5000)
