"""Camera model in torch: noise, tone curve, quantisation, JPEG, and the inverse tone curve.

Noise follows EMVA 1288: Var(x) = x / W + (r / W)^2 for exposure x (1 = clip), full well W and read noise r in
electrons. A display code is s(x^(1/2.2)) with a monotone tone curve s. JPEG is the quantisation of the 8x8 DCT of
ITU-T T.81 with the tables of its annex K and 4:2:0 chroma; the lossless coding that follows is left out.

Everything is batched, runs on the device of its input and draws from an explicit generator.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.radiometry import GAMMA

CURVE_KNOTS = 256
FULL_WELL = 6e6  # electrons at ISO 1; 60,000 at ISO 100, typical of a full-frame sensor
# ITU-T T.81, annex K (tables K.1 and K.2), for quality 50; JFIF's RGB to YCbCr.
JPEG_LUMA = torch.tensor([
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99]], dtype=torch.float32)  # fmt: skip
JPEG_CHROMA = torch.full((8, 8), 99.0)
JPEG_CHROMA[:4, :4] = torch.tensor([[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]])
RGB_TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


@dataclass(frozen=True)
class Sensor:
    """Full well and read noise in electrons, (B,) each."""

    full_well: Tensor
    read_noise: Tensor


def uniform(generator: torch.Generator, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform random numbers on the generator's device."""
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def log_uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """Random numbers whose logarithm is uniform."""
    return torch.exp(uniform(generator, shape, math.log(low), math.log(high)))


def expose(light: Tensor, sensor: Sensor, generator: torch.Generator) -> Tensor:
    """(B, N, 3, H, W) mean exposure (1 = clip) to noisy linear values in [0, 1]; photon noise as a Gaussian."""
    shape = (-1, 1, 1, 1, 1)
    well, read = sensor.full_well.view(shape), sensor.read_noise.view(shape)
    variance = light.clamp(min=0, max=4) / well + (read / well) ** 2
    noise = torch.randn(light.shape, generator=generator, device=light.device)
    return (light + noise * variance.sqrt()).clamp(0, 1)


def draw_tone_curve(generator: torch.Generator, batch: int, strength: float = 1.0) -> Tensor:
    """(B, 3, K) random monotone tone curves s, sampled uniformly on [0, 1]: code = s(linear^(1/2.2)).

    s is a line in the logit of the code (contrast 0.85 to 1.7 about a pivot, with a gain), mixed with the identity;
    channels differ slightly. That is the family of in-camera picture styles. ``strength`` 0 is the identity.
    """
    u = torch.linspace(0, 1, CURVE_KNOTS, device=generator.device).view(1, 1, -1)
    contrast = 1 + uniform(generator, (batch, 1, 1), -0.15, 0.7) * strength
    contrast = contrast * (1 + uniform(generator, (batch, 3, 1), -0.03, 0.03) * strength)
    pivot = uniform(generator, (batch, 1, 1), 0.3, 0.6)
    gain = torch.exp(uniform(generator, (batch, 1, 1), -0.5, 0.5) * strength)
    odds = (u / (1 - u).clamp(min=1e-6)) / (pivot / (1 - pivot))
    powered = odds.clamp(1e-9, 1e9) ** contrast * (pivot / (1 - pivot)) * gain
    curve = powered / (1 + powered)
    mix = uniform(generator, (batch, 1, 1), 0.3, 1.0)  # the toe of the logit curve alone is flatter than a camera's
    curve = mix * curve + (1 - mix) * u
    curve = (curve - curve[..., :1]) / (curve[..., -1:] - curve[..., :1])
    return curve + 1e-4 * (u - curve)


def invert_curve(curve: Tensor) -> Tensor:
    """Inverse of (B, 3, K) monotone tables on [0, 1], sampled uniformly."""
    grid = torch.linspace(0, 1, curve.shape[-1], device=curve.device).expand_as(curve).contiguous()
    index = torch.searchsorted(curve.contiguous(), grid).clamp(1, curve.shape[-1] - 1)
    low, high = curve.gather(-1, index - 1), curve.gather(-1, index)
    fraction = ((grid - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
    return (index - 1 + fraction) / (curve.shape[-1] - 1)


def apply_table(x: Tensor, table: Tensor) -> Tensor:
    """(B, N, 3, H, W) values in [0, 1] through (B, 3, K) tables, linearly interpolated."""
    b, n, c, h, w = x.shape
    last = table.shape[-1] - 1
    flat = x.permute(0, 2, 1, 3, 4).reshape(b, c, -1) * last
    index = flat.floor().clamp(0, last - 1)
    low = index.long()
    value = torch.lerp(table.gather(-1, low), table.gather(-1, low + 1), flat - index)
    return value.view(b, c, n, h, w).permute(0, 2, 1, 3, 4)


def _dct_matrix() -> Tensor:
    k, n = torch.arange(8.0)[:, None], torch.arange(8.0)[None]
    matrix = torch.cos(math.pi * (2 * n + 1) * k / 16) * 0.5
    matrix[0] *= math.sqrt(0.5)
    return matrix


_DCT = _dct_matrix()


def _quantise_plane(plane: Tensor, table: Tensor) -> Tensor:
    """(M, H, W) plane with its 8x8 DCT coefficients rounded to multiples of the (M, 8, 8) table."""
    m, h, w = plane.shape
    dct = _DCT.to(plane.device)
    padded = F.pad(plane[:, None], (0, -w % 8, 0, -h % 8), mode="replicate")[:, 0]
    hh, ww = padded.shape[1:]
    blocks = padded.view(m, hh // 8, 8, ww // 8, 8).permute(0, 1, 3, 2, 4)
    coefficients = dct @ blocks @ dct.T
    step = table[:, None, None]
    restored = dct.T @ (torch.round(coefficients / step) * step) @ dct
    return restored.permute(0, 1, 3, 2, 4).reshape(m, hh, ww)[:, :h, :w]


def jpeg(codes: Tensor, quality: Tensor) -> Tensor:
    """(M, 3, H, W) display codes in [0, 1] after JPEG compression and decoding at (M,) ``quality``, 1 to 100."""
    factor = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).view(-1, 1, 1)
    tables = [((t.to(codes.device) * factor + 50) / 100).floor().clamp(1, 255) for t in (JPEG_LUMA, JPEG_CHROMA)]
    to_ycc = RGB_TO_YCC.to(codes.device)
    ycc = torch.einsum("ij,mjhw->mihw", to_ycc, codes * 255)
    luma = _quantise_plane(ycc[:, 0] - 128, tables[0]) + 128
    h, w = codes.shape[-2:]
    halved = F.avg_pool2d(ycc[:, 1:], 2, ceil_mode=True)
    chroma = torch.stack([_quantise_plane(halved[:, i], tables[1]) for i in range(2)], dim=1)
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)[..., :h, :w]
    rgb = torch.einsum("ij,mjhw->mihw", torch.linalg.inv(to_ycc), torch.cat([luma[:, None], chroma], 1))
    return (rgb.round() / 255).clamp(0, 1)


def develop(linear: Tensor, curve: Tensor, quality: Tensor, bits16: Tensor) -> Tensor:
    """(B, N, 3, H, W) linear values in [0, 1] to display codes in [0, 1].

    ``curve``: (B, 3, K). ``bits16``: (B,) bool, 16 bits lossless; else 8 bits, as JPEG where the (B,) ``quality`` is
    below 100.
    """
    codes = apply_table(linear.clamp(0, 1) ** (1 / GAMMA), curve).clamp(0, 1)
    b, n = codes.shape[:2]
    codes16 = (codes * 65535).round() / 65535
    codes8 = (codes * 255).round() / 255
    lossy = jpeg(codes8.flatten(0, 1), quality.clamp(max=99).repeat_interleave(n)).view_as(codes)
    shape = (b, 1, 1, 1, 1)
    return torch.where(bits16.view(shape), codes16, torch.where((quality < 100).view(shape), lossy, codes8))


def linearize(codes: Tensor, inverse_curve: Tensor) -> Tensor:
    """(B, N, 3, H, W) display codes to linear values, by the (B, 3, K) inverse tone curve."""
    return apply_table(codes, inverse_curve).clamp(0, 1) ** GAMMA
