"""State files: whole or not at all, checked bit by bit, and readable from earlier versions; seeded generators."""

import errno
import os
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.errors import InputError, OutputError
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.state import generator, load_train_state, new_state, save_state
from tests.support.training import same_weights

CPU = torch.device("cpu")
NUMBERS = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4)


def test_the_seed_decides_the_initial_weights(values):
    a, b, c = (new_state(train_config(values | {"seed": s}), CPU) for s in (1, 1, 2))
    assert same_weights(a.student.state_dict(), b.student.state_dict())
    assert not same_weights(a.student.state_dict(), c.student.state_dict())
    assert same_weights(a.teacher.state_dict(), a.student.state_dict())
    assert all(a.teacher.state_dict()[n].data_ptr() != v.data_ptr() for n, v in a.student.state_dict().items())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_state_is_replaced_whole_or_not_at_all(values, tmp_path, monkeypatch, error):
    config = train_config(values)
    state = new_state(config, CPU)
    path = tmp_path / "state.pt"
    save_state(path, state, config)
    good = path.read_bytes()

    def broken(_file):
        raise error

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises((KeyboardInterrupt, OutputError)) as caught:
        save_state(path, state, config)
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]
    assert isinstance(error, KeyboardInterrupt) or f"cannot write {path}: no space left" in str(caught.value)


def test_a_state_records_its_initial_weights(values, tmp_path):
    config = train_config(values)
    state = new_state(config, CPU)
    state.init = {"name": "a.safetensors", "sha256": "12", "licence": "CC0-1.0"}
    save_state(tmp_path / "state.pt", state, config)
    assert load_train_state(tmp_path / "state.pt", config, CPU).init == state.init


def test_a_missing_damaged_or_foreign_state_is_an_input_error(values, tmp_path):
    config = train_config(values)
    path = tmp_path / "state.pt"
    with pytest.raises(InputError, match="no training state"):
        load_train_state(path, config, CPU)
    for content in (b"", b"text", b"PK\x03\x04 half a zip"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a training state"):
            load_train_state(path, config, CPU)
    save_state(path, new_state(config, CPU), config)
    other = train_config(values | {"model": {"name": "saf", "refine": 16}})
    with pytest.raises(InputError, match="not a training state of this model"):
        load_train_state(path, other, CPU)
    torch.save([1, 2], path)
    with pytest.raises(InputError):
        load_train_state(path, config, CPU)


def test_any_flipped_bit_is_detected(values, tmp_path):
    config, path, dice = train_config(values), tmp_path / "state.pt", random.Random(0)
    save_state(path, new_state(config, CPU), config)
    good = path.read_bytes()
    for _ in range(200):
        data = bytearray(good)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            load_train_state(path, config, CPU)
        assert str(caught.value).startswith(f"{path}: not a training state, or a damaged one; restore the file")


def test_a_state_without_a_checksum_is_read(values, tmp_path):
    """Earlier versions wrote none; the archive has checksums of its parts."""
    config, path = train_config(values), tmp_path / "state.pt"
    state = new_state(config, CPU)
    save_state(path, state, config)
    torch.save(torch.load(path, weights_only=True), path)
    loaded = load_train_state(path, config, CPU)
    assert same_weights(loaded.student.state_dict(), state.student.state_dict())
    value = next(v for v in state.teacher.state_dict().values() if v.ndim == 1)
    data, there = path.read_bytes(), value.numpy().tobytes()
    path.write_bytes(data.replace(there, bytes([there[0] ^ 1]) + there[1:]))
    assert path.read_bytes() != data
    with pytest.raises(InputError, match="a damaged one"):
        load_train_state(path, config, CPU)


class Forged:
    """A pickle that torch rejects, in a message that advises to load it all the same."""

    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize(
    "changes",
    [
        {"step": -1}, {"step": "5"}, {"step": True}, {"seconds": "long"}, {"student": []}, {"teacher": None},
        {"optimizer": 3}, {"extra": [1]}, {"init": "saf-base"}, {"student": {}}, {"extra": Forged()},
    ],
)  # fmt: skip
def test_a_state_with_parts_of_other_types_is_rejected(values, tmp_path, capsys, changes):
    config, path = train_config(values), tmp_path / "state.pt"
    save_state(path, new_state(config, CPU), config)
    torch.save(torch.load(path, weights_only=True) | changes, path)
    with pytest.raises(InputError, match="restore the file from a copy, or begin another run") as caught:
        load_train_state(path, config, CPU)
    assert str(caught.value).startswith(f"{path}: not a training state")
    assert "weights_only" not in str(caught.value)
    assert capsys.readouterr().out == ""


def first(*numbers):
    return torch.rand(8, generator=generator(*numbers)).tolist()


@given(NUMBERS, NUMBERS)
def test_equal_numbers_give_equal_draws_and_others_give_others(one, two):
    assert first(*one) == first(*one)
    assert (first(*one) == first(*two)) == (one == two or padded(one) == padded(two))


def padded(numbers):
    """numpy's seeds ignore trailing zeros; every purpose in training has a fixed number of numbers."""
    words = [w for n in numbers for w in ((n & 0xFFFFFFFF, n >> 32) if n >> 32 else (n,))]
    while words and words[-1] == 0:
        words.pop()
    return words


def test_draws_are_uncorrelated_and_leave_the_global_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    draws = torch.stack([torch.randn(4000, generator=generator(0, 3, step)) for step in range(6)])
    assert torch.equal(torch.get_rng_state(), before)
    assert (torch.corrcoef(draws) - torch.eye(6)).abs().max() < 0.08
