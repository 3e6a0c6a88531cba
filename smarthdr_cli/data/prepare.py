"""Bursts aligned and linearised once, on disk, and cut from there: memory does not grow with the number of scenes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from smarthdr_cli.data.labels import Part


@dataclass(frozen=True)
class Prepared:
    """One scene (or a band of it) in the cache.

    ``folder``: its aligned frames. ``evs``: relative to the reference, REFERENCE FIRST, then the others darkest first.
    ``size``: (height, width) of the whole picture. ``target``: its radiance in the cache, None without truth.
    ``notes``: what is to be said aloud of it.
    """

    part: Part
    folder: Path
    evs: tuple[float, ...]
    size: tuple[int, int]
    target: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[int, int]:
        """First row of the part's band and the row after its last."""
        raise NotImplementedError

    def crop(self, top: int, left: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Frames (N, 3, h, w) linear in their own units, validity (N, 1, h, w), target (3, h, w) or None.

        The reference comes first; the target is in its units, capped at the shortest frame's clip, as ``Batch`` says.
        Raises ValueError for a crop that leaves the part's band.
        """
        raise NotImplementedError


def prepare(
    parts: Sequence[Part], cache: Path, *, align: str = "auto", response: str = "auto",
    on_scene: Callable[[int, Prepared], None] = lambda _done, _scene: None,
) -> list[Prepared]:  # fmt: skip
    """Every part, prepared or found in ``cache``; ``on_scene`` is told how many are done and the latest.

    Raises InputError naming the scene, or OutputError when the cache cannot be written.
    """
    raise NotImplementedError
