"""gfhdr: the SmartHDR paper's backbone, three frames in, radiance at the reference's moment out.

Liu et al. 2022, "Ghost-free High Dynamic Range Imaging with Context-aware Transformer" (ECCV), as the backbone of
arXiv 2511.12939. At dim 60 it has 1,222,113 parameters, published with the paper. What its text leaves open, and what
was taken here (every choice but the marked ones follows from that count):

- each frame has its own 6 -> dim convolution; the two spatial attentions do not share weights;
- one LayerNorm stands between F_att and the first block, one after the last; none between blocks;
- the local branch is linear up to its LeakyReLU, squeezes to dim // 8 = 7, and its channel attention has no biases;
- (not counted) the local branch is added after the MLP, outside DropPath;
- (not counted) the body's skip adds F_att as it was before its norm; the last skip adds the reference's own features;
- (not counted) shifted windows use an exact mask (-inf) at the borders of the picture, at every size;
- (not counted) linear layers and bias tables start from a normal of deviation 0.02 truncated at 2 (absolute), their
  biases from zero; convolutions keep PyTorch's default, but for the last bias, which starts at a middle grey.

Channel attention averages over the whole picture, so that the output depends on the tile it is computed in.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smarthdr_cli.models.gfhdr_layers import ContextBlock, Norm, edge_windows

FRAMES = 3
FRAME_CHANNELS = 6  # linear RGB, then display-referred RGB
# A network is built before its weights can be compared with it: these bound what a file may ask for, to 1 GB.
MAX_DIM, MAX_LAYERS, MAX_WINDOW = 256, 64, 16
FIRST_LOGIT = -4.0  # of an untrained network: 0.018, a middle of what pictures hold when the short frame clips at 1


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
    """``radiance`` (B, 3, H, W) float32 in [0, 1], short clip = 1; ``features`` (B, dim, H, W), F_att for the judge."""

    radiance: Tensor
    features: Tensor


class SpatialAttention(nn.Module):
    """How far each feature of another frame can be used, seen beside the reference's: (0, 1) per feature and pixel."""

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


class GFHDR(nn.Module):
    """The network; ``forward`` takes any height and width.

    The judge is not part of it: it reads ``features``, which have ``feature_channels`` channels.
    """

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

    def forward(self, frames: Tensor) -> GFHDROutput:
        """(B, 3, 6, H, W): short, reference, long, each [linear RGB, ldr RGB] in [0, 1], where the short
        frame's clip is 1 (docs/METHOD.md, section 1).

        Sizes that are no multiple of the window are padded by reflection and cropped back. Raises ValueError for any
        other number of frames or channels.
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
        x = features.permute(0, 2, 3, 1).contiguous()  # (B, h, w, dim), no copy when it came channels-last
        edges = self._edges(x)
        y = self.norm_in(x)
        for block in self.body:
            y = block(y, edges)
        y = self.norm_out(y).permute(0, 3, 1, 2)
        y = reference + self.conv_after_body(y + features)
        return GFHDROutput(self._radiance(y)[..., :H, :W], features[..., :H, :W])

    def _edges(self, x: Tensor) -> tuple[Tensor, Tensor]:
        size = self.config.window
        return edge_windows(x.shape[0], x.shape[1] // size, x.shape[2] // size, size, x.device)

    def _radiance(self, x: Tensor) -> Tensor:
        # Always float32: a logit of -6 in bfloat16 is 1.6 % of the radiance wide.
        weight, bias = self.conv_last.weight.float(), self.conv_last.bias
        assert bias is not None
        with torch.autocast(x.device.type, enabled=False):
            return torch.sigmoid(F.conv2d(x.float(), weight, bias.float(), padding=1))


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """(..., H, W) to the next multiples below and to the right, by reflection (edge values where it is too small)."""
    H, W = x.shape[-2:]
    down, right = -H % multiple, -W % multiple
    if not down and not right:
        return x
    mode = "reflect" if down < H and right < W else "replicate"
    flat = x.reshape(-1, 1, H, W)
    return F.pad(flat, (0, right, 0, down), mode).reshape(*x.shape[:-2], H + down, W + right)
