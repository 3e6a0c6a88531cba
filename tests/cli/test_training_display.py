"""The display of a training run: on a terminal, in a pipe, and under --quiet."""

import io

import pytest
from rich.console import Console

from smarthdr_cli.cli.training_display import (
    LOG_SECONDS,
    MEAN_UPDATES,
    RunningMean,
    StepLines,
    TrainingTable,
    line,
    training_display,
)


def console(*, is_terminal: bool) -> tuple[Console, io.StringIO]:
    """A console, and the stream that it writes to."""
    stream = io.StringIO()
    return Console(file=stream, force_terminal=is_terminal, width=120, highlight=False, _environ={}), stream


def text_of(table: TrainingTable) -> str:
    wide = Console(file=io.StringIO(), width=160, _environ={})
    with wide.capture() as capture:
        wide.print(table)
    return capture.get()


def step(number: int, phase: str = "labelled", **terms: float) -> dict[str, object]:
    return {"step": number, "phase": phase, "patches_per_second": 12.5} | terms


def test_the_mean_covers_all_values_and_then_the_recent_ones() -> None:
    mean = RunningMean()
    for value in (1.0, 2.0, float("nan"), 6.0):
        mean.add(value)
    assert mean.value == pytest.approx(3.0)
    for _ in range(20 * MEAN_UPDATES):
        mean.add(10.0)
    assert mean.value == pytest.approx(10.0, abs=1e-6)


def test_text_of_the_table() -> None:
    clock = [0.0]
    table = TrainingTable(1000, now=lambda: clock[0])
    assert "preparing" in text_of(table)
    for number in range(1, 11):
        table.on_step(step(number, total=number / 10))
        clock[0] += 2.0
    text = text_of(table)
    assert "labelled" in text
    assert "10/1000" in text
    assert "12.5 patches/s" in text
    assert "0:33:00 left" in text  # 990 updates of two seconds
    assert "total 0.55" in text
    assert "kept" not in text
    assert "validation" not in text

    table.on_step(step(11, "smarthdr", kept=0.25, kept_patches=0.5, kept_filled=0.75, unlabeled_total=2.0))
    assert "-:--:-- left" in text_of(table)  # the speed of the phase is not known yet
    table.on_log({"step": 11, "validation_psnr_mu": 38.126, "validation_student": 37.5, "total": 0.5})
    clock[0] += 1000.0  # the validation takes this time
    table.on_step(step(12, "smarthdr", kept=0.35))
    clock[0] += 1.0
    table.on_step(step(13, "smarthdr", kept=0.45))
    text = text_of(table)
    assert "total 0.55" not in text
    assert "of pixels 35.0 %  by the patch mask 50.0 %  after filling 75.0 %" in text
    assert "teacher PSNR-μ 38.13 dB  student PSNR-μ 37.50 dB" in text
    assert "0:16:27 left" in text  # 987 updates of one second


def test_on_a_terminal_the_table_is_redrawn() -> None:
    terminal, stream = console(is_terminal=True)
    with training_display(3, quiet=False, console=terminal) as (on_step, on_log, _):
        on_step(step(1, total=0.5))
        on_log({"step": 1, "total": 0.5, "validation_student": 40.0})
        on_step(step(2, total=0.5))
    output = stream.getvalue()
    assert "step 1: total 0.5 validation_student 40" in output
    assert "2/3" in output
    assert "student PSNR-μ" in output
    assert "\x1b[" in output
    assert output.rstrip().endswith("\x1b[?25h")  # shows the cursor again


def test_in_a_pipe_each_record_is_a_line() -> None:
    pipe, stream = console(is_terminal=False)
    record = {"step": 250, "phase": "smarthdr", "total": 0.123456, "validation_psnr_mu": 38.0}
    with training_display(500, quiet=False, console=pipe) as (on_step, on_log, _):
        on_step(step(1, total=0.5))
        assert stream.getvalue() == ""
        on_log(record)
    assert stream.getvalue() == "step 250: total 0.1235 validation_psnr_mu 38\n" == line(record) + "\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_quiet(is_terminal: bool) -> None:
    target, stream = console(is_terminal=is_terminal)
    with training_display(3, quiet=True, console=target) as (on_step, on_log, _):
        on_step(step(1, total=0.5))
        on_log({"step": 1})
    assert stream.getvalue() == ""


def test_a_log_has_a_line_at_times() -> None:
    clock, lines = [0.0], list[str]()
    display = StepLines(1000, lines.append, now=lambda: clock[0])
    for number in range(1, 21):
        clock[0] += LOG_SECONDS / 10
        display.on_step(step(number, total=0.5))
    assert lines == ["step 10 of 1000: total 0.5, 0:49:30 left", "step 20 of 1000: total 0.5, 0:49:00 left"]


def test_the_time_left_is_that_of_the_budget() -> None:
    clock = [0.0]
    table = TrainingTable(1000, 5, lambda: clock[0])
    for number in range(1, 11):
        table.on_step(step(number, total=0.5))
        clock[0] += 2.0
    assert "0:04:40 left" in text_of(table)


def test_pseudo_labels_are_announced() -> None:
    clock, lines = [0.0], list[str]()
    display = StepLines(1000, lines.append, now=lambda: clock[0])
    for number in range(4):
        display.on_labels(number, 4)
        clock[0] += LOG_SECONDS / 2
    assert lines == ["pseudo-labels of scene 1 of 4", "pseudo-labels of scene 3 of 4"]
    table = TrainingTable(1000)
    table.on_labels(2, 82)
    assert "pseudo-labels of scene 3 of 82" in text_of(table)
