"""Sources: read, kept apart, and made."""

import cv2
import numpy as np
import pytest
import torch

from smarthdr_cli.data.synth.export import write_radiance
from smarthdr_cli.data.synth.sources import (
    HELD_OUT,
    bank_from_images,
    fractal_noise,
    load_bank,
    procedural_scene,
    read_radiance,
)
from smarthdr_cli.errors import InputError


def picture(seed=0, height=32, width=48):
    return np.random.default_rng(seed).gamma(1.0, 1.0, (height, width, 3)).astype(np.float32)


def test_exr_and_hdr_are_read_alike(tmp_path):
    light = picture()
    write_radiance(tmp_path / "a.exr", light)
    cv2.imwrite(str(tmp_path / "b.hdr"), light[..., ::-1])
    assert np.array_equal(read_radiance(tmp_path / "a.exr"), light)
    assert np.abs(read_radiance(tmp_path / "b.hdr") - light).max() < light.max() / 128


def test_no_number_is_worse_than_0(tmp_path):
    light = picture()
    light[0, 0] = (np.nan, np.inf, -1.0)
    write_radiance(tmp_path / "a.exr", light)
    assert read_radiance(tmp_path / "a.exr")[0, 0].tolist() == [0, 60000, 0]


@pytest.mark.parametrize("name", ["a.exr", "a.hdr"])
def test_damaged_sources_are_input_errors(tmp_path, name):
    (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(InputError, match=name):
        read_radiance(tmp_path / name)


def test_named_places_are_held_out(tmp_path):
    for name in (HELD_OUT[0], "my_kitchen", "my_garden"):
        write_radiance(tmp_path / f"{name}.exr", picture())
    assert load_bank(tmp_path).names == ("my_garden", "my_kitchen")
    assert load_bank(tmp_path, held_out=True).names == (HELD_OUT[0],)


@pytest.mark.parametrize(("count", "kept"), [(2, 1), (5, 1), (8, 1), (17, 2)])
def test_a_folder_of_ones_own_is_split(tmp_path, count, kept):
    for number in range(count):
        write_radiance(tmp_path / f"mine_{number:02d}.exr", picture(number))
    train, held = load_bank(tmp_path), load_bank(tmp_path, held_out=True)
    assert len(held) == kept
    assert len(train) == count - kept
    assert not set(train.names) & set(held.names)


def test_folders_without_sources_say_so(tmp_path):
    with pytest.raises(InputError, match="no training"):
        load_bank(tmp_path)
    write_radiance(tmp_path / "only.exr", picture())
    assert len(load_bank(tmp_path)) == 1
    with pytest.raises(InputError, match="nothing to hold out"):
        load_bank(tmp_path, held_out=True)
    write_radiance(tmp_path / "tiny.exr", picture(0, 8, 40))
    with pytest.raises(InputError, match=r"tiny\.exr: .*16 pixels"):
        load_bank(tmp_path, held_out=True)


def test_mips_are_box_means_and_the_median_is_1():
    bank = bank_from_images(["a"], [picture() * 37])
    level = bank.mips[0][0].float()
    assert float(level.mean(dim=0).median()) == pytest.approx(1, abs=0.05)
    for k in range(1, 4):
        wanted = level.view(3, 32 >> k, 1 << k, 48 >> k, 1 << k).mean(dim=(2, 4))
        assert torch.allclose(bank.mips[k][0].float(), wanted, rtol=4e-3, atol=1e-3)


def test_procedural_banks_repeat_and_differ():
    a, b, held = (load_bank(None, procedural=2, seed=3, held_out=h) for h in (False, False, True))
    assert torch.equal(a.mips[0][1], b.mips[0][1])
    assert not torch.equal(a.mips[0][1], held.mips[0][1])
    assert not torch.equal(a.mips[0][0], a.mips[0][1])


def test_procedural_scenes_span_a_photographs_range():
    scene = procedural_scene(np.random.default_rng(0))
    assert scene.shape == (512, 1024, 3)
    assert scene.min() > 0
    assert np.isfinite(scene).all()
    low, high = np.quantile(scene.mean(axis=2), [0.001, 0.999])
    assert 6 < np.log2(high / low) < 20


@pytest.mark.parametrize("slope", [0.6, 1.6])
def test_fractal_noise_falls_with_its_slope(slope):
    noise = fractal_noise(np.random.default_rng(1), 256, 256, slope)
    assert noise.mean() == pytest.approx(0, abs=1e-4)
    assert noise.std() == pytest.approx(1, abs=1e-3)
    power = np.abs(np.fft.rfft2(noise)) ** 2
    radius = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None])
    bands = [np.sqrt(power[(radius > low) & (radius <= 2 * low)].mean()) for low in (0.02, 0.04, 0.08, 0.16)]
    falls = np.diff(np.log2(bands))
    assert np.allclose(falls, -slope, atol=0.35)
