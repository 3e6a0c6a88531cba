"""Burst to aligned burst: a homography from the reference to every other frame, or identity where none helps."""

from smarthdr_cli.align.align import Alignment, align_burst

__all__ = ["Alignment", "align_burst"]
