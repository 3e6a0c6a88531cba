"""VGG features against plain torch.nn.functional, masks by exact support, files that are not what they should be."""

import hashlib
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import train_pictures as made

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train.perceptual_losses import VGGFeatures, load_vgg, perceptual, supports

WIDTHS = {0: 4, 2: 4, 5: 6, 7: 6, 10: 8, 12: 8, 14: 8, 17: 10, 19: 10, 21: 10}
TAPS = {2: 0, 7: 1, 14: 2, 21: 3}


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
    x, found = (picture - mean) / deviation, []
    for number in range(23):
        if f"features.{number}.weight" in state:
            x = F.conv2d(x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1)
        elif number in (4, 9, 16):
            x = F.max_pool2d(x, kernel_size=2, stride=2)
        else:
            x = x.relu()
            if number - 1 in TAPS:
                found.append(x)
    return found


def test_features_are_those_of_the_plain_network(state, file):
    picture = torch.rand(2, 3, 37, 50, generator=torch.Generator().manual_seed(1))
    ours = load_vgg(file)(picture)
    wanted = plain_taps(state, picture)
    assert [tuple(x.shape[1:]) for x in ours] == [(4, 37, 50), (6, 18, 25), (8, 9, 12), (10, 4, 6)]
    for a, b in zip(ours, wanted, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_the_loss_is_the_sum_of_l1_means_on_the_mu_law(state, file):
    predicted, target = made.pair()
    scale = torch.tensor([0.25, 0.5])
    a, b = (plain_taps(state, mu_law(x * scale.view(-1, 1, 1, 1))) for x in (predicted, target))
    wanted = sum(float((x - y).abs().mean()) for x, y in zip(a, b, strict=True))
    vgg = load_vgg(file)
    assert float(perceptual(vgg, predicted, target, scale)) == pytest.approx(wanted, rel=1e-4)
    ones = torch.ones_like(predicted[:, :1])
    assert float(perceptual(vgg, predicted, target, scale, ones)) == pytest.approx(wanted, rel=1e-4)
    assert float(perceptual(vgg, predicted, target, scale, ones * 0.5)) == pytest.approx(wanted / 2, rel=1e-4)


def test_masked_pixels_do_not_exist(file):
    vgg = load_vgg(file)
    predicted, target = made.pair(96, 104)
    scale = torch.tensor([0.25, 0.5])
    made.check_masked_pixels_do_not_exist(
        lambda p, t, k: perceptual(vgg, p, t, scale, k), predicted, target, made.hole(predicted)
    )


def test_the_support_of_a_cell_is_where_its_value_comes_from():
    """By trial: a network of positive weights, one pixel changed, every cell that notices is masked and no other."""
    positive = {k: v.abs() + 0.01 for k, v in small_state().items()}
    vgg = VGGFeatures(positive).double()
    picture = torch.full((1, 3, 70, 75), 0.9, dtype=torch.float64)
    base = vgg(picture)
    for y, x in ((0, 0), (31, 40), (69, 74), (64, 3)):
        changed = picture.clone()
        changed[..., y, x] = 5.0
        keep = torch.ones(1, 1, 70, 75)
        keep[..., y, x] = 0
        for before, after, seen in zip(base, vgg(changed), supports(keep), strict=True):
            noticed = ((before - after).abs() > 0).any(dim=1, keepdim=True)
            assert (seen[noticed] == 0).all()
            assert noticed.float().sum() >= 0.5 * (seen == 0).float().sum()  # a pooling may hide one of its corners
            if after.shape[-1] == 75:
                assert torch.equal(noticed, seen == 0)


def test_nothing_is_trained(file):
    vgg = load_vgg(file)
    assert not [p for p in vgg.parameters() if p.requires_grad]
    predicted = torch.rand(1, 3, 16, 16).requires_grad_()
    target = torch.rand(1, 3, 16, 16).requires_grad_()
    perceptual(vgg, predicted, target, torch.ones(1)).backward()
    assert predicted.grad is not None
    assert target.grad is None


def test_the_source_is_on_record(file):
    vgg = load_vgg(str(file))
    assert vgg.source == (str(file), hashlib.sha256(file.read_bytes()).hexdigest())


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
def test_other_networks_are_refused(tmp_path, change, message):
    state = small_state()
    change(state)
    path = tmp_path / "wrong.safetensors"
    safetensors.torch.save_file(state, path)
    with pytest.raises(ModelError, match=message) as caught:
        load_vgg(path)
    assert caught.value.exit_code == 4


def test_files_that_cannot_be_read_are_one_line(tmp_path):
    with pytest.raises(ModelError, match="no such VGG16 file"):
        load_vgg(tmp_path / "absent.safetensors")
    (tmp_path / "pickle.pth").write_bytes(b"\x80\x02junk" * 20)
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_vgg(tmp_path / "pickle.pth")
    with pytest.raises(ModelError, match="cannot be read"):
        load_vgg(tmp_path)


def test_a_file_on_the_hub(file, monkeypatch):
    import huggingface_hub

    asked = []

    def download(repo, name, revision=None, **_):
        asked.append((repo, name, revision))
        return str(file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    vgg = load_vgg("owner/name@v1.0:sub/vgg16.safetensors")
    assert vgg.source.spec == "owner/name@v1.0:sub/vgg16.safetensors"
    load_vgg("owner/name:vgg16.safetensors")
    assert asked == [("owner/name", "sub/vgg16.safetensors", "v1.0"), ("owner/name", "vgg16.safetensors", None)]


def test_offline_says_what_to_do(monkeypatch, tmp_path):
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
def test_a_download_that_breaks_is_one_line(monkeypatch, error, message):
    import huggingface_hub

    def broken(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", broken)
    with pytest.raises(ModelError, match=message) as caught:
        load_vgg("owner/name:file.safetensors")
    assert "\n" not in str(caught.value)


def test_http_errors_carry_their_status(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    def absent(*_, **__):
        raise HfHubHTTPError("gone", response=SimpleNamespace(status_code=404, headers={}, request=None))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", absent)
    with pytest.raises(ModelError, match=r"file.safetensors cannot be had from owner/name \(HTTP 404\)"):
        load_vgg("owner/name:file.safetensors")
