"""Shoots by what separates their sets, each with the sets that grouping has to find."""

from tests.grouping.catalogue import (
    capture_times,
    exposure_patterns,
    file_names,
    images,
    maker_notes,
    singles,
    streams,
)

SHOOTS = (
    capture_times.SHOOTS
    | exposure_patterns.SHOOTS
    | file_names.SHOOTS
    | images.SHOOTS
    | maker_notes.SHOOTS
    | singles.SHOOTS
    | streams.SHOOTS
)
