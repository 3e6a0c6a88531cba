"""VGG features and image gradients against plain formulas, masks by exact support, and damaged weight files."""

import hashlib
import math
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train.perceptual_losses import VGGFeatures, gradient_loss, load_vgg, tap_weights
from tests.support.training import check_masked_pixels_do_not_exist, hole, pair

WIDTHS = {0: 4, 2: 4, 5: 6, 7: 6, 10: 8, 12: 8, 14: 8, 17: 10, 19: 10, 21: 10}
TAPS = {2: 0, 7: 1, 14: 2, 21: 3}
SCALE = torch.tensor([0.25, 0.5])


def small_state(seed=0):
    """The real network's shape, thinner."""
    generator = torch.Generator().manual_seed(seed)
    state, width = {}, 3
    for number, out in WIDTHS.items():
        state[f"features.{number}.weight"] = torch.randn(out, width, 3, 3, generator=generator) * (2 / 9 / width) ** 0.5
        state[f"features.{number}.bias"] = torch.randn(out, generator=generator) * 0.1
        width = out
    return state


@pytest.fixture(scope="module")
def state():
    return small_state()


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "small.safetensors"
    extra = {"features.24.weight": torch.zeros(1), "classifier.0.weight": torch.zeros(2, 2)}
    safetensors.torch.save_file(state | extra, path)
    return path


def plain_taps(state, picture):
    """The same with nothing but functions: torchvision's list features[0..22], one entry after the other."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    x, taps = (picture - mean) / deviation, []
    for number in range(23):
        if f"features.{number}.weight" in state:
            x = F.conv2d(x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1)
        elif number in (4, 9, 16):
            x = F.max_pool2d(x, kernel_size=2, stride=2)
        else:
            x = x.relu()
            if number - 1 in TAPS:
                taps.append(x)
    return taps


def test_features_are_those_of_the_plain_network(state, file):
    picture = torch.rand(2, 3, 37, 50, generator=torch.Generator().manual_seed(1))
    ours = load_vgg(file)(picture)
    expected = plain_taps(state, picture)
    assert [tuple(x.shape[1:]) for x in ours] == [(4, 37, 50), (6, 18, 25), (8, 9, 12), (10, 4, 6)]
    for a, b in zip(ours, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_vgg_distance_is_the_sum_of_l1_means_on_the_mu_law(state, file):
    predicted, target = pair()
    scale = torch.tensor([0.25, 0.5])
    a, b = (plain_taps(state, mu_law(x * scale.view(-1, 1, 1, 1))) for x in (predicted, target))
    expected = sum(float((x - y).abs().mean()) for x, y in zip(a, b, strict=True))
    vgg = load_vgg(file)
    assert float(vgg.distance(predicted, target, scale)) == pytest.approx(expected, rel=1e-4)
    ones = torch.ones_like(predicted[:, :1])
    assert float(vgg.distance(predicted, target, scale, ones)) == pytest.approx(expected, rel=1e-4)
    assert float(vgg.distance(predicted, target, scale, ones * 0.5)) == pytest.approx(expected / 2, rel=1e-4)


def test_vgg_distance_ignores_masked_pixels(file):
    vgg = load_vgg(file)
    predicted, target = pair(96, 104)
    check_masked_pixels_do_not_exist(lambda p, t, k: vgg.distance(p, t, SCALE, k), predicted, target, hole(predicted))


def test_a_tap_is_masked_exactly_where_a_masked_pixel_can_reach_it():
    """A network of positive weights, one pixel changed: the cells whose value changes are those with weight 0."""
    positive = {k: v.abs() + 0.01 for k, v in small_state().items()}
    vgg = VGGFeatures(positive).double()
    picture = torch.full((1, 3, 70, 75), 0.9, dtype=torch.float64)
    base = vgg(picture)
    for y, x in ((0, 0), (31, 40), (69, 74), (64, 3)):
        changed = picture.clone()
        changed[..., y, x] = 5.0
        keep = torch.ones(1, 1, 70, 75)
        keep[..., y, x] = 0
        for before, after, tap_weight in zip(base, vgg(changed), tap_weights(keep), strict=True):
            noticed = ((before - after).abs() > 0).any(dim=1, keepdim=True)
            assert (tap_weight[noticed] == 0).all()
            assert noticed.float().sum() >= 0.5 * (tap_weight == 0).float().sum()  # pooling may hide a corner
            if after.shape[-1] == 75:
                assert torch.equal(noticed, tap_weight == 0)


def test_features_are_frozen_and_the_target_gets_no_gradient(file):
    vgg = load_vgg(file)
    assert not [p for p in vgg.parameters() if p.requires_grad]
    predicted = torch.rand(1, 3, 16, 16).requires_grad_()
    target = torch.rand(1, 3, 16, 16).requires_grad_()
    vgg.distance(predicted, target, torch.ones(1)).backward()
    assert predicted.grad is not None
    assert target.grad is None


def test_the_weights_file_is_recorded(file):
    vgg = load_vgg(str(file))
    assert vgg.file == (str(file), hashlib.sha256(file.read_bytes()).hexdigest())


def test_half_precision_files_are_read_as_float32(state, tmp_path):
    path = tmp_path / "half.safetensors"
    safetensors.torch.save_file({k: v.half() for k, v in state.items()}, path)
    assert {p.dtype for p in load_vgg(path).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("features.21.bias"), "features.21.bias is missing"),
        (lambda s: s.update({"features.0.weight": torch.zeros(4, 1, 3, 3)}), r"features.0.weight is .*not \(any, 3, 3"),
        (lambda s: s.update({"features.2.weight": torch.zeros(4, 5, 3, 3)}), r"features.2.weight is"),
        (lambda s: s.update({"features.2.weight": torch.zeros(4, 4, 5, 5)}), r"features.2.weight is"),
        (lambda s: s.update({"features.5.bias": torch.zeros(7)}), r"features.5.bias is \(7,\), not \(6,\)"),
        (lambda s: s.update({"features.7.bias": torch.full((6,), torch.nan)}), "not finite"),
        (lambda s: s.update({"features.7.bias": torch.zeros(6, dtype=torch.int32)}), "not finite floats"),
    ],
)
def test_files_of_other_networks_are_rejected(tmp_path, change, message):
    state = small_state()
    change(state)
    path = tmp_path / "wrong.safetensors"
    safetensors.torch.save_file(state, path)
    with pytest.raises(ModelError, match=message) as caught:
        load_vgg(path)
    assert caught.value.exit_code == 4


def test_unreadable_files_are_model_errors(tmp_path):
    with pytest.raises(ModelError, match="no such VGG16 file"):
        load_vgg(tmp_path / "absent.safetensors")
    (tmp_path / "pickle.pth").write_bytes(b"\x80\x02junk" * 20)
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_vgg(tmp_path / "pickle.pth")
    with pytest.raises(ModelError, match="cannot be read"):
        load_vgg(tmp_path)


def test_weights_from_the_hub(file, monkeypatch):
    import huggingface_hub

    asked = []

    def download(repo, name, revision=None, **_):
        asked.append((repo, name, revision))
        return str(file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    vgg = load_vgg("owner/name@v1.0:sub/vgg16.safetensors")
    assert vgg.file.spec == "owner/name@v1.0:sub/vgg16.safetensors"
    load_vgg("owner/name:vgg16.safetensors")
    assert asked == [("owner/name", "sub/vgg16.safetensors", "v1.0"), ("owner/name", "vgg16.safetensors", None)]


def test_offline_error_names_the_way_out(monkeypatch, tmp_path):
    """The real client library, told to stay offline, with an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ModelError, match=r"HF_HUB_OFFLINE is set: unset it and try again, or give the path .* without this term"
    ):
        load_vgg("owner/not-on-this-machine:vgg16.safetensors")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "cannot be downloaded from owner/name: .*No space left"),
        (ConnectionError(), "cannot be downloaded from owner/name: ConnectionError"),
        (ValueError("first\nsecond"), "owner/name: first$"),
    ],
)
def test_a_failed_download_is_one_line(monkeypatch, error, message):
    import huggingface_hub

    def broken(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", broken)
    with pytest.raises(ModelError, match=message) as caught:
        load_vgg("owner/name:file.safetensors")
    assert "\n" not in str(caught.value)


def test_http_errors_state_their_status(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    def absent(*_, **__):
        raise HfHubHTTPError("gone", response=SimpleNamespace(status_code=404, headers={}, request=None))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", absent)
    with pytest.raises(ModelError, match=r"owner/name does not provide file.safetensors \(HTTP 404\)"):
        load_vgg("owner/name:file.safetensors")


def tones(*pictures):
    return [mu_law(p * SCALE.view(-1, 1, 1, 1)) for p in pictures]


def test_gradient_loss_compares_forward_differences_at_every_scale():
    predicted, target = pair(40, 48)
    a, b = (x.double().numpy() for x in tones(predicted, target))
    terms = []
    for _ in range(3):
        terms += [np.abs(np.diff(a, axis=axis) - np.diff(b, axis=axis)).mean() for axis in (2, 3)]
        a, b = (x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).mean(axis=(3, 5)) for x in (a, b))
    assert float(gradient_loss(predicted, target, SCALE, levels=3)) == pytest.approx(np.mean(terms), rel=1e-4)


def test_gradient_loss_ignores_a_constant_shift():
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) + 0.2
    brighter = (torch.expm1((mu_law(picture) + 0.05) * math.log1p(5000))) / 5000
    assert gradient_loss(brighter, picture, torch.ones(1)) < 1e-6


def test_gradient_loss_needs_two_pixels_each_way():
    with pytest.raises(ValueError, match="two pixels"):
        gradient_loss(torch.ones(1, 3, 1, 9), torch.ones(1, 3, 1, 9), torch.ones(1))


def test_gradient_loss_ignores_masked_pixels():
    predicted, target = pair()
    check_masked_pixels_do_not_exist(lambda p, t, k: gradient_loss(p, t, SCALE, k), predicted, target, hole(predicted))


def test_gradient_loss_scales_with_its_weight():
    predicted, target = pair()
    ones = torch.ones_like(predicted[:, :1])
    plain = float(gradient_loss(predicted, target, SCALE))
    assert plain > 0.01
    assert float(gradient_loss(predicted, target, SCALE, ones)) == pytest.approx(plain, rel=1e-5)
    assert float(gradient_loss(predicted, target, SCALE, ones * 0.25)) == pytest.approx(plain / 4, rel=1e-4)
    alone = gradient_loss(predicted[1:], target[1:], SCALE[1:])
    ones[0] = 0
    assert float(gradient_loss(predicted, target, SCALE, ones)) == pytest.approx(float(alone), rel=1e-5)


def test_descent_on_the_gradient_loss_approaches_the_target():
    predicted, target = pair()
    leaf = predicted.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.02)
    first = float(gradient_loss(predicted, target, SCALE))
    for _ in range(60):
        optimizer.zero_grad()
        gradient_loss(leaf, target, SCALE).backward()
        optimizer.step()
    assert float(gradient_loss(leaf.detach(), target, SCALE)) < 0.5 * first
