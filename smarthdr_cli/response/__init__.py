"""Camera response and exposures of an aligned burst: estimated, named, or from a calibration file. Loads no torch."""

from smarthdr_cli.radiometry import named_response
from smarthdr_cli.response.calibration_file import load_response, save_response, to_toml
from smarthdr_cli.response.camera_calibration import CameraCalibrator, calibrate
from smarthdr_cli.response.clip_level import apply_clip_level
from smarthdr_cli.response.crf_estimate import CrfEstimate, estimate_response
from smarthdr_cli.response.exposure_ratios import ExposureRatios, check_exposures, measure_ratios
from smarthdr_cli.response.one_scene import OtherScene, other_scenes
from smarthdr_cli.response.photometric_gains import compensate_gains
from smarthdr_cli.response.resolve import ResolvedResponse, resolve_response
from smarthdr_cli.response.samples import Samples, sample_blocks

__all__ = [
    "CameraCalibrator",
    "CrfEstimate",
    "ExposureRatios",
    "OtherScene",
    "ResolvedResponse",
    "Samples",
    "apply_clip_level",
    "calibrate",
    "check_exposures",
    "compensate_gains",
    "estimate_response",
    "load_response",
    "measure_ratios",
    "named_response",
    "other_scenes",
    "resolve_response",
    "sample_blocks",
    "save_response",
    "to_toml",
]
