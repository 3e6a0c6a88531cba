"""Small scene folders in the layouts of the published benchmarks."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from smarthdr_cli.data.synth.export import encode_jpeg, write_image, write_radiance


@dataclass(frozen=True)
class SceneFolders:
    """Writes scene folders of every layout below ``root``: a static scene of ``size``, three frames 2 EV apart."""

    root: Path
    size: tuple[int, int] = (40, 56)

    def truth(self, seed=0):
        """(H, W, 3) float32 radiance, 1 = the shortest frame's clip; a tenth of it is above."""
        rng = np.random.default_rng(seed)
        coarse = np.exp2(rng.uniform(-9, 0.5, (5, 7, 3))).astype(np.float32)
        return cv2.resize(coarse, self.size[::-1], interpolation=cv2.INTER_LINEAR)

    def write_frames(self, paths, seed=0, evs=(0.0, 2.0, 4.0)):
        """Write gamma 2.2 frames: 16 bits for .tif, 8 bits for .jpg (with EXIF) and .png."""
        for path, ev in zip(paths, evs, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            codes = np.clip(self.truth(seed) * 2.0**ev, 0, 1) ** (1 / 2.2)
            if path.suffix == ".jpg":
                pixels = np.round(codes * 255).astype(np.uint8)
                path.write_bytes(encode_jpeg(pixels, Fraction(1, 60) * Fraction(2**ev), 95))
            elif path.suffix == ".tif":
                write_image(path, np.round(codes * 65535).astype(np.uint16))
            else:
                write_image(path, np.round(codes * 255).astype(np.uint8))

    def write_truth(self, path, seed=0):
        """Write the truth as .hdr (by OpenCV) or .exr."""
        if path.suffix == ".hdr":
            cv2.imwrite(str(path), self.truth(seed)[..., ::-1])
        else:
            write_radiance(path, self.truth(seed))

    def kalantari(self, name, seed=0):
        """Kalantari and Ramamoorthi 2017 as published, with the camera's file names."""
        folder = self.root / name
        self.write_frames([folder / f"262A{n}.tif" for n in (2615, 2616, 2617)], seed)
        (folder / "exposure.txt").write_text("-2.00\n0.00\n2.00\n")
        self.write_truth(folder / "HDRImg.hdr", seed)
        return folder

    def repacked(self, name, seed=0, truth="ref_hdr_aligned"):
        """The repacked Kalantari; Hu et al. 2020 where ``truth`` is ref_hdr_aligned_linear."""
        folder = self.root / name
        self.write_frames([folder / f"input_{k}_aligned.tif" for k in (1, 2, 3)], seed)
        self.write_frames([folder / f"input_{k}.tif" for k in (1, 2, 3)], seed + 100)  # unaligned frames
        (folder / "input_exp.txt").write_text("0\n2\n4\n")
        self.write_truth(folder / f"{truth}.hdr", seed)
        return folder

    def tel(self, name, seed=0):
        """Tel et al. 2023."""
        folder = self.root / name
        self.write_frames([folder / f"input_{k}.tif" for k in (1, 2, 3)], seed)
        (folder / "exposure.txt").write_text("0\n2\n4\n")
        self.write_truth(folder / "HDRImg.hdr", seed)
        return folder

    def challenge(self, name, seed=0):
        """Challenge123: three moments, each with all exposures and its own truth."""
        for k in (1, 2, 3):
            folder = self.root / f"{name}_{k}"
            self.write_frames([folder / f"ldr_img_{j}.tif" for j in (1, 2, 3)], seed + k)
            (folder / "exposure.txt").write_text("0\n2\n4\n")
            self.write_truth(folder / "hdr_img.hdr", seed + k)
