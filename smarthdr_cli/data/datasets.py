"""Scene folders of the published benchmarks, of ``smarthdr synth`` and of a user, as one list of files.

Only names, exposure files and the first bytes of frames are looked at; pictures are read when they are prepared, and
ground truth when a scene is labelled. Known layouts, a folder a scene, under ``Training/`` and ``Test/`` or flat:

- Kalantari and Ramamoorthi 2017, Tel et al. 2023: ``*.tif, exposure.txt, HDRImg.hdr``; our own benchmarks:
  ``1.tif .. N.tif`` or ``.jpg``, ``exposure.txt``, ``HDRImg.exr``;
- Kalantari repacked: ``input_K_aligned.tif, input_exp.txt, ref_hdr_aligned.hdr``; Hu et al. 2020: the same with
  ``ref_hdr_aligned_linear.hdr``, of which scenes 086 to 100 are the test split;
- Challenge123 (Kong et al. 2024): frame K of scene ``X`` is ``X_K/ldr_img_K.tif``; ``exposure.txt`` and ``hdr_img.hdr``
  are those of the middle frame's folder.

16-bit codes are read as shares of 65535, the code at which they clip, where public code divides by 65536: a clipped
pixel is exactly 1 here, everything else is brighter by 3e-5.
"""

import contextlib
import importlib.util
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from smarthdr_cli.burst import scan
from smarthdr_cli.data.stated import by_exif, read_exposures
from smarthdr_cli.errors import InputError

_EXPOSURES = ("exposure.txt", "input_exp.txt")
_TRUTHS = tuple(stem + suffix for stem in ("HDRImg", "ref_hdr_aligned_linear", "ref_hdr_aligned", "hdr_img")
                for suffix in (".exr", ".hdr"))  # fmt: skip
_KINDS = ((".tif", ".tiff"), (".jpg", ".jpeg"), (".png",))  # frames of one scene are of one kind, the first there is
_NUMBERED = ("input_{}_aligned", "input_{}", "ldr_img_{}", "{}")  # names of frame K, the most telling first
_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
_HU_TRUTH, _HU_TEST = "ref_hdr_aligned_linear", range(86, 101)
_DEEP = 4  # folders below the root in which scenes are looked for


@dataclass(frozen=True)
class SceneFiles:
    """One burst on disk.

    ``name``: unique within the set, its path below the root. ``split``: "train" or "test". ``frames``: darkest first
    (by name where ``evs`` is None). ``evs``: log2 exposures relative to the shortest, first 0, or None: from EXIF when
    the frames are read. ``truth``: .hdr or .exr radiance, shortest clip = 1, at the middle frame's moment and pose, or
    None. ``encoding``: "gamma2.2" (codes ** 2.2 is linear light: Kalantari, Hu and their kin) or "camera" (a response
    must be resolved).
    """

    name: str
    split: str
    frames: tuple[Path, ...]
    evs: tuple[float, ...] | None
    truth: Path | None
    encoding: str


def find_scenes(root: Path) -> list[SceneFiles]:
    """The scenes of a benchmark in order of their names, its layout told from the files.

    ``Training`` and ``Test`` on the way to a scene (or ``train``, ``test``, the root's own name included) give its
    split; a flat folder is all "train" unless its layout says otherwise. Raises InputError naming scene and file for a
    frame that is missing or no picture, a number of exposures that does not fit, or exposures that do not rise; and
    for a folder without scenes.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder of scenes" if root.exists() else f"{root} does not exist")
    found: list[SceneFiles] = []
    challenges: set[Path] = set()
    for folder in _folders(root):
        challenge = _challenge(folder) if folder != root else None
        if challenge is not None:
            if challenge not in challenges:
                challenges.add(challenge)
                found.append(_challenge_scene(root, challenge))
        elif any((folder / name).is_file() for name in (*_EXPOSURES, *_TRUTHS)):
            found.append(_scene(root, folder))
    if not found:
        raise InputError(f"{root}: no scenes with ground truth or an {_EXPOSURES[0]} in its folders")
    return found


def find_bursts(folder: Path) -> list[SceneFiles]:
    """A user's own bursts without ground truth: each subfolder with two readable pictures or more is one.

    Of a RAW and a JPEG with one name the RAW is taken, where it can be read. Raises InputError where there is none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of bursts" if folder.exists() else f"{folder} does not exist")
    found = []
    for place in _folders(folder):
        pictures = _pictures(place)
        if place != folder and len(pictures) > 1:
            found.append(burst_files(place.relative_to(folder).as_posix(), pictures))
    if not found:
        raise InputError(f"{folder}: no subfolder with two pictures or more; each burst needs a folder of its own")
    return found


def burst_files(name: str, paths: Sequence[Path]) -> SceneFiles:
    """A user's burst without ground truth, its exposures read from EXIF or a sidecar when it is prepared."""
    return SceneFiles(name, "train", tuple(sorted(paths)), None, None, "camera")


def _folders(root: Path) -> Iterator[Path]:
    """``root`` and what is below it, in order of names, hidden folders left out."""
    yield root
    yield from _below(root, _DEEP)


def _below(folder: Path, deep: int) -> Iterator[Path]:
    try:
        inner = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    for path in inner:
        yield path
        if deep > 1:
            yield from _below(path, deep - 1)


def _scene(root: Path, folder: Path) -> SceneFiles:
    name = folder.name if folder == root else folder.relative_to(root).as_posix()
    with _named(name):
        frames = _frames(folder)
        exposures = next((folder / e for e in _EXPOSURES if (folder / e).is_file()), None)
        truth = next((folder / t for t in _TRUTHS if (folder / t).is_file()), None)
        if not frames:
            raise InputError(f"no frames (.tif, .jpg, .png) beside {(exposures or truth or folder).name}")
        camera = frames[0].suffix.lower() not in _KINDS[0]
        _check_frames(frames)
        if exposures is not None:
            evs = _exposures(exposures, frames)
        elif camera:
            frames, evs = by_exif(frames)
        else:
            raise InputError(f"no {_EXPOSURES[frames[0].stem.endswith('_aligned')]}")
    split = _split(root, folder)
    if split is None:
        hu = truth is not None and truth.stem == _HU_TRUTH and folder.name.isdigit() and int(folder.name) in _HU_TEST
        split = "test" if hu else "train"
    return SceneFiles(name, split, frames, evs, truth, "camera" if camera else "gamma2.2")


@contextlib.contextmanager
def _named(scene: str) -> Iterator[None]:
    """Puts the scene's name before what is wrong with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"scene {scene}: {error}") from error
    except OSError as error:
        where = Path(error.filename).name if error.filename else "a file"
        raise InputError(f"scene {scene}: {where} cannot be read: {error.strerror}") from error


def _challenge(folder: Path) -> Path | None:
    """Folder and name of the scene that a Challenge123 folder ``NAME_K`` is moment K of; None for other folders."""
    match = re.fullmatch(r"(.+)_[1-9]", folder.name)
    return folder.with_name(match.group(1)) if match and any(folder.glob("ldr_img_*")) else None


def _challenge_scene(root: Path, stem: Path) -> SceneFiles:
    name = stem.relative_to(root).as_posix()
    folders = [stem.with_name(f"{stem.name}_{k}") for k in (1, 2, 3)]
    frames = tuple(folder / f"ldr_img_{k}.tif" for k, folder in enumerate(folders, start=1))
    exposures = folders[1] / _EXPOSURES[0]
    with _named(name):
        for path in (*frames, exposures):
            if not path.is_file():
                raise InputError(f"{path.parent.name}/{path.name} is missing")
        _check_frames(frames)
        evs = _exposures(exposures, frames)
    truth = next((folders[1] / t for t in _TRUTHS if (folders[1] / t).is_file()), None)
    return SceneFiles(name, _split(root, stem) or "train", frames, evs, truth, "gamma2.2")


def _split(root: Path, folder: Path) -> str | None:
    names = [root.resolve().name, *folder.relative_to(root).parts[:-1]]
    return next((_SPLITS[name.lower()] for name in reversed(names) if name.lower() in _SPLITS), None)


def _frames(folder: Path) -> tuple[Path, ...]:
    """Frames in order: of the first kind and the most telling way of numbering that there is, else all by name."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    for kind in _KINDS:
        pictures = [p for p in files if p.suffix.lower() in kind and p.stem not in {Path(t).stem for t in _TRUTHS}]
        for pattern in _NUMBERED:
            numbers = {int(n): p for p in pictures if (n := _number(p.stem, pattern)) is not None}
            if numbers:
                return tuple(numbers[n] for n in sorted(numbers))
        if pictures:
            return tuple(pictures)
    return ()


def _number(stem: str, pattern: str) -> str | None:
    match = re.fullmatch(pattern.replace("{}", r"(\d{1,2})"), stem)
    return match.group(1) if match else None


def _exposures(path: Path, frames: Sequence[Path]) -> tuple[float, ...]:
    """The exposures of a file, as many as there are frames; of numbered frames the missing one is named."""
    evs = read_exposures(path)
    for pattern in _NUMBERED:
        numbers = {_number(frame.stem, pattern) for frame in frames}
        if None not in numbers:
            have = {int(n) for n in numbers if n is not None}
            lacking = sorted(set(range(1, len(evs) + 1)) - have)
            if lacking and max(have) <= len(evs):
                missing = frames[0].with_stem(pattern.format(lacking[0])).name
                raise InputError(f"{missing} is missing; {path.name} states {len(evs)} exposures")
    if len(frames) != len(evs):
        raise InputError(f"{len(frames)} frames for the {len(evs)} exposures of {path.name}")
    return evs


def _check_frames(frames: Sequence[Path]) -> None:
    for path in frames:
        with path.open("rb") as file:
            scan.sniff(file.read(64), path.name)


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a user's folder by their content, one a stem."""
    by_stem: dict[str, tuple[bool, Path]] = {}
    reads_raw = importlib.util.find_spec("rawpy") is not None
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        try:
            with path.open("rb") as file:
                kind = scan.sniff(file.read(64), path.name)
        except (InputError, OSError):
            continue
        raw = kind == "raw" or (kind == "tiff" and path.suffix.lower() not in _KINDS[0])
        if path.stem not in by_stem or raw == reads_raw:
            by_stem[path.stem] = (raw, path)
    return [path for _, path in by_stem.values()]
