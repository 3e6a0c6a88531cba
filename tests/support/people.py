"""A sprite of a "person" that is a rectangle, for tests that need neither a renderer nor a body."""

import torch

from smarthdr_cli.data.synth.sprites import Sprite

SIZE = (60, 40)  # height and width of the pictures
COLUMNS = slice(16, 28)  # of the person, who is 40 px high
STEP = 8.0  # px by which the root moves to the right from phase to phase


def rectangle_sprite(phases: int = 5, panorama: str = "somewhere", radiance: float = 0.5) -> Sprite:
    """A rectangle with a brighter upper half that walks to the right; its lower half moves by a pixel more each phase.

    The ground beside it loses half of its light. Its own parts never hide one another, but in the last phase the upper
    half counts as hidden.
    """
    index = torch.arange(phases) - phases // 2
    rgba = torch.zeros(phases, 4, *SIZE)
    shadow = torch.zeros(phases, 1, *SIZE)
    motion = torch.zeros(phases, 2, *SIZE)
    visible = torch.zeros(phases, 1, *SIZE, dtype=torch.bool)
    for k in range(phases):
        shift = int(index[k])
        rgba[k, :3, 10:30, COLUMNS] = 2 * radiance
        rgba[k, :3, 30:50, 16 + shift : 28 + shift] = radiance
        rgba[k, 3] = (rgba[k, 0] > 0).float()
        shadow[k, 0, 50:54, 4:36] = 0.5
        motion[k, 0, 30:53, 13:31] = shift  # both continue beyond the person, as the maker's do
        visible[k, 0, 7:53, 13:31] = True
    visible[-1, 0, 7:30] = False
    travel = torch.stack([STEP * index, torch.zeros(phases)], 1)
    root = torch.tensor([22.0 - SIZE[1] / 2, 50.0 - SIZE[0] / 2])
    return Sprite(rgba, shadow, motion, visible, travel, root, 40.0, panorama)
