"""The data of a run on scenes: found, split, prepared, and what is refused before training."""

import pytest

from smarthdr_cli.data.datasets import SceneFiles
from smarthdr_cli.data.splits import SceneBand
from smarthdr_cli.errors import InputError, UsageError
from smarthdr_cli.grouping.header import Header
from smarthdr_cli.train import scene_data
from smarthdr_cli.train.methods import method_class
from smarthdr_cli.train.run_folder import DataRequest
from smarthdr_cli.train.scene_data import MAX_UNLABELED_PIXELS, MIN_BAND, band_of_burst, bursts_below, prepare_run
from tests.support.training import bracket


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    """One cache for all tests: scenes are prepared once."""
    monkeypatch.setenv("SMARTHDR_HOME", str(tmp_path_factory.getbasetemp() / "smarthdr-home"))


@pytest.fixture
def short(scene_values):
    return scene_values | {"iterations": 2, "labelled_first": 0.5, "validate_every": 2}


def test_a_run_with_all_labels_is_supervised(scene_values, scene_root):
    values = {k: v for k, v in scene_values.items() if k != "method"}
    planned = prepare_run(DataRequest(str(scene_root)), values)
    assert planned.config.method == planned.record["method"] == "supervised"
    assert len(planned.data.labeled) == 6
    with pytest.raises(UsageError, match="--method smae needs unlabelled bursts; every scene is labelled"):
        prepare_run(DataRequest(str(scene_root)), values | {"method": "smae"})
    assert prepare_run(DataRequest(str(scene_root), labeled=5), values).config.method == "smarthdr"


def test_a_folder_of_images_is_grouped_into_bursts(tmp_path):
    for n in range(3):
        bracket(tmp_path / "card", seed=n, start=3 * n)
    notes = []
    bursts = bursts_below(tmp_path / "card", notes.append)
    assert [[p.name for p in scene.frames] for scene in bursts] == [
        [f"IMG_{n:04d}.jpg" for n in numbers] for numbers in ((3, 4, 5), (6, 7, 8))
    ]  # the first of these three brackets without times is not sure
    assert all(scene.truth is None and scene.split == "train" for scene in bursts)
    assert notes == [f"{tmp_path / 'card'}: 1 of 3 brackets are uncertain and left out (see smarthdr group)"]
    with pytest.raises(InputError, match="is not a folder of bursts"):
        bursts_below(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no subfolder with at least two images"):
        bursts_below(tmp_path / "empty")
    bracket(tmp_path / "one", evs=(0,))
    with pytest.raises(InputError, match=r"no brackets found among its 1 pictures \(see smarthdr group\)"):
        bursts_below(tmp_path / "one")


@pytest.mark.parametrize(("method", "passes"), [("smarthdr", (2, 3)), ("supervised", (2, 3)), ("smarthdr", (0, 1))])
def test_epochs_are_passes_over_the_crops(scene_values, scene_root, method, passes):
    """3 x 5 crops of 32 at a stride of 16 in 64 x 96: four scenes of them are labelled, two are not."""
    values = scene_values | {"method": method, "refresh": 0}
    config = prepare_run(DataRequest(str(scene_root), labeled=5, epochs=passes), values).config
    labelled, then = 4 * 15 // 2, (2 if method == "smarthdr" else 4) * 15 // 2
    assert config.iterations == passes[0] * labelled + passes[1] * then
    first = method_class(method)(config).first_unlabeled
    assert first == (passes[0] * labelled if method == "smarthdr" else config.iterations)


def test_gfhdr_rejects_bursts_of_other_lengths_before_training(short, scene_root, tmp_path):
    bracket(tmp_path / "mine" / "pair", evs=(-1, 1))
    request = DataRequest(str(scene_root), labeled=5, unlabeled=(str(tmp_path / "mine"),))
    with pytest.raises(UsageError, match=r"gfhdr takes three frames; scene pair has 2 \(saf takes 2 to 9\)"):
        prepare_run(request, short | {"model": {"name": "gfhdr", "dim": 12}})


@pytest.mark.parametrize(("size", "rows"), [((1000, 1000), None), ((4000, 3000), 250), ((40_000, 500), 256)])
def test_of_a_large_burst_a_band_is_used(tmp_path, monkeypatch, size, rows):
    """One that holds a million pixels, or 256 rows; every seed draws its own, and the same one again."""
    monkeypatch.setattr(scene_data, "read_header", lambda path: Header(path, size=size))
    scene = SceneFiles("burst", "train", (tmp_path / "a.jpg",), None, None, "camera")
    assert (MAX_UNLABELED_PIXELS, MIN_BAND) == (1e6, 256)
    bands = [band_of_burst(scene, seed) for seed in range(8)]
    if rows is None:
        assert set(bands) == {SceneBand(scene)}
        return
    assert {round((band.bottom - band.top) * size[1]) for band in bands} == {max(rows, MIN_BAND)}
    assert all(band.top >= 0 and band.bottom <= 1 for band in bands)
    assert len({band.top for band in bands}) == 8
    assert bands == [band_of_burst(scene, seed) for seed in range(8)]


def test_a_burst_that_states_no_size_is_used_whole(tmp_path):
    scene = SceneFiles("burst", "train", (tmp_path / "missing.jpg",), None, None, "camera")
    assert band_of_burst(scene, 0) == SceneBand(scene)
