"""Augmentation of bursts by flips, quarter turns and channel orders, which are exact and have exact inverses."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch

COUNT = 48  # 2 flips x 4 quarter turns x 6 channel orders


@dataclass(frozen=True)
class Augmentation:
    """A horizontal ``flip``, then ``turns`` quarter turns (as ``torch.rot90``), then a channel ``order``."""

    flip: bool
    turns: int
    order: tuple[int, int, int]

    @staticmethod
    def draw(generator: torch.Generator) -> "Augmentation":
        """Uniform over all 48."""
        device = generator.device
        geometry = int(torch.randint(8, (1,), generator=generator, device=device).item())
        order = torch.randperm(3, generator=generator, device=device).tolist()
        return Augmentation(bool(geometry % 2), geometry // 2, (order[0], order[1], order[2]))

    @staticmethod
    def draw_weak(generator: torch.Generator) -> "Augmentation":
        """Uniform over the 8 that keep the channel order."""
        geometry = int(torch.randint(8, (1,), generator=generator, device=generator.device).item())
        return Augmentation(bool(geometry % 2), geometry // 2, (0, 1, 2))

    @staticmethod
    def spread(count: int) -> "list[Augmentation]":
        """A fixed list of ``count`` different ones, the identity first, with geometry and order as mixed as possible.

        Raises ValueError for more than 48.
        """
        if not 1 <= count <= COUNT:
            raise ValueError(f"there are {COUNT} augmentations, not {count}")
        orders = ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (1, 0, 2), (2, 1, 0))
        return [Augmentation(bool((k + k // 8) % 2), (k + k // 4) % 4, orders[k % 6]) for k in range(count)]

    def geometry(self, image: Tensor) -> Tensor:
        """Flip and turn a (..., C, H, W) image."""
        if self.flip:
            image = image.flip(-1)
        return torch.rot90(image, self.turns, (-2, -1))

    def colour(self, image: Tensor) -> Tensor:
        """Flip and turn a (..., 3, H, W) image and reorder its channels."""
        return self.geometry(image)[..., list(self.order), :, :]

    def flow(self, flow: Tensor) -> Tensor:
        """Flip and turn a (..., 2, H, W) field of vectors (x, y), and the vectors with it."""
        field = self.geometry(flow)
        x, y = field[..., 0, :, :], field[..., 1, :, :]
        if self.flip:
            x = -x
        for _ in range(self.turns):  # torch.rot90 takes (x, y) to (y, -x)
            x, y = y, -x
        return torch.stack([x, y], dim=-3)

    def undo_geometry(self, image: Tensor) -> Tensor:
        """The inverse of ``geometry``."""
        image = torch.rot90(image, -self.turns, (-2, -1))
        return image.flip(-1) if self.flip else image

    def undo_colour(self, image: Tensor) -> Tensor:
        """The inverse of ``colour``."""
        return self.undo_geometry(image)[..., [self.order.index(c) for c in range(3)], :, :]


def augment(batch: Batch, augmentation: Augmentation) -> Batch:
    """Augment frames, masks and truth of a batch alike."""
    return replace(
        batch,
        frames=augmentation.colour(batch.frames),
        valid=augmentation.geometry(batch.valid),
        target=None if batch.target is None else augmentation.colour(batch.target),
        flow=None if batch.flow is None else augmentation.flow(batch.flow),
        visible=None if batch.visible is None else augmentation.geometry(batch.visible),
    )
