"""TensorBoard: events read back, and rendering panels changes nothing."""

import copy
import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from smarthdr_cli.errors import UsageError
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.loop import train
from smarthdr_cli.train.scene_session import SceneSession
from smarthdr_cli.train.state import new_state
from smarthdr_cli.train.tensorboard import TensorBoard, centre_crop, panels, tag, to_display, to_heatmap
from smarthdr_cli.train.uncertainty_masks import patch_mask, pixel_mask

HELD = {"held_out/" + name for name in ("frames", "prediction", "teacher", "truth", "sigma", "error")}
CROP = {"unlabeled/" + name for name in ("frames", "prediction", "pseudo_truth", "sigma")}


def session_after(scenes, values, folder, steps):
    """A session after some updates."""
    config = train_config(values)
    state = new_state(config, torch.device("cpu"))
    session = SceneSession(scenes, config, state, folder)
    for _ in range(steps):
        session.step(state)
        state.step += 1
    return session, state


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    return events


@pytest.mark.parametrize(
    ("more", "extra"),
    [
        ({}, {"patch_mask", "pixel_mask"}),
        ({"pseudo": "step"}, {"patch_mask", "pixel_mask"}),
        ({"masks": {"side": 16, "adaptive": True}}, {"patch_mask", "pixel_mask"}),
        ({"method": "smae"}, {"weight"}),
        ({"method": "fshdr"}, set()),
    ],
)
def test_panels_of_the_methods(scenes, scene_values, tmp_path, more, extra):
    session, state = session_after(scenes, scene_values | more, tmp_path, 4)
    images = panels(session, state)
    assert set(images) == HELD | CROP | {f"unlabeled/{name}" for name in extra}
    session.close()
    for name, picture in images.items():
        assert picture.ndim == 3
        assert picture.shape[0] == 3
        assert picture.dtype == torch.float32
        assert 0 <= picture.min() <= picture.max() <= 1, name
    assert images["held_out/frames"].shape[-1] == 3 * images["held_out/truth"].shape[-1]
    assert images["unlabeled/sigma"].shape == (3, 32, 32)
    for name in extra:
        assert set(images[f"unlabeled/{name}"].unique().tolist()) <= {0.0, 1.0} or name == "weight"


def test_panels_of_selfhdr_and_of_the_labelled_phase(scenes, scene_values, tmp_path):
    session, state = session_after(scenes, scene_values | {"method": "selfhdr"}, tmp_path, 1)
    images = panels(session, state)
    session.close()
    assert set(images) == HELD | {"unlabeled/" + name for name in ("frames", "prediction", "pseudo_truth", "weight")}
    session, state = session_after(scenes, scene_values, tmp_path, 1)
    assert set(panels(session, state)) == HELD | CROP
    session.close()
    session, state = session_after(scenes, scene_values | {"method": "supervised"}, tmp_path, 1)
    assert set(panels(session, state)) == HELD
    session.close()


def test_mask_panels_are_crops_of_the_scenes_masks(scenes, scene_values, tmp_path):
    """Against the masks of the whole scene, computed from its stored sigma and cut."""
    session, state = session_after(scenes, scene_values, tmp_path, 4)
    images = panels(session, state)
    drawn = session.unlabeled(0)
    number, top, left = drawn.scenes[0], drawn.tops[0], drawn.lefts[0]
    sigma = session.store.sigma(number)
    cut = (0, 0, slice(top, top + 32), slice(left, left + 32))
    m = session.config.masks
    assert torch.equal(
        images["unlabeled/patch_mask"][0], patch_mask(sigma, session.method.sigma_range, m.tau_patch, m.side)[cut]
    )
    assert torch.equal(
        images["unlabeled/pixel_mask"][0], pixel_mask(sigma, session.method.sigma_range, m.tau_pixel)[cut]
    )
    assert torch.equal(images["unlabeled/sigma"], to_heatmap(sigma[:, :, *cut[2:]]))
    session.close()


def test_rendering_panels_changes_nothing(scenes, scene_values, tmp_path):
    """A run with panels equals a run without, bit for bit."""
    ended = []
    for name, with_panels in (("with", True), ("without", False)):
        session, state = session_after(scenes, scene_values | {"pseudo": "step"}, tmp_path / name, 0)

        def on_log(_record, session=session, state=state, with_panels=with_panels):
            before = torch.get_rng_state()
            kept = copy.deepcopy({k: part.state_dict() for k, part in session.method.statistics().items()})
            if with_panels:
                panels(session, state)
            assert state.student.training
            assert torch.equal(torch.get_rng_state(), before)
            after = {k: part.state_dict() for k, part in session.method.statistics().items()}
            assert all(torch.equal(kept[k][n], after[k][n]) for k in kept for n in kept[k])

        train(session.config, session, tmp_path / name, state, on_log)
        ended.append(state.student.state_dict())
    assert all(torch.equal(value, ended[1][name]) for name, value in ended[0].items())


def test_events_read_back(scenes, scene_values, tmp_path):
    session, state = session_after(scenes, scene_values, tmp_path, 4)
    board = TensorBoard(tmp_path)
    assert not (tmp_path / "board").exists()
    for number in (4, 8):
        state.step = number
        board.log_panels(session, state)
        board.log({"step": number, "phase": "smarthdr", "total": number / 2, "kept": 0.5, "validation_psnr_mu": 38.0})
    expected = panels(session, state)
    session.close()
    board.close()
    board_events = read(tmp_path / "board")
    assert set(board_events.Tags()["scalars"]) == {"loss/total", "kept/kept", "validation/psnr_mu"}
    assert [(event.step, event.value) for event in board_events.Scalars("loss/total")] == [(4, 2.0), (8, 4.0)]
    assert set(board_events.Tags()["images"]) == set(expected)
    for name, picture in expected.items():
        events = board_events.Images(name)
        fixed = name in ("held_out/frames", "held_out/truth", "unlabeled/frames")
        assert [event.step for event in events] == ([4] if fixed else [4, 8])
        seen = np.asarray(Image.open(io.BytesIO(events[-1].encoded_image_string)))
        assert np.abs(seen / 255 - picture.permute(1, 2, 0).numpy()).max() <= 1 / 255


def test_events_after_the_state_of_a_killed_run_are_dropped(tmp_path):
    first = TensorBoard(tmp_path)
    for step in (2, 4, 6):
        first.log({"step": step, "total": 1.0})
    first.close()
    again = TensorBoard(tmp_path, 4)
    again.log({"step": 6, "total": 2.0})
    again.close()
    assert [(event.step, event.value) for event in read(tmp_path / "board").Scalars("loss/total")] == [
        (2, 1.0), (4, 1.0), (6, 2.0),
    ]  # fmt: skip


def test_tags_are_grouped():
    assert tag("validation_student") == "validation/student"
    assert tag("kept_patches") == "kept/kept_patches"
    assert tag("patches_per_second") == "speed/patches_per_second"
    assert tag("unlabeled_reconstruction") == "loss/unlabeled_reconstruction"


def test_without_tensorboard_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install 'smarthdr\[tensorboard\]'"):
        TensorBoard(tmp_path)


def test_images_are_toned_and_cropped(batch):
    assert torch.allclose(to_display(torch.full((1, 3, 2, 2), 4.0), 0.25), torch.ones(3, 2, 2))
    assert to_display(torch.full((1, 3, 2, 2), 9.0), 1.0).max() == 1
    assert torch.equal(to_display(torch.zeros(1, 3, 2, 2), 1.0), torch.zeros(3, 2, 2))
    middle = centre_crop(batch)
    assert middle.frames.shape == (1, *batch.frames.shape[1:])
    wide = type(batch)(
        *(torch.zeros(2, 3, c, 288, 352) if n != 1 else torch.zeros(2, 3) for n, c in enumerate((3, 0, 1)))
    )
    wide.frames[0, ..., 16:-16, 48:-48] = 1
    cut = centre_crop(wide)
    assert cut.target is None
    assert cut.frames.shape == (1, 3, 3, 256, 256)
    assert cut.frames.min() == 1
