"""Aligned burst to camera curve and exposure ratios: estimated, named, or from a calibration file. Knows no torch."""

from smarthdr_cli.radiometry import named_response
from smarthdr_cli.response.calibration_file import load_response, save_response, to_toml
from smarthdr_cli.response.clip_level import with_clip
from smarthdr_cli.response.crf_estimate import Estimate, calibrate, estimate_response
from smarthdr_cli.response.exposure_ratios import Ratios, check_exposures, measure_ratios
from smarthdr_cli.response.photometric_gains import matched
from smarthdr_cli.response.resolve import Resolved, resolve_response

__all__ = [
    "Estimate",
    "Ratios",
    "Resolved",
    "calibrate",
    "check_exposures",
    "estimate_response",
    "load_response",
    "matched",
    "measure_ratios",
    "named_response",
    "resolve_response",
    "save_response",
    "to_toml",
    "with_clip",
]
