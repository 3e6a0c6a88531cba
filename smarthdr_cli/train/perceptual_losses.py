"""Losses on neighbourhoods of tone-mapped images: VGG16 features, and gradients for want of them.

L^v (Simonyan and Zisserman 2015), as the code of SmartHDR's backbone has it: T(.) normalised with the ImageNet mean and
deviation, L1 means summed over relu1_2, relu2_2, relu3_3 and relu4_3, no resizing; 0.01 in the whole loss. The weights
are not ours to ship: they come from a safetensors file in torchvision's key names, by path or from the Hugging Face
hub. ``gradient_loss`` needs no download.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smarthdr_cli.errors import ModelError
from smarthdr_cli.models import hub
from smarthdr_cli.train.losses import masked_pair, min_filter, weighted_mean

BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21))  # torchvision's numbers of the convolutions; a tap after each
MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB
DEVIATION = (0.229, 0.224, 0.225)
MAX_BYTES = 2**31  # the whole VGG16 has 528 MB
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_HUB = re.compile(rf"({_NAME}/{_NAME})(?:@([A-Za-z0-9][A-Za-z0-9._/-]*))?:([A-Za-z0-9][A-Za-z0-9._/-]*)")


class WeightsFile(NamedTuple):
    """Where features came from, for the record of a run."""

    spec: str
    sha256: str


class VGGFeatures(nn.Module):
    """The convolutions up to relu4_3, frozen. Widths are the file's: 64, 128, 256, 512 for the real network."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, state: dict[str, Tensor], file: WeightsFile | None = None) -> None:
        super().__init__()
        self.file = file or WeightsFile("", "")
        self.convolutions = nn.ModuleDict()
        for number in (n for block in BLOCKS for n in block):
            weight = state[f"features.{number}.weight"]
            layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            layer.load_state_dict({"weight": weight, "bias": state[f"features.{number}.bias"]})
            self.convolutions[str(number)] = layer
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB in [0, 1], sides at least 8, to features after each block, at strides 1, 2, 4 and 8."""
        taps = []
        x = (image - self.mean) / self.deviation
        for number, block in enumerate(BLOCKS):
            if number:
                x = F.max_pool2d(x, 2)
            for name in block:
                x = F.relu(self.convolutions[str(name)](x))
            taps.append(x)
        return taps

    def distance(self, predicted: Tensor, target: Tensor, scale_short: Tensor, weight: Tensor | None = None) -> Tensor:
        """L^v of (B, 3, H, W) radiance in reference units; ``weight``: (B, 1, H, W), 0 leaves a pixel out.

        Only cells whose whole support is kept count. relu4_3 sees 46 pixels each way, so a mask of single pixels leaves
        the deep taps little. The target gets no gradient.
        """
        ours, theirs, weight = masked_pair(predicted, target, scale_short, weight)
        with torch.no_grad():
            target_taps = self(theirs)
        total = ours.new_zeros(())
        weights = [None] * len(BLOCKS) if weight is None else list(tap_weights(weight))
        for tap, target_tap, tap_weight in zip(self(ours), target_taps, weights, strict=True):
            total = total + weighted_mean((tap.float() - target_tap.float()).abs(), tap_weight)
        return total


def tap_weights(weight: Tensor) -> Iterator[Tensor]:
    """(B, 1, H, W) pixel weights to those of each tap's cells: the least over the pixels a cell is computed from."""
    for number, block in enumerate(BLOCKS):
        if number:
            weight = min_filter(weight, 2, 2)
        weight = min_filter(weight, 2 * len(block) + 1, 1, len(block))  # as many 3x3 convolutions in a row
        yield weight


def gradient_loss(
    predicted: Tensor, target: Tensor, scale_short: Tensor, weight: Tensor | None = None, *, levels: int = 4
) -> Tensor:
    """L1 between the forward differences of T(prediction) and T(target), a mean over ``levels`` box-averaged scales.

    (B, 3, H, W) radiance in reference units; ``weight``: (B, 1, H, W), 0 leaves a pixel out. A difference weighs the
    least of its two pixels. Scales of less than two pixels are left out. Raises ValueError where there is none.
    """
    ours, theirs, weight = masked_pair(predicted, target, scale_short, weight)
    gap = ours - theirs  # differences are linear: those of the gap are the gap of those
    terms = []
    for _ in range(levels):
        if min(gap.shape[-2:]) < 2:
            break
        for axis in (-2, -1):
            length = gap.shape[axis] - 1
            difference = gap.narrow(axis, 1, length) - gap.narrow(axis, 0, length)
            least = (
                None
                if weight is None
                else torch.minimum(weight.narrow(axis, 1, length), weight.narrow(axis, 0, length))
            )
            terms.append(weighted_mean(difference.abs(), least))
        gap = F.avg_pool2d(gap, 2)
        weight = None if weight is None else min_filter(weight, 2, 2)
    if not terms:
        raise ValueError(f"gradients need two pixels each way, got {tuple(predicted.shape[-2:])}")
    return torch.stack(terms).mean()


def load_vgg(spec: str | Path) -> VGGFeatures:
    """Features from a safetensors file: a path, or ``owner/name[@revision]:file`` on the Hugging Face hub.

    Keys are torchvision's (features.0.weight to features.21.bias); others are ignored, so that the file of the whole
    network works. Raises ModelError where the file cannot be read or is not such a network.
    """
    match = _HUB.fullmatch(str(spec))
    path = Path(spec).expanduser()
    if match and not path.exists():
        path = _download(match[1], match[2], match[3])
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path}: too large to be VGG16")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such VGG16 file (a path, or owner/name:file on the hub)") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        state = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not a safetensors file, or a damaged one") from error
    return VGGFeatures(_checked(path, state), WeightsFile(str(spec), hashlib.sha256(data).hexdigest()))


def _checked(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of BLOCKS as float32, their shapes a chain of 3x3 convolutions from 3 channels on."""
    checked = {}
    width = 3
    for number in (n for block in BLOCKS for n in block):
        for part in ("weight", "bias"):
            key = f"features.{number}.{part}"
            if key not in state:
                raise ModelError(f"{path}: not a VGG16 in torchvision's key names: {key} is missing")
            tensor = state[key]
            shape = tuple(tensor.shape)
            fits = (
                len(shape) == 4 and shape[1:] == (width, 3, 3) and shape[0] if part == "weight" else shape == (width,)
            )
            if not fits:
                wanted = f"(any, {width}, 3, 3)" if part == "weight" else f"({width},)"
                raise ModelError(f"{path}: {key} is {shape}, not {wanted}")
            if not tensor.is_floating_point() or not tensor.isfinite().all():
                raise ModelError(f"{path}: {key} holds values that are not finite floats")
            if part == "weight":
                width = shape[0]
            checked[key] = tensor.float()
    return checked


def _download(repository: str, revision: str | None, file: str) -> Path:
    instead = "give the path of a file you have, or train without this term"
    with hub.readable_hub_errors(f"{repository}:{file}", repository, file, "try again", instead):
        return hub.download(repository, file, revision)
