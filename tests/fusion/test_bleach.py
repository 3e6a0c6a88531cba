"""Bleached highlights: what is taken off before frames are compared, by a plain twin and through the whole of fuse."""

import numpy as np
import pytest
import torch

from smarthdr_cli.fusion import network_fusion
from smarthdr_cli.fusion.bleach import FALL, bleaches, unbleached
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.pipeline import StageTimer, fuse_loaded
from smarthdr_cli.models.pairwise import MAX_TRAINED_EV, common_exposure, normalised_difference
from tests.support import bursts

ORANGE = (1.0, 0.3, 0.06)


def pixel(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)


def ev(value):
    return torch.tensor([float(value)])


def bleached(light, strength=0.85):
    """(..., 3) light, clip = 1, as a camera shows it that mixes white in from the clip on: not by the law of bleach.py,
    and somewhat less than that allows."""
    x = np.maximum(light.max(axis=-1, keepdims=True), 1)
    white = strength * (1 - 1 / x)
    held = np.minimum(light, 1)
    return held + white * (1 - held)


def twin(bright, dark, gain):
    """One pixel, channel by channel."""
    x = max(dark) * gain
    if x <= 1:
        return list(bright)
    t = min(max((bright[dark.index(max(dark))] - 0.8) / 0.17, 0.0), 1.0)
    most = (1 - x**-FALL) * t * t * (3 - 2 * t)
    added = []
    for b, d in zip(bright, dark, strict=True):
        held = min(d * gain, 1.0)
        added.append(min(max(b - held, 0.0), most * (1 - held)))
    u = min(max((max(added) - 0.05) / 0.1, 0.0), 1.0)
    return [b - u * u * (3 - 2 * u) * more for b, more in zip(bright, added, strict=True)]


@pytest.mark.parametrize("step", [-2.0, 1.5, 4.0])
def test_the_plain_twin_agrees(step):
    draw = torch.Generator().manual_seed(1)
    ref, other = torch.rand(2, 1, 3, 40, 50, generator=draw).mul(1.4).clamp(max=1)
    share = 1.4 / 2 ** abs(step)
    bright, dark = (other, ref * share) if step > 0 else (ref, other * share)
    pair = (dark, bright) if step > 0 else (bright, dark)
    found = unbleached(*pair, ev(step))
    mended, kept = (found[1], found[0]) if step > 0 else found
    assert kept is dark
    wanted = [twin(b, d, 2 ** abs(step)) for b, d in zip(bright.flatten(2)[0].T.tolist(), dark.flatten(2)[0].T.tolist(),
                                                        strict=True)]  # fmt: skip
    np.testing.assert_allclose(mended.flatten(2)[0].T.numpy(), wanted, atol=1e-6)
    assert 0.05 < float((mended != bright).any(dim=1).float().mean()) < 0.9


@pytest.mark.parametrize("over", [1.3, 2.0, 6.0, 12.0])
@pytest.mark.parametrize("step", [-4.0, 4.0])
def test_white_in_one_frame_and_orange_in_the_other_agree(over, step):
    light = np.array(ORANGE) * over
    white, orange = pixel(*bleached(light)), pixel(*light / 16)

    def gap(ref, other):
        return float(normalised_difference(*common_exposure(ref, other, ev(step)), ev(step)))

    pair = (white, orange) if step < 0 else (orange, white)
    assert gap(*unbleached(*pair, ev(step))) < 0.5
    assert gap(*pair) > (2 if over >= 2 else 0.5)


def test_what_no_camera_does_still_counts():
    """Not bleaching: blue where the other is orange, orange where the other is dark, too much white for so little."""
    orange = pixel(*np.array(ORANGE) * 2 / 16)
    for other in (pixel(0.1, 0.3, 1.0), pixel(1.0, 0.3, 0.06) * 0.5, pixel(1.0, 0.1, 0.06)):
        assert unbleached(other, orange, ev(-4))[0].flatten().tolist() == pytest.approx(other.flatten().tolist())
    slightly = pixel(*np.array(ORANGE) * 1.05 / 16)
    left = unbleached(pixel(1.0, 1.0, 1.0), slightly, ev(-4))[0]
    assert float(left.amin()) > 0.9


def test_the_noise_of_a_dark_channel_is_no_bleaching():
    """Yellow cloth: blue is 0.07 in the reference and next to nothing in the frame two stops darker."""
    cloth, darker = pixel(1.0, 0.99, 0.07), pixel(0.37, 0.25, 0.005)
    found = unbleached(cloth, darker, ev(-2))[0]
    assert float(found.flatten()[2]) == pytest.approx(0.07, rel=0.02)


def test_nothing_is_touched_that_need_not_be():
    dim = torch.full((1, 3, 4, 4), 0.5)
    assert unbleached(dim, dim / 4, ev(-2))[0] is dim
    white, orange = pixel(1, 1, 1), pixel(*np.array(ORANGE) / 4)
    assert unbleached(white, orange, ev(-MAX_TRAINED_EV - 0.1))[0] is white


def wood(bits):
    """A wall of orange wood from dark to twelve times the reference's clip, as a camera develops it."""
    height, width = 128, 160
    level = np.geomspace(0.05, 12, width, dtype=np.float32)[None, :, None]
    light = bursts.texture(height, width, low=0.8, high=1.0).mean(axis=2, keepdims=True) * level * np.float32(ORANGE)
    frames, white = [], (1 << bits) - 1
    for step in (-4.0, -2.0, 0.0):
        codes = bleached(light * 2.0**step) ** (1 / 2.2) * white
        frames.append(bursts.frame(np.round(codes).astype(np.uint8 if bits == 8 else np.uint16), step))
    return bursts.Burst(tuple(frames), 2), light


def hue_off(bits):
    """Largest error of blue over green, in stops, of column medians where the reference is clipped and bleached."""
    burst, light = wood(bits)
    fused = fuse_loaded(
        burst, FuseOptions(response="gamma2.2", align="none", precision="fp32"), StageTimer(lambda *_: None)
    )
    ratio = np.median(fused.radiance[..., 2] / fused.radiance[..., 1], axis=0)
    over = np.median(light.max(axis=2), axis=0) > 2
    return float(np.abs(np.log2(ratio[over] / (ORANGE[2] / ORANGE[1]))).max())


def test_lit_wood_stays_orange(monkeypatch):
    assert bleaches(wood(8)[0])
    assert not bleaches(wood(16)[0])
    assert hue_off(8) < 0.5
    monkeypatch.setattr(network_fusion, "bleaches", lambda _burst: False)
    assert hue_off(8) > 1.2  # taken at its word, the white of the reference wins
