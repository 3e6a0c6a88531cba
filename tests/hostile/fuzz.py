"""Coverage-guided search for input that the project neither takes nor refuses as it promises (docs/robustness.md).

    python -m tests.hostile.fuzz TARGET CORPUS [libFuzzer's options: -max_total_time=600 -timeout=20 ...]

Needs atheris (pip install atheris, 3.0 or later), which is no dependency of the project. CORPUS is a folder; where it
is empty, small inputs made by the tests' own writers are put there first. TARGET is one of

    pictures    JPEG, PNG and TIFF files: read as ``info`` and as ``group`` read them
    notes       makers' notes, in the TIFF structure that a RAW begins with
    raw         DNG, CRW, CR3, RAF, MRW and X3F files
    weights     heads of safetensors files: read as ``models list`` and as ``fuse`` read them
    records     results.jsonl, notes of unfinished moves, files of sets
    shoots      folders of frames with damaged EXIF, grouped

An input is at fault that ends in anything but a sane value or an error of the project's own of one line, that two
readers read differently, that makes a C library print to stderr, or that moves a file it must not. It is left as
``crash-*`` in the working folder; one that takes long or much memory as ``timeout-*`` or ``oom-*``. What it is belongs
into a test, made there from scratch.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import random
import re
import shutil
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageCms

from tests.support import camera_files as maker
from tests.support.camera_files import Camera, Shoot
from tests.support.raw_files import SIGMA_PROPERTIES, cr3, crw, mrw, raf, x3f

NOTES = (
    ("SONY", maker.sony(2, 3)), ("SONY", maker.sony(5, 9, version="b")), ("SONY", maker.sony_old(3)),
    ("Canon", maker.canon(2, -1)), ("Canon", maker.canon_shot(3, 1)),
    ("Canon", maker.displaced(maker.canon_shot(3, 1), 64)), ("NIKON", maker.nikon(-1)),
    ("FUJIFILM", maker.fujifilm(2)), ("Panasonic", maker.panasonic(4)), ("OLYMPUS", maker.olympus(2)),
    ("OM Digital", maker.olympus(3, b"OM SYSTEM\0\0\0II\x04\0")), ("PENTAX", maker.pentax(2, 3)),
    ("PENTAX", maker.pentax(5, 5, 10, b"PENTAX \0MM")), ("Minolta", maker.minolta(4)), ("SIGMA", maker.sigma("2 of 3")),
)  # fmt: skip
MAX_PIXELS = 250_000
TINY = {"name": "saf", "encoder": 8, "motion": 8, "hidden": 4, "match": 4, "verify": 8, "refine": 8}
# Values that programs trip over, and some that networks, records and notes hold.
ODD_VALUES = (
    None, True, False, 0, 1, -1, 2, 3, 8, 99, 65535, 2**31, 2**63, 10**400, 0.5, -0.0, 1e-320, 1e308, math.inf,
    math.nan, "", "x", "\0", "\n", "\ud800", "\x1b[31m", "..", "../x.exr", "/x.exr", "a/b.exr", "con", "x" * 300, "é",
    "saf", "gfhdr", "ok", "failed", "2026-01-01T00:00:00", [], {}, [[]], [0], {"": 0},
)  # fmt: skip

One = Callable[[bytes], None]
Mutate = Callable[[bytes, int, int], bytes]


def check_line(error: Exception, name: str, *, quotes: bool = False) -> None:
    """One line that names the file. What it ``quotes`` of a record is made fit for a terminal by the console."""
    assert name in str(error)
    if not quotes:
        assert "\n" not in str(error)
        str(error).encode()


def check_silent(run: One) -> One:
    """``run`` with an AssertionError where anything is printed to the process's stderr meanwhile."""
    printed = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the search goes on
    stderr = os.dup(2)

    def checked(data: bytes) -> None:
        printed.truncate(0)
        printed.seek(0)
        os.dup2(printed.fileno(), 2)
        try:
            run(data)
            sys.stderr.flush()
        finally:
            os.dup2(stderr, 2)
        printed.seek(0)
        said = printed.read(500)
        assert not said, said

    return checked


# Pictures, makers' notes and RAW


def jpeg_with(exif: bytes, quality: int = 30, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(_pixels()).save(stream, "JPEG", quality=quality, exif=b"Exif\0\0" + exif, **options)
    return stream.getvalue()


def _pixels() -> Any:
    return np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)


def exif_blocks(folder: Path) -> list[bytes]:
    """The TIFF structures of frames by every maker."""
    blocks = []
    for number, (make, note) in enumerate(NOTES):
        shoot = Shoot(folder, Camera(make=make, prefix=f"note{number}-"))
        raw = shoot.take(note=note, suffix=".ARW", bias=-1, mode=2, flash=1, orientation=6, zone="+02:00")
        blocks.append(raw.read_bytes())
        raw.unlink()
    return blocks


def write_notes(folder: Path) -> None:
    for number, block in enumerate(exif_blocks(folder)):
        (folder / f"{number}.arw").write_bytes(block)


def write_pictures(folder: Path) -> None:
    pixels, block = _pixels(), exif_blocks(folder)[0]
    image = Image.fromarray(pixels)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (folder / "a.jpg").write_bytes(jpeg_with(block, icc_profile=profile))
    (folder / "progressive.jpg").write_bytes(jpeg_with(block, progressive=True, icc_profile=bytes(200)))
    image.convert("L").save(folder / "grey.jpg", quality=30)
    image.save(folder / "a.png", exif=b"Exif\0\0" + block, icc_profile=profile)
    image.convert("P").save(folder / "palette.png", dpi=(72, 72))
    image.convert("LA").save(folder / "alpha.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) << 8).save(folder / "grey16.png")
    for mode, compression in (("RGB", None), ("RGB", "tiff_lzw"), ("RGB", "tiff_adobe_deflate"), ("RGB", "packbits"),
                              ("P", None), ("L", "tiff_lzw"), ("1", "group3"), ("1", "group4"),
                              ("YCbCr", "jpeg")):  # fmt: skip
        path = folder / f"{mode}-{compression}.tif"
        image.convert(mode).save(path, compression=compression, tiffinfo={274: 6, 33434: 0.01})
    for compression in ("lzw", "zstd", "lzma", "jpeg"):
        tifffile.imwrite(folder / f"tiles-{compression}.tif", pixels, photometric="rgb", compression=compression,
                         tile=(16, 16), metadata=None)  # fmt: skip
    tifffile.imwrite(folder / "pages.tif", pixels.astype(np.uint16), photometric="rgb", compression="zlib")
    tifffile.imwrite(folder / "big.tif", pixels.astype(np.float32) / 255, photometric="rgb", bigtiff=True)
    tifffile.imwrite(folder / "planar.tif", np.moveaxis(pixels, -1, 0), photometric="rgb", planarconfig="separate")
    (folder / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.from_pillow(image).save(folder / "whole.heic", quality=30, exif=b"Exif\0\0" + block)


def write_raw(folder: Path) -> None:
    blocks = exif_blocks(folder)
    (folder / "a.arw").write_bytes(blocks[0])
    (folder / "a.raf").write_bytes(raf(jpeg_with(blocks[7])))
    (folder / "a.cr3").write_bytes(cr3(blocks[3], blocks[3], blocks[3]))
    (folder / "a.crw").write_bytes(crw(shot=2, bracket_value=-32, rotation=270))
    (folder / "b.crw").write_bytes(crw(exposure_record=False))
    (folder / "a.mrw").write_bytes(mrw(blocks[13]))
    (folder / "a.x3f").write_bytes(x3f(SIGMA_PROPERTIES, rotation=90))
    (folder / "b.x3f").write_bytes(x3f(SIGMA_PROPERTIES, jpeg_with(blocks[14]), version=0x40000))
    for magic in (b"IIRO", b"IIU\0"):
        (folder / f"{magic[2:3].decode()}.orf").write_bytes(magic + blocks[9][4:])
    rational = [(33434, "2I", 1, (1, 100), True), (33437, "2I", 1, (8, 1), True), (34855, "H", 1, 200, True)]
    mosaic = [(33421, "H", 2, (2, 2), True), (33422, "B", 4, bytes((0, 1, 1, 2)), True)]
    camera = [(50706, "B", 4, bytes((1, 4, 0, 0)), True), (50714, "H", 1, 8, True), (50717, "H", 1, 4000, True)]
    codes = _pixels()[..., 0].astype(np.uint16) * 16
    for name, extra, options in (("a", rational, {}), ("b", [], {"compression": "zlib", "tile": (16, 16)})):
        tifffile.imwrite(folder / f"{name}.dng", codes, photometric=32803, extratags=[*extra, *mosaic, *camera],
                         metadata=None, **options)  # fmt: skip


def files_target(home: Path, name: str) -> One:
    """Reads a file as ``info`` and as ``group`` do: what the one takes the other knows by its header, and both say
    the same of it."""
    from smarthdr_cli.burst.exif_containers import exif_of_file
    from smarthdr_cli.burst.read import read_file
    from smarthdr_cli.colorspace import REC709, conversion
    from smarthdr_cli.errors import InputError
    from smarthdr_cli.grouping.header import Header, read_header
    from smarthdr_cli.grouping.thumbnails import read_thumbnail

    path = home / name

    def check_header(header: Header) -> None:
        assert header.ev is None or abs(header.ev) < 200
        assert header.orientation in range(1, 9)
        assert header.focal_length is None or 0 < header.focal_length < 1e6
        assert header.timestamp is None or math.isfinite(header.timestamp)
        assert header.size is None or min(header.size) > 0
        note = header.maker
        assert note.shot is None or 1 <= note.shot <= 99
        assert note.length is None or 2 <= note.length <= 99
        assert note.value is None or abs(note.value) < 2000

    def one(data: bytes) -> None:
        path.write_bytes(data)
        header = None
        try:
            header = read_header(path)
            check_header(header)
            read_thumbnail(header, MAX_PIXELS)
        except InputError as error:
            check_line(error, name)
        try:
            reading = read_file(path, max_pixels=MAX_PIXELS)
        except InputError as error:
            check_line(error, name)
            return
        frame, stated = reading.frame, reading.exif
        assert math.isfinite(frame.exposure.ev)
        assert all(0 <= error <= 65535**2 for error in frame.rounding_error)
        assert np.isfinite(conversion(frame.colorspace, REC709)).all()
        assert header is not None
        if header.kind != "raw" or exif_of_file(data, name).time is not None:
            # LibRaw, asked twice of a damaged file, may give two answers: it reads memory that it never wrote.
            assert (header.time, header.aperture, header.iso) == (stated.time, stated.aperture, stated.iso)
        assert header.orientation == stated.orientation
        assert (header.make or None, header.model or None) == (stated.capture.make, stated.capture.model)
        assert header.kind in (frame.kind, "raw")  # of a TIFF that is named as a RAW file
        if header.kind != "raw" and header.size is not None:  # a BigTIFF's header is not looked into
            assert header.size == frame.size[::-1]

    return one


def mutate_picture(data: bytes, max_size: int, seed: int) -> bytes:
    """libFuzzer's own mutation, and the checksums of a PNG made right, that what lies behind them is reached."""
    import atheris

    out = bytearray(atheris.Mutate(data, max_size))
    at = 8
    while out[:4] == b"\x89PNG" and seed % 8 and at + 12 <= len(out):
        length = int.from_bytes(out[at : at + 4], "big")
        if at + 12 + length > len(out):
            break
        struct.pack_into(">I", out, at + 8 + length, zlib.crc32(out[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(out)


# Weights


def write_weights(folder: Path) -> None:
    import torch

    from smarthdr_cli.models.base import build_model
    from smarthdr_cli.models.checkpoint import save_checkpoint
    from smarthdr_cli.models.uncertainty_calibration import Calibration

    state = {"a.weight": torch.ones(3, 2), "scale": torch.tensor(1.0), "half": torch.ones(4, dtype=torch.float16)}
    curve = Calibration((0.01, 0.1), (0.02, 0.2), eight_bit=Calibration((0.01,), (0.02,)))
    for number, config in enumerate((TINY, {"name": "gfhdr", "dim": 12, "heads": 2})):
        save_checkpoint(folder / f"{number}.safetensors", state, config, {"steps": 7}, curve, "CC0-1.0", {"psnr": 1.5})
    save_checkpoint(folder / "whole.safetensors", build_model(TINY).state_dict(), TINY)
    for path in list(folder.iterdir()):
        path.write_bytes(_unsealed(path.read_bytes()))


def _unsealed(data: bytes) -> bytes:
    """A checkpoint as it was before there was a checksum, which no mutation would come past."""
    table, tail = _opened(data)
    inner = json.loads(table["__metadata__"]["smarthdr"])
    inner.pop("checksum")
    table["__metadata__"]["smarthdr"] = json.dumps(inner)
    return _closed(table, tail)


def _opened(data: bytes) -> tuple[Any, bytes]:
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def _closed(table: Any, tail: bytes) -> bytes:
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + tail


def mutate_weights(data: bytes, max_size: int, seed: int) -> bytes:
    """The head as JSON, or the description inside it, or bytes anywhere."""
    import atheris

    rng = random.Random(seed)
    if rng.random() < 0.2:
        return bytes(atheris.Mutate(data, max_size))
    try:
        table, tail = _opened(data)
        inner = json.loads(table["__metadata__"]["smarthdr"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return bytes(atheris.Mutate(data, max_size))
    if rng.random() < 0.7:
        table["__metadata__"]["smarthdr"] = json.dumps(mutate_json(inner, rng))
    else:
        table = mutate_json(table, rng)
    return _closed(table, tail)[:max_size]


def weights_target(home: Path) -> One:
    from smarthdr_cli.errors import ModelError
    from smarthdr_cli.models.checkpoint import load_checkpoint, load_model, read_header

    path = home / "x.safetensors"

    def one(data: bytes) -> None:
        path.write_bytes(data)
        header = None
        try:
            header = read_header(path)
            assert header.parameters >= 0
            json.dumps(header.description, allow_nan=False)
        except ModelError as error:
            check_line(error, path.name)
        try:
            checkpoint = load_checkpoint(path)
        except ModelError as error:
            check_line(error, path.name)
            return
        assert header is not None
        assert (header.description["config"], header.network) == (checkpoint.config, checkpoint.config["name"])
        assert header.shapes == {name: tuple(tensor.shape) for name, tensor in checkpoint.state.items()}
        try:
            load_model(path)
        except ModelError as error:
            check_line(error, path.name)

    return one


# Records


def mutate_json(value: Any, rng: random.Random) -> Any:
    """``value`` with something in it taken away, doubled, or replaced."""
    if isinstance(value, dict | list) and value and rng.random() < 0.85:
        value = dict(value) if isinstance(value, dict) else list(value)
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        draw = rng.random()
        if draw < 0.08:
            del value[key]
        elif draw < 0.16:
            extra = value[key]
            if isinstance(value, dict):
                value[str(rng.choice(ODD_VALUES))] = extra
            else:
                value.append(extra)
        else:
            value[key] = mutate_json(value[key], rng)
        return value
    if isinstance(value, str) and value and rng.random() < 0.3:
        at = rng.randrange(len(value))
        return value[:at] + rng.choice(("\0", "/", ".", "\ud800", "\n", "0", "x")) + value[at + rng.randrange(2) :]
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.3:
        return rng.choice((value + 1, -value, value * 2, value / 2 if abs(value) < 1e300 else 0))
    return rng.choice(ODD_VALUES)


def write_records(folder: Path) -> None:
    inputs = [{"file": "img0.jpg", "sha256": hashlib.sha256(b"frame").hexdigest(), "ev": 0.0, "source": "exif"}]
    outputs = [{"path": "a.hdr", "bytes": 11}, {"path": "a.jpg", "bytes": 3}]
    done = {"name": "a", "status": "ok", "inputs": inputs, "outputs": outputs, "settings": {"tile": 512},
            "seconds": {"read": 1.5}, "finished": "2026-01-01T00:00:00.000", "host": "h", "pid": 3,
            "uncertainty": {"mean": 0.01}, "warnings": ["x"], "reasons": [], "error": None}  # fmt: skip
    failed = {"name": "b", "status": "failed", "inputs": inputs, "error": {"code": 3, "message": "x"}}
    lines = b"".join(json.dumps(line).encode() + b"\n" for line in (done, failed, done | {"status": "skipped"}))
    (folder / "results").write_bytes(b"r" + lines)
    for number, moves in enumerate(({"a.exr": "a.exr"}, {"a.exr": "sub/a.exr", "a.jpg": "sub/a.jpg"})):
        note = {"moves": moves, "record": done, "overwrite": bool(number)}
        (folder / f"note{number}").write_bytes(b"n" + json.dumps(note).encode())
    sets = [{"kind": "set", "name": "a", "frames": ["in/0.jpg", "in/1.jpg"], "confidence": 0.9, "ambiguous": False,
             "evs": [-1, 1.0], "reasons": ["x"]}, {"kind": "single", "file": "x.jpg", "reasons": []},
            {"frames": ["in/2.jpg", "in/3.jpg"]}]  # fmt: skip
    (folder / "sets").write_bytes(b"s" + b"".join(json.dumps(line).encode() + b"\n" for line in sets))


def mutate_records(data: bytes, max_size: int, seed: int) -> bytes:
    """A line as JSON, or bytes anywhere."""
    import atheris

    rng = random.Random(seed)
    lines = data[1:].split(b"\n")
    at = rng.randrange(len(lines))
    try:
        assert rng.random() > 0.2
        lines[at] = json.dumps(mutate_json(json.loads(lines[at]), rng)).encode()
    except (ValueError, AssertionError, RecursionError):
        return bytes(atheris.Mutate(data, max_size))
    return (data[:1] + b"\n".join(lines))[:max_size]


def records_target(home: Path) -> One:
    from smarthdr_cli.batch.batch_options import OutputFiles
    from smarthdr_cli.batch.jobs import Job, make_jobs
    from smarthdr_cli.batch.report_index import write_batch_index
    from smarthdr_cli.batch.results import last_results, results_files
    from smarthdr_cli.batch.resume import existing_outputs
    from smarthdr_cli.batch.transaction import recover, stage_key
    from smarthdr_cli.errors import InputError, OutputError, UsageError
    from smarthdr_cli.grouping.group import BracketSet, read_sets

    out, frame = home / "out", home / "img0.jpg"
    stage = out / ".smarthdr-batch" / stage_key("a")
    files = OutputFiles()
    job = Job("a", (frame,), {"preview": out / "a.jpg", "result": out / "a.hdr"})
    (home / "victim.exr").write_text("precious")
    frame.write_bytes(b"frame")

    def results(text: bytes) -> None:
        (out / "results.jsonl").write_bytes(text)
        (out / "a.hdr").write_bytes(b"#?RADIANCE\n")
        (out / "a.jpg").write_bytes(b"jpg")
        (out / "a.html").write_text('<link rel="icon" href="data:image/jpeg;base64,AAAA">')
        said: list[str] = []
        last = last_results(results_files(out), said.append)
        for name, record in last.items():
            json.dumps(record, allow_nan=False)
            f"{name}: {sum(record.get('seconds', {}).values()):.1f} s".encode(errors="backslashreplace")
        page = write_batch_index(last, out).read_text("utf-8")
        assert page.count('<li class="set ') == len(last)
        for link in re.findall('<a href="([^"]*)"', page):
            assert not link.startswith("/"), link
            assert ".." not in link.split("/"), link
        for record in (*last.values(), None):
            try:
                assert existing_outputs(job, {"tile": 512}, record) in ("done", "incomplete")
            except OutputError as error:
                check_line(error, str(out), quotes=True)

    def note(text: bytes) -> None:
        stage.mkdir(parents=True)
        (stage / "commit.json").write_bytes(text)
        (stage / "a.exr").write_text("new")
        (stage / "a.jpg").write_text("new")
        (out / "notes.txt").write_text("precious")
        (out / "b.exr").write_text("precious")
        kept: list[Any] = []
        try:
            recover(stage.parent, kept.append, lambda said: None)
        except OutputError as error:
            check_line(error, str(out), quotes=True)
        json.dumps(kept, allow_nan=False)
        for path in (home / "victim.exr", out / "notes.txt", out / "b.exr"):
            assert path.read_text() == "precious"
        outside = {path.name for path in home.iterdir()}
        assert outside <= {"victim.exr", "out", "img0.jpg", "sets.jsonl"}, outside

    def sets(text: bytes) -> None:
        path = home / "sets.jsonl"
        path.write_bytes(text)
        try:
            found = read_sets(path)
        except InputError as error:
            check_line(error, path.name, quotes=True)
            return
        for one in found:
            assert BracketSet.from_dict(one.to_dict()).frames == one.frames
        try:
            jobs = make_jobs(found, out, "{first}-{last}-{stem}", files, {})
        except UsageError:
            return
        for made in jobs:
            assert all(target.absolute().is_relative_to(out.absolute()) for target in made.outputs.values())
            f"{made.name}".encode(errors="surrogateescape")

    def one(data: bytes) -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        {b"r": results, b"n": note}.get(data[:1], sets)(data[1:])

    return one


# Shoots


def write_shoots(folder: Path) -> None:
    rng = random.Random(0)
    for number in range(20):
        (folder / str(number)).write_bytes(rng.randbytes(20 + 10 * number))


def shoots_target(home: Path) -> One:
    import atheris

    from smarthdr_cli.batch.batch_options import OutputFiles
    from smarthdr_cli.batch.jobs import make_jobs
    from smarthdr_cli.errors import InputError, UsageError
    from smarthdr_cli.grouping.group import BracketSet, group_files
    from smarthdr_cli.grouping.header import read_header

    output_files = OutputFiles()
    folder = home / "shoot"

    def take(draw: Any) -> list[Path]:
        """Two to seven frames, and each with up to six bytes of its header or more changed."""
        make, note = NOTES[draw.ConsumeIntInRange(0, len(NOTES) - 1)]
        shoot = Shoot(folder, Camera(make=make, subsec=draw.ConsumeBool()))
        files = []
        for _ in range(draw.ConsumeIntInRange(2, 7)):
            shoot.view = draw.ConsumeIntInRange(0, 2)
            shoot.wait(draw.ConsumeIntInRange(0, 40) / 4)
            path = shoot.take(
                draw.ConsumeIntInRange(-4, 4), note=note if draw.ConsumeBool() else None,
                without_exif=draw.ConsumeBool(),
                mode=draw.PickValueInList([None, 0, 1, 2]), bias=draw.PickValueInList([None, 0, -1, 2]),
                zone=draw.PickValueInList([None, "+02:00"]), orientation=draw.PickValueInList([None, 1, 6]),
                suffix=draw.PickValueInList([".JPG", ".JPG", ".JPG", ".ARW"]) if files else ".JPG",
            )  # fmt: skip
            whole = bytearray(path.read_bytes())
            for _ in range(draw.ConsumeIntInRange(0, 6) if whole else 0):
                whole[draw.ConsumeIntInRange(0, min(len(whole), 700) - 1)] = draw.ConsumeIntInRange(0, 255)
            path.write_bytes(whole)
            files.append(path)
        return files

    def one(data: bytes) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        draw = atheris.FuzzedDataProvider(data)
        bracket = draw.PickValueInList([None, None, None, 2, 3])
        files = take(draw)
        found = group_files(files, bracket=bracket)
        named = [path for one in found.sets for path in one.frames]
        named += [one.path for one in (*found.singles, *found.twins, *found.skipped)]
        assert sorted(named) == sorted(files)
        for one in found.sets:
            assert 0 <= one.confidence <= 1
            assert BracketSet.from_dict(json.loads(json.dumps(one.to_dict(), allow_nan=False))).frames == one.frames
        headers = {}
        for path in files:
            with contextlib.suppress(InputError):
                headers[path] = read_header(path)
        if found.sets:
            with contextlib.suppress(UsageError):
                make_jobs(found.sets, home / "out", "{date}-{camera}-{first}-{n}", output_files, headers)

    return one


SEEDS: dict[str, Callable[[Path], None]] = {
    "pictures": write_pictures, "notes": write_notes, "raw": write_raw, "weights": write_weights,
    "records": write_records, "shoots": write_shoots,
}  # fmt: skip
TARGETS: dict[str, tuple[Callable[[Path], One], Mutate | None]] = {
    "pictures": (lambda home: files_target(home, "x.jpg"), mutate_picture),
    "notes": (lambda home: files_target(home, "x.arw"), None),
    "raw": (lambda home: files_target(home, "x.dng"), None),
    "weights": (weights_target, mutate_weights),
    "records": (records_target, mutate_records),
    "shoots": (shoots_target, None),
}


@contextlib.contextmanager
def instrumented() -> Iterator[None]:
    """What is imported meanwhile tells libFuzzer which of its branches are taken."""
    try:
        import atheris
    except ImportError:
        sys.exit("the search needs atheris, which the tests do not: pip install atheris")
    with atheris.instrument_imports(include=["smarthdr_cli"]):
        yield


def main(target: str, corpus: Path, options: list[str]) -> None:
    home = tempfile.TemporaryDirectory()
    make, mutate = TARGETS[target]
    with instrumented():
        run = make(Path(home.name))
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        SEEDS[target](corpus)
    import atheris

    more = {} if mutate is None else {"custom_mutator": mutate}
    atheris.Setup([sys.argv[0], str(corpus), *options], check_silent(run), **more)
    atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in TARGETS or sys.argv[2].startswith("-"):
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
