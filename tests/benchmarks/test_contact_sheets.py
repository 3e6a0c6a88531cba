"""Contact sheets and the figures of a model card: the choice of crops and scenes, and the comments."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.release import contact_sheets, model_card_figures
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.models.weights import read_manifest, weights_dir

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "burst"


@pytest.fixture(scope="module")
def burst() -> Burst:
    return load_burst(sorted(EXAMPLE.glob("img*.jpg"))).burst


def test_a_crop_has_the_maximum_of_its_map_and_the_next_lies_elsewhere():
    first, second = np.zeros((100, 150), np.float32), np.zeros((100, 150), np.float32)
    first[60:70, 100:110] = 1
    second[60:70, 100:110] = 1  # in the first crop
    second[10:16, 20:26] = 0.5
    second[90:92, 4:6] = 0.4
    crops = contact_sheets.choose_crops([first, second], 40 * contact_sheets.CELL_PX)
    for (rows, columns), (y, x) in zip(crops, ((65, 105), (13, 23)), strict=True):
        assert rows.start <= y * contact_sheets.CELL_PX < rows.stop
        assert columns.start <= x * contact_sheets.CELL_PX < columns.stop
        assert rows.stop - rows.start == columns.stop - columns.start == 40 * contact_sheets.CELL_PX


@given(height=st.integers(20, 60), width=st.integers(20, 60), seed=st.integers(0, 2**32 - 1))
def test_crops_lie_in_the_image_for_any_maps(height, width, seed):
    random = np.random.default_rng(seed)
    maps = [random.random((height, width), np.float32) ** 8, np.zeros((height, width), np.float32)]
    for rows, columns in contact_sheets.choose_crops([*maps, np.ones_like(maps[0])], 120):
        assert 0 <= rows.start < rows.stop <= height * contact_sheets.CELL_PX
        assert 0 <= columns.start < columns.stop <= width * contact_sheets.CELL_PX
        assert rows.stop - rows.start == min(120, height * contact_sheets.CELL_PX)


def test_cells_are_means_of_whole_squares():
    values = np.random.default_rng(0).random((4 * 5 + 3, 4 * 7 + 1), np.float32)
    slow = [[values[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean() for x in range(7)] for y in range(5)]
    np.testing.assert_allclose(contact_sheets.cell_means(values), slow, rtol=1e-5)


def test_the_middle_has_full_resolution_and_the_same_aspect_ratio(burst):
    assert contact_sheets.crop_middle(burst, 1200 * 900) is burst
    part = contact_sheets.crop_middle(burst, 300 * 225)
    assert part.size == (225, 300)
    assert part.reference == burst.reference
    for whole, cut in zip(burst.frames, part.frames, strict=True):
        assert (cut.codes == whole.codes[337:562, 450:750]).all()


def test_marks_are_drawn_on_a_copy():
    image = np.zeros((400, 600, 3), np.uint8)
    out = contact_sheets.mark_crops(image, [(slice(100, 200), slice(300, 400))])
    assert not image.any()
    assert out[100, 350].any()
    assert not out[150, 360].any()


def test_comments_about_other_weights_are_marked_as_such():
    comments = {"weights": "a" * 64, "date": "2026-01-01", "one": {"ours": "a ghost", "rivals": "two"}}
    figures = {
        "one": [3, "-2.0 to +2.0", "6x4", "0.01", "0%", "1%"],
        "two": [3, "-2.0 to +2.0", "6x4", "0", "0%", "1%"],
    }
    text = contact_sheets.section(figures, comments, "a" * 64)
    assert "| one | a ghost | two |" in text
    assert "| two | not looked at |  |" in text
    assert "out of date" not in text
    assert "out of date" in contact_sheets.section(figures, comments, "b" * 64)


def test_every_burst_in_the_results_has_its_comments():
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text("utf-8")
    (section,) = re.findall(r"<!-- contact:begin -->\n(.*?)<!-- contact:end -->", results, re.DOTALL)
    assert "not looked at" not in section
    comments = tomllib.loads(contact_sheets.COMMENTS.read_text("utf-8"))
    for name, comment in comments.items():
        if isinstance(comment, dict):
            assert f"| {name} | {comment['ours']} | {comment['rivals']} |" in section


def test_sheets_inside_the_repository_are_rejected(capsys):
    with pytest.raises(SystemExit):
        contact_sheets.parse(["--bursts", str(EXAMPLE), "--out", str(ROOT / "sheets")])
    assert "in the repository" in capsys.readouterr().err


def test_percentiles_are_by_nearest_rank():
    values = [0.5, 0.1, 0.9, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6, 1.0]
    assert [values[i] for i in model_card_figures.indices_at_percentiles(values, (10, 50, 90, 100))] == [
        0.1,
        0.5,
        0.9,
        1.0,
    ]
    assert model_card_figures.indices_at_percentiles([3.0], (10, 90)) == [0, 0]


def test_the_lowest_come_first_without_nans():
    assert model_card_figures.lowest_indices([1.0, -2.0, float("nan"), -1.0], 2) == [1, 3]
    assert model_card_figures.lowest_indices([float("nan"), 1.0], 2) == [1]


def test_the_figures_of_a_card_exist_and_are_small():
    for entry in read_manifest(weights_dir()):
        card = (weights_dir() / entry.file).with_suffix(".md")
        for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", card.read_text("utf-8")):
            assert (ROOT / "weights" / name).stat().st_size <= model_card_figures.MAX_BYTES
        if entry.default:
            assert f"]({entry.name}-uncertainty.jpg)" in card.read_text("utf-8")
            assert f"]({entry.name}-failures.jpg)" in card.read_text("utf-8")
