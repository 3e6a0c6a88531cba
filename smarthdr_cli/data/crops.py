"""Crops of prepared scenes as training batches: a pure function of the seed and the step."""

from collections.abc import Sequence
from dataclasses import dataclass

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.prepare import Prepared


@dataclass(frozen=True)
class Crops:
    """A batch and where each of its bursts was cut: index of the scene, top row, left column."""

    batch: Batch
    scenes: tuple[int, ...]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]


class CropSampler:
    """Square crops of ``size``, ``batch`` at a time, uniform over scenes and, within each part's band, over places."""

    def __init__(self, scenes: Sequence[Prepared], size: int, batch: int, seed: int) -> None:
        raise NotImplementedError

    def __call__(self, step: int) -> Crops:
        """The batch of one step: the same for the same seed, whatever was drawn before."""
        raise NotImplementedError

    def at(self, places: Sequence[tuple[int, int, int]]) -> Crops:
        """The crops at given (scene, top, left), all of scenes with one number of frames."""
        raise NotImplementedError

    def grid(self, stride: int) -> list[tuple[int, int, int]]:
        """Every (scene, top, left) of an epoch: crops on a grid inside each part's band."""
        raise NotImplementedError
