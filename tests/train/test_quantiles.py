"""The running histogram against numpy's quantiles, and its state."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from smarthdr_cli.train.quantiles import LogHistogram

BIN = (1e4) ** (1 / 2048)


@settings(max_examples=40)
@given(st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=60), st.floats(0, 1))
def test_a_quantile_is_numpys_to_a_bin(values, q):
    """numpy's own definitions differ by a whole value; ours lies between the two neighbours, give or take a bin."""
    seen = LogHistogram()
    seen.update(torch.tensor(values))
    low, high = (np.quantile(values, q, method=m) for m in ("lower", "higher"))
    low = np.sort(values)[max(0, math.ceil(q * len(values)) - 1)] if q else low
    assert min(low, high) / BIN**1.01 <= seen.quantile(q) <= max(low, high) * BIN**1.01


def test_many_values_in_pieces_are_those_of_the_whole():
    values = torch.exp(torch.randn(50_000, generator=torch.Generator().manual_seed(0)) - 4).clamp(1e-4, 1)
    whole, parts, shuffled = LogHistogram(), LogHistogram(), LogHistogram()
    whole.update(values)
    for part in values.split(777):
        parts.update(part)
    for part in values.flip(0).split(501):
        shuffled.update(part)
    assert torch.equal(whole.counts, parts.counts)
    assert torch.equal(whole.counts, shuffled.counts)
    for q in (0.01, 0.4, 0.85, 0.99):
        assert whole.quantile(q) == pytest.approx(float(values.quantile(q)), rel=0.005)


def test_what_is_no_number_is_left_out_and_what_is_outside_goes_to_the_ends():
    seen = LogHistogram(0.01, 1.0, bins=10)
    seen.update(torch.tensor([math.nan, math.inf, -math.inf, 5.0, -3.0, 0.0, 0.1001]))
    assert seen.counts.sum() == 4
    assert seen.counts[0] == 2
    assert seen.counts[-1] == 1
    assert seen.quantile(0) == pytest.approx(0.01)
    assert seen.quantile(1) == pytest.approx(1.0)


def test_old_values_are_forgotten_at_the_stated_rate():
    seen = LogHistogram(decay=0.5)
    seen.update(torch.full((8,), 0.5))
    for _ in range(3):
        seen.update(torch.full((1,), 0.01))
    assert float(seen.counts.sum()) == 8 / 8 + 1 / 4 + 1 / 2 + 1
    assert seen.quantile(0.3) == pytest.approx(0.01, rel=0.01)


def test_processes_are_merged_by_addition():
    values = torch.rand(1000, generator=torch.Generator().manual_seed(1))
    one, two, both = LogHistogram(), LogHistogram(), LogHistogram()
    one.update(values[:300])
    two.update(values[300:])
    both.update(values)
    one.merge(two)
    assert torch.equal(one.counts, both.counts)
    with pytest.raises(ValueError, match="different bins"):
        one.merge(LogHistogram(bins=8))


def test_the_state_survives_a_checkpoint(tmp_path):
    seen = LogHistogram(decay=0.9)
    for seed in range(3):
        seen.update(torch.rand(100, generator=torch.Generator().manual_seed(seed)))
    torch.save(seen.state_dict(), tmp_path / "state.pt")
    again = LogHistogram(decay=0.9)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for one in (seen, again):
        one.update(torch.full((5,), 0.3))
    assert torch.equal(seen.counts, again.counts)
    with pytest.raises(ValueError, match="do not fit"):
        LogHistogram(bins=16).load_state_dict(seen.state_dict())


def test_nothing_has_no_quantile():
    seen = LogHistogram()
    assert seen.empty
    with pytest.raises(ValueError, match="no values seen"):
        seen.quantile(0.5)
    seen.update(torch.tensor([0.5]))
    assert not seen.empty
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        seen.quantile(1.5)
    for bad in ((0.0, 1.0, 8, 1.0), (1.0, 0.5, 8, 1.0), (0.1, 1.0, 1, 1.0), (0.1, 1.0, 8, 0.0)):
        with pytest.raises(ValueError, match="needs"):
            LogHistogram(bad[0], bad[1], bins=bad[2], decay=bad[3])
