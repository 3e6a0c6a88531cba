"""The camera model against its formulas, NumPy's interpolation and a JPEG encoder."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from smarthdr_cli.data.synth import camera

pytestmark = pytest.mark.unit


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("iso", "level"), [(100.0, 0.5), (100.0, 0.01), (6400.0, 0.3), (1600.0, 0.002)])
def test_noise_variance_is_photon_plus_read_noise(iso, level):
    well, read = 6e6 / iso, 4.0
    sensor = camera.Sensor(torch.tensor([well]), torch.tensor([read]))
    light = torch.full((1, 1, 3, 300, 300), level)
    exposed = camera.expose(light, sensor, seeded())
    if level > 6 * (level / well) ** 0.5:
        assert float(exposed.mean()) == pytest.approx(level, rel=0.01)
        assert float(exposed.var()) == pytest.approx(level / well + (read / well) ** 2, rel=0.03)
    assert exposed.min() >= 0
    assert exposed.max() <= 1


def test_exposure_clips_at_1():
    sensor = camera.Sensor(torch.tensor([1e9]), torch.tensor([0.0]))
    exposed = camera.expose(torch.tensor([0.5, 1.5, 90.0]).view(1, 1, 1, 1, 3).expand(1, 1, 3, 1, 3), sensor, seeded())
    assert torch.allclose(exposed[0, 0, 0, 0], torch.tensor([0.5, 1.0, 1.0]), atol=1e-3)


def test_tone_curves_are_monotone_and_inverted():
    curve = camera.draw_tone_curve(seeded(), 64)
    assert curve.shape == (64, 3, camera.CURVE_KNOTS)
    assert (curve.diff(dim=-1) > 0).all()
    assert torch.allclose(curve[..., 0], torch.zeros(64, 3), atol=1e-6)
    assert torch.allclose(curve[..., -1], torch.ones(64, 3), atol=1e-6)
    assert curve.std(dim=0).max() > 0.05  # they differ
    inverse = camera.invert_curve(curve)
    x = torch.linspace(0.02, 0.98, 97)
    for b in range(0, 64, 9):
        for c in range(3):
            code = np.interp(x, np.linspace(0, 1, 256), curve[b, c])
            back = np.interp(code, np.linspace(0, 1, 256), inverse[b, c])
            slope = float(curve[b, c].diff().min()) * 255
            assert np.abs(back - x.numpy()).max() < 0.004 / max(slope, 0.05)


def test_a_linear_curve_is_the_identity():
    identity = torch.linspace(0, 1, 256).expand(1, 3, -1)
    assert torch.allclose(camera.invert_curve(identity), identity, atol=1e-6)
    x = torch.rand(1, 2, 3, 5, 6)
    assert torch.allclose(camera.apply_table(x, identity), x, atol=1e-6)


def test_tables_are_interpolated_linearly():
    table = camera.draw_tone_curve(seeded(1), 2)
    x = torch.rand(2, 3, 3, 4, 5, generator=seeded(2))
    out = camera.apply_table(x, table)
    for b in range(2):
        for c in range(3):
            expected = np.interp(x[b, :, c].numpy(), np.linspace(0, 1, 256), table[b, c].numpy())
            assert np.abs(out[b, :, c].numpy() - expected).max() < 1e-5


def photo(height=120, width=168, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = sum(np.sin(x[..., None] * rng.uniform(0, 0.3, 3) + y[..., None] * rng.uniform(0, 0.3, 3)) for _ in range(4))
    image = 0.5 + 0.1 * waves + rng.normal(0, 0.02, (height, width, 1))
    image[30:70, 40:100] = (0.8, 0.3, 0.2)
    return np.round(image.clip(0, 1) * 255).astype(np.uint8)


def psnr(a, b):
    return -10 * np.log10(np.mean((a.astype(float) - b.astype(float)) ** 2) / 255**2)


@pytest.mark.parametrize("quality", [40, 75, 90, 98])
@pytest.mark.parametrize("size", [(120, 168), (117, 163)])
def test_jpeg_loses_what_an_encoder_loses(quality, size):
    image = photo(*size)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality, subsampling=2)
    real = np.asarray(Image.open(io.BytesIO(stream.getvalue())))
    codes = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    ours = camera.jpeg(codes, torch.tensor([float(quality)]))[0].permute(1, 2, 0).numpy() * 255
    loss = psnr(real, image)
    assert psnr(ours, image) == pytest.approx(loss, abs=1.0)  # the same loss
    assert psnr(ours, real) > loss + 3  # of the same detail
    assert np.allclose(ours, np.round(ours), atol=1e-3)


def test_development_quantises_to_16_or_8_bits():
    linear = torch.rand(2, 2, 3, 16, 16, generator=seeded(3))
    identity = torch.linspace(0, 1, 256).expand(2, 3, -1)
    codes = camera.develop(linear, identity, torch.tensor([100.0, 100.0]), torch.tensor([True, False]))
    gamma = linear ** (1 / 2.2)
    assert (codes[0] - gamma[0]).abs().max() < 0.51 / 65535 + 1e-6
    assert (codes[1] - gamma[1]).abs().max() < 0.51 / 255
    assert torch.allclose(codes[1] * 255, (codes[1] * 255).round(), atol=1e-3)
    lossy = camera.develop(linear, identity, torch.tensor([100.0, 80.0]), torch.tensor([True, False]))
    assert torch.equal(lossy[0], codes[0])
    assert (lossy[1] - codes[1]).abs().max() > 0.01


def test_linearisation_inverts_development():
    curve = camera.draw_tone_curve(seeded(4), 1, strength=0.5)
    linear = torch.linspace(0.01, 0.95, 64).view(1, 1, 1, 1, 64).expand(1, 1, 3, 1, 64)
    codes = camera.develop(linear, curve, torch.tensor([100.0]), torch.tensor([True]))
    back = camera.linearize(codes, camera.invert_curve(curve))
    assert (back / linear - 1).abs().max() < 0.02
