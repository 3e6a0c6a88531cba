"""The places of the set, in turn: every scene random from its number."""

import numpy as np
from rendered import indoors, outdoors
from rendered.scenery import Scenery

PANORAMAS = (*outdoors.DAY, *indoors.INSIDE, *outdoors.NIGHT)  # all of them held out from training
PLACES = {
    "room": indoors.room,
    "street": outdoors.street,
    "table": indoors.table_scene,
    "garden": outdoors.garden,
    "porch": outdoors.porch,
    "night": outdoors.night,
}


def draw_scenery(seed: int, number: int, size: tuple[int, int]) -> Scenery:
    """Scene ``number`` of the set ``seed``; ``size``: (H, W) of its pictures. The kinds of ``PLACES`` take turns."""
    kind = tuple(PLACES)[number % len(PLACES)]
    stage, sky = PLACES[kind](np.random.default_rng([seed, number]), size)
    return stage.scenery(f"{number + 1:03d} {kind}", sky)
