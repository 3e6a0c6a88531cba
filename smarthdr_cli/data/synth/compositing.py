"""Depth-ordered compositing of moving objects (painter's algorithm), and the true optical flow that follows from it.

Objects are composited back to front: C = C + alpha (object - C). A label map per frame records the foremost surface at
every pixel: 0 is the background, objects take consecutive numbers, one for each rigid part. The true flow of a pixel is
the motion of its surface; it is visible in another frame where the label there is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from smarthdr_cli.data.synth.geometry import MotionBlur, pixel_grid, sample_at, to_frame
from smarthdr_cli.data.synth.sources import SceneBank, Texture


@dataclass(frozen=True)
class RenderedLayer:
    """What a frame shows of one object, for R bursts.

    ``alpha``: (R, 1, H, W) coverage. ``part``: (R, H, W) index of the visible part, or None for a rigid object.
    ``texture_points``: (R, H, W, 2) px on the texture. ``gain``: (R, 1, H or 1, W or 1) factor on the texture's
    radiance. ``shadow``: (R, 1, 1, 1) bool or None: multiplies what is behind by the gain instead of covering it.
    ``radiance``: (R, 3, H, W) of an object that is rendered rather than textured, premultiplied by alpha, in units of
    the light around it; what is behind keeps the share ``transmission`` (R, 1, H, W) of its own.
    """

    alpha: Tensor
    part: Tensor | None
    texture_points: Tensor
    gain: Tensor
    shadow: Tensor | None = None
    radiance: Tensor | None = None
    transmission: Tensor | None = None


class SceneObject(Protocol):
    """An object of ``part_count`` rigid parts, in the bursts ``rows`` of a batch."""

    @property
    def rows(self) -> Tensor | slice:
        """Bursts that contain the object."""

    @property
    def part_count(self) -> int:
        """Number of labels it takes."""

    def render_layer(self, points: Tensor, displacement: Tensor, frame: int) -> RenderedLayer:
        """What a frame shows at (R, H, W, 2) ``points`` of the reference view: the pixel grid plus ``displacement``."""

    def track(self, points: Tensor, part: Tensor, frame: int) -> Tensor:
        """(R, H, W, 2) points of the reference on the (R, H, W) ``part`` to their positions in another frame.

        NaN where the object itself hides the point there.
        """

    def with_blur(self, blur: MotionBlur) -> "SceneObject":
        """The object with the moments of a long exposure appended to its frames."""


@dataclass(frozen=True)
class Canvas:
    """Frames of a batch, composited in place.

    ``frames``: (B, M, 3, H, W) radiance. ``labels``: (B, M, 1, H, W) foremost surface. ``displacement``: (B, M, H, W,
    2) px. ``constant_brightness``: a texture is scaled once per burst. False scales it to every frame's mean, so that
    objects change slightly as they move; the frozen benchmarks were made like that.
    """

    frames: Tensor
    labels: Tensor
    displacement: Tensor
    constant_brightness: bool

    def composite(self, scene_object: SceneObject, first_label: int, texture: Texture, bank: SceneBank) -> None:
        """Draw an object in front of everything so far; its parts take labels from ``first_label``."""
        rows = scene_object.rows
        grid = pixel_grid(self.frames.shape[-2], self.frames.shape[-1], self.frames.device)
        norm, level = torch.ones(()), torch.ones(())
        for n in range(self.frames.shape[1]):
            displacement, behind = self.displacement[rows, n], self.frames[rows, n]
            layer = scene_object.render_layer(grid + displacement, displacement, n)
            radiance = texture.sample(bank, layer.texture_points)
            if n == 0 or not self.constant_brightness:
                level = behind.mean(dim=(1, 2, 3), keepdim=True)
                norm = _mean_radiance(radiance, layer).clamp(min=1e-6)
            radiance = radiance / norm * level.clamp(max=4.0)
            radiance = radiance * layer.gain
            part = torch.zeros_like(layer.alpha) if layer.part is None else layer.part[:, None]
            covered = layer.alpha > 0.5
            if layer.shadow is not None:
                radiance = torch.where(layer.shadow, behind * layer.gain.clamp(0.2, 2.0), radiance)
                covered = covered & ~layer.shadow
            self.frames[rows, n] = torch.lerp(behind, radiance, layer.alpha)
            self.labels[rows, n] = torch.where(covered, (part + first_label).float(), self.labels[rows, n])

    def composite_rendered(self, scene_object: SceneObject, label: int) -> None:
        """Draw a rendered object of one part in front of everything so far.

        Its unit of light is the geometric mean of what is behind in the reference.
        """
        rows = scene_object.rows
        grid = pixel_grid(self.frames.shape[-2], self.frames.shape[-1], self.frames.device)
        level = self.frames[rows, 0].clamp(min=1e-4).log().mean(dim=(1, 2, 3), keepdim=True).exp()
        for n in range(self.frames.shape[1]):
            displacement, behind = self.displacement[rows, n], self.frames[rows, n]
            layer = scene_object.render_layer(grid + displacement, displacement, n)
            assert layer.radiance is not None
            assert layer.transmission is not None
            light = layer.radiance * layer.gain * level
            self.frames[rows, n] = light + behind * layer.transmission * (1 - layer.alpha)
            covered = layer.alpha > 0.5
            self.labels[rows, n] = torch.where(covered, torch.full_like(layer.alpha, label), self.labels[rows, n])


def _mean_radiance(radiance: Tensor, layer: RenderedLayer) -> Tensor:
    """(R, 1, 1, 1) mean of a texture: over the picture for a rigid object, over the visible area for parts (else 1)."""
    if layer.part is None:
        return radiance.mean(dim=(1, 2, 3), keepdim=True)
    visible = (layer.alpha > 0).float()
    area = visible.sum(dim=(1, 2, 3), keepdim=True)
    mean = (radiance * visible).sum(dim=(1, 2, 3), keepdim=True) / (3 * area).clamp(min=1)
    return torch.where(area > 0, mean, torch.ones_like(mean))


def true_flow(displacement: Tensor, objects: Sequence[SceneObject], labels: Tensor) -> tuple[Tensor, Tensor]:
    """Flow (B, N-1, 2, H, W) in px from the reference to every other frame, and its visibility (B, N-1, 1, H, W).

    ``displacement``: (B, N, H, W, 2). ``labels``: (B, N, 1, H, W), with the objects in the order of compositing. Flow
    is 0 where an object hides its own surface.
    """
    batch, _, height, width, _ = displacement.shape
    grid = pixel_grid(height, width, displacement.device).expand(batch, -1, -1, -1)
    flows, visible = [], []
    for n in range(1, labels.shape[1]):
        target = to_frame(displacement[:, n], grid)
        first_label = 1
        for scene_object in objects:
            rows = scene_object.rows
            part = labels[rows, 0, 0] - first_label
            on_object = ((part >= 0) & (part < scene_object.part_count))[..., None]
            tracked = scene_object.track(grid[rows], part.clamp(0, scene_object.part_count - 1).long(), n)
            target[rows] = torch.where(on_object, to_frame(displacement[rows, n], tracked), target[rows])
            first_label += scene_object.part_count
        limit = torch.tensor([width / 2, height / 2], device=displacement.device)
        inside = (target.abs() <= limit).all(dim=-1)[:, None]
        same_surface = sample_at(labels[:, n], target, mode="nearest") == labels[:, 0]
        flows.append((target - grid).nan_to_num(0.0).permute(0, 3, 1, 2))
        visible.append((inside & same_surface).float())
    return torch.stack(flows, 1), torch.stack(visible, 1)
