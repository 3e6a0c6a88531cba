"""The checks one by one: lines and facts, and an exception as a line."""

from types import SimpleNamespace

import pytest

from smarthdr_cli.doctor.checks import Report, Section, check_cpu, check_devices, format_bytes, run_check
from smarthdr_cli.errors import ModelError, SmartHDRError


def test_cuda_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = [
        SimpleNamespace(name="Card A", total_memory=24 << 30),
        SimpleNamespace(name="Card B", total_memory=8 << 30),
    ]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: cards[index])
    section = run_check("devices", check_devices)
    assert [facts["device"] for facts in section.facts] == ["cuda:0", "cuda:1"]
    assert section.lines == [("ok", "cuda:0", "Card A, 24.0 GiB"), ("ok", "cuda:1", "Card B, 8.0 GiB")]


def test_no_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    section = run_check("devices", check_devices)
    assert (section.facts, section.lines) == ([], [("-", "CUDA", "no device; the CPU is used")])


def test_a_driver_that_fails_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> bool:
        raise RuntimeError("CUDA driver\ninitialization failed")

    monkeypatch.setattr("torch.cuda.is_available", fail)
    section = run_check("devices", check_devices)
    assert section.lines == [("!", "devices", "RuntimeError: CUDA driver initialization failed")]


@pytest.mark.parametrize(("is_native", "gain"), [(True, 5.0), (False, 0.6), (False, 2.0), (False, 1.2)])
def test_bf16_is_suggested_where_a_trial_is_faster(
    monkeypatch: pytest.MonkeyPatch, is_native: bool, gain: float
) -> None:
    """``auto`` follows the processor's features; a trial only adds a hint."""
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": is_native})
    monkeypatch.setattr("smarthdr_cli.fusion.device.bf16_gain", lambda: gain)
    section = run_check("cpu", check_cpu)
    assert section.facts["bf16_native"] is is_native
    assert section.facts["precision"] == ("bf16" if is_native else "fp32")
    has_hint = any("--precision bf16 may be faster" in text for _, _, text in section.lines)
    assert has_hint is (not is_native and gain > 1.3)


def test_a_failed_check_keeps_its_lines_and_facts() -> None:
    def check(section: Section) -> None:
        section.add("ok", "first", "works")
        raise ModelError("second\nfails")

    section = run_check("name", check)
    assert section.lines == [("ok", "first", "works"), ("!", "name", "second fails")]
    assert section.facts == {"problem": "second fails"}


def test_the_report_has_problems_facts_and_the_exit_code() -> None:
    section = Section("memory", {"total": 1}, [("!", "memory", "is low"), ("-", "swap", "none")])
    assert Report((section,), None).to_dict() == {
        "ok": True, "exit_code": 0, "problems": ["memory: is low"], "memory": {"total": 1},
    }  # fmt: skip
    assert Report((), ModelError("x")).to_dict()["exit_code"] == ModelError("x").exit_code
    assert Report((), SmartHDRError("x")).to_dict()["ok"] is False


def test_sizes_for_people() -> None:
    assert [format_bytes(n) for n in (0, 2048, 3 << 20, 5 << 29)] == ["0 KiB", "2 KiB", "3.0 MiB", "2.5 GiB"]
