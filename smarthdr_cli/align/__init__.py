"""Burst to aligned burst: a homography from the reference to every other frame, or identity where none helps."""

from smarthdr_cli.align.pipeline import align_burst

__all__ = ["align_burst"]
