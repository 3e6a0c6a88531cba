"""The file of a sprite."""

import re

import numpy as np
import pytest
import torch

from smarthdr_cli.data.synth.sprites import read_sprite, write_sprite
from smarthdr_cli.errors import InputError
from tests.support.people import rectangle_sprite

pytestmark = pytest.mark.unit


def test_a_file_holds_the_sprite_in_half_precision(tmp_path):
    sprite = rectangle_sprite(radiance=0.123)
    write_sprite(tmp_path / "a.npz", sprite)
    read = read_sprite(tmp_path / "a.npz")
    for name in ("rgba", "shadow", "motion"):
        assert torch.equal(getattr(read, name), getattr(sprite, name).half())
    for name in ("visible", "travel", "root"):
        assert torch.equal(getattr(read, name), getattr(sprite, name))
    assert (read.height, read.panorama, read.phases) == (sprite.height, sprite.panorama, 5)
    assert (tmp_path / "a.npz").stat().st_size < 10_000


def test_a_damaged_file_is_refused_by_name(tmp_path):
    path = tmp_path / "a.npz"
    write_sprite(path, rectangle_sprite())
    whole = path.read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=re.escape(str(path))):
            read_sprite(path)


@pytest.mark.parametrize(("name", "shape"), [("motion", (5, 2, 8, 8)), ("shadow", (4, 1, 60, 40)), ("travel", (4, 2))])
def test_planes_that_do_not_belong_together_are_refused(tmp_path, name, shape):
    path = tmp_path / "a.npz"
    write_sprite(path, rectangle_sprite())
    with np.load(path) as stored:
        arrays = dict(stored) | {name: np.zeros(shape, np.float32)}
    np.savez(path, **arrays)
    with pytest.raises(InputError, match="not a readable sprite"):
        read_sprite(path)
