"""How many sets are in memory at once within ``--max-memory``.

A set that is read ahead or written behind takes ``pixels * (3 * frames * code bytes + BYTES_PER_PIXEL_WRITTEN)`` of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.grouping.header import Header

# Of a finished set while it is written: radiance and uncertainty, the same as half floats, the planes of a preview.
BYTES_PER_PIXEL_WRITTEN = 12 + 4 + 6 + 12


@dataclass(frozen=True)
class BatchBudget:
    """``options``: ``max_memory`` without what the neighbours of a set take. ``overlap``: whether it has any."""

    options: FuseOptions
    overlap: bool


def batch_budget(options: FuseOptions, sets: Iterable[Sequence[Path]], headers: Mapping[Path, Header]) -> BatchBudget:
    """Overlap reading, fusing and writing if the largest set still fits beside two neighbours of its size.

    On CUDA ``max_memory`` is the device's, which holds one set at a time. A set that does not fit alone fails when it
    is fused.
    """
    from smarthdr_cli.fusion.device import resolve_device
    from smarthdr_cli.fusion.memory_budget import BurstSize
    from smarthdr_cli.fusion.network_fusion import MAX_NETWORK_FRAMES

    device = resolve_device(options.device)
    if options.max_memory is None or device.type != "cpu":
        return BatchBudget(options, True)
    neighbour_bytes, largest = 0.0, BurstSize(0, 0, 2)
    for paths in sets:
        size = next((headers[p].size for p in paths if p in headers and headers[p].size is not None), None)
        if size is None:
            continue
        pixels = size[0] * size[1]
        code_bytes = pixels * len(paths) * 3.0 * max(_bytes_per_code(headers[p]) for p in paths if p in headers)
        if code_bytes + pixels * BYTES_PER_PIXEL_WRITTEN > neighbour_bytes:
            neighbour_bytes = code_bytes + pixels * BYTES_PER_PIXEL_WRITTEN
            largest = BurstSize(pixels, code_bytes, min(len(paths), MAX_NETWORK_FRAMES))
    if not neighbour_bytes:
        return BatchBudget(options, True)
    remaining = options.max_memory - neighbour_bytes
    if remaining < largest.min_bytes(device, with_motion=options.deghost != "off"):
        return BatchBudget(options, False)
    return BatchBudget(replace(options, max_memory=remaining), True)


def _bytes_per_code(header: Header) -> int:
    """1 for JPEG; 2 for others, which may have 16 bits."""
    return 1 if header.kind == "jpeg" else 2
