"""Coverage-guided search for a file that the EXIF and header path does not take or refuse in order.

    python -m tests.hostile.fuzz SEEDS [libFuzzer's options: -max_total_time=600 -timeout=20 -rss_limit_mb=2000 ...]

Needs atheris (3.0 or later), which the tests do not. SEEDS is a folder; where it is empty, small files of every kind
that is read are put there first: JPEG with each maker's note, PNG, TIFF, DNG, RAF, CR3. An input that ends in anything
but a result or an InputError of one line is left as ``crash-*`` in the working folder; one that takes long or much
memory as ``timeout-*`` or ``oom-*``. Each is an ordinary file: ``smarthdr info`` and ``smarthdr group`` show the fault,
and it belongs into corpus.py.
"""

import contextlib
import io
import math
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from tests.burst.grouping.shoot import (
    Camera,
    Shoot,
    canon,
    canon_shot,
    fujifilm,
    nikon,
    olympus,
    panasonic,
    sony,
    sony_old,
)

NOTES = (
    ("SONY", sony(2, 3)), ("SONY", sony(5, 9, version="b")), ("SONY", sony_old(3)), ("Canon", canon(2, -1)),
    ("Canon", canon_shot(3, 1)), ("NIKON", nikon(-1)), ("FUJIFILM", fujifilm(2)), ("Panasonic", panasonic(4)),
    ("OLYMPUS", olympus(2)), ("OM Digital", olympus(3, b"OM SYSTEM\0\0\0II\x04\0")),
)  # fmt: skip
CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def write_seeds(folder: Path) -> None:
    """A small file of every kind."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    image = Image.fromarray(pixels)
    plain = io.BytesIO()
    image.save(plain, "JPEG", quality=30)
    for number, (make, note) in enumerate(NOTES):
        shoot = Shoot(folder, Camera(make=make, prefix=f"note{number}-"))
        raw = shoot.take(note=note, suffix=".ARW")
        block = b"Exif\0\0" + raw.read_bytes()
        small = plain.getvalue()[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain.getvalue()[2:]
        raw.with_suffix(".jpg").write_bytes(small)
    inner, tiff = small, raw.read_bytes()
    raf = b"FUJIFILMCCD-RAW ".ljust(84, b"\0") + struct.pack(">II", 160, len(inner)) + bytes(68) + inner
    (folder / "a.raf").write_bytes(raf)
    boxes = (box(name, tiff) for name in (b"CMT1", b"CMT2", b"CMT3"))
    cr3 = box(b"ftyp", b"crx \0\0\0\x01crx isom") + box(b"moov", box(b"uuid", CANON, *boxes))
    (folder / "a.cr3").write_bytes(cr3)
    image.save(folder / "a.png", exif=b"Exif\0\0" + tiff, icc_profile=bytes(140))
    image.convert("P").save(folder / "palette.png", dpi=(72, 72))
    image.save(folder / "progressive.jpg", quality=30, progressive=True, icc_profile=bytes(200))
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        image.save(folder / f"{compression}.tif", compression=compression, tiffinfo={274: 6, 33434: 0.01})
    for compression in ("lzw", "zstd", "lzma", "jpeg"):
        tifffile.imwrite(folder / f"tiles-{compression}.tif", pixels, photometric="rgb", compression=compression,
                         tile=(16, 16), metadata=None)  # fmt: skip
    tifffile.imwrite(folder / "pages.tif", pixels.astype(np.uint16), photometric="rgb", compression="zlib")
    tifffile.imwrite(folder / "big.tif", pixels.astype(np.float32) / 255, photometric="rgb", bigtiff=True)
    mosaic = [(33421, "H", 2, (2, 2), True), (33422, "B", 4, bytes((0, 1, 1, 2)), True)]
    version = [(50706, "B", 4, bytes((1, 4, 0, 0)), True)]
    tifffile.imwrite(folder / "a.dng", pixels[..., 0], photometric=32803, extratags=mosaic + version, metadata=None)


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["smarthdr_cli.burst", "exifread"]):
        from smarthdr_cli.burst import container, decode, exif, exif_location, profile
        from smarthdr_cli.burst.grouping.header import read_header
        from smarthdr_cli.burst.grouping.look import tiny
        from smarthdr_cli.errors import InputError

    home = tempfile.TemporaryDirectory()
    path = Path(home.name, "x.jpg")

    @contextlib.contextmanager
    def in_order():  # type: ignore[no-untyped-def]
        try:
            yield
        except InputError as error:
            check_line(str(error))

    def check_line(said: str) -> None:
        assert "\n" not in said
        assert path.name in said

    def check(stated: exif.Stated) -> None:
        assert math.isfinite(stated.exposure().ev)
        assert stated.orientation in range(1, 9)

    def one(data: bytes) -> None:
        path.write_bytes(data)
        with in_order():
            header = read_header(path)
            assert header.ev is None or abs(header.ev) < 200
            width, height = header.size or (0, 0)
            if width * height < 1_000_000:
                tiny(header)
        with in_order():
            kind = container.sniff(data, path.name)
            if kind in ("tiff", "raw"):
                check(exif_location.file_exif(data, path.name))
            if kind in ("jpeg", "png"):
                found = (container.scan_jpeg if kind == "jpeg" else container.scan_png)(data, path.name)
                if found.exif:
                    check(exif.parse_exif(found.exif))
                if found.icc:
                    profile.from_icc(found.icc)
                if found.primaries is not None:
                    profile.from_png(found.primaries)
                if found.width * found.height < 100_000:
                    if kind == "jpeg":
                        decode.decode_jpeg(data, found, path.name)
                    else:
                        decode.decode_png(found, path.name)
            elif kind == "tiff":
                with decode.open_tiff(data, path.name) as tiff:
                    if not decode.is_raw(tiff):
                        decode.decode_tiff(data, tiff, path.name)

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    seeds = Path(sys.argv[1])
    seeds.mkdir(parents=True, exist_ok=True)
    if not any(seeds.iterdir()):
        write_seeds(seeds)
    main()
