"""Bursts with known motion, made from labels and pseudo-labels.

FSHDR's second stage (Prabhakar et al., CVPR 2021: what was predicted is moved and exposed again, and is the truth of
that) with our own burst maker in place of optical flow: what moves, where it is seen and what is behind it are true by
construction, however wrong a pseudo-label is as a label.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smarthdr_cli.data.prepared import PreparedScene
from smarthdr_cli.data.synth.sources import MIN_SOURCE_SIDE, bank_from_images
from smarthdr_cli.train.burst_stream import BurstStream
from smarthdr_cli.train.config import TrainConfig
from smarthdr_cli.train.draws import generator
from smarthdr_cli.train.pseudo_labels import PseudoStore

SOURCES = 24  # scenes whose labels are held at once, so that memory does not grow with their number
LARGEST = 1024  # pixels of the longer side; larger labels are made smaller


def made_bursts(
    labeled: Sequence[PreparedScene], unlabeled: Sequence[PreparedScene], store: PseudoStore, config: TrainConfig,
    device: torch.device, first: int, step: int,
) -> BurstStream:  # fmt: skip
    """Batches of ``config.batch_made`` from truths, and from the pseudo-labels of the refresh made before ``first``.

    ``step`` is the update that the next batch is for, at least ``first``, from which on these sources serve; they are
    drawn anew each time. Without a refresh the ``unlabeled`` do not count. Bursts have as many frames as the scenes
    they are of, and the variety of ``config.synth``.
    """
    scenes = [*labeled, *(unlabeled if store.made is not None else ())]
    draw = generator(config.seed, 4, first)
    numbers = torch.randperm(len(scenes), generator=draw)[:SOURCES].tolist()
    lights = [truth(scenes[n]) if n < len(labeled) else store.light(n - len(labeled)) for n in numbers]
    bank = bank_from_images([scenes[n].band.scene.name for n in numbers], [source(light) for light in lights])
    counts = tuple(sorted(len(scenes[n].evs) for n in numbers))
    synth = replace(config.synth, height=config.crop, width=config.crop, frames=counts)
    seed = int(torch.randint(2**31, (1,), generator=draw))
    wanted = replace(config, batch=config.batch_made, synth=synth, makers=0)
    return BurstStream(bank.to(device), wanted, device, seed, step - first)


def truth(scene: PreparedScene) -> Tensor:
    """(3, H, W) ground truth of a scene's band, in reference units."""
    first, last = scene.rows
    target = scene.crop(first, 0, last - first, scene.size[1])[2]
    assert target is not None
    return target


def source(light: Tensor) -> NDArray[np.float32]:
    """(3, H, W) radiance as an (H, W, 3) source, made smaller where it is larger than LARGEST."""
    image = np.ascontiguousarray(light.permute(1, 2, 0).numpy(), np.float32)
    share = LARGEST / max(image.shape[:2])
    if share >= 1:
        return image
    size = tuple(max(MIN_SOURCE_SIDE, round(side * share)) for side in image.shape[1::-1])
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
