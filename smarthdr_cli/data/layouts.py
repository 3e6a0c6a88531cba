"""Scene folders of the published benchmarks, of ``smarthdr synth`` and of a user, as one list of files.

Only names, headers and exposure files are looked at here; pictures are read when they are prepared.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SceneFiles:
    """One burst on disk.

    ``name``: unique within the set. ``split``: "train" or "test". ``frames``: darkest first (by name where ``evs`` is
    None). ``evs``: log2 exposures relative to the shortest, first 0, or None: from EXIF when the frames are read.
    ``truth``: .hdr or .exr radiance, shortest clip = 1, at the middle frame's moment and pose, or None. ``encoding``:
    "gamma2.2" (codes ** 2.2 is linear light: Kalantari, Hu and their kin) or "camera" (a response must be resolved).
    """

    name: str
    split: str
    frames: tuple[Path, ...]
    evs: tuple[float, ...] | None
    truth: Path | None
    encoding: str


def find_scenes(root: Path) -> list[SceneFiles]:
    """The scenes of a benchmark. Raises InputError."""
    raise NotImplementedError


def find_bursts(folder: Path) -> list[SceneFiles]:
    """A user's own bursts without ground truth: each subfolder with two readable pictures or more is one.

    Raises InputError.
    """
    raise NotImplementedError
