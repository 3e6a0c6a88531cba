"""gfhdr: the backbone of the SmartHDR paper with its uncertainty head; three frames in.

Liu et al. 2022, "Ghost-free High Dynamic Range Imaging with Context-aware Transformer" (ECCV), as used in arXiv
2511.12939. With I_k the frames by rising exposure (k = 1 short, 2 reference, 3 long), g their gamma code:

    X_k = [g(I_k)^2.2 / t_k, g(I_k)],  t_k = 2^(EV_k - EV_1)        six channels, the short frame's clip is 1
    F_k = conv_k(X_k),  F_att = conv([F_1 * A_1, F_2, F_3 * A_3]),  A_k = attention(F_k, F_2)
    H = sigmoid(conv(F_2 + conv(body(F_att) + F_att))),  log sigma = head(F_att)

At dim 60 the backbone has 1,222,113 parameters, the published number. Where the publications leave a choice open, this
module takes the following (all but the marked ones follow from that number):

- each frame has its own convolution; the two spatial attentions share no weights;
- one LayerNorm between F_att and the first block, one after the last, none between blocks;
- the local branch is linear up to its LeakyReLU and squeezes to dim // 8 = 7; its channel attention has no biases;
- (free choice) the local branch is added after the MLP, outside DropPath;
- (free choice) the body's skip adds F_att before its norm; the last skip adds the reference's features;
- (free choice) shifted windows use an exact mask (-inf) at the borders of the image, at every size;
- (free choice) linear layers and bias tables start from a normal distribution of deviation 0.02 truncated at 2
  (absolute), their biases at zero; convolutions keep PyTorch's default, except the last bias (FIRST_LOGIT).

Channel attention averages over the whole input, so the output depends on the tile.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smarthdr_cli.errors import UsageError
from smarthdr_cli.models.base import FusionModel, Prediction
from smarthdr_cli.models.gfhdr_layers import ContextBlock, ContextLayer, Norm, edge_windows
from smarthdr_cli.models.merge import clamp_to_reference_strict
from smarthdr_cli.models.uncertainty_head import UncertaintyHead
from smarthdr_cli.radiometry import GAMMA

FRAMES = 3
FRAME_CHANNELS = 6  # linear RGB, then gamma-coded RGB
# Limits of a config from a file, whose network is built before its weights are compared with it: 1 GB at most.
MAX_DIM, MAX_LAYERS, MAX_WINDOW = 256, 64, 16
FIRST_LOGIT = -4.0  # bias of the last layer of an untrained network: 0.018, a typical radiance where short clip = 1
# The last layer of each branch of a ContextLayer: where all three are 0 the layer is the identity.
BRANCH_ENDS = ("attention.proj", "mlp.2", "local.body.2")


@dataclass(frozen=True)
class GFHDRConfig:
    """Sizes of gfhdr; the defaults are the paper's. Raises ValueError where they do not fit each other."""

    name: str = "gfhdr"
    dim: int = 60  # features per pixel
    blocks: int = 3
    depth: int = 6  # layers per block
    heads: int = 6
    window: int = 8  # pixels
    mlp_ratio: int = 2
    squeeze: int = 8  # the local branch works on dim // squeeze channels
    drop_path: float = 0.1  # rate of the last layer, rising linearly from 0 at the first

    def __post_init__(self) -> None:
        if self.name != "gfhdr":
            raise ValueError(f"a gfhdr config cannot be named {self.name!r}")
        if min(self.dim, self.blocks, self.depth, self.heads, self.mlp_ratio, self.squeeze) < 1:
            raise ValueError("gfhdr's sizes must be at least 1")
        if self.dim > MAX_DIM or self.blocks * self.depth > MAX_LAYERS or max(self.window, self.mlp_ratio) > MAX_WINDOW:
            raise ValueError(
                f"gfhdr's dim may be {MAX_DIM}, its layers {MAX_LAYERS}, its window and mlp_ratio {MAX_WINDOW} at most"
            )
        if self.dim % self.heads:
            raise ValueError(f"gfhdr's dim {self.dim} is not a multiple of its {self.heads} heads")
        if self.window < 2 or self.window % 2:
            raise ValueError(f"gfhdr's window {self.window} is not an even number of pixels")
        if self.squeeze > self.dim:
            raise ValueError(f"gfhdr's squeeze {self.squeeze} is larger than its dim {self.dim}")
        if not 0.0 <= self.drop_path < 1.0:
            raise ValueError(f"gfhdr's drop_path {self.drop_path} is not in [0, 1)")


class GFHDROutput(NamedTuple):
    """``radiance``: (B, 3, H, W) float32 in [0, 1], short clip = 1. ``log_sigma``: (B, 1, H, W), natural logarithm."""

    radiance: Tensor
    log_sigma: Tensor


class SpatialAttention(nn.Module):
    """A_k: a weight in (0, 1) for each feature and pixel of another frame, from it and the reference."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(2 * dim, 2 * dim, 3, padding=1),
            nn.LeakyReLU(0.01),
            nn.Conv2d(2 * dim, dim, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, other: Tensor, reference: Tensor) -> Tensor:
        """Two (B, dim, H, W) to (B, dim, H, W)."""
        out: Tensor = self.body(torch.cat([other, reference], 1))
        return out


class GFHDRBackbone(nn.Module):
    """The published network without the uncertainty head, which reads F_att of ``feature_channels`` channels."""

    def __init__(self, config: GFHDRConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.feature_channels = dim
        self.frame_convs = nn.ModuleList(nn.Conv2d(FRAME_CHANNELS, dim, 3, padding=1) for _ in range(FRAMES))
        self.attention_short = SpatialAttention(dim)
        self.attention_long = SpatialAttention(dim)
        self.fuse = nn.Conv2d(FRAMES * dim, dim, 3, padding=1)
        self.norm_in = Norm(dim)
        drops = torch.linspace(0, config.drop_path, config.blocks * config.depth).tolist()
        self.body = nn.ModuleList(
            ContextBlock(
                dim,
                config.window,
                config.heads,
                dim * config.mlp_ratio,
                dim // config.squeeze,
                drops[i * config.depth : (i + 1) * config.depth],
            )
            for i in range(config.blocks)
        )
        self.norm_out = Norm(dim)
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv_last = nn.Conv2d(dim, 3, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        assert self.conv_last.bias is not None
        nn.init.constant_(self.conv_last.bias, FIRST_LOGIT)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """X, (B, 3, 6, H, W) by rising exposure, to H (B, 3, H, W) float32 and F_att (B, dim, H, W).

        Any height and width: the input is padded by reflection to multiples of the window, the output cropped. Raises
        ValueError for another number of frames or channels.
        """
        if frames.ndim != 5 or frames.shape[1:3] != (FRAMES, FRAME_CHANNELS):
            raise ValueError(f"gfhdr takes (B, 3, 6, H, W), not {tuple(frames.shape)}")
        H, W = frames.shape[-2:]
        frames = pad_to_multiple(frames, self.config.window)
        short, reference, long = (
            conv(frames[:, i].contiguous(memory_format=torch.channels_last)) for i, conv in enumerate(self.frame_convs)
        )  # each (B, dim, h, w)
        short = short * self.attention_short(short, reference)
        long = long * self.attention_long(long, reference)
        features: Tensor = self.fuse(torch.cat([short, reference, long], 1))  # F_att
        x = features.permute(0, 2, 3, 1).contiguous()  # (B, h, w, dim); no copy of a channels-last tensor
        edges = self._edges(x)
        y = self.norm_in(x)
        for block in self.body:
            y = block(y, edges)
        y = self.norm_out(y).permute(0, 3, 1, 2)
        y = reference + self.conv_after_body(y + features)
        return self._radiance(y)[..., :H, :W], features[..., :H, :W]

    def _edges(self, x: Tensor) -> tuple[Tensor, Tensor]:
        size = self.config.window
        return edge_windows(x.shape[0], x.shape[1] // size, x.shape[2] // size, size, x.device)

    def _radiance(self, x: Tensor) -> Tensor:
        # In float32: one step of bfloat16 at a logit of -6 is 1.6 % of the radiance.
        weight, bias = self.conv_last.weight.float(), self.conv_last.bias
        assert bias is not None
        with torch.autocast(x.device.type, enabled=False):
            return torch.sigmoid(F.conv2d(x.float(), weight, bias.float(), padding=1))


class GFHDR(FusionModel):
    """Backbone and uncertainty head (arXiv 2511.12939)."""

    config: GFHDRConfig

    def __init__(self, config: GFHDRConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = GFHDRBackbone(config)
        self.judge = UncertaintyHead(self.backbone.feature_channels)

    def forward(self, frames: Tensor, evs: Tensor, valid: Tensor) -> Prediction:
        """Three frames, the reference first; the radiance is clamped to what the reference measured.

        Raises UsageError for another number of frames.
        """
        if frames.shape[1] != FRAMES:
            raise UsageError(f"gfhdr takes three frames; the bursts have {frames.shape[1]}")
        others = evs[:, 1:].argsort(dim=1) + 1
        order = torch.cat([others[:, :1], torch.zeros_like(others[:, :1]), others[:, 1:]], dim=1)
        sorted_frames = frames.gather(1, order.view(*order.shape, 1, 1, 1).expand_as(frames))
        output = self.predict(pack_frames(sorted_frames, evs.gather(1, order)))
        light = output.radiance.float() / torch.exp2(evs.amin(dim=1)).view(-1, 1, 1, 1)
        return Prediction(clamp_to_reference_strict(light, frames[:, 0]), output.log_sigma.float())

    def predict(self, packed: Tensor) -> GFHDROutput:
        """The networks alone, on frames as ``pack_frames`` gives them."""
        radiance, features = self.backbone(packed)
        return GFHDROutput(radiance, self.judge(features))

    def extend_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``state`` of a network with fewer layers per block, with identity layers for the missing ones.

        The deeper network then computes what the shallow one did and can be trained from there (progressive stacking,
        Gong et al. 2019; identity layers as in Net2Net, Chen et al. 2016). Other differences are left for the loader to
        refuse.
        """
        missing = [
            f"{name}."
            for name, module in self.named_modules()
            if isinstance(module, ContextLayer) and not any(key.startswith(f"{name}.") for key in state)
        ]
        added = {name: tensor.clone() for name, tensor in self.state_dict().items() if name.startswith(tuple(missing))}
        for layer in missing:
            for end in BRANCH_ENDS:
                for part in ("weight", "bias"):
                    added[f"{layer}{end}.{part}"].zero_()
        return {**added, **state}


def pack_frames(linear: Tensor, evs: Tensor) -> Tensor:
    """X: (B, 3, 3, H, W) linear frames by rising exposure and their (B, 3) EVs to (B, 3, 6, H, W)."""
    ldr = linear.clamp(0, 1) ** (1 / GAMMA)
    times = torch.exp2(evs - evs.amin(dim=1, keepdim=True)).view(*evs.shape, 1, 1, 1)
    return torch.cat([linear.clamp(0, 1) / times, ldr], dim=2)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """(..., H, W) padded below and to the right, by reflection, or by edge values where it is too small for that."""
    H, W = x.shape[-2:]
    down, right = -H % multiple, -W % multiple
    if not down and not right:
        return x
    mode = "reflect" if down < H and right < W else "replicate"
    flat = x.reshape(-1, 1, H, W)
    return F.pad(flat, (0, right, 0, down), mode).reshape(*x.shape[:-2], H + down, W + right)
