"""Radiance sources: reading, the held-out split, mip chains, procedural scenes and textures."""

import cv2
import numpy as np
import pytest
import torch

from smarthdr_cli.data.synth.export import write_radiance
from smarthdr_cli.data.synth.sources import (
    HELD_OUT,
    Texture,
    bank_from_images,
    fractal_noise,
    load_bank,
    procedural_scene,
    read_radiance,
    sample_source,
)
from smarthdr_cli.errors import InputError


def random_light(seed=0, height=32, width=48):
    return np.random.default_rng(seed).gamma(1.0, 1.0, (height, width, 3)).astype(np.float32)


def test_exr_and_hdr_hold_the_same_light(tmp_path):
    light = random_light()
    write_radiance(tmp_path / "a.exr", light)
    cv2.imwrite(str(tmp_path / "b.hdr"), light[..., ::-1])
    assert np.array_equal(read_radiance(tmp_path / "a.exr"), light)
    assert np.abs(read_radiance(tmp_path / "b.hdr") - light).max() < light.max() / 128


def test_invalid_numbers_are_replaced(tmp_path):
    light = random_light()
    light[0, 0] = (np.nan, np.inf, -1.0)
    write_radiance(tmp_path / "a.exr", light)
    assert read_radiance(tmp_path / "a.exr")[0, 0].tolist() == [0, 60000, 0]


@pytest.mark.parametrize("name", ["a.exr", "a.hdr"])
def test_unreadable_sources_are_input_errors(tmp_path, name):
    (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(InputError, match=name):
        read_radiance(tmp_path / name)


def test_named_panoramas_are_held_out(tmp_path):
    for name in (HELD_OUT[0], "my_kitchen", "my_garden"):
        write_radiance(tmp_path / f"{name}.exr", random_light())
    assert load_bank(tmp_path).names == ("my_garden", "my_kitchen")
    assert load_bank(tmp_path, held_out=True).names == (HELD_OUT[0],)


@pytest.mark.parametrize(("count", "held_out"), [(2, [1]), (5, [4]), (8, [7]), (17, [7, 15])])
def test_every_eighth_of_other_sources_is_held_out(tmp_path, count, held_out):
    names = [f"mine_{number:02d}" for number in range(count)]
    for number, name in enumerate(names):
        write_radiance(tmp_path / f"{name}.exr", random_light(number))
    expected = tuple(names[number] for number in held_out)
    assert load_bank(tmp_path, held_out=True).names == expected
    assert load_bank(tmp_path).names == tuple(name for name in names if name not in expected)


def test_folders_without_usable_sources(tmp_path):
    with pytest.raises(InputError, match="no training"):
        load_bank(tmp_path)
    write_radiance(tmp_path / "only.exr", random_light())
    assert len(load_bank(tmp_path)) == 1
    with pytest.raises(InputError, match="nothing to hold out"):
        load_bank(tmp_path, held_out=True)
    write_radiance(tmp_path / "tiny.exr", random_light(0, 8, 40))
    with pytest.raises(InputError, match=r"tiny\.exr: .*16 pixels"):
        load_bank(tmp_path, held_out=True)


def test_mips_are_box_means_and_the_median_is_1():
    bank = bank_from_images(["a"], [random_light() * 37])
    level = bank.mips[0][0].float()
    assert float(level.mean(dim=0).median()) == pytest.approx(1, abs=0.05)
    for k in range(1, 4):
        expected = level.view(3, 32 >> k, 1 << k, 48 >> k, 1 << k).mean(dim=(2, 4))
        assert torch.allclose(bank.mips[k][0].float(), expected, rtol=4e-3, atol=1e-3)


def test_procedural_banks_depend_on_seed_and_split():
    first, second, held_out = (load_bank(None, procedural=2, seed=3, held_out=flag) for flag in (False, False, True))
    assert torch.equal(first.mips[0][1], second.mips[0][1])
    assert not torch.equal(first.mips[0][1], held_out.mips[0][1])
    assert not torch.equal(first.mips[0][0], first.mips[0][1])


def test_procedural_scenes_span_the_range_of_a_photograph():
    scene = procedural_scene(np.random.default_rng(0))
    assert scene.shape == (512, 1024, 3)
    assert scene.min() > 0
    assert np.isfinite(scene).all()
    low, high = np.quantile(scene.mean(axis=2), [0.001, 0.999])
    assert 6 < np.log2(high / low) < 20


@pytest.mark.parametrize("slope", [0.6, 1.6])
def test_fractal_noise_has_the_slope_of_its_spectrum(slope):
    noise = fractal_noise(np.random.default_rng(1), 256, 256, slope)
    assert noise.mean() == pytest.approx(0, abs=1e-4)
    assert noise.std() == pytest.approx(1, abs=1e-3)
    power = np.abs(np.fft.rfft2(noise)) ** 2
    radius = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None])
    bands = [np.sqrt(power[(radius > low) & (radius <= 2 * low)].mean()) for low in (0.02, 0.04, 0.08, 0.16)]
    slopes = np.diff(np.log2(bands))
    assert np.allclose(slopes, -slope, atol=0.35)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def grid(height, width):
    return torch.stack(torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")[::-1], -1)


def test_sources_are_sampled_bilinearly_at_their_own_pixels(bank):
    points = grid(5, 7)
    _, height, width = bank.mips[0][1].shape
    corner = torch.tensor([100 / width, 50 / height])
    sampled = sample_source(bank, 1, points, corner, 1.0)
    assert torch.allclose(sampled, bank.mips[0][1][:, 50:55, 100:107].float(), rtol=1e-3)
    wrapped = sample_source(bank, 1, points, torch.tensor([(width - 3) / width, 50 / height]), 1.0)
    expected = torch.cat([bank.mips[0][1][:, 50:55, -3:], bank.mips[0][1][:, 50:55, :4]], dim=-1).float()
    assert torch.allclose(wrapped, expected, rtol=1e-3)


def test_defocus_removes_detail_and_does_not_shift(bank):
    points, centre = grid(64, 64), torch.tensor([0.3, 0.5])
    sharp, soft, softer = (sample_source(bank, 0, points, centre, 1.0, level) for level in (0, 1, 2))
    detail = [float(light.diff(dim=-1).abs().mean()) for light in (sharp, soft, softer)]
    assert detail[0] > 1.3 * detail[1] > 1.6 * detail[2]
    for light in (soft, softer):  # means over blocks agree except for light that crosses their edges
        blocks = [torch.nn.functional.avg_pool2d(image, 16) for image in (sharp, light)]
        assert float((blocks[0] - blocks[1]).abs().mean() / blocks[0].mean()) < 0.15


def test_defocus_is_drawn_with_its_probability(bank):
    drawn = Texture.draw(bank, seeded(), 600, 0.3).defocus
    assert set(drawn) == {0, 1, 2}
    assert 0.2 < sum(level > 0 for level in drawn) / 600 < 0.4
    plain = Texture.draw(bank, seeded(), 600)
    assert plain.defocus == [0] * 600
    assert plain.source == Texture.draw(bank, seeded(), 600, 0.3).source
