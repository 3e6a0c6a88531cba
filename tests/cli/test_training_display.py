"""What is seen of a training run: on a terminal, and elsewhere."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from smarthdr_cli.cli import training_display
from smarthdr_cli.cli.training_display import RECENT, Mean, Watch, line, watching


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], io.StringIO]:
    """Everything said on stderr goes where it can be read."""

    def made(is_terminal: bool) -> io.StringIO:
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=is_terminal, width=120, highlight=False, _environ={})
        monkeypatch.setattr(training_display, "stderr", lambda: console)
        return stream

    return made


def shown(watch: Watch) -> str:
    console = Console(file=io.StringIO(), width=160, _environ={})
    with console.capture() as capture:
        console.print(watch)
    return capture.get()


def step(number: int, phase: str = "labelled", **terms: float) -> dict[str, object]:
    return {"step": number, "phase": phase, "patches_per_second": 12.5} | terms


def test_the_mean_is_of_all_and_then_of_the_recent() -> None:
    mean = Mean()
    for value in (1.0, 2.0, float("nan"), 6.0):
        mean.add(value)
    assert mean.value == pytest.approx(3.0)
    for _ in range(20 * RECENT):
        mean.add(10.0)
    assert mean.value == pytest.approx(10.0, abs=1e-6)


def test_what_it_shows() -> None:
    clock = [0.0]
    watch = Watch(1000, lambda: clock[0])
    assert "preparing" in shown(watch)
    for number in range(1, 11):
        watch.on_step(step(number, total=number / 10))
        clock[0] += 2.0
    words = shown(watch)
    assert "labelled" in words
    assert "10/1000" in words
    assert "12.5 patches/s" in words
    assert "0:33:00 left" in words  # 990 updates of two seconds
    assert "total 0.55" in words
    assert "kept" not in words
    assert "validation" not in words

    watch.on_step(step(11, "smarthdr", kept=0.25, kept_patches=0.5, kept_filled=0.75, unlabeled_total=2.0))
    assert "-:--:-- left" in shown(watch)  # another phase has another speed
    watch.on_log({"step": 11, "validation_psnr_mu": 38.126, "validation_student": 37.5, "total": 0.5})
    clock[0] += 1000.0  # the validation is no update
    watch.on_step(step(12, "smarthdr", kept=0.35))
    clock[0] += 1.0
    watch.on_step(step(13, "smarthdr", kept=0.45))
    words = shown(watch)
    assert "total 0.55" not in words
    assert "of pixels 35.0 %  by the patch mask 50.0 %  after filling 75.0 %" in words
    assert "teacher PSNR-μ 38.13 dB  student PSNR-μ 37.50 dB" in words
    assert "0:16:27 left" in words  # 987 updates of one second


def test_on_a_terminal_it_is_redrawn(terminal: Callable[[bool], io.StringIO]) -> None:
    stream = terminal(True)
    with watching(3, quiet=False) as (on_step, on_log):
        on_step(step(1, total=0.5))
        on_log({"step": 1, "total": 0.5, "validation_student": 40.0})
        on_step(step(2, total=0.5))
    said = stream.getvalue()
    assert "step 1: total 0.5 validation_student 40" in said
    assert "2/3" in said
    assert "student PSNR-μ" in said
    assert "\x1b[" in said
    assert said.rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_elsewhere_it_is_a_line_for_each_record(terminal: Callable[[bool], io.StringIO]) -> None:
    stream = terminal(False)
    record = {"step": 250, "phase": "smarthdr", "total": 0.123456, "validation_psnr_mu": 38.0}
    with watching(500, quiet=False) as (on_step, on_log):
        on_step(step(1, total=0.5))
        assert stream.getvalue() == ""
        on_log(record)
    assert stream.getvalue() == "step 250: total 0.1235 validation_psnr_mu 38\n" == line(record) + "\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_quiet(terminal: Callable[[bool], io.StringIO], is_terminal: bool) -> None:
    stream = terminal(is_terminal)
    with watching(3, quiet=True) as (on_step, on_log):
        on_step(step(1, total=0.5))
        on_log({"step": 1})
    assert stream.getvalue() == ""
