"""Progress in a log."""

import pytest

from smarthdr_cli.cli.console import LOG_SECONDS, StageLines, progress, stage_words

pytestmark = pytest.mark.unit


def test_a_line_as_a_stage_begins_and_at_times_while_it_runs() -> None:
    lines, moments = list[str](), [0.0]
    report = StageLines(lines.append, lambda: moments[0])
    for moment, stage, share in (
        (0.0, "read", 0.0), (0.5, "read", 1.0), (1.0, "fuse", 0.0), (2.0, "fuse", 0.1),
        (1.0 + LOG_SECONDS, "fuse", 0.5), (2.0 + LOG_SECONDS, "fuse", 0.6), (99.5, "write", 0.4),
    ):  # fmt: skip
        moments[0] = moment
        report(stage, share)
    assert lines == [
        "   0.0 s  reading the files",
        "   1.0 s  fusing",
        "  11.0 s  fusing 50%",
        "  99.5 s  writing 40%",
    ]


def test_a_stage_without_other_words_has_its_name() -> None:
    assert stage_words("train scenes") == "train scenes"


@pytest.mark.parametrize("quiet", [True, False])
def test_quiet_prints_no_stage(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    with progress(quiet=quiet) as report:
        report("read", 0.0)
    assert capsys.readouterr().err == ("" if quiet else "   0.0 s  reading the files\n")
