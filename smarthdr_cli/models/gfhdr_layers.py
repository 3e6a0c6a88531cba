"""Layers of gfhdr: attention in shifted windows beside a local convolutional branch.

A layer, with LN layer norms, A window attention, L the local branch (Liu et al. 2022, HDR-Transformer, section 3.3):

    y = x + A(LN(x)),    z = y + MLP(LN(y)) + L(LN(x)),    A = softmax(q k^T / sqrt(d) + bias) v in each window

Tensors are (B, H, W, C) contiguous, the channels-last form of (B, C, H, W): linear layers and layer norms work on it in
place, convolutions through a permute without a copy.

Inference on a CPU goes through a layer in strips of a few rows of windows, so that what is between two layers stays in
the caches: out of them a sum or a norm takes three to twenty times as long. Only L needs the whole input, its
convolution and its mean; it is added last. Attention there is exp2 without the row's maximum, a third of a softmax's
time, and its sums come with the product with v; scores that this would take beyond float32 go through softmax.
"""

import math
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIP_PIXELS = 4096  # what is between two layers of so many stays in the caches; bfloat16 loses time on fewer
MAX_LOG_SUM = 100.0  # of weights that are powers of two, far from where float32 ends
MAX_WINDOWS_PER_CALL = 32768  # of attention: CUDA kernels take at most 65,535 in their batch dimension


def relative_index(window: int) -> Tensor:
    """(w*w, w*w) int64: the row of the bias table for query pixel i and key pixel j of a w x w window.

    Pixels are numbered row by row. Row ``(yi - yj + w - 1) * (2w - 1) + (xi - xj + w - 1)`` of the (2w - 1)**2 table
    holds the bias of that displacement (Liu et al. 2021, "Swin Transformer", eq. 4).
    """
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y[None] + window - 1) * (2 * window - 1) + (x[:, None] - x[None] + window - 1)


def edge_windows(batch: int, rows: int, columns: int, window: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The windows that a cyclic shift by half a window joins from opposite sides of the image.

    Returns their flat indices (E,) among batch * rows * columns windows, and a mask to add to their scores
    (E, 1, w*w, w*w): 0 between neighbours in the image, -inf between other pixels. These are the last row and column of
    windows; all others run unmasked.
    """
    inner = torch.arange(window, device=device) >= window // 2  # True: from the opposite side
    row, column = inner.repeat_interleave(window), inner.repeat(window)  # (w*w,)
    across_rows = row[:, None] != row[None]  # (w*w, w*w)
    across_columns = column[:, None] != column[None]
    grid_row = torch.arange(rows, device=device)[:, None].expand(rows, columns) == rows - 1
    grid_column = torch.arange(columns, device=device)[None].expand(rows, columns) == columns - 1
    edge = (grid_row | grid_column).flatten().nonzero().flatten()
    blocked = (grid_row.flatten()[edge, None, None] & across_rows) | (
        grid_column.flatten()[edge, None, None] & across_columns
    )
    mask = torch.zeros(blocked.shape, device=device).masked_fill_(blocked, -torch.inf)
    first = torch.arange(batch, device=device)[:, None] * (rows * columns)
    return (first + edge).flatten(), mask[:, None].repeat(batch, 1, 1, 1)


@dataclass(frozen=True)
class StripWeights:
    """Weights of a WindowAttention for inference, with scores in powers of two.

    ``projection`` (3C + heads, C) and ``offset`` (3C + heads, 1): to queries, keys and values, a constant 1 after the
    values of each head. ``bias`` (heads, w, w, w, w).
    """

    projection: Tensor
    offset: Tensor
    bias: Tensor
    _biases: dict[tuple[int, int, int], Tensor] = field(default_factory=dict)

    def biases(self, height: int, width: int, count: int) -> Tensor:
        """(count * heads, pixels, pixels): ``bias`` in windows of (height, width); kept for the next strip."""
        key = height, width, count
        if key not in self._biases:
            part = self.bias[:, :height, :width, :height, :width]
            self._biases[key] = part.reshape(-1, height * width, height * width).repeat(count, 1, 1)
        return self._biases[key]


class WindowAttention(nn.Module):
    """Multi-head attention inside non-overlapping windows, with a learned bias per head and displacement."""

    index: Tensor

    def __init__(self, dim: int, window: int, heads: int) -> None:
        super().__init__()
        self.window, self.heads = window, heads
        self.windows_per_call = MAX_WINDOWS_PER_CALL
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.register_buffer("index", relative_index(window), persistent=False)
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def bias(self) -> Tensor:
        """(1, heads, w*w, w*w), added to the scores of every window."""
        bias: Tensor = self.bias_table[self.index].permute(2, 0, 1)[None]
        return bias

    def forward(self, x: Tensor, edges: tuple[Tensor, Tensor] | None) -> Tensor:
        """(B, H, W, C) to (B, H, W, C); with ``edges`` the windows are shifted by half their size."""
        B, H, W, C = x.shape
        w, half = self.window, self.window // 2
        if edges is not None:
            x = x.roll((-half, -half), (1, 2))
        windows = x.view(B, H // w, w, W // w, w, C).transpose(2, 3).reshape(-1, w * w, C)  # (n, w*w, C), one copy
        # Strided views of the projection, which the attention kernel reads without a copy.
        q, k, v = self.qkv(windows).view(-1, w * w, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        bias = self.bias().to(q.dtype)
        out = self._attend(q, k, v, bias)  # (n, heads, w*w, C/heads)
        if edges is not None:
            index, mask = edges
            out = out.index_copy(0, index, self._attend(q[index], k[index], v[index], bias + mask.to(q.dtype)))
        mixed: Tensor = self.proj(out.transpose(1, 2).reshape(-1, w * w, C))
        mixed = mixed.view(B, H // w, W // w, w, w, C).transpose(2, 3).reshape(B, H, W, C)
        return mixed.roll((half, half), (1, 2)) if edges is not None else mixed

    def strip(self, x: Tensor, weights: "StripWeights", *, shifted: bool) -> Tensor:
        """Inference of rows of windows: (B, h, W, C) to (B, h, W, C).

        Shifted windows are cut off at the edges of the image instead of masked: at its sides, and by a strip of half a
        window at its top and bottom.
        """
        W, half = x.shape[2], self.window // 2
        if not shifted:
            return self._windows(x, self.window, weights)
        parts = [
            self._windows(x[:, :, left:right], width, weights)
            for left, right, width in ((0, half, half), (half, W - half, self.window), (W - half, W, half))
            if left < right
        ]
        return torch.cat(parts, dim=2)

    def _windows(self, x: Tensor, width: int, weights: "StripWeights") -> Tensor:
        """Attention in windows that are ``width`` wide: (B, h, W, C) to the same.

        Products have the pixels of a window along their rows: rows of a head's few channels are slow.
        """
        B, h, W, C = x.shape
        height = min(h, self.window)
        pixels, grid = height * width, (B, h // height, W // width)
        windows = x.reshape(B, h // height, height, W // width, width, C).transpose(2, 3).reshape(-1, pixels, C)
        n = len(windows)
        projected = torch.baddbmm(weights.offset, weights.projection.expand(n, -1, -1), windows.mT)
        parts = projected.tensor_split([C, 2 * C], dim=1)
        q, k, v = (part.reshape(n * self.heads, -1, pixels) for part in parts)
        scores = torch.baddbmm(weights.biases(height, width, n), q.mT, k)
        mixed = torch.bmm(v, scores.exp2().mT)  # and in the last row the sums of the weights
        if not bool((mixed[:, -1].log2().abs() < MAX_LOG_SUM).all()):
            mixed = torch.bmm(v, (scores * math.log(2)).softmax(-1).mT)
        out = (mixed[:, :-1] / mixed[:, -1:]).view(n, C, pixels).mT.contiguous()
        answer: Tensor = self.proj(out)
        return answer.view(*grid, height, width, C).transpose(2, 3).reshape(B, h, W, C)

    def strip_weights(self, dtype: torch.dtype) -> "StripWeights":
        """What ``strip`` takes, for inputs of ``dtype``."""
        C, depth = self.proj.in_features, self.proj.in_features // self.heads
        q, k, v = torch.cat([self.qkv.weight, self.qkv.bias[:, None]], dim=1).float().chunk(3)
        one = torch.eye(C + 1, device=v.device)[-1:].expand(self.heads, 1, C + 1)
        v = torch.cat([v.view(self.heads, depth, C + 1), one], dim=1).flatten(0, 1)
        rows = torch.cat([q * (depth**-0.5 / math.log(2)), k, v]).to(dtype)
        bias = (self.bias().float() / math.log(2)).to(dtype).view(self.heads, *(self.window,) * 4)
        return StripWeights(rows[:, :-1].contiguous(), rows[:, -1:].contiguous(), bias)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """softmax(q k^T / sqrt(d) + bias) v over windows; ``bias`` has one row for all windows or one for each.

        Written out for training: torch's own function takes a slower path when the bias has a gradient, on a CPU and on
        a GPU (torch 2.11 on an H200, 32 crops of 128x128 in bfloat16: 0.38 s per update instead of 0.30, and 40 GiB
        instead of 29).
        """
        if q.requires_grad:
            scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2)).add_(bias)
            return torch.matmul(scores.softmax(-1, dtype=scores.dtype), v)
        count = self.windows_per_call
        if len(q) <= count:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        calls = [slice(i, i + count) for i in range(0, len(q), count)]
        return torch.cat([self._attend(q[c], k[c], v[c], bias if len(bias) == 1 else bias[c]) for c in calls])


class LocalContext(nn.Module):
    """L: a 3x3 convolution on fewer channels, then channel attention over the whole input."""

    def __init__(self, dim: int, squeezed: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(dim, squeezed, 1),
            nn.Conv2d(squeezed, squeezed, 3, padding=1),
            nn.Conv2d(squeezed, dim, 1),
            nn.LeakyReLU(0.2),
        )
        self.attention = nn.Sequential(
            nn.Conv2d(dim, squeezed, 1, bias=False), nn.ReLU(), nn.Conv2d(squeezed, dim, 1, bias=False), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        x = self.body(x)
        weight: Tensor = self.attention(x.mean((2, 3), keepdim=True))
        return x * weight

    def squeeze(self, x: Tensor) -> Tensor:
        """The first convolution, of pixels alone, for inference in strips: (B, h, W, C) to (B, h, W, squeezed)."""
        return _pointwise(self.body[0], x)

    def add_to(self, target: Tensor, squeezed: Tensor, strips: list[slice]) -> None:
        """Add the branch to ``target`` (B, H, W, C), from the whole input squeezed, in strips of rows."""
        squeezed = self.body[1](squeezed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        parts = [self._expand(squeezed[:, rows]) for rows in strips]
        total = torch.stack([part.sum((1, 2), dtype=torch.float32) for part in parts]).sum(0)
        mean = (total / (squeezed.shape[1] * squeezed.shape[2])).to(squeezed.dtype)
        weight = self.attention(mean[..., None, None]).permute(0, 2, 3, 1)
        for rows, part in zip(strips, parts, strict=True):
            target[:, rows].add_(part.mul_(weight))

    def _expand(self, squeezed: Tensor) -> Tensor:
        out: Tensor = self.body[3](_pointwise(self.body[2], squeezed))
        return out


def _pointwise(conv: nn.Module, x: Tensor) -> Tensor:
    """A 1x1 convolution of channels-last data; as a matrix product, which is faster with few channels."""
    assert isinstance(conv, nn.Conv2d)
    return F.linear(x, conv.weight.flatten(1), conv.bias)


class Norm(nn.LayerNorm):
    """LayerNorm over the last axis, on a CPU in float32.

    In bfloat16 a CPU (torch 2.13) sums the gradients of weight and bias over all pixels in 16 bits, which loses most of
    them, and takes twice as long.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C), in the type of ``x``."""
        if x.device.type == "cpu":
            weight, bias = self.weight.float(), self.bias.float()
            return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)
        return super().forward(x)


class DropPath(nn.Module):
    """Stochastic depth: drops a residual branch per sample in training, scaled to keep its mean (Huang et al. 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) to (B, ...); the identity in eval mode."""
        if self.rate == 0.0 or not self.training:
            return x
        keep = torch.full((x.shape[0],) + (1,) * (x.ndim - 1), 1.0 - self.rate, device=x.device, dtype=x.dtype)
        return x * torch.bernoulli(keep) / keep


class ContextLayer(nn.Module):
    """The layer of the module's equation: Swin attention and MLP, and the local branch on the first norm."""

    def __init__(self, dim: int, window: int, heads: int, hidden: int, squeezed: int, shift: bool, drop: float) -> None:
        super().__init__()
        self.shift = shift
        self.norm1 = Norm(dim)
        self.attention = WindowAttention(dim, window, heads)
        self.local = LocalContext(dim, squeezed)
        self.norm2 = Norm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.drop = DropPath(drop)

    def forward(self, x: Tensor, edges: tuple[Tensor, Tensor]) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        if x.device.type == "cpu" and not (self.training or torch.is_grad_enabled()):
            return self._in_strips(x)
        normed = self.norm1(x)
        local = self.local(normed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.drop(self.attention(normed, edges if self.shift else None))
        out: Tensor = x + self.drop(self.mlp(self.norm2(x))) + local
        return out

    def _in_strips(self, x: Tensor) -> Tensor:
        strips = self._strips(*x.shape[1:3])
        out, squeezed = torch.empty_like(x), []
        weights = self.attention.strip_weights(x.dtype)
        for rows in strips:
            part = x[:, rows]
            normed = self.norm1(part)
            squeezed.append(self.local.squeeze(normed))
            part = part + self.attention.strip(normed, weights, shifted=self.shift)
            torch.add(part, self.mlp(self.norm2(part)), out=out[:, rows])
        self.local.add_to(out, torch.cat(squeezed, dim=1), strips)
        return out

    def _strips(self, height: int, width: int) -> list[slice]:
        """Rows of windows, STRIP_PIXELS at a time; half windows at the top and at the bottom of a shifted layer."""
        window = self.attention.window
        first = window // 2 if self.shift else 0
        step = window * max(1, STRIP_PIXELS // (window * width))
        cuts = sorted({0, *range(first, height - first, step), height - first, height})
        return [slice(*rows) for rows in pairwise(cuts)]


class ContextBlock(nn.Module):
    """Layers, every second one shifted, a dilated convolution, and a skip connection over all of it."""

    def __init__(self, dim: int, window: int, heads: int, hidden: int, squeezed: int, drops: list[float]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            ContextLayer(dim, window, heads, hidden, squeezed, shift=i % 2 == 1, drop=drop)
            for i, drop in enumerate(drops)
        )
        self.conv = nn.Conv2d(dim, dim, 3, padding=2, dilation=2)

    def forward(self, x: Tensor, edges: tuple[Tensor, Tensor]) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        y = x
        for layer in self.layers:
            y = layer(y, edges)
        return dilated_conv(self.conv, y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) + x


def dilated_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """``conv`` of (B, C, H, W), on contiguous planes in training.

    With torch 2.13 the weight gradients of a dilated bfloat16 convolution of channels-last data on a CPU are wrong, by
    1 to 1e35 times their size; those of contiguous planes are right.
    """
    if x.device.type == "cpu" and torch.is_grad_enabled() and conv.weight.requires_grad:
        weight = conv.weight.contiguous()
        return F.conv2d(x.contiguous(), weight, conv.bias, padding=conv.padding, dilation=conv.dilation)
    result: Tensor = conv(x)
    return result
