"""Options of a run: plain values in, one frozen record out, checked; and the rate they make."""

import json
from dataclasses import replace

import pytest

from smarthdr_cli.data.synth.config import TRAINING_VARIETY
from smarthdr_cli.errors import UsageError
from smarthdr_cli.train.config import TrainConfig, scene_values, train_config
from smarthdr_cli.train.methods.smarthdr import PUBLISHED

pytestmark = pytest.mark.unit


def test_plain_values_and_back(values):
    config = train_config(values)
    assert config.batch == 2
    assert config.synth == replace(TrainConfig().synth, height=32, width=32, objects=1, frames=(3,))
    assert config.synth.variety == TRAINING_VARIETY
    again = train_config(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert train_config({}) == TrainConfig()


@pytest.mark.parametrize(
    ("given", "meant"),
    [({"lerning_rate": 1}, "learning_rate"), ({"iteration": 5}, "iterations"), ({"synth": {"hight": 5}}, "height")],
)
def test_an_unknown_option_names_the_nearest(given, meant):
    with pytest.raises(UsageError, match=f"did you mean '{meant}'"):
        train_config(given)


def test_an_unknown_option_without_a_near_one_is_an_error():
    with pytest.raises(UsageError, match="unknown training option 'zzzz'"):
        train_config({"zzzz": 1})


@pytest.mark.parametrize(
    "given",
    [
        {"iterations": "x"},
        {"iterations": True},
        {"precision": "fp4"},
        {"batch": 0},
        {"seed": -1},
        {"finest": 3},
        {"ema": 1.5},
        {"labelled_first": float("nan")},
        {"masks": {"top": 2.0}},
        {"masks": {"tau_patch": 1.5}},
        {"masks": {"side": 0}},
        {"method": "smrthdr"},
        {"crop": 100},
        {"fill": "yes"},
        {"synth": {"frames": [1]}},
        {"synth": {"frames": []}},
        {"synth": {"kind": "x"}},
        {"synth": {"height": 48.0}},
        {"synth": {"height": 40}},
        {"synth": {"variety": {"depth": 1.5}}},
        {"synth": {"variety": {"dept": 0.5}}},
        {"synth": 3},
        {"views": 0},
        {"views": 49},
        {"noise_iso": 800.0},
        {"weight_gradient": 0.2},
        {"masks": {"scale": "log"}},
        {"batch_made": -1},
        {"batch_made": 1, "pseudo": "step"},
        {"model": "saf"},
    ],
)
def test_a_value_that_does_not_fit_is_an_error(given):
    with pytest.raises(UsageError):
        train_config(given)


def test_options_of_earlier_versions_are_ignored_at_their_defaults():
    off = {"weight_gradient": 0.0, "weight_ms_ssim": 0.0, "noise_iso": 0.0, "masks": {"scale": "linear", "side": 32}}
    assert train_config(off) == train_config({"masks": {"side": 32}})
    with pytest.raises(UsageError, match=r"masks\.scale = 'log': this version has no such option"):
        train_config({"masks": {"scale": "log"}})


def test_the_rate_rises_stays_and_falls_to_0():
    config = TrainConfig(iterations=100, learning_rate=2.0, warmup=10, decay=20)
    rates = [config.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert set(rates[9:81]) == {2.0}
    assert rates[80:] == pytest.approx([2.0 * (20 - i) / 20 for i in range(20)])
    assert 0 < rates[-1] <= 0.1 + 1e-9
    assert config.learning_rate_at(100) == config.learning_rate_at(500) == 0
    flat = TrainConfig(iterations=100, learning_rate=2.0, warmup=0, decay=0)
    assert {flat.learning_rate_at(step) for step in range(100)} == {2.0}


def test_smarthdr_goes_beyond_the_paper_and_other_methods_do_not():
    ours = train_config(scene_values({}))
    assert (ours.method, ours.views, ours.fill, ours.weight_cells) == ("smarthdr", 4, "selfhdr-first", 1.0)
    for method in ("supervised", "smae", "fshdr", "selfhdr"):
        rival = train_config(scene_values({"method": method}))
        assert (rival.views, rival.fill, rival.weight_cells) == (1, "none", 0.0)
    assert train_config(scene_values({"views": 2})).views == 2
    published = train_config(scene_values(PUBLISHED))
    assert (published.method, published.views, published.fill) == ("smarthdr", 1, "none")


def test_errors_name_the_option_and_its_bounds():
    for given, message in (
        ({"batch": 0}, "batch = 0: use a number from 1$"),
        ({"views": 49}, "views = 49: use a number from 1 to 48"),
        ({"masks": {"tau_pixel": -0.5}}, r"masks\.tau_pixel = -0\.5: use a number from 0 to 1"),
        ({"pseudo": "often"}, "pseudo = 'often': use epoch, step"),
        ({"finest": 3}, "finest = 3: use 4, 2, 1"),
        ({"synth": {"kind": "x"}}, r"synth\.kind = 'x': use gamma16, camera8, mixed"),
    ):
        with pytest.raises(UsageError, match=message):
            train_config(given)


@pytest.mark.parametrize("given", [{"batch": 1}, {"views": 48}, {"makers": -1}, {"masks": {"top": 1}}, {"ema": 0.0}])
def test_bounds_are_inclusive(given):
    train_config(given)
