"""A small result burst, made by hand, and one with whatever radiance a test wants."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from smarthdr_cli.burst.burst import Burst, CaptureMetadata, Exposure, Frame
from smarthdr_cli.colorspace import REC709, ColorSpace
from smarthdr_cli.fusion.result import FuserRecord, FusionReport, FusionResult
from tests.support.reports import report_of

MakeResult = Callable[..., FusionResult]


def camera_exif() -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "Model X"
    exif[0x0112] = 6
    exif[0x0131] = "camera firmware"
    exif[0x0132] = "2024:05:06 07:08:09"
    exif[0x8298] = "A. Photographer"
    exif[0x0101] = 9999
    details = exif.get_ifd(0x8769)
    details[0x829A] = 0.005  # ExposureTime
    details[0x8827] = 200  # ISO
    details[0x927C] = b"maker note with offsets of its own"
    details[0x9003] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8825)[0x0001] = "N"
    exif.get_ifd(0x8825)[0x0002] = (47.0, 22.0, 30.0)
    return exif.tobytes()


@pytest.fixture
def make_result() -> MakeResult:
    def make(
        radiance: NDArray[np.float32] | None = None,
        uncertainty: NDArray[np.float32] | None = None,
        *,
        colorspace: ColorSpace = REC709,
        anchor_ev: float = 0.0,
        capture: CaptureMetadata | None = None,
        reference: int = 1,
        report: FusionReport | None = None,
    ) -> FusionResult:
        if radiance is None:
            rng = np.random.default_rng(5)
            radiance = np.exp2(rng.uniform(-12, 5, (37, 53, 3))).astype(np.float32)
        if uncertainty is None:
            uncertainty = np.geomspace(1e-5, 0.5, radiance.shape[0] * radiance.shape[1]).astype(np.float32)
            uncertainty = uncertainty.reshape(radiance.shape[:2])
        capture = capture or CaptureMetadata(
            make="Maker",
            model="Model X",
            lens="50 mm",
            datetime="2024:05:06 07:08:09",
            utc_offset=7200.0,
            owner="Zoë Ångström",
            comments="on the hill",
            focal_length=50.0,
            exif=camera_exif(),
        )
        frames = tuple(
            Frame(
                path=Path(f"folder/img{number}.jpg"),
                codes=np.zeros((*radiance.shape[:2], 3), np.uint8),
                white=255.0,
                encoding="display",
                exposure=Exposure(ev, time, 8.0, 200.0, "exif"),
                colorspace=REC709,
                capture=capture,
                sha256=f"{number:064x}",
                kind="jpeg",
            )
            for number, (ev, time) in enumerate(((-15.0, 1 / 1000), (-13.0, 1 / 250), (-11.0, 1 / 60)))
        )
        burst = Burst(frames, reference)
        record = report_of(
            burst,
            fuser=FuserRecord("saf-base", "cpu", "fp32"),
            options={"deghost": "auto"},
            notes=("apertures taken as equal",),
        )
        return FusionResult(
            radiance=radiance,
            uncertainty=uncertainty,
            colorspace=colorspace,
            anchor_ev=anchor_ev,
            scale_short=float(2.0 ** (-2.0 - anchor_ev)),
            burst=burst,
            report=record if report is None else report,
        )

    return make


@pytest.fixture
def result(make_result: MakeResult) -> FusionResult:
    return make_result()
