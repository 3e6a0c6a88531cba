"""Devices and precisions by name."""

import time

import pytest
import torch

from smarthdr_cli.errors import UsageError
from smarthdr_cli.fusion.device import bf16_gain, resolve_device, resolve_precision

CPU = torch.device("cpu")


def test_known_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UsageError, match="2 CUDA devices"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("option", ["gpu", "cpu:0", "cpu:", "cuda:", "cuda:x", "cuda:-1", "cuda:²", "", ":", "CUDA"])
def test_unknown_devices_and_precisions_are_usage_errors(option):
    with pytest.raises(UsageError, match="unknown device"):
        resolve_device(option)


def test_a_missing_device_is_a_usage_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for option in ("cuda", "cuda:0"):
        with pytest.raises(UsageError, match="0 CUDA devices"):
            resolve_device(option)


def test_precisions():
    assert resolve_precision("fp32", CPU) == torch.float32
    assert resolve_precision("bf16", CPU) == torch.bfloat16
    assert resolve_precision("fp16", torch.device("cuda")) == torch.float16
    assert resolve_precision("auto", torch.device("cuda")) == torch.float16
    with pytest.raises(UsageError, match="fp16"):
        resolve_precision("fp16", CPU)
    with pytest.raises(UsageError, match="unknown precision"):
        resolve_precision("fp64", CPU)


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"architecture": "x86_64", "avx2": True, "avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True}, torch.bfloat16),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"architecture": "arm64", "neon": True, "bf16": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_depends_on_the_processor_alone(monkeypatch, features, expected):
    """Not by a trial: on a busy machine one flipped from run to run, and with it the bytes of the result."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    monkeypatch.setattr(time, "perf_counter", lambda: pytest.fail("auto looked at a clock"))
    assert resolve_precision("auto", CPU) == expected


def test_the_speed_of_bfloat16_is_measured():
    assert 0.001 < bf16_gain() < 1000
