"""Contact sheets and a card's pictures: what is chosen to be shown, and whether the words are about these weights."""

import importlib
import re
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.burst.load import load_burst
from smarthdr_cli.models.weights import read_manifest, weights_dir

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "burst"


@pytest.fixture(scope="module")
def benchmarks() -> dict[str, ModuleType]:
    """contact and card_pictures, which import their neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        return {name: importlib.import_module(name) for name in ("contact", "card_pictures")}


@pytest.fixture(scope="module")
def contact(benchmarks) -> ModuleType:
    return benchmarks["contact"]


@pytest.fixture(scope="module")
def pictures(benchmarks) -> ModuleType:
    return benchmarks["card_pictures"]


@pytest.fixture(scope="module")
def burst() -> Burst:
    return load_burst(sorted(EXAMPLE.glob("img*.jpg"))).burst


def test_a_crop_shows_what_its_map_points_at_and_the_next_looks_elsewhere(contact):
    first, second = np.zeros((100, 150), np.float32), np.zeros((100, 150), np.float32)
    first[60:70, 100:110] = 1
    second[60:70, 100:110] = 1  # seen already
    second[10:16, 20:26] = 0.5
    second[90:92, 4:6] = 0.4
    shown = contact.places([first, second], 40 * contact.CELL)
    for (rows, columns), (y, x) in zip(shown, ((65, 105), (13, 23)), strict=True):
        assert rows.start <= y * contact.CELL < rows.stop
        assert columns.start <= x * contact.CELL < columns.stop
        assert rows.stop - rows.start == columns.stop - columns.start == 40 * contact.CELL


@given(height=st.integers(20, 60), width=st.integers(20, 60), seed=st.integers(0, 2**32 - 1))
def test_crops_lie_in_the_picture_whatever_the_maps(contact, height, width, seed):
    random = np.random.default_rng(seed)
    maps = [random.random((height, width), np.float32) ** 8, np.zeros((height, width), np.float32)]
    for rows, columns in contact.places([*maps, np.ones_like(maps[0])], 120):
        assert 0 <= rows.start < rows.stop <= height * contact.CELL
        assert 0 <= columns.start < columns.stop <= width * contact.CELL
        assert rows.stop - rows.start == min(120, height * contact.CELL)


def test_cells_are_means_of_whole_squares(contact):
    values = np.random.default_rng(0).random((4 * 5 + 3, 4 * 7 + 1), np.float32)
    slow = [[values[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean() for x in range(7)] for y in range(5)]
    np.testing.assert_allclose(contact.cells(values), slow, rtol=1e-5)


def test_the_middle_is_at_full_size_and_of_the_same_shape(contact, burst):
    assert contact.middle(burst, 1200 * 900) is burst
    part = contact.middle(burst, 300 * 225)
    assert part.size == (225, 300)
    assert part.reference == burst.reference
    for whole, cut in zip(burst.frames, part.frames, strict=True):
        assert (cut.codes == whole.codes[337:562, 450:750]).all()


def test_marks_do_not_touch_the_picture_they_are_drawn_on(contact):
    picture = np.zeros((400, 600, 3), np.uint8)
    out = contact.marked(picture, [(slice(100, 200), slice(300, 400))])
    assert not picture.any()
    assert out[100, 350].any()
    assert not out[150, 360].any()


def test_words_about_other_weights_are_said_to_be(contact):
    words = {"weights": "a" * 64, "date": "2026-01-01", "one": {"ours": "a ghost", "rivals": "two"}}
    figures = {
        "one": [3, "-2.0 to +2.0", "6x4", "0.01", "0%", "1%"],
        "two": [3, "-2.0 to +2.0", "6x4", "0", "0%", "1%"],
    }
    text = contact.section(figures, words, "a" * 64)
    assert "| one | a ghost | two |" in text
    assert "| two | not looked at |  |" in text
    assert "out of date" not in text
    assert "out of date" in contact.section(figures, words, "b" * 64)


def test_every_burst_in_the_results_was_looked_at(contact):
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text("utf-8")
    (section,) = re.findall(r"<!-- contact:begin -->\n(.*?)<!-- contact:end -->", results, re.DOTALL)
    assert "not looked at" not in section
    words = tomllib.loads(contact.WORDS.read_text("utf-8"))
    for name, said in words.items():
        if isinstance(said, dict):
            assert f"| {name} | {said['ours']} | {said['rivals']} |" in section


def test_a_sheet_may_not_go_into_the_repository(contact, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["contact.py", "--bursts", str(EXAMPLE), "--out", str(ROOT / "sheets")])
    with pytest.raises(SystemExit):
        contact.parse()
    assert "in the repository" in capsys.readouterr().err


def test_scenes_at_percentiles_are_scenes_by_nearest_rank(pictures):
    values = [0.5, 0.1, 0.9, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6, 1.0]
    assert [values[i] for i in pictures.at_percentiles(values, (10, 50, 90, 100))] == [0.1, 0.5, 0.9, 1.0]
    assert pictures.at_percentiles([3.0], (10, 90)) == [0, 0]


def test_the_worst_come_first_and_scenes_without_motion_not_at_all(pictures):
    assert pictures.lowest([1.0, -2.0, float("nan"), -1.0], 2) == [1, 3]
    assert pictures.lowest([float("nan"), 1.0], 2) == [1]


def test_the_card_shows_pictures_that_are_there_and_small(pictures):
    for entry in read_manifest(weights_dir()):
        card = (weights_dir() / entry.file).with_suffix(".md")
        for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", card.read_text("utf-8")):
            assert (ROOT / "weights" / name).stat().st_size <= pictures.LARGEST
        if entry.default:
            assert f"]({entry.name}-uncertainty.jpg)" in card.read_text("utf-8")
            assert f"]({entry.name}-failures.jpg)" in card.read_text("utf-8")
