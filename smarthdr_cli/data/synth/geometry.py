"""Geometry of synthetic bursts: camera motion, its inverse, and motion blur.

Points are pixels (x, y) relative to the picture's centre. A frame n with displacement field d_n shows at pixel p the
point p + d_n(p) of the reference view; d is 0 in the reference, frame 0. A point q of the reference view appears in
frame n at the p that solves p = q - d_n(p), found by fixed-point iteration.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.data.synth.camera import log_uniform, uniform

MAX_BLUR_PX = 4.0  # from the middle of the exposure; four taps further apart look like separate copies
BLUR_TAPS = (-1.0, -0.5, 0.5, 1.0)  # moments besides the middle, as fractions of half the exposure


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """(H, W, 2) pixel centres (x, y) relative to the picture's centre."""
    y = torch.arange(height, device=device, dtype=torch.float32) - (height - 1) / 2
    x = torch.arange(width, device=device, dtype=torch.float32) - (width - 1) / 2
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)


def sample_at(image: Tensor, points: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """(B, C, H, W) ``image`` at (B, h, w, 2) points relative to its centre, as (B, C, h, w)."""
    h, w = image.shape[-2:]
    unit = points * torch.tensor([2.0 / w, 2.0 / h], device=points.device)
    return F.grid_sample(image, unit, mode=mode, padding_mode=padding, align_corners=False)


def unit_vector(angle: Tensor) -> Tensor:
    """(..., 2) unit vectors at (...) radians."""
    return torch.stack([torch.cos(angle), torch.sin(angle)], -1)


def rotate(points: Tensor, angle: Tensor) -> Tensor:
    """(..., 2) points rotated by (...) radians; the leading dimensions broadcast."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    x, y = points[..., 0], points[..., 1]
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)


def camera_motion(
    generator: torch.Generator, batch: int, count: int, size: tuple[int, int], *, shake: str, reach_px: float
) -> Tensor:
    """(B, N, H, W, 2) displacement of every frame, 0 at index 0: a random homography plus smooth parallax.

    ``shake``: "handheld" shifts by up to ``reach_px`` and turns by about two degrees; "aligned" is the residue of
    alignment: 57 % of frames within a pixel, 20 % by a few, 15 % failed, 8 % exact; "tripod" is 0.
    """
    device = generator.device
    height, width = size
    if shake == "tripod":
        return torch.zeros(batch, count, height, width, 2, device=device)
    grid = pixel_grid(height, width, device)
    if shake == "handheld":
        reach = log_uniform(generator, (batch, 1), 1.0, reach_px).expand(-1, count)
        turn = 0.035
    else:
        pick = uniform(generator, (batch, count))
        reach = torch.where(pick < 0.65, 0.4, torch.where(pick < 0.85, 3.0, 14.0))
        reach = reach * (pick > 0.08)
        turn = 0.5 / max(height, width)
    normal = torch.randn((batch, count, 8), generator=generator, device=device)
    shift = normal[..., :2] * 0.6 * reach[..., None]
    angle = normal[..., 2] * turn * (reach > 0)
    zoom = normal[..., 3] * turn * 0.3 * (reach > 0)
    tilt = normal[..., 4:6] * turn * 0.2 / max(height, width) * (reach > 0)[..., None]
    cos, sin = torch.cos(angle) * (1 + zoom), torch.sin(angle) * (1 + zoom)
    x, y = grid[..., 0], grid[..., 1]
    view = (..., None, None)
    px, py = cos[view] * x - sin[view] * y, sin[view] * x + cos[view] * y
    depth = 1 + tilt[..., 0][view] * x + tilt[..., 1][view] * y
    displacement = torch.stack([px, py], -1) / depth[..., None] + shift[:, :, None, None] - grid
    cells = int(torch.randint(2, 9, (1,), generator=generator, device=device))
    coarse = torch.randn((batch * count, 2, cells, cells), generator=generator, device=device)
    parallax = log_uniform(generator, (batch, count), 0.2, 6.0) * (uniform(generator, (batch, 1)) < 0.5)
    smooth = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
    smooth = smooth.view(batch, count, 2, height, width).permute(0, 1, 3, 4, 2)
    displacement = displacement + smooth * parallax[view][..., None]
    displacement[:, 0] = 0
    return displacement


def to_frame(displacement: Tensor, points: Tensor) -> Tensor:
    """(B, h, w, 2) points of the reference view to pixels of a frame with (B, H, W, 2) ``displacement``.

    Four fixed-point iterations, which converge where the displacement changes by less than a pixel per pixel.
    """
    field, pixels = displacement.permute(0, 3, 1, 2), points
    for _ in range(4):
        pixels = points - sample_at(field, pixels).permute(0, 2, 3, 1)
    return pixels


@dataclass(frozen=True)
class MotionBlur:
    """Motion blur of one long frame per burst, as the mean of T extra moments and the middle one.

    ``frame``: (B,) index of the long frame, 0 (the reference) for none. ``phase``: (B, T) moments, as fractions of the
    motion from the reference to that frame. ``shake``: (B, T, 2) px of camera shake. Moments of quantities with one
    value per frame are appended as entries N to N + T - 1; positions move at most ``MAX_BLUR_PX`` from the middle.
    """

    frame: Tensor
    phase: Tensor
    shake: Tensor

    @staticmethod
    def draw(generator: torch.Generator, evs: Tensor, times: Tensor) -> "MotionBlur":
        """The brightest frame of each burst unless that is the reference, open for 3 to 30 % of the frame interval."""
        batch = len(evs)
        frame = evs.argmax(dim=1)
        gap = times.gather(1, frame[:, None]).abs().clamp(min=1)
        taps = torch.tensor(BLUR_TAPS, device=evs.device)
        phase = log_uniform(generator, (batch, 1), 0.03, 0.3) / gap * (frame != 0)[:, None] * taps
        shake = torch.randn((batch, 1, 2), generator=generator, device=evs.device) * (frame != 0).view(-1, 1, 1)
        return MotionBlur(frame, phase, (0.8 * shake).clamp(-2, 2) * taps.view(1, -1, 1))

    def select(self, rows: Tensor) -> "MotionBlur":
        """The blur of the bursts ``rows``."""
        return MotionBlur(self.frame[rows], self.phase[rows], self.shake[rows])

    def extend_positions(self, positions: Tensor) -> Tensor:
        """(B, N, ..., 2) positions in px to (B, N + T, ..., 2)."""
        middle, step = self._motion(positions)
        step = step * (MAX_BLUR_PX / step.norm(dim=-1, keepdim=True).clamp(min=MAX_BLUR_PX))
        return torch.cat([positions, middle[:, None] + step], 1)

    def extend_values(self, values: Tensor) -> Tensor:
        """(B, N, ...) angles or scales to (B, N + T, ...)."""
        middle, step = self._motion(values)
        return torch.cat([values, middle[:, None] + step], 1)

    def extend_static(self, values: Tensor) -> Tensor:
        """(B, N, ...) values that are constant during an exposure to (B, N + T, ...)."""
        middle = self._long(values)
        return torch.cat([values, middle[:, None].expand(-1, self.phase.shape[1], *middle.shape[1:])], 1)

    def extend_displacement(self, displacement: Tensor) -> Tensor:
        """(B, N, H, W, 2) displacement to (B, N + T, H, W, 2), with camera shake."""
        return torch.cat([displacement, self._long(displacement)[:, None] + self.shake[:, :, None, None]], 1)

    def integrate(self, moments: Tensor) -> Tensor:
        """(B, N + T, ...) radiance to (B, N, ...): the long frame becomes the mean of its moments."""
        count = moments.shape[1] - self.phase.shape[1]
        rows = torch.arange(len(moments), device=moments.device)
        frames = moments[:, :count].clone()
        total = frames[rows, self.frame] + moments[:, count:].sum(1)
        frames[rows, self.frame] = total / (1 + self.phase.shape[1])
        return frames

    def _long(self, values: Tensor) -> Tensor:
        """(B, ...) values of the long frame."""
        return values[torch.arange(len(values), device=values.device), self.frame]

    def _motion(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """(B, ...) middle of the long exposure and (B, T, ...) change from it at every moment."""
        middle = self._long(values)
        phase = self.phase.view(*self.phase.shape, *(1,) * (values.dim() - 2))
        return middle, (middle - values[:, 0])[:, None] * phase
