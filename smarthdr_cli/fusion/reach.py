"""Brackets wider than the network's reach: a far frame is compared with the light that nearer ones have given.

What a frame six stops below the reference shows is clipped there, and what one six stops above it shows drowns in the
reference's noise; lifted codes say little of either. But the frames between them were compared already, and the light
they agree on, exposed as the nearest of them would have, is a frame within reach. So a stack is placed outwards from
the reference, frame by frame, as by hand.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from smarthdr_cli.models.merge import exposure_weight, radiance
from smarthdr_cli.models.pairwise import MAX_TRAINED_EV

LEAST = 1e-9  # weight of the reference where it is clipped: it counts only where nothing else does


@dataclass(frozen=True)
class Link:
    """Frame number ``place`` of a burst whose reference is 0. ``anchor``: EV, relative to the reference, at which it is
    compared; 0 with the reference itself."""

    place: int
    ev: float
    anchor: float

    @property
    def apart(self) -> float:
        """EV of the frame relative to what it is compared with."""
        return self.ev - self.anchor


def links(evs: Tensor) -> list[Link]:
    """How to place the other frames of (1, N) EVs, the reference first: in order, the nearest exposure first.

    Frames within FAR of the reference are compared with it, one beyond with the light so far, as the frame before it on
    the same side would show it; with the reference where that side has none.
    """
    found: list[Link] = []
    for place in sorted(range(1, evs.shape[1]), key=lambda i: abs(float(evs[0, i]))):
        ev = float(evs[0, place])
        before = [link.ev for link in found if link.ev * ev > 0]
        found.append(Link(place, ev, before[-1] if before and abs(ev) > MAX_TRAINED_EV else 0.0))
    return found


class Light:
    """The light as the reference and the frames placed so far have it: (1, 3, H, W), reference units."""

    def __init__(self, reference: Tensor) -> None:
        weight = exposure_weight(reference, reference.new_zeros(1)) + LEAST
        self._mixed, self._total = reference * weight, weight

    def join(self, frame: Tensor, ev: float, trust: Tensor) -> None:
        """Add a moved frame, (1, 3, H, W) linear in its own units, by its physical weight and (1, 1, H, W) trust."""
        at = frame.new_full((1,), ev)
        weight = exposure_weight(frame, at) * trust
        self._mixed = self._mixed + radiance(frame, at) * weight
        self._total = self._total + weight

    def shown_to(self, frame: Tensor, link: Link) -> Tensor:
        """(1, 3, H, W) what ``frame``, as it is or moved, is to be compared with: the light exposed at the anchor."""
        return self._exposed(frame, link, link.anchor)

    def filling(self, frame: Tensor, link: Link, trust: Tensor) -> Tensor:
        """``frame`` with the light so far in place of what is not trusted, (1, 1, H, W) from 0 to 1.

        Of a frame within reach the reference takes what trust removes; of one beyond it the reference is clipped there
        as often as not, or black.
        """
        return torch.lerp(self._exposed(frame, link, link.ev), frame, trust)

    def _exposed(self, frame: Tensor, link: Link, ev: float) -> Tensor:
        """The light as a frame at ``ev`` would show it. Where everything so far is clipped it is known from below only:
        a brighter ``frame`` is borne out.
        """
        light = self._mixed / self._total
        own = radiance(frame, frame.new_full((1,), link.ev))
        bound = torch.where(self._total > 2 * LEAST, light, torch.maximum(light, own))
        return bound.mul(2.0**ev).clamp(0, 1)
