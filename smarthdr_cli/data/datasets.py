"""Scene folders of published benchmarks, of ``smarthdr synth`` and of users, as one list of files.

A scene is a folder, below ``Training/`` and ``Test/`` or not. Known layouts:

- Kalantari and Ramamoorthi 2017, Tel et al. 2023: ``*.tif, exposure.txt, HDRImg.hdr``. ``smarthdr synth``:
  ``1.tif .. N.tif`` or ``.jpg``, ``exposure.txt``, ``HDRImg.exr``.
- Kalantari repacked: ``input_K_aligned.tif, input_exp.txt, ref_hdr_aligned.hdr``. Hu et al. 2020: the same with
  ``ref_hdr_aligned_linear.hdr``; scenes 086 to 100 are the test split.
- Challenge123 (Kong et al. 2024): frame K of scene ``X`` is ``X_K/ldr_img_K.tif``; ``exposure.txt`` and ``hdr_img.hdr``
  are those of the middle frame's folder.

Exposure files hold log2 exposure times, one per line. 16-bit codes are divided by 65535, the code at which they clip;
published code divides by 65536, so a clipped pixel is exactly 1 here and everything else brighter by 3e-5.

Only names, exposure files and the first bytes of frames are read here.
"""

import contextlib
import importlib.util
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from smarthdr_cli.burst import scan
from smarthdr_cli.burst.exif import ExifMetadata
from smarthdr_cli.burst.exif_containers import exif_of_block
from smarthdr_cli.burst.exposure import resolve_exposures
from smarthdr_cli.errors import InputError

EXPOSURE_FILES = ("exposure.txt", "input_exp.txt")
TRUTH_STEMS = ("HDRImg", "ref_hdr_aligned_linear", "ref_hdr_aligned", "hdr_img")
TRUTH_FILES = tuple(stem + suffix for stem in TRUTH_STEMS for suffix in (".exr", ".hdr"))
TIFF = (".tif", ".tiff")
FRAME_SUFFIXES = (TIFF, (".jpg", ".jpeg"), (".png",))  # the first that occurs is the suffix of the scene's frames
FRAME_NAMES = ("input_{}_aligned", "input_{}", "ldr_img_{}", "{}")  # of frame K; the first that occurs counts
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}  # names of folders
HU_TRUTH, HU_TEST_SCENES = "ref_hdr_aligned_linear", range(86, 101)
MAX_FOLDER_DEPTH = 4  # below the root
MAX_LOG2_EXPOSURE = 60.0
MAX_EXPOSURE_BYTES = 65536  # read of an exposure file
SNIFFED_BYTES = 64  # enough to tell a file's format


@dataclass(frozen=True)
class SceneFiles:
    """Files of one burst.

    ``name``: path below the root, unique. ``split``: "train" or "test". ``frames``: darkest first, or by name where
    ``evs`` is None. ``evs``: log2 exposures relative to the first, or None where they are read with the frames.
    ``truth``: .hdr or .exr radiance, 1 = the shortest frame's clip, at the middle frame's moment and pose, or None.
    ``encoding``: "gamma2.2", or "camera" where the response must be estimated.
    """

    name: str
    split: str
    frames: tuple[Path, ...]
    evs: tuple[float, ...] | None
    truth: Path | None
    encoding: str


def find_scenes(root: Path) -> list[SceneFiles]:
    """The scenes of a benchmark, sorted by name; the layout is recognised from the files.

    A folder called ``Training`` or ``Test`` (also ``train``, ``test``) on the path of a scene, the root included, gives
    its split; else it is "train" unless its layout says otherwise. Raises InputError with the names of scene and file
    for a missing or unreadable frame, and for exposures that differ in number from the frames or do not rise; also
    where there is no scene.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder of scenes" if root.exists() else f"{root} does not exist")
    scenes: list[SceneFiles] = []
    challenge_stems: set[Path] = set()
    for folder in _folders(root):
        stem = _challenge_stem(folder) if folder != root else None
        if stem is not None:
            if stem not in challenge_stems:
                challenge_stems.add(stem)
                scenes.append(_challenge_scene(root, stem))
        elif any((folder / name).is_file() for name in (*EXPOSURE_FILES, *TRUTH_FILES)):
            scenes.append(_scene(root, folder))
    if not scenes:
        raise InputError(f"{root}: no scenes with ground truth or an {EXPOSURE_FILES[0]} in its folders")
    return scenes


def find_bursts(folder: Path) -> list[SceneFiles]:
    """A user's bursts without ground truth: every subfolder with at least two readable images.

    Of a RAW file and a JPEG with one name the RAW is taken where rawpy is installed. Raises InputError for no burst.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of bursts" if folder.exists() else f"{folder} does not exist")
    bursts = []
    for subfolder in _folders(folder):
        images = _images(subfolder)
        if subfolder != folder and len(images) > 1:
            bursts.append(burst_files(subfolder.relative_to(folder).as_posix(), images))
    if not bursts:
        raise InputError(f"{folder}: no subfolder with at least two images; each burst needs a folder of its own")
    return bursts


def burst_files(name: str, paths: Sequence[Path]) -> SceneFiles:
    """A user's burst without ground truth; its exposures are read with the frames."""
    return SceneFiles(name, "train", tuple(sorted(paths)), None, None, "camera")


def read_exposures(path: Path) -> tuple[float, ...]:
    """log2 exposures of a file, relative to the first. Raises InputError for a file that is no rising list of them."""
    try:
        text = path.read_bytes()[:MAX_EXPOSURE_BYTES].decode("utf-8-sig")
        values = [float(word) for word in text.replace(",", " ").split()]
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path.name} is not a list of log2 exposures") from error
    if len(values) < 2 or not all(math.isfinite(v) and abs(v) <= MAX_LOG2_EXPOSURE for v in values):
        raise InputError(f"{path.name} is not a list of at least two log2 exposures")
    return _relative_to_first(values, path.name)


def sort_by_exif(frames: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[float, ...]]:
    """JPEG or PNG frames from dark to bright, and their EVs. Raises InputError for a frame without exposure time."""
    stated = []
    for path in frames:
        stated.append(_read_exif(path))
        if stated[-1].time is None:
            raise InputError(f"no exposure.txt, and {path.name} states no exposure time")
    exposures, _ = resolve_exposures(frames, stated)
    assert exposures is not None  # every frame has a time
    pairs = sorted(zip([exposure.ev for exposure in exposures], frames, strict=True))
    return tuple(path for _, path in pairs), _relative_to_first([ev for ev, _ in pairs], "the frames' EXIF")


def _read_exif(path: Path) -> ExifMetadata:
    data = path.read_bytes()
    kind = scan.sniff(data, path.name)
    header = scan.scan_png(data, path.name) if kind == "png" else scan.scan_jpeg(data, path.name)
    return exif_of_block(header.exif) if header.exif else ExifMetadata()


def _relative_to_first(values: Sequence[float], source: str) -> tuple[float, ...]:
    if not all(a < b for a, b in pairwise(values)):
        listing = ", ".join(f"{v:g}" for v in values)
        raise InputError(f"the exposures of {source} do not rise from frame to frame: {listing}")
    return tuple(v - values[0] for v in values)


def _folders(root: Path) -> Iterator[Path]:
    """``root`` and the folders below it in order of names, without hidden ones."""
    yield root
    yield from _subfolders(root, MAX_FOLDER_DEPTH)


def _subfolders(folder: Path, depth: int) -> Iterator[Path]:
    try:
        children = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    for child in children:
        yield child
        if depth > 1:
            yield from _subfolders(child, depth - 1)


def _scene(root: Path, folder: Path) -> SceneFiles:
    name = folder.name if folder == root else folder.relative_to(root).as_posix()
    with _scene_errors(name):
        frames = _frames(folder)
        exposure_file = _first_file(folder, EXPOSURE_FILES)
        truth = _first_file(folder, TRUTH_FILES)
        if not frames:
            raise InputError(f"no frames (.tif, .jpg, .png) beside {(exposure_file or truth or folder).name}")
        camera = frames[0].suffix.lower() not in TIFF
        _check_formats(frames)
        if exposure_file is not None:
            evs = _exposures(exposure_file, frames)
        elif camera:
            frames, evs = sort_by_exif(frames)
        else:
            raise InputError(f"no {EXPOSURE_FILES[frames[0].stem.endswith('_aligned')]}")
    split = _split(root, folder)
    if split is None:
        hu = truth is not None and truth.stem == HU_TRUTH and folder.name.isdigit()
        split = "test" if hu and int(folder.name) in HU_TEST_SCENES else "train"
    return SceneFiles(name, split, frames, evs, truth, "camera" if camera else "gamma2.2")


def _first_file(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


@contextlib.contextmanager
def _scene_errors(scene: str) -> Iterator[None]:
    """Prefix errors with the scene's name."""
    try:
        yield
    except InputError as error:
        raise InputError(f"scene {scene}: {error}") from error
    except OSError as error:
        file = Path(error.filename).name if error.filename else "a file"
        raise InputError(f"scene {scene}: {file} cannot be read: {error.strerror}") from error


def _challenge_stem(folder: Path) -> Path | None:
    """Path ``X`` of a Challenge123 folder ``X_K``; None for other folders."""
    match = re.fullmatch(r"(.+)_[1-9]", folder.name)
    return folder.with_name(match.group(1)) if match and any(folder.glob("ldr_img_*")) else None


def _challenge_scene(root: Path, stem: Path) -> SceneFiles:
    name = stem.relative_to(root).as_posix()
    folders = [stem.with_name(f"{stem.name}_{k}") for k in (1, 2, 3)]
    frames = tuple(folder / f"ldr_img_{k}.tif" for k, folder in enumerate(folders, start=1))
    exposure_file = folders[1] / EXPOSURE_FILES[0]
    with _scene_errors(name):
        for path in (*frames, exposure_file):
            if not path.is_file():
                raise InputError(f"{path.parent.name}/{path.name} is missing")
        _check_formats(frames)
        evs = _exposures(exposure_file, frames)
    truth = _first_file(folders[1], TRUTH_FILES)
    return SceneFiles(name, _split(root, stem) or "train", frames, evs, truth, "gamma2.2")


def _split(root: Path, folder: Path) -> str | None:
    names = [root.resolve().name, *folder.relative_to(root).parts[:-1]]
    return next((SPLITS[name.lower()] for name in reversed(names) if name.lower() in SPLITS), None)


def _frames(folder: Path) -> tuple[Path, ...]:
    """Frames in order: the first suffix that occurs, the first numbering that occurs; without numbers, by name."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    for suffixes in FRAME_SUFFIXES:
        images = [p for p in files if p.suffix.lower() in suffixes and p.stem not in TRUTH_STEMS]
        for pattern in FRAME_NAMES:
            numbers = {int(n): p for p in images if (n := _number(p.stem, pattern)) is not None}
            if numbers:
                return tuple(numbers[n] for n in sorted(numbers))
        if images:
            return tuple(images)
    return ()


def _number(stem: str, pattern: str) -> str | None:
    match = re.fullmatch(pattern.replace("{}", r"(\d{1,2})"), stem)
    return match.group(1) if match else None


def _exposures(path: Path, frames: Sequence[Path]) -> tuple[float, ...]:
    """The exposures in ``path``, one per frame. Where a numbered frame is missing, the error has its name."""
    evs = read_exposures(path)
    for pattern in FRAME_NAMES:
        matches = {_number(frame.stem, pattern) for frame in frames}
        if None not in matches:
            numbers = {int(n) for n in matches if n is not None}
            missing = sorted(set(range(1, len(evs) + 1)) - numbers)
            if missing and max(numbers) <= len(evs):
                name = frames[0].with_stem(pattern.format(missing[0])).name
                raise InputError(f"{name} is missing; {path.name} states {len(evs)} exposures")
    if len(frames) != len(evs):
        raise InputError(f"{len(frames)} frames for the {len(evs)} exposures of {path.name}")
    return evs


def _check_formats(frames: Sequence[Path]) -> None:
    for path in frames:
        with path.open("rb") as file:
            scan.sniff(file.read(SNIFFED_BYTES), path.name)


def _images(folder: Path) -> list[Path]:
    """The images of a user's folder by their content; of files with one stem, RAW where it can be read, else not."""
    by_stem: dict[str, Path] = {}
    reads_raw = importlib.util.find_spec("rawpy") is not None
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        try:
            with path.open("rb") as file:
                kind = scan.sniff(file.read(SNIFFED_BYTES), path.name)
        except (InputError, OSError):
            continue
        raw = kind == "raw" or (kind == "tiff" and path.suffix.lower() not in TIFF)
        if path.stem not in by_stem or raw == reads_raw:
            by_stem[path.stem] = path
    return list(by_stem.values())
