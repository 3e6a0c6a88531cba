"""Whether the frames of a burst show one scene, by what their aligned blocks have in common.

    r_ij = max over bands b of corr(b(log2 z_i), b(log2 z_j))

z are the codes of the blocks that frames i and j both expose well, b a difference of two Gaussian means over
neighbouring blocks. The bands leave out what scenes share by chance (a bright sky above a dark ground) and the finest
detail, where noise and small movements decide; exposure and tone curve change r little. On twelve real bursts at
640 x 480 every limit from 0.2 to 0.45 left all alone and found at least 130 of 132 with a frame of another burst; at
320 x 240 every limit to 0.35 left all alone, and 0.3 found 128.

Frames with r_ij >= SAME_SCENE belong together. A group apart from the largest one is reported where some of its frames
could be compared with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.radiometry import F32
from smarthdr_cli.response.samples import Samples

BANDS = ((1.0, 6.0), (2.0, 12.0))  # standard deviations of the two Gaussians, blocks
SAME_SCENE = 0.3  # correlation
MIN_SHARE = 0.1  # of all blocks that two frames must expose well
MIN_BLOCKS = 300
MIN_CONTRAST = 0.02  # standard deviation of a band, log2 units: a plain wall tells nothing
_FLOOR = 1e-3  # of the codes


@dataclass(frozen=True)
class OtherScene:
    """Frames that seem to show another scene than the rest.

    ``files``: their names. ``correlation``: the highest with a frame of the rest, 1 for one scene. ``share`` of the
    picture that was compared.
    """

    files: tuple[str, ...]
    correlation: float
    share: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"files": list(self.files), "correlation": self.correlation, "share": self.share}

    def __str__(self) -> str:
        files = ", ".join(self.files)
        return (
            f"these frames may not show one scene: {files} and the others have a correlation of "
            f"{self.correlation:.2f} in the {self.share:.0%} of the picture that both expose well (1 is the same "
            f"scene, 0 another one); leave {files} out if so"
        )


def other_scenes(burst: Burst, samples: Samples) -> tuple[OtherScene, ...]:
    """The groups of frames of ``burst`` that seem to show another scene, by its ``samples``; empty where all agree."""
    compared: dict[tuple[int, int], tuple[float, float]] = {}  # pair to (correlation, share)
    for i, j in combinations(range(len(burst)), 2):
        both = (samples.valid[i] & samples.valid[j]).all(-1).reshape(samples.grid)
        if np.count_nonzero(both) < max(MIN_BLOCKS, MIN_SHARE * both.size):
            continue
        first, second = (samples.code[n].mean(-1).reshape(samples.grid) for n in (i, j))
        correlation = _correlation(first, second, both)
        if correlation is not None:
            compared[i, j] = (correlation, float(both.mean()))
    groups = _connected_components(
        len(burst), [pair for pair, (correlation, _) in compared.items() if correlation >= SAME_SCENE]
    )
    main_group = max(groups, key=lambda group: (len(group), burst.reference in group))
    others = []
    for group in groups:
        with_main = [result for (i, j), result in compared.items() if {i, j} & main_group and {i, j} & group]
        if group is not main_group and with_main:
            correlation, share = max(with_main)
            files = tuple(burst.frames[n].path.name for n in sorted(group))
            others.append(OtherScene(files, round(correlation, 3), round(share, 3)))
    return tuple(others)


def _correlation(first: F32, second: F32, both: NDArray[np.bool_]) -> float | None:
    """The highest correlation of the bands of two grids of codes where ``both``; None without contrast."""
    weight = both.astype(np.float32)
    logs = [np.log2(np.maximum(codes, _FLOOR)).astype(np.float32) for codes in (first, second)]
    correlations = []
    for fine, coarse in BANDS:
        a, b = ((_weighted_blur(log, weight, fine) - _weighted_blur(log, weight, coarse))[both] for log in logs)
        a, b = a - a.mean(), b - b.mean()
        if min(float(a.std()), float(b.std())) >= MIN_CONTRAST:
            correlations.append(float((a * b).mean() / (a.std() * b.std())))
    return max(correlations, default=None)


def _weighted_blur(values: F32, weight: F32, sigma: float) -> F32:
    """Gaussian means of ``values`` by ``weight``."""
    total = cv2.GaussianBlur(values * weight, (0, 0), sigma)
    return np.asarray(total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), _FLOOR), np.float32)


def _connected_components(count: int, links: Sequence[tuple[int, int]]) -> list[set[int]]:
    """The connected components of ``count`` frames."""
    groups = [{n} for n in range(count)]
    for i, j in links:
        first, second = (next(group for group in groups if n in group) for n in (i, j))
        if first is not second:
            first |= second
            groups.remove(second)
    return groups
