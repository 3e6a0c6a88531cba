"""Geometry and channel order, which labels, masks and displacements can follow exactly; and noise, which none does."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch


@dataclass(frozen=True)
class Augmentation:
    """One draw for a whole batch: ``flip`` (columns), then ``turns`` quarter turns, then a channel ``order``."""

    flip: bool
    turns: int
    order: tuple[int, int, int]

    @staticmethod
    def draw(generator: torch.Generator) -> "Augmentation":
        """A uniform one of the 2 x 4 x 6."""
        device = generator.device
        numbers = torch.randint(8, (1,), generator=generator, device=device).item()
        order = torch.randperm(3, generator=generator, device=device).tolist()
        return Augmentation(bool(numbers % 2), int(numbers // 2), (order[0], order[1], order[2]))

    @staticmethod
    def weak(generator: torch.Generator) -> "Augmentation":
        """A uniform one of the 2 x 4 that leave the channels in order."""
        number = int(torch.randint(8, (1,), generator=generator, device=generator.device).item())
        return Augmentation(bool(number % 2), number // 2, (0, 1, 2))

    @staticmethod
    def spread(count: int) -> "list[Augmentation]":
        """``count`` of the 48, always the same and as different as can be; first the one that does nothing.

        Raises ValueError for more than 48.
        """
        if not 1 <= count <= 48:
            raise ValueError(f"there are 48 augmentations, not {count}")
        orders = ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (1, 0, 2), (2, 1, 0))
        return [Augmentation(bool((k + k // 8) % 2), (k + k // 4) % 4, orders[k % 6]) for k in range(count)]

    def restored(self, image: Tensor) -> Tensor:
        """(..., C, H, W) that was moved by ``image`` as it was before; its channels left alone."""
        image = torch.rot90(image, -self.turns, (-2, -1))
        return image.flip(-1) if self.flip else image

    def uncoloured(self, image: Tensor) -> Tensor:
        """(..., 3, H, W) that was moved and reordered by ``colour`` as it was before."""
        return self.restored(image)[..., [self.order.index(c) for c in range(3)], :, :]

    def image(self, image: Tensor) -> Tensor:
        """(..., C, H, W), its channels left alone."""
        if self.flip:
            image = image.flip(-1)
        return torch.rot90(image, self.turns, (-2, -1))

    def colour(self, image: Tensor) -> Tensor:
        """(..., 3, H, W) with geometry and channel order."""
        return self.image(image)[..., list(self.order), :, :]

    def displacement(self, flow: Tensor) -> Tensor:
        """(..., 2, H, W) field of vectors (x, y): moved like an image, and each vector turned with it."""
        moved = self.image(flow)
        x, y = moved[..., 0, :, :], moved[..., 1, :, :]
        if self.flip:
            x = -x
        for _ in range(self.turns):  # torch.rot90 turns (x, y) to (y, -x): columns become rows, counted from the right
            x, y = y, -x
        return torch.stack([x, y], dim=-3)


def augment(batch: Batch, how: Augmentation) -> Batch:
    """The batch under one augmentation, truth included."""
    return replace(
        batch,
        frames=how.colour(batch.frames),
        valid=how.image(batch.valid),
        target=None if batch.target is None else how.colour(batch.target),
        flow=None if batch.flow is None else how.displacement(batch.flow),
        visible=None if batch.visible is None else how.image(batch.visible),
    )
