"""Device and precision of the network, from options or from the features that the machine states.

``auto`` measures nothing: the same machine gives the same bytes, whatever else runs on it.
"""

import time

import torch
from torch import nn

from smarthdr_cli.errors import UsageError
from smarthdr_cli.fusion.fuse_options import check_device

# Features of processors that multiply bfloat16 in hardware: convolutions ran 5 to 6 times as fast there as in fp32.
# Elsewhere bfloat16 is emulated. That of Arm was not measured and is left to --precision bf16.
BF16_FEATURES = ("avx512_bf16", "amx_bf16")
PRECISION_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def resolve_device(option: str) -> torch.device:
    """The device of auto, cpu, cuda or cuda:N. Raises UsageError for another word and for a missing device."""
    check_device(option)
    if option == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name, _, number = option.partition(":")
    if name == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            raise UsageError(f"--device {option}: this machine has {count} CUDA device{'' if count == 1 else 's'}")
    return torch.device(option)


def resolve_precision(option: str, device: torch.device) -> torch.dtype:
    """The precision of auto, fp32, bf16 or fp16; auto: fp16 on CUDA, on a CPU bf16 where it is native, else fp32.

    Raises UsageError for another word, and for fp16 on a CPU.
    """
    dtypes = {name: dtype for dtype, name in PRECISION_NAMES.items()}
    if option in dtypes:
        if option == "fp16" and device.type == "cpu":
            raise UsageError("--precision fp16 needs a CUDA device; use bf16 or fp32 on a CPU")
        return dtypes[option]
    if option != "auto":
        raise UsageError(f"unknown precision {option!r}; use auto, fp32, bf16 or fp16")
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if has_native_bf16() else torch.float32


def has_native_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(feature, False) for feature in BF16_FEATURES)


def bf16_gain() -> float:
    """How many times faster a small bf16 convolution runs here than the same in fp32; for ``smarthdr doctor`` alone."""
    seconds = {}
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            layer = nn.Conv2d(48, 48, 3, padding=1).to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
            image = torch.ones(1, 48, 96, 96, dtype=dtype).to(memory_format=torch.channels_last)
            layer(image)
            runs = []
            for _ in range(3):
                start = time.perf_counter()
                layer(image)
                runs.append(time.perf_counter() - start)
            seconds[dtype] = min(runs)
    return seconds[torch.float32] / max(seconds[torch.bfloat16], 1e-9)
