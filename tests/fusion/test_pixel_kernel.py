"""The per-pixel part of a fusion: both implementations against the formulas, and the loops against NumPy."""

import cv2
import numpy as np
import pytest

from smarthdr_cli import radiometry
from smarthdr_cli.fusion import pixel_arrays, pixel_kernel
from smarthdr_cli.fusion.noise_model import table_levels
from smarthdr_cli.fusion.pixel_kernel import CELL
from smarthdr_cli.models import merge, saf_layers
from tests.support import bursts

SHAPE = (24, 32)
PHOTON, READ = 2e-4, 4e-6
MU = 5000


def light(seed, low=0.0, high=1.0):
    """(24, 32, 3) random light: waves and noise."""
    noise = np.random.default_rng(seed).uniform(-0.05, 0.05, (*SHAPE, 3))
    return (bursts.texture(*SHAPE, seed, low, high) + noise).clip(0, 1).astype(np.float32)


def planes(x):
    """(h, w, 3) as (3, h, w)."""
    return np.ascontiguousarray(x.transpose(2, 0, 1))


def level_of(x):
    """The level of the nearest entry of a table over sqrt(x)."""
    entries = len(table_levels())
    root = np.sqrt(np.clip(x, 0, 1).astype(np.float32))
    index = (root * np.float32(entries - 1) + np.float32(0.5)).astype(int)
    return table_levels()[index]


def cell_means(x):
    height, width = x.shape[:2]
    return x.reshape(height // CELL, CELL, width // CELL, CELL, *x.shape[2:]).mean((1, 3))


def over_neighbours(x, weights, edge):
    """Weighted mean over 3x3 cells; ``edge``: repeat the border, else leave out what lies beyond."""
    weights = np.outer(weights, weights)
    mode = {"mode": "edge"} if edge else {"constant_values": np.nan}
    wide = np.pad(x.astype(float), ((1, 1), (1, 1), (0, 0)), **mode)
    height, width = x.shape[:2]
    total = mass = 0
    for i in range(3):
        for j in range(3):
            part = wide[i : i + height, j : j + width]
            total = total + weights[i, j] * np.nan_to_num(part)
            mass = mass + weights[i, j] * ~np.isnan(part)
    return total / mass


def falling(x, start, end):
    t = ((x - start) / (end - start)).clip(0, 1)
    return 1 - t * t * (3 - 2 * t)


def squared_gradient(x):
    """|grad|^2 by Sobel's operator, edges repeated."""
    across, down = (
        cv2.Sobel(x, cv2.CV_64F, *axis, ksize=3, borderType=cv2.BORDER_REPLICATE) / 8 for axis in ((1, 0), (0, 1))
    )
    return across**2 + down**2


@pytest.fixture(params=[pixel_kernel, pixel_arrays], ids=["compiled", "numpy"])
def pixels(request):
    """An implementation of the per-pixel functions."""
    return request.param


@pytest.mark.parametrize("eight_bit", [True, False])
def test_noise_is_that_of_the_formula(pixels, eight_bit) -> None:
    """a x + b + q^2 (kappa / 12 + J), J = D A / (A + D) + D exp(-c / 8) of codes over 3x3 cells."""
    levels, gamma = table_levels(), 2.2
    codes = 255 * levels ** (1 / gamma)
    worth = gamma / 255 * levels ** (1 - 1 / gamma)
    luma, chroma = (20.0, 60.0) if eight_bit else (0.0, 0.0)
    tables = (PHOTON * levels + READ + worth**2 / 12, codes, worth**2)
    tables = (np.tile(table, (3, 1)).astype(np.float32) for table in tables)
    x = light(1)
    measured = np.empty((3, *SHAPE), np.float32)
    pixels.noise_variance(planes(x), *tables, np.float32(luma), np.float32(chroma), not eight_bit, measured)

    at = level_of(x)
    code = 255 * at ** (1 / gamma)
    hue = code - code.mean(-1, keepdims=True)
    jpeg = 0
    if eight_bit:
        for values, error in ((code, luma), (hue, chroma / 4)):
            mean, square = (over_neighbours(cell_means(v), (1, 2, 1), edge=True) for v in (values, values**2))
            activity = square - mean**2
            jpeg = jpeg + error * activity / (activity + error)
            if values is code:
                jpeg = jpeg + error * np.exp(-mean / 8)
        jpeg = np.kron(jpeg, np.ones((CELL, CELL, 1)))
    else:  # no codes of their own: the level is the mean of 3x3 pixels
        at = level_of(cv2.blur(x.astype(float), (3, 3), borderType=cv2.BORDER_REPLICATE))
    q = gamma / 255 * at ** (1 - 1 / gamma)
    expected = PHOTON * at + READ + q**2 * (1 / 12 + jpeg)

    np.testing.assert_allclose(measured, planes(expected), rtol=5e-3)


@pytest.mark.parametrize("ratio", [4.0, 0.25])
def test_trust_and_variance_are_those_of_the_formula(pixels, ratio) -> None:
    """z over means of 1, 4 and 12 px, trust = exp(-max(z - 2, 0)^2 / 1.5)."""
    dark = light(2, 0, 0.3)
    change = 1 + 0.3 * bursts.texture(*SHAPE, 7)
    change[:, :12] = 1
    bright = (4 * dark * change + 0.01 * light(3)).clip(0, 1).astype(np.float32)
    ref, other = (dark, bright) if ratio > 1 else (bright, dark)
    var_ref, var_other = ((PHOTON * x + READ).astype(np.float32) for x in (ref, other))
    spread = np.stack([(share * np.sqrt(table_levels())) ** 2 for share in (0.02, 0.01, 0.005)])
    tables = np.ascontiguousarray(np.broadcast_to(spread[:, None], (3, 3, spread.shape[1])), np.float32)
    residue = np.random.default_rng(5).uniform(0.01, 0.5, (SHAPE[0] // CELL, SHAPE[1] // CELL)).astype(np.float32)
    valid = np.ones(SHAPE, np.float32)
    valid[:4] = 0
    eps_test, shoulder, eps_merge = 0.006, 0.05, 0.004
    trust, total = np.empty(SHAPE, np.float32), np.empty(SHAPE, np.float32)
    errors = (np.float32(x) for x in (eps_test, shoulder, eps_merge, 2))
    images = (planes(x) for x in (ref, other, var_ref, var_other))
    black = np.zeros((3, len(table_levels())), np.float32)
    pixels.agreement(
        *images, black, black, np.float32(ratio), tables, residue, *errors, pixel_kernel.WHITE_NONE, valid, trust, total
    )

    highest = 1 + 0.5 * falling(bright, 0.85, 0.97) if ratio > 1 else 1
    lifted, bright_light = np.minimum(4 * dark.astype(float), highest), bright.astype(float)
    var_dark, var_bright = (var_ref, var_other) if ratio > 1 else (var_other, var_ref)
    gap, noise = lifted - bright_light, var_bright + 16.0 * var_dark
    delta = np.kron(residue.astype(float), np.ones((CELL, CELL)))[..., None]
    move = delta * squared_gradient(lifted)
    cells = [cell_means(x) for x in (gap, lifted, noise, move)]
    over_12 = [over_neighbours(x, (1, 1, 1), edge=False) for x in cells]
    corners = np.pad(np.ones(cells[0].shape[:2]), 1)
    count = sum(np.roll(corners, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1))[1:-1, 1:-1, None]

    def squared_z(means, scale, width, pixels):
        difference, level, own, slope = means
        photometric = (np.array([0.02, 0.01, 0.005])[scale] ** 2) * np.sqrt(level_of(level)) ** 2
        eps = eps_test + shoulder * (1 - falling(level, 0.7, 0.9))
        allowed = np.maximum(own / pixels, photometric) + slope / width + (eps * level) ** 2 + 1e-9
        return (difference**2 / allowed).max(-1)

    coarse = np.maximum(squared_z(cells, 1, 4, 16), squared_z(over_12, 2, 12, 16 * count))
    z = np.sqrt(np.maximum(cv2.resize(coarse, SHAPE[::-1]), squared_z((gap, lifted, noise, move), 0, 1, 1)))
    expected = np.exp(-((z - 2).clip(0) ** 2) / 1.5) * valid
    expected = cv2.GaussianBlur(cv2.erode(expected, np.ones((3, 3))), (5, 5), 1) * valid
    unit = max(ratio, 1)
    photometric = np.kron(0.005 * np.sqrt(level_of(cells[1])).mean(-1), np.ones((CELL, CELL))) / unit
    photometric *= (other.mean(-1) / max(ratio, 1)).clip(1)
    own_move = delta * squared_gradient(other.astype(float))
    variance = (var_other + own_move).mean(-1) / ratio**2 + photometric**2
    variance += (eps_merge * other.mean(-1) / ratio) ** 2

    assert (expected[4:] < 0.1).any()
    assert (expected[8:, :8] > 0.9).all()
    np.testing.assert_allclose(trust, expected, atol=5e-3)
    np.testing.assert_allclose(total, variance, rtol=5e-3)


def test_the_merge_is_that_of_the_formula(pixels) -> None:
    """h = sum w' L / sum w', w = T c / V, at least what a clipped reference shows; sigma = T'(h) its deviation."""
    rng = np.random.default_rng(11)
    exposures = np.array([1, 0.25], np.float32)
    truth = 2.5 * light(12)
    frames = np.stack([(truth * t).clip(0, 1) for t in exposures]).astype(np.float32)
    frames[1, :6, :8] = 1  # every frame clips where the reference does
    frames[1, :, 16:] *= 0.4  # and shows less than a clipped reference
    trust, place, variance = (
        rng.uniform(low, high, (2, *SHAPE)).astype(np.float32) for low, high in ((0, 1), (0.02, 1), (1e-5, 1e-3))
    )
    trust[0] = place[0] = 1
    place[1, 12:] = 1  # the frame's border lies in the upper half
    images = (np.empty((*SHAPE, 3), np.float32), *(np.empty(SHAPE, np.float32) for _ in range(3)))
    colours = np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
    pixels.merge(colours, exposures, trust, place, variance, pixel_kernel.WHITE_NONE, np.float32(0), *images)
    merged, sigma, lost, clipped = images

    x = frames.astype(float)
    peak = x.max(-1)
    tapers = falling(peak, 0.80, 0.97)
    own = np.maximum(tapers[0] / variance[0], 1e-12)
    weight = trust[1] * np.maximum(tapers[1], 1e-5) / variance[1]  # the shortest frame keeps a little
    faded = own * place[1] * weight / (own + (1 - place[1]) * weight)
    faded = np.maximum(faded, np.minimum(weight * place[1], 1e-9))
    total = own + faded
    variance_of_merge = (np.minimum(own, 100 * own**2) + faded**2 / weight) / total**2
    expected = (own[..., None] * x[0] + faded[..., None] * x[1] / 0.25) / total[..., None]
    bound = 1 - falling(peak[0], 0.9, 0.99)
    settled = (bound == 0) | (expected.max(-1) >= 0.95 * peak[0])  # elsewhere light is looked for around the pixel
    lacking = (0.985 * x[0] - expected).clip(0)
    expected += lacking * bound[..., None]
    every = 1 - falling(peak.min(0), 0.80, 0.97)
    expected += (x[1] / 0.25 - expected) * every[..., None]
    slope = MU * 0.25 / ((1 + MU * 0.25 * expected.mean(-1)) * np.log1p(MU))
    known = falling(peak[0], 0.9, 0.985) / variance[0] + trust[1] * place[1] / variance[1]
    rest = 1 - np.log1p(MU * 0.25 * expected.mean(-1)) / np.log1p(MU)
    certainty = np.maximum(1 / variance_of_merge, known) / slope**2 + 12 / rest.clip(0.05) ** 2
    expected_sigma = np.where(peak.min(0) > 0.985, 1, np.sqrt(1 / certainty).clip(1e-4, 1))

    assert (peak[0] == 1).any()
    assert (every == 1).any()
    assert ((lacking.max(-1) > 0.05) & (peak[0] > 0.8) & (peak[0] < 0.9)).any()
    assert 0.5 < settled.mean() < 1
    np.testing.assert_allclose(merged[settled], expected[settled], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(sigma[settled], expected_sigma[settled], rtol=2e-3)
    np.testing.assert_allclose(clipped, every, atol=1e-5)
    assert ((lost >= 0) & (lost <= 1)).all()


def test_what_a_clipped_reference_shows_is_looked_for_a_pixel_further(pixels) -> None:
    exposures = np.array([1, 0.25], np.float32)
    frames = np.full((2, 3, *SHAPE), 1, np.float32)
    frames[1] = 0.1  # darker than the clip: not what the reference shows
    frames[1, :, :, 10] = 0.5
    variance, ones = np.full((2, *SHAPE), 1e-4, np.float32), np.ones((2, *SHAPE), np.float32)
    images = (np.empty((*SHAPE, 3), np.float32), *(np.empty(SHAPE, np.float32) for _ in range(3)))
    pixels.merge(frames, exposures, ones, ones, variance, pixel_kernel.WHITE_NONE, np.float32(0), *images)
    np.testing.assert_allclose(images[0][:, 9:12], 2, rtol=1e-5)
    np.testing.assert_allclose(images[0][:, [*range(9), *range(12, SHAPE[1])]], 0.985, rtol=1e-5)


def test_a_refused_frame_leaves_a_noisy_reference_lost(pixels) -> None:
    frames = np.full((2, *SHAPE, 3), 0.01, np.float32)
    frames[1] *= 4
    variance = np.stack([np.full(SHAPE, 1e-4), np.full(SHAPE, 1e-6)]).astype(np.float32)
    place, lost = np.ones((2, *SHAPE), np.float32), {}
    for trusted in (0, 1):
        trust = np.ones((2, *SHAPE), np.float32)
        trust[1] = trusted
        images = (np.empty((*SHAPE, 3), np.float32), *(np.empty(SHAPE, np.float32) for _ in range(3)))
        exposures = np.array([1, 4], np.float32)
        colours = np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
        pixels.merge(colours, exposures, trust, place, variance, pixel_kernel.WHITE_NONE, np.float32(0), *images)
        lost[trusted] = images[2]
    assert (lost[0] == 1).all()
    assert (lost[1] == 0).all()


# The loops against NumPy, on random input.

ENTRIES = len(table_levels())


def uniform(seed, *shape, low=0.0, high=1.0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def of_both(name, inputs, *outputs):
    """What both implementations write into arrays of the shapes ``outputs``, and what they return."""
    results = []
    for module in (pixel_kernel, pixel_arrays):
        written = [np.full(shape, np.nan, np.float32) for shape in outputs]
        copies = [x.copy() if isinstance(x, np.ndarray) else x for x in inputs]
        returned = getattr(module, name)(*copies, *written)
        results.append([*written, *(x for x in copies if isinstance(x, np.ndarray)), returned])
    return zip(*results, strict=True)


def assert_same(name, inputs, *outputs, rtol=1e-4, atol=1e-6):
    for compiled, expected in of_both(name, inputs, *outputs):
        if expected is not None:
            np.testing.assert_allclose(compiled, expected, rtol=rtol, atol=atol)


def flips(compiled, expected, rtol=1e-3):
    """Share of values that differ: a rounding error takes another entry of a table, or the other side of a limit."""
    return np.mean(~np.isclose(compiled, expected, rtol=rtol, atol=1e-5))


@pytest.mark.parametrize("entries", [2, 256, 4096])
def test_light_is_that_of_numpy(entries) -> None:
    codes = uniform(1, *SHAPE, 3, low=-20, high=280)
    codes[0, :3, 0] = 0, 255, 254.99
    table = np.sort(uniform(2, 3, entries), axis=1)
    assert_same("linearise", (codes, np.float32((entries - 1) / 255), table), (3, *SHAPE))


@pytest.mark.parametrize("finer", [False, True])
def test_displacement_is_that_of_numpy(finer) -> None:
    cells, add = uniform(3, 2, 9, 12, low=-2, high=2), uniform(4, 2, 24, 32) if finer else np.empty((2, 0, 0), "f4")
    limits = (np.float32(0.25), np.float32(0.75))
    assert_same("displacement", (cells, add, 4, 8, *limits), (2, 24, 32), atol=1e-5)
    cells[:] = 0.1
    still = of_both("displacement", (cells, np.empty((2, 0, 0), "f4"), 4, 8, *limits), (2, 24, 32))
    assert [returned for *_, returned in zip(*still, strict=True)] == [False, False]


def test_the_photometric_gain_is_that_of_numpy() -> None:
    grid, nodes = uniform(5, 8, 8, 8, 3, low=0.7, high=1.4), np.sort(uniform(6, ENTRIES, high=7))
    picture = uniform(7, 3, *SHAPE)
    picture[:, :, :4] = 1  # clipped: left alone
    ((compiled, expected), *_) = of_both("apply_gain", (picture, grid, nodes, 40, 60, 99, 131))
    assert flips(compiled, expected) < 0.02
    np.testing.assert_array_equal(compiled[:, :, :4], 1)


@pytest.mark.parametrize("chroma", [0.0, 60.0])
@pytest.mark.parametrize("smooth", [False, True])
def test_noise_is_that_of_numpy(chroma, smooth) -> None:
    tables = (np.sort(uniform(8 + n, 3, ENTRIES, high=high)) for n, high in enumerate((1e-3, 255, 1e-4)))
    inputs = (uniform(11, 3, *SHAPE), *tables, np.float32(20), np.float32(chroma), smooth)
    (compiled, expected), *_ = of_both("noise_variance", inputs, (3, *SHAPE))
    assert flips(compiled, expected, 1e-2) < 0.02


@pytest.mark.parametrize("ratio", [4.0, 1.0, 0.25])
@pytest.mark.parametrize("white", [pixel_kernel.WHITE_NONE, pixel_kernel.WHITE_CAMERA, pixel_kernel.WHITE_RAW])
def test_trust_is_that_of_numpy(ratio, white) -> None:
    ref = planes(light(12, 0, min(1, 1 / ratio)))
    other = (ref * ratio * uniform(13, 3, *SHAPE, low=0.9, high=1.1)).clip(0, 1)
    noise = (uniform(seed, 3, *SHAPE, low=1e-5, high=1e-3) for seed in (14, 15))
    spread, residue = uniform(16, 3, 3, ENTRIES, high=1e-3), uniform(17, SHAPE[0] // CELL, SHAPE[1] // CELL)
    valid = (uniform(18, *SHAPE) > 0.02).astype(np.float32)
    errors = (np.float32(x) for x in (0.006, 0.05, 0.004, 2.0))
    black = (np.sort(uniform(seed, 3, ENTRIES, high=1e-4))[:, ::-1].copy() for seed in (23, 24))
    inputs = (ref, other, *noise, *black, np.float32(ratio), spread, residue, *errors, white, valid)
    (trust, expected_trust), (total, expected_total), *_ = of_both("agreement", inputs, SHAPE, SHAPE)
    assert np.mean((expected_trust > 0.1) & (expected_trust < 0.9)) > 0.05
    np.testing.assert_allclose(trust, expected_trust, atol=0.05)
    assert flips(trust, expected_trust) < 0.02
    assert flips(total, expected_total) < 0.02


@pytest.mark.parametrize("white", [pixel_kernel.WHITE_NONE, pixel_kernel.WHITE_CAMERA, pixel_kernel.WHITE_RAW])
@pytest.mark.parametrize("ratio", [4.0, 0.25])
def test_trust_of_cells_is_that_of_numpy(ratio, white) -> None:
    ref = planes(light(12, 0, min(1, 1 / ratio)))
    other = (ref * ratio * uniform(13, 3, *SHAPE, low=0.9, high=1.1)).clip(0, 1)
    noise = (np.sort(uniform(seed, 3, ENTRIES, high=1e-3)) for seed in (14, 15))
    black = (np.sort(uniform(seed, 3, ENTRIES, high=1e-4))[:, ::-1].copy() for seed in (23, 24))
    spread, residue = uniform(16, 3, 3, ENTRIES, high=1e-3), uniform(17, *SHAPE)
    errors = (np.float32(x) for x in (0.006, 0.05, 1.0))
    inputs = (ref, other, *noise, *black, np.float32(ratio), spread, residue, *errors, white)
    (trust, expected), *_ = of_both("agreement_of_cells", inputs, SHAPE)
    assert np.mean((expected > 0.1) & (expected < 0.9)) > 0.05
    assert flips(trust, expected) < 0.02


def test_cells_and_pixels_agree_where_light_is_smooth() -> None:
    """A patch that is 20 % brighter is refused by the test of cells and by that of pixels, and nothing else is."""
    cells = light(12, 0.05, 0.2)
    other = cells * 4
    other[8:16, 10:20] *= 1.2
    tables = np.full((3, ENTRIES), 1e-6, np.float32), np.zeros((3, ENTRIES), np.float32)
    trust, full = np.empty(SHAPE, np.float32), tuple(CELL * side for side in SHAPE)
    common = (np.float32(4), np.full((3, 3, ENTRIES), 1e-6, np.float32), np.zeros(SHAPE, np.float32))
    errors = tuple(np.float32(x) for x in (0.006, 0.0, 2.0))
    pixel_kernel.agreement_of_cells(
        planes(cells), planes(other), tables[0], tables[0], tables[1], tables[1], *common, *errors,
        pixel_kernel.WHITE_NONE, trust,
    )  # fmt: skip
    wide = [planes(x.repeat(CELL, 0).repeat(CELL, 1)) for x in (cells, other)]
    variance, of_pixels, total = np.full((3, *full), 1e-6, np.float32), np.empty(full, "f4"), np.empty(full, "f4")
    pixel_kernel.agreement(
        *wide, variance, variance, tables[1], tables[1], *common, *errors[:2], np.float32(0), errors[2],
        pixel_kernel.WHITE_NONE, np.ones(full, np.float32), of_pixels, total,
    )  # fmt: skip
    inside, outside = np.s_[9:15, 11:19], np.ones(SHAPE, bool)
    outside[6:18, 8:22] = False
    for part in (trust, cell_means(of_pixels)):
        assert part[inside].max() < 0.01
        assert part[outside].min() > 0.95


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("white", [pixel_kernel.WHITE_NONE, pixel_kernel.WHITE_CAMERA])
def test_the_merge_and_its_summary_are_those_of_numpy(count, white) -> None:
    exposures = np.array([1, 0.25, 4, 0.0625], np.float32)[:count]
    frames = (3 * uniform(19, count, 3, *SHAPE)).clip(0, 1)
    trust, variance = uniform(20, count, *SHAPE), uniform(21, count, *SHAPE, low=1e-6, high=1e-3)
    trust[:, :8] = trust[:, :8] > 0.5
    place = uniform(22, count, *SHAPE, low=-1, high=3).clip(-1, 1)
    trust[0] = place[0] = 1
    inputs = (frames, exposures, trust, place, variance)
    merged = list(of_both("merge", (*inputs, white, np.float32(0.02)), (*SHAPE, 3), SHAPE, SHAPE, SHAPE))
    for compiled, expected in merged[:4]:
        assert flips(compiled, expected) < 0.01
    lost, clipped = (expected for _, expected in merged[2:4])
    assert 0 < clipped.mean() < 1
    cells = (SHAPE[0] // CELL, SHAPE[1] // CELL)
    assert_same("summarise", (*inputs, lost, clipped), (*cells, 5), (*cells, 3))


def test_arrays_that_do_not_cover_the_window_are_refused() -> None:
    """Compiled loops check no index: what is too short is refused before."""
    cells, out = np.zeros((2, 3, 3), np.float32), np.zeros((2, 12, 16), np.float32)
    with pytest.raises(ValueError, match="cells must cover the window"):
        pixel_kernel.displacement(cells, np.zeros((2, 0, 0), np.float32), 0, 0, np.float32(0.2), np.float32(0.7), out)


def test_the_loops_and_the_network_share_their_constants() -> None:
    """The loops load no torch."""
    assert pixel_kernel.CELL == saf_layers.CELL
    assert pytest.approx((merge.TAPER_START, merge.TAPER_END)) == (pixel_kernel.TAPER_START, pixel_kernel.TAPER_END)
    assert radiometry.MU == pixel_kernel.MU
