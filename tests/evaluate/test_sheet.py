"""Contact sheets: tone, crop and layout."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from smarthdr_cli.evaluate import sheet


def test_toned_is_the_mu_law_in_eight_bits() -> None:
    radiance = np.array([[[0.0, 1.0, 7.0], [0.01, 0.1, -1.0]]])
    tone = np.round(np.log(1 + 5000 * np.array([0.01, 0.1])) / np.log(5001) * 255)
    assert sheet.toned(radiance).tolist() == [[[0, 255, 255], [*tone, 0]]]


def test_the_crop_holds_the_most_of_the_mask() -> None:
    mask = np.zeros((40, 60), bool)
    mask[3:5, 2:4] = True
    mask[25:33, 44:52] = True
    rows, columns = sheet.busiest(mask, 8)
    assert mask[rows, columns].all()
    assert sheet.busiest(np.zeros((40, 60), bool), 10) == (slice(15, 25), slice(25, 35))
    assert sheet.busiest(mask, 100) == (slice(0, 40), slice(0, 60))


def test_rows_of_different_width_make_one_picture(tmp_path: Path) -> None:
    red = np.full((20, 30, 3), (200, 0, 0), np.uint8)
    rows = [sheet.row([("one", red), ("two", red)]), sheet.row([("one", red)])]
    sheet.save(tmp_path / "sheet.png", rows)
    back = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]
    assert back.shape == (2 * (20 + sheet.LABEL_HEIGHT + sheet.GAP), 60 + sheet.GAP, 3)
    assert (back[sheet.LABEL_HEIGHT : sheet.LABEL_HEIGHT + 20, :30] == (200, 0, 0)).all()
    with pytest.raises((OSError, cv2.error)):
        sheet.save(tmp_path / "missing" / "sheet.png", rows)


def test_a_jpeg_is_as_good_as_its_limit_allows(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    path = tmp_path / "sheet.jpg"
    sizes = []
    for largest in (60_000, 10_000):
        sheet.save_jpeg(path, [sheet.row([("noise", noise)])], largest)
        sizes.append(path.stat().st_size)
        assert sizes[-1] <= largest
        assert cv2.imread(str(path)).shape == (96 + sheet.LABEL_HEIGHT, 128, 3)
    assert sizes[0] > sizes[1]
    with pytest.raises(ValueError, match="fits into 100 bytes"):
        sheet.save_jpeg(path, [noise], 100)


def test_heat_runs_from_dark_to_bright_and_saturates() -> None:
    colours = sheet.heat(np.array([[0.0, 0.05, 0.1, 9.0]]), 0.1).astype(int).sum(axis=2)[0]
    assert colours[0] < colours[1] < colours[2] == colours[3]
