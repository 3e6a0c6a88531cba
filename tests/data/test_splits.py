"""The draw: nested, never of the test split, with something held out, and truth forgotten where it is not drawn."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarthdr_cli.data.datasets import SceneFiles
from smarthdr_cli.data.splits import HELD_BAND, MARGIN, Part, draw_labels, read_ids
from smarthdr_cli.errors import InputError, UsageError


def scene(name, split="train", truth=True):
    path = Path(name)
    return SceneFiles(name, split, (path / "1.tif", path / "2.tif"), (0.0, 2.0),
                      path / "HDRImg.hdr" if truth else None, "gamma2.2")  # fmt: skip


def benchmark(count=12):
    train = [scene(f"Training/{n:03d}") for n in range(1, count + 1)]
    return [*train, scene("Training/bare", truth=False), *(scene(f"Test/{n:03d}", "test") for n in range(1, 4))]


def drawn(split):
    """Names of the labelled scenes, held out ones included."""
    return {part.scene.name for part in (*split.labeled, *split.held_out)}


@given(seed=st.integers(0, 2**31), labeled=st.integers(0, 12))
def test_every_draw(seed, labeled):
    scenes = benchmark()
    split = draw_labels(scenes, labeled, seed)
    names = drawn(split)
    assert len(names) == labeled
    assert all(name.startswith("Training/") and name != "Training/bare" for name in names)
    assert all(part.scene.truth is not None for part in (*split.labeled, *split.held_out))
    rest = {part.scene.name for part in split.unlabeled}
    assert rest == {s.name for s in scenes if s.split == "train"} - names
    assert all(part.scene.truth is None and (part.top, part.bottom) == (0, 1) for part in split.unlabeled)
    assert split == draw_labels(list(reversed(scenes)), labeled, seed)
    assert split == draw_labels(scenes, sorted(names), seed) or not names
    if labeled:
        assert drawn(draw_labels(scenes, labeled - 1, seed)) < names


def test_seeds_differ():
    assert len({frozenset(drawn(draw_labels(benchmark(), 5, seed))) for seed in range(10)}) > 5


@pytest.mark.parametrize("count", [5, 6, 12])
def test_from_five_on_a_whole_scene_is_held_out(count):
    split = draw_labels(benchmark(), count, 3)
    assert len(split.held_out) == 1
    assert len(split.labeled) == count - 1
    assert split.held_out[0].scene.name not in {part.scene.name for part in split.labeled}
    assert all((part.top, part.bottom) == (0, 1) for part in (*split.labeled, *split.held_out))
    assert split.held_out == draw_labels(benchmark(), 5, 3).held_out


@pytest.mark.parametrize("count", [1, 2, 4])
def test_below_five_a_band_of_each_is_held_out(count):
    split = draw_labels(benchmark(), count, 3)
    assert [p.scene for p in split.labeled] == [p.scene for p in split.held_out]
    assert len(split.labeled) == count
    for kept, held in zip(split.labeled, split.held_out, strict=True):
        assert (kept.top, held.bottom) == (0, 1)
        assert held.top - kept.bottom == pytest.approx(MARGIN)
        assert held.bottom - held.top == pytest.approx(HELD_BAND)


def test_no_label_holds_nothing_out():
    split = draw_labels(benchmark(), 0, 0)
    assert (split.labeled, split.held_out) == ((), ())
    assert len(split.unlabeled) == 13


def test_the_checkpoints_record():
    split = draw_labels(benchmark(2), 1, 0)
    (kept,) = split.labeled
    other = {"Training/001": "Training/002", "Training/002": "Training/001"}[kept.scene.name]
    assert split.to_dict() == {
        "labeled": [{"name": kept.scene.name, "top": 0.0, "bottom": 1 - HELD_BAND - MARGIN}],
        "held_out": [{"name": kept.scene.name, "top": 1 - HELD_BAND, "bottom": 1.0}],
        "unlabeled": [{"name": name, "top": 0.0, "bottom": 1.0} for name in (other, "Training/bare")],
    }


def test_names_in_any_order_and_short():
    by_count = draw_labels(benchmark(), 3, 9)
    full = sorted(drawn(by_count))
    assert draw_labels(benchmark(), full, 9) == by_count
    assert draw_labels(benchmark(), [name.removeprefix("Training/") for name in reversed(full)], 9) == by_count


@pytest.mark.parametrize(
    ("labeled", "said"),
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
def test_draws_that_cannot_be(labeled, said):
    with pytest.raises(UsageError, match=said):
        draw_labels(benchmark(), labeled, 0)


def test_a_short_name_that_two_scenes_have():
    twice = [replace(scene("Training/a/001")), scene("Training/b/001")]
    with pytest.raises(UsageError, match="2 training scenes are called 001"):
        draw_labels(twice, ["001"], 0)
    assert drawn(draw_labels(twice, ["Training/b/001"], 0)) == {"Training/b/001"}


def test_a_part_is_a_whole_scene_by_default():
    assert (Part(scene("a")).top, Part(scene("a")).bottom) == (0, 1)


def test_ids_from_a_file(tmp_path):
    file = tmp_path / "ids.txt"
    file.write_text("# the five\nTraining/001\n\n  002  # by the sea\n")
    assert read_ids(file) == ["Training/001", "002"]
    with pytest.raises(InputError, match=r"absent.txt cannot be read"):
        read_ids(tmp_path / "absent.txt")
    file.write_text("# none\n")
    with pytest.raises(InputError, match="names no scene"):
        read_ids(file)
    file.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="not a text file"):
        read_ids(file)
