from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from smarthdr_cli.data.synth.export import encode_jpeg, write_image, write_radiance
from smarthdr_cli.data.synth.sources import load_bank


@pytest.fixture(scope="session")
def bank():
    """Four procedural scenes."""
    return load_bank(None, procedural=4, seed=5)


@pytest.fixture(autouse=True)
def _one_thread():
    """Pictures this small are not worth a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Miniature:
    """Scene folders of every layout in ``root``: a static scene of ``size``, exposures two stops apart."""

    root: Path
    size: tuple[int, int] = (40, 56)

    def truth(self, seed=0):
        """(H, W, 3) float32 radiance, shortest clip = 1, a tenth of it above that."""
        rng = np.random.default_rng(seed)
        coarse = np.exp2(rng.uniform(-9, 0.5, (5, 7, 3))).astype(np.float32)
        return cv2.resize(coarse, self.size[::-1], interpolation=cv2.INTER_LINEAR)

    def frames(self, paths, seed=0, evs=(0.0, 2.0, 4.0)):
        """Write 16-bit gamma 2.2 frames (8-bit ones for .jpg and .png)."""
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

    def radiance(self, path, seed=0):
        """Write the truth as .hdr (by OpenCV) or .exr."""
        if path.suffix == ".hdr":
            cv2.imwrite(str(path), self.truth(seed)[..., ::-1])
        else:
            write_radiance(path, self.truth(seed))

    def kalantari(self, name, seed=0):
        """As published: the camera's file names."""
        folder = self.root / name
        self.frames([folder / f"262A{n}.tif" for n in (2615, 2616, 2617)], seed)
        (folder / "exposure.txt").write_text("-2.00\n0.00\n2.00\n")
        self.radiance(folder / "HDRImg.hdr", seed)
        return folder

    def repacked(self, name, seed=0, truth="ref_hdr_aligned"):
        """Kalantari's repack; with another truth, Hu's."""
        folder = self.root / name
        self.frames([folder / f"input_{k}_aligned.tif" for k in (1, 2, 3)], seed)
        self.frames([folder / f"input_{k}.tif" for k in (1, 2, 3)], seed + 100)  # unaligned ones that may lie beside
        (folder / "input_exp.txt").write_text("0\n2\n4\n")
        self.radiance(folder / f"{truth}.hdr", seed)
        return folder

    def tel(self, name, seed=0):
        """Tel's."""
        folder = self.root / name
        self.frames([folder / f"input_{k}.tif" for k in (1, 2, 3)], seed)
        (folder / "exposure.txt").write_text("0\n2\n4\n")
        self.radiance(folder / "HDRImg.hdr", seed)
        return folder

    def challenge(self, name, seed=0):
        """Challenge123's: three moments, each with all exposures and a truth of its own."""
        for k in (1, 2, 3):
            folder = self.root / f"{name}_{k}"
            self.frames([folder / f"ldr_img_{j}.tif" for j in (1, 2, 3)], seed + k)
            (folder / "exposure.txt").write_text("0\n2\n4\n")
            self.radiance(folder / "hdr_img.hdr", seed + k)


@pytest.fixture
def mini(tmp_path):
    """Writes miniatures into a folder of the test."""
    return Miniature(tmp_path / "set")
