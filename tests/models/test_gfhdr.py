"""gfhdr: its published size, its layers against slow twins from the definition, frames in any order, growth."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from smarthdr_cli.errors import UsageError
from smarthdr_cli.models.gfhdr import GFHDR, GFHDRBackbone, GFHDRConfig, pack_frames, pad_to_multiple
from smarthdr_cli.models.gfhdr_layers import ContextLayer, DropPath, LocalContext, Norm, WindowAttention, edge_windows

SHALLOW = GFHDRConfig(dim=12, blocks=2, depth=1, heads=3, window=4, squeeze=4, drop_path=0.0)
SMALL = GFHDRConfig(dim=12, blocks=2, depth=2, heads=3, window=4, squeeze=4)


def _frames(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _conv(inputs: int, outputs: int, kernel: int = 3, bias: bool = True) -> int:
    return inputs * outputs * kernel**2 + bias * outputs


def _count(c: GFHDRConfig) -> int:
    """Parameters by the description in docs/METHOD.md, section 2.1, term by term."""
    d, s, hidden = c.dim, c.dim // c.squeeze, c.dim * c.mlp_ratio
    norm = 2 * d
    shallow = 3 * _conv(6, d) + 2 * (_conv(2 * d, 2 * d) + _conv(2 * d, d)) + _conv(3 * d, d) + norm
    attention = d * 3 * d + 3 * d + d * d + d + (2 * c.window - 1) ** 2 * c.heads
    mlp = d * hidden + hidden + hidden * d + d
    local = _conv(d, s, 1) + _conv(s, s) + _conv(s, d, 1) + _conv(d, s, 1, bias=False) + _conv(s, d, 1, bias=False)
    body = c.blocks * (c.depth * (2 * norm + attention + mlp + local) + _conv(d, d))
    return shallow + body + norm + _conv(d, d) + _conv(d, 3)


def test_the_default_has_the_published_number_of_parameters() -> None:
    model = GFHDRBackbone(GFHDRConfig())
    count = sum(p.numel() for p in model.parameters())
    assert count == 1_222_113
    assert count == _count(GFHDRConfig())


@pytest.mark.parametrize("config", [SMALL, dataclasses.replace(SMALL, dim=24, mlp_ratio=3, heads=4, window=8)])
def test_other_sizes_follow_the_same_formula(config: GFHDRConfig) -> None:
    assert sum(p.numel() for p in GFHDRBackbone(config).parameters()) == _count(config)


@pytest.mark.parametrize("size", [(8, 8), (16, 8), (13, 22), (3, 5), (1, 1)])
def test_any_size_is_kept_and_the_output_is_bounded(size: tuple[int, int]) -> None:
    model = GFHDRBackbone(SMALL).eval()
    with torch.inference_mode():
        radiance, features = model(_frames(2, 3, 6, *size))
    assert radiance.shape == (2, 3, *size)
    assert features.shape == (2, model.feature_channels, *size)
    assert radiance.min() > 0
    assert radiance.max() < 1


@pytest.mark.parametrize("shape", [(1, 2, 6, 8, 8), (1, 3, 3, 8, 8), (3, 6, 8, 8)])
def test_another_number_of_frames_or_channels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="takes"):
        GFHDRBackbone(SMALL)(torch.zeros(shape))


@pytest.mark.parametrize(
    "change", [{"dim": 13}, {"window": 7}, {"depth": 0}, {"drop_path": 1.0}, {"squeeze": 99}, {"name": "saf"}]
)
def test_sizes_that_do_not_fit_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="gfhdr"):
        dataclasses.replace(SMALL, **change)  # type: ignore[arg-type]


# The slow twin of window attention: every query pixel by itself, in picture coordinates.


def _attention_by_definition(module: WindowAttention, x: Tensor, shifted: bool) -> Tensor:
    B, H, W, C = x.shape
    w, heads = module.window, module.heads
    d, shift = C // heads, w // 2 if shifted else 0
    qkv = x @ module.qkv.weight.T + module.qkv.bias
    q, k, v = (qkv[..., i * C : (i + 1) * C].view(B, H, W, heads, d) for i in range(3))

    def cell(p: int) -> int:
        """The window a coordinate falls into; shifted, the picture's two ends are half windows of their own."""
        return (p - shift) // w

    out = torch.empty_like(x)
    for b in range(B):
        for y in range(H):
            for u in range(W):
                ys = [i for i in range(H) if cell(i) == cell(y)]
                us = [i for i in range(W) if cell(i) == cell(u)]
                for h in range(heads):
                    scores, values = [], []
                    for i in ys:
                        for j in us:
                            row = (y - i + w - 1) * (2 * w - 1) + (u - j + w - 1)
                            score = torch.dot(q[b, y, u, h], k[b, i, j, h]) / math.sqrt(d)
                            scores.append(score + module.bias_table[row, h])
                            values.append(v[b, i, j, h])
                    weights = torch.stack(scores).softmax(0)
                    out[b, y, u, h * d : (h + 1) * d] = (weights[:, None] * torch.stack(values)).sum(0)
    return out @ module.proj.weight.T + module.proj.bias


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("size", [(4, 4), (8, 12)])
@torch.no_grad()
def test_window_attention_equals_its_definition(size: tuple[int, int], shifted: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    module = WindowAttention(dim=6, window=4, heads=2)
    for p in module.parameters():  # larger than at the start, so that softmax and bias matter
        p.copy_(torch.randn(p.shape, generator=generator) * 0.7)
    H, W = size
    x = torch.randn(2, H, W, 6, generator=generator)
    edges = edge_windows(2, H // 4, W // 4, 4, x.device) if shifted else None
    fast, slow = module(x, edges), _attention_by_definition(module, x, shifted)
    assert (fast - slow).abs().max() <= 1e-5
    assert slow.std() > 0.1


def test_training_computes_what_inference_does() -> None:
    module = WindowAttention(dim=6, window=4, heads=2)
    x = torch.randn(2, 8, 12, 6, generator=torch.Generator().manual_seed(0))
    edges = edge_windows(2, 2, 3, 4, x.device)
    for each in (None, edges):
        trained = module(x, each)
        assert trained.requires_grad
        with torch.inference_mode():
            torch.testing.assert_close(module(x, each), trained)


@torch.no_grad()
def test_many_windows_go_through_in_several_calls() -> None:
    module = WindowAttention(dim=6, window=4, heads=2)
    x = torch.randn(2, 16, 16, 6, generator=torch.Generator().manual_seed(0))
    edges = edge_windows(2, 4, 4, 4, x.device)
    whole = module(x, edges)
    module.windows_per_call = 5
    torch.testing.assert_close(module(x, edges), whole)


def test_gradients_of_attention_pass_through_both_kinds_of_window() -> None:
    module = WindowAttention(dim=4, window=2, heads=2).double()
    x = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    edges = edge_windows(1, 2, 2, 2, x.device)
    assert torch.autograd.gradcheck(lambda t, *_: module(t, edges), (x, module.bias_table, module.qkv.weight))


@torch.no_grad()
def test_the_local_branch_equals_its_definition() -> None:
    module = LocalContext(dim=6, squeezed=2)
    x = torch.randn(1, 6, 5, 7, generator=torch.Generator().manual_seed(0))
    first, second, third, _ = module.body
    y = torch.einsum("oc,bchw->bohw", first.weight[..., 0, 0], x) + first.bias[None, :, None, None]
    y = torch.nn.functional.conv2d(y, second.weight, second.bias, padding=1)
    y = torch.einsum("oc,bchw->bohw", third.weight[..., 0, 0], y) + third.bias[None, :, None, None]
    y = torch.maximum(y, 0.2 * y)
    weight = (module.attention[0].weight[..., 0, 0] @ y.mean((2, 3)).T).clamp_min(0)
    weight = 1 / (1 + (-module.attention[2].weight[..., 0, 0] @ weight).exp())
    torch.testing.assert_close(module(x), y * weight.T[..., None, None])


@torch.no_grad()
def test_a_layer_adds_window_attention_mlp_and_the_local_branch() -> None:
    layer = ContextLayer(dim=6, window=4, heads=2, hidden=12, squeezed=2, shift=True, drop=0.5).eval()
    x = torch.randn(1, 8, 8, 6, generator=torch.Generator().manual_seed(0))
    edges = edge_windows(1, 2, 2, 4, x.device)
    normed = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    middle = x + layer.attention(normed, edges)
    local = layer.local(normed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(layer(x, edges), middle + layer.mlp(layer.norm2(middle)) + local)


@pytest.mark.parametrize("scale", [1.0, 30.0, 200.0])
@pytest.mark.parametrize("shift", [False, True])
def test_scores_of_any_size_pass_through_inference(shift: bool, scale: float) -> None:
    """Powers of two of scores in the hundreds are beyond float32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = ContextLayer(dim=6, window=4, heads=2, hidden=12, squeezed=2, shift=shift, drop=0.0).eval()
    layer.attention.qkv.weight.data.mul_(scale)
    x = torch.randn(1, 8, 8, 6, generator=torch.Generator().manual_seed(0))
    trained = layer(x, edge_windows(1, 2, 2, 4, x.device))
    with torch.inference_mode():
        torch.testing.assert_close(layer(x, edge_windows(1, 2, 2, 4, x.device)), trained, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(4, 4), (8, 20), (13, 9)])
def test_inference_in_strips_computes_what_training_does(size: tuple[int, int]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GFHDRBackbone(SMALL).eval()
        for p in model.parameters():  # larger than at the start, so that every branch matters
            p.data.add_(torch.randn(p.shape) * 0.1)
    frames = _frames(2, 3, 6, *size)
    whole = model(frames)
    assert whole[0].requires_grad
    with torch.inference_mode():
        for strips, expected in zip(model(frames), whole, strict=True):
            torch.testing.assert_close(strips, expected)


def test_drop_path_rises_from_nothing_and_keeps_the_mean() -> None:
    rates = [m.rate for m in GFHDRBackbone(GFHDRConfig()).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.1 * i / 17 for i in range(18)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dropped = DropPath(0.25)(torch.ones(4000, 2))
    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    torch.testing.assert_close(dropped[:, 0], dropped[:, 1])  # a sample as a whole
    assert torch.equal(DropPath(0.25).eval()(torch.ones(9)), torch.ones(9))


def test_the_last_skip_carries_the_reference_and_order_of_frames_matters() -> None:
    model = GFHDRBackbone(SMALL).eval()
    frames = _frames(1, 3, 6, 8, 8)
    with torch.inference_mode():
        model.conv_after_body.weight.zero_()
        model.conv_after_body.bias.zero_()
        base = model(frames)[0]
        moved = frames.clone()
        moved[:, 0] = 0
        torch.testing.assert_close(model(moved)[0], base)  # nothing but the reference is left
        moved = frames.clone()
        moved[:, 1] = 0
        assert (model(moved)[0] - base).abs().max() > 1e-3


def test_every_parameter_learns() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GFHDRBackbone(dataclasses.replace(SMALL, squeeze=1)).eval()  # no path dropped, no attention all dead
    radiance, features = model(_frames(2, 3, 6, 8, 8))
    (radiance.square().mean() + features.square().mean()).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    assert dead == []


def test_bfloat16_stays_near_float32() -> None:
    model = GFHDRBackbone(SMALL).eval()
    frames = _frames(1, 3, 6, 16, 16)
    with torch.inference_mode():
        exact = model(frames)[0]
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(frames)[0]
        stored = model.bfloat16()(frames.bfloat16())[0]
    assert rough.dtype == stored.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.01
    assert (stored - exact).abs().max() < 0.01


def test_gradients_under_bfloat16_are_those_of_float32() -> None:
    """Channels last, as training has it: dilated convolutions and norms went wrong there."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GFHDRBackbone(dataclasses.replace(SMALL, dim=60, heads=6, window=8, depth=1)).eval()
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    frames = _frames(2, 3, 6, 32, 32)
    found = {}
    for precise in (True, False):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
            model(frames)[0].square().sum().backward()
        found[precise] = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    for name, exact in found[True].items():
        assert (found[False][name] - exact).norm() < 0.05 * exact.norm(), name


def test_a_norm_sums_its_gradients_over_many_pixels_in_float32() -> None:
    draw = torch.Generator().manual_seed(0)
    x, above = torch.randn(40_000, 12, generator=draw).bfloat16(), torch.rand(40_000, 12, generator=draw).bfloat16()
    norm = Norm(12)
    out = norm(x.requires_grad_())
    assert out.dtype == torch.bfloat16
    out.backward(above)
    torch.testing.assert_close(norm.bias.grad, above.float().sum(dim=0), rtol=1e-3, atol=0)


def test_padding_reflects_and_keeps_the_input() -> None:
    x = torch.arange(30.0).view(1, 1, 5, 6)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (1, 1, 8, 8)
    assert torch.equal(padded[..., :5, :6], x)
    assert torch.equal(padded[0, 0, 5:, 0], x[0, 0, [3, 2, 1], 0])
    assert pad_to_multiple(padded, 4) is padded


def _network(config: GFHDRConfig, seed: int) -> GFHDR:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GFHDR(config)


@torch.inference_mode()
def test_frames_go_in_by_exposure_whatever_their_order() -> None:
    model = _network(dataclasses.replace(SMALL, window=4), 0).eval()
    frames, evs, valid = _frames(1, 3, 3, 32, 32), torch.tensor([[0.0, 2.0, -2.0]]), torch.ones(1, 3, 1, 32, 32)
    by_exposure = [2, 0, 1]
    output = model.predict(pack_frames(frames[:, by_exposure], evs[:, by_exposure]))
    prediction = model(frames, evs, valid)
    light = 4 * output.radiance
    inside = (light - frames[:, 0]).abs() < 1e-3
    torch.testing.assert_close(prediction.radiance[inside], light[inside])
    assert ((prediction.radiance - frames[:, 0])[frames[:, 0] < 0.6].abs() < 0.02).all()  # clamped to the reference
    torch.testing.assert_close(prediction.log_sigma, output.log_sigma)
    again = model(frames[:, [0, 2, 1]], evs[:, [0, 2, 1]], valid)
    torch.testing.assert_close(again.radiance, prediction.radiance)


@pytest.mark.parametrize("count", [2, 4])
def test_another_number_of_frames_is_a_usage_error(count: int) -> None:
    with pytest.raises(UsageError, match=f"gfhdr takes three frames; the bursts have {count}"):
        _network(SMALL, 0)(torch.zeros(1, count, 3, 32, 32), torch.zeros(1, count), torch.ones(1, count, 1, 32, 32))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_network_grown_from_a_shallow_one_computes_the_same(depth: int) -> None:
    shallow = _network(SHALLOW, 0).eval()
    deep = _network(dataclasses.replace(SHALLOW, depth=depth), 1).eval()
    frames = torch.rand(1, 3, 6, 16, 16, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        before = shallow.predict(frames)
        assert (deep.predict(frames).radiance - before.radiance).abs().max() > 1e-4
        deep.load_state_dict(deep.extend_state(shallow.state_dict()))
        for one, other in zip(deep.predict(frames), before, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_added_layers_learn() -> None:
    deep = _network(dataclasses.replace(SHALLOW, depth=2), 1)
    deep.load_state_dict(deep.extend_state(_network(SHALLOW, 0).state_dict()))
    frames = torch.rand(1, 3, 6, 16, 16, generator=torch.Generator().manual_seed(2))
    deep.predict(frames).radiance.square().mean().backward()
    for block in deep.backbone.body:
        for end in (block.layers[1].attention.proj, block.layers[1].mlp[2], block.layers[1].local.body[2]):
            assert end.weight.grad.abs().max() > 0


def test_a_state_of_another_width_is_refused_by_the_loader() -> None:
    deep = _network(dataclasses.replace(SHALLOW, depth=2), 1)
    narrow = _network(dataclasses.replace(SHALLOW, dim=6), 0).state_dict()
    with pytest.raises(RuntimeError, match="size mismatch"):
        deep.load_state_dict(deep.extend_state(narrow))
