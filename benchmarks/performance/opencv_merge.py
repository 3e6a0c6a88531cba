"""The baseline of ``performance/fuse.py``: JPEGs through OpenCV's AlignMTB and MergeDebevec to a Radiance file.

    python benchmarks/performance/opencv_merge.py OUT.hdr SECONDS FILE [SECONDS FILE ...]

A process of its own, which imports nothing but OpenCV and NumPy.
"""

import sys

import cv2
import numpy as np


def main() -> None:
    out, rest = sys.argv[1], sys.argv[2:]
    times = np.array([float(t) for t in rest[::2]], np.float32)
    frames = [np.asarray(cv2.imread(path, cv2.IMREAD_COLOR)) for path in rest[1::2]]
    cv2.createAlignMTB().process(frames, frames)  # shifts the frames in place
    merged = cv2.createMergeDebevec().process(frames, times=times)
    if not cv2.imwrite(out, merged):
        raise SystemExit(f"cannot write {out}")


if __name__ == "__main__":
    main()
