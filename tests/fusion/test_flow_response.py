"""The camera curve once more through the optical flow."""

from dataclasses import replace

import numpy as np
import pytest

from smarthdr_cli.align import Alignment
from smarthdr_cli.aligned_burst import AlignedBurst
from smarthdr_cli.fusion.flow_response import refined_response
from smarthdr_cli.radiometry import named_response
from tests.support.responses import CURVES, make_burst, relative_error, true_table

pytestmark = pytest.mark.unit

SHIFT = 12.0  # px


@pytest.fixture(scope="module")
def moved() -> AlignedBurst:
    """A burst whose outer frames show everything displaced, as it stands before fusion: under sRGB."""
    burst = make_burst(CURVES["contrast"], misalignment=SHIFT)
    return AlignedBurst(burst, named_response("srgb"), Alignment.identity(3), estimated=True, curve_error_ev=0.25)


def cells(source: AlignedBurst) -> tuple[int, int, int]:
    """The shape of a flow on cells of 4 pixels."""
    height, width = source.burst.size
    return (-(-height // 4), -(-width // 4), 2)


def test_frames_that_agree_through_the_flow_give_their_curve(moved):
    flows = {n: np.broadcast_to(np.float32([SHIFT * (-1) ** n, 0.6 * SHIFT]), cells(moved)) for n in (0, 2)}
    refined = refined_response(moved, flows)
    assert relative_error(refined.response.table, true_table(CURVES["contrast"])) < 0.03
    assert refined.curve_error_ev == refined.response.record["pair_error_ev"] < 0.1


def test_a_curve_that_is_known_stays(moved):
    known = replace(moved, estimated=False)
    flows = {n: np.full(cells(moved), SHIFT, np.float32) for n in (0, 2)}
    assert refined_response(known, flows) is known


def test_a_burst_that_does_not_move_is_left_alone(moved):
    still = {n: np.zeros(cells(moved), np.float32) for n in (0, 2)}
    assert refined_response(moved, still) is moved


def test_a_burst_that_gives_no_curve_keeps_its_own(moved):
    source = replace(moved, burst=make_burst(CURVES["contrast"], evs=(-0.2, 0.0, 0.2)))
    assert refined_response(source, {0: np.ones(cells(moved), np.float32)}) is source
