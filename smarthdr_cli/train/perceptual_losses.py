"""L^v: distance of VGG16 features (Simonyan and Zisserman 2015) of tone-mapped pictures.

As the backbone's public code has it: T(.) normalised with the ImageNet mean and deviation, L1 means summed over
relu1_2, relu2_2, relu3_3 and relu4_3, no resizing; weighted with 0.01 in the whole loss. The weights are not ours to
ship: they come from a safetensors file in torchvision's key names, by path or from the Hugging Face hub.
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
from smarthdr_cli.train.losses import weighted_mean
from smarthdr_cli.train.support import least, tone_pair

BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21))  # torchvision's numbers of the convolutions; a tap after each
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
MAX_BYTES = 2**31
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_HUB = re.compile(rf"({_PART}/{_PART})(?:@([A-Za-z0-9][A-Za-z0-9._/-]*))?:([A-Za-z0-9][A-Za-z0-9._/-]*)")


class Source(NamedTuple):
    """Where the features came from, for the record of a run."""

    spec: str
    sha256: str


class VGGFeatures(nn.Module):
    """The convolutions up to relu4_3, frozen. Widths are the file's: 64, 128, 256, 512 for the real network."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, state: dict[str, Tensor], source: Source | None = None) -> None:
        super().__init__()
        self.source = source or Source("", "")
        self.convolutions = nn.ModuleDict()
        for number in (n for block in BLOCKS for n in block):
            weight = state[f"features.{number}.weight"]
            layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            layer.load_state_dict({"weight": weight, "bias": state[f"features.{number}.bias"]})
            self.convolutions[str(number)] = layer
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def forward(self, picture: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB in [0, 1], sides at least 8, to features after each block, at strides 1, 2, 4 and 8."""
        taps = []
        found = (picture - self.mean) / self.deviation
        for number, block in enumerate(BLOCKS):
            if number:
                found = F.max_pool2d(found, 2)
            for name in block:
                found = F.relu(self.convolutions[str(name)](found))
            taps.append(found)
        return taps


def supports(weight: Tensor) -> Iterator[Tensor]:
    """(B, 1, H, W) pixel weights to those of each tap's cells: the least over all pixels a cell is computed from."""
    for number, block in enumerate(BLOCKS):
        if number:
            weight = least(weight, 2, 2)
        weight = least(weight, 2 * len(block) + 1, 1, len(block))  # as many 3x3 convolutions in a row
        yield weight


def perceptual(
    features: VGGFeatures, predicted: Tensor, target: Tensor, scale_short: Tensor, weight: Tensor | None = None
) -> Tensor:
    """L^v of (B, 3, H, W) radiance in reference units; ``weight``: (B, 1, H, W), 0 leaves a pixel out.

    Masked pixels of both pictures are filled with the detached prediction, and only cells none of whose support is
    masked count (relu4_3 sees 46 pixels each way, so a mask of pixels leaves the deep taps little). The target gets no
    gradient.
    """
    seen, wanted, weight = tone_pair(predicted, target, scale_short, weight)
    with torch.no_grad():
        truth = features(wanted)
    total = seen.new_zeros(())
    scales = [None] * len(BLOCKS) if weight is None else list(supports(weight))
    for ours, theirs, scale in zip(features(seen), truth, scales, strict=True):
        total = total + weighted_mean((ours.float() - theirs.float()).abs(), scale)
    return total


def load_vgg(spec: str | Path) -> VGGFeatures:
    """Features from a safetensors file: a path, or ``owner/name[@revision]:file`` on the Hugging Face hub.

    Keys are torchvision's (features.0.weight to features.21.bias); others are left alone, so that the file of the
    whole network will do. Raises ModelError where the file cannot be had or is not such a network.
    """
    match = _HUB.fullmatch(str(spec))
    path = Path(spec).expanduser()
    if match and not path.exists():
        path = _fetch(match[1], match[2], match[3])
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
    return VGGFeatures(_checked(path, state), Source(str(spec), hashlib.sha256(data).hexdigest()))


def _checked(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors wanted, as float32, their shapes a chain of 3x3 convolutions from 3 channels on."""
    found = {}
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
            found[key] = tensor.float()
    return found


def _fetch(repository: str, revision: str | None, file: str) -> Path:
    instead = "give the path of a file you have, or train without this term"
    with hub.readable_hub_errors(f"{repository}:{file}", repository, file, "try again", instead):
        return hub.download(repository, file, revision)
