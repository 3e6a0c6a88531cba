"""How many sets may be held at once within ``--max-memory``: one read ahead or written behind costs memory too."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.grouping.header import Header

# Bytes a pixel of a finished set costs while it is written: radiance and uncertainty, the halves, a preview's planes.
WRITTEN = 12 + 4 + 6 + 12


@dataclass(frozen=True)
class Budget:
    """``options``: as given, with what the neighbours take off ``max_memory``. ``overlap``: whether there are any."""

    options: FuseOptions
    overlap: bool


def budget(options: FuseOptions, sets: Iterable[Sequence[Path]], headers: Mapping[Path, Header]) -> Budget:
    """Read ahead and write behind where the largest set still fits beside two neighbours of its size, else do not.

    On CUDA ``max_memory`` is the device's, which holds one set at a time anyway. Whether a set fits at all is for its
    own fusion to say.
    """
    from smarthdr_cli.fusion.device import resolve_device
    from smarthdr_cli.fusion.memory_budget import BurstSize
    from smarthdr_cli.fusion.network_fusion import MAX_NETWORK_FRAMES

    device = resolve_device(options.device)
    if options.max_memory is None or device.type != "cpu":
        return Budget(options, True)
    neighbours, largest = 0.0, BurstSize(0, 0, 2)
    for paths in sets:
        size = next((headers[p].size for p in paths if p in headers and headers[p].size is not None), None)
        if size is None:
            continue
        pixels = size[0] * size[1]
        codes = pixels * len(paths) * 3.0 * max(_depth(headers[p]) for p in paths if p in headers)
        if codes + pixels * WRITTEN > neighbours:
            neighbours = codes + pixels * WRITTEN
            largest = BurstSize(pixels, codes, min(len(paths), MAX_NETWORK_FRAMES))
    if not neighbours:
        return Budget(options, True)
    left = options.max_memory - neighbours
    if left < largest.min_bytes(device, with_motion=options.deghost != "off"):
        return Budget(options, False)
    return Budget(replace(options, max_memory=left), True)


def _depth(header: Header) -> int:
    """Bytes of a code once read: a JPEG's one; others may have two."""
    return 1 if header.kind == "jpeg" else 2
