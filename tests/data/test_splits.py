"""Splits: nested labels, never of the test split, some of them held out, no truth without a label."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.data.datasets import SceneFiles
from smarthdr_cli.data.splits import HELD_OUT_BAND, MARGIN, draw_split, read_scene_names
from smarthdr_cli.errors import InputError, UsageError

pytestmark = pytest.mark.unit


def scene(name, split="train", truth=True):
    path = Path(name)
    return SceneFiles(name, split, (path / "1.tif", path / "2.tif"), (0.0, 2.0),
                      path / "HDRImg.hdr" if truth else None, "gamma2.2")  # fmt: skip


def benchmark(count=12):
    train = [scene(f"Training/{n:03d}") for n in range(1, count + 1)]
    return [*train, scene("Training/bare", truth=False), *(scene(f"Test/{n:03d}", "test") for n in range(1, 4))]


def labelled_names(split):
    """Names of the labelled scenes, held-out ones included."""
    return {band.scene.name for band in (*split.labeled, *split.held_out)}


@given(seed=st.integers(0, 2**31), labeled=st.integers(0, 12))
def test_labels_are_nested_repeatable_and_hide_other_truth(seed, labeled):
    scenes = benchmark()
    split = draw_split(scenes, labeled, seed)
    names = labelled_names(split)
    assert len(names) == labeled
    assert all(name.startswith("Training/") and name != "Training/bare" for name in names)
    assert all(band.scene.truth is not None for band in (*split.labeled, *split.held_out))
    rest = {band.scene.name for band in split.unlabeled}
    assert rest == {s.name for s in scenes if s.split == "train"} - names
    assert all(band.scene.truth is None and (band.top, band.bottom) == (0, 1) for band in split.unlabeled)
    assert split == draw_split(list(reversed(scenes)), labeled, seed)
    assert split == draw_split(scenes, sorted(names), seed) or not names
    if labeled:
        assert labelled_names(draw_split(scenes, labeled - 1, seed)) < names


def test_seeds_give_different_labels():
    assert len({frozenset(labelled_names(draw_split(benchmark(), 5, seed))) for seed in range(10)}) > 5


@pytest.mark.parametrize("count", [5, 6, 12])
def test_from_five_labels_one_scene_is_held_out(count):
    split = draw_split(benchmark(), count, 3)
    assert len(split.held_out) == 1
    assert len(split.labeled) == count - 1
    assert split.held_out[0].scene.name not in {band.scene.name for band in split.labeled}
    assert all((band.top, band.bottom) == (0, 1) for band in (*split.labeled, *split.held_out))
    assert split.held_out == draw_split(benchmark(), 5, 3).held_out


@pytest.mark.parametrize("count", [1, 2, 4])
def test_below_five_labels_a_band_of_every_scene_is_held_out(count):
    split = draw_split(benchmark(), count, 3)
    assert [p.scene for p in split.labeled] == [p.scene for p in split.held_out]
    assert len(split.labeled) == count
    for training, held_out in zip(split.labeled, split.held_out, strict=True):
        assert (training.top, held_out.bottom) == (0, 1)
        assert held_out.top - training.bottom == pytest.approx(MARGIN)
        assert held_out.bottom - held_out.top == pytest.approx(HELD_OUT_BAND)


def test_without_labels_nothing_is_held_out():
    split = draw_split(benchmark(), 0, 0)
    assert (split.labeled, split.held_out) == ((), ())
    assert len(split.unlabeled) == 13


def test_the_record_in_the_checkpoint():
    split = draw_split(benchmark(2), 1, 0)
    (training,) = split.labeled
    other = {"Training/001": "Training/002", "Training/002": "Training/001"}[training.scene.name]
    assert split.to_dict() == {
        "labeled": [{"name": training.scene.name, "top": 0.0, "bottom": 1 - HELD_OUT_BAND - MARGIN}],
        "held_out": [{"name": training.scene.name, "top": 1 - HELD_OUT_BAND, "bottom": 1.0}],
        "unlabeled": [{"name": name, "top": 0.0, "bottom": 1.0} for name in (other, "Training/bare")],
    }


def test_names_in_any_order_full_or_short_repeat_the_split():
    by_count = draw_split(benchmark(), 3, 9)
    full = sorted(labelled_names(by_count))
    assert draw_split(benchmark(), full, 9) == by_count
    assert draw_split(benchmark(), [name.removeprefix("Training/") for name in reversed(full)], 9) == by_count


@pytest.mark.parametrize(
    ("labeled", "message"),
    [
        (13, "only 12 training scenes have ground truth"),
        (-1, "use a number from 0"),
        (["Training/01"], r"no scene Training/01; did you mean Training/01\d\?"),
        (["qqqq"], "no scene qqqq$"),
        (["Test/001"], "is a test scene"),
        (["bare"], "has no ground truth"),
        (["001", "Training/001"], "named twice"),
    ],
)
def test_invalid_labels(labeled, message):
    with pytest.raises(UsageError, match=message):
        draw_split(benchmark(), labeled, 0)


def test_an_ambiguous_short_name():
    scenes = [scene("Training/a/001"), scene("Training/b/001")]
    with pytest.raises(UsageError, match="2 training scenes are called 001"):
        draw_split(scenes, ["001"], 0)
    assert labelled_names(draw_split(scenes, ["Training/b/001"], 0)) == {"Training/b/001"}


def test_scene_names_from_a_file(tmp_path):
    file = tmp_path / "ids.txt"
    file.write_text("# the five\nTraining/001\n\n  002  # by the sea\n")
    assert read_scene_names(file) == ["Training/001", "002"]
    with pytest.raises(InputError, match=r"absent.txt cannot be read"):
        read_scene_names(tmp_path / "absent.txt")
    file.write_text("# none\n")
    with pytest.raises(InputError, match="names no scene"):
        read_scene_names(file)
    file.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="not a text file"):
        read_scene_names(file)
