"""The pages of a batch and their index."""

import re

import pytest

from smarthdr_cli.batch.batch_options import BatchOptions, OutputFiles, Shard
from smarthdr_cli.batch.run import Callbacks, run_batch
from smarthdr_cli.batch.settings import Settings
from smarthdr_cli.errors import UsageError
from tests.batch.test_run import STATIC, Run

PAGES = OutputFiles(report=True)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def index(run):
    """(status, name, link or None) of each set, in order."""
    text = (run.out / "index.html").read_text("utf-8")
    sets = text.split('<li class="set ')[1:]
    return [
        (
            one[: one.index('"')],
            re.search(r"<h2>(?:<a [^>]*>)?([^<]*)<", one)[1],
            (re.search(r'<h2><a href="([^"]*)"', one) or [None, None])[1],
        )
        for one in sets
    ]


def test_every_set_gets_a_page_and_a_place_in_the_index(run):
    assert run(files=PAGES) == ["ok"] * 3
    entries = index(run)
    assert [status for status, _, _ in entries] == ["ok"] * 3
    assert [link for _, _, link in entries] == [f"{name}.html" for _, name, _ in entries]
    assert all((run.out / link).is_file() for _, _, link in entries)
    assert (run.out / "index.html").read_text("utf-8").count("data:image/jpeg") == 3
    page = (run.out / entries[0][2]).read_text("utf-8")
    assert 'id="reference-light"' in page  # although a batch frees the frames before it writes
    assert run.lines()[0]["seconds"]["report"] >= 0


def test_failures_come_first_and_have_no_page(run):
    run.brackets[1][1].write_bytes(b"\xff\xd8 no picture")
    assert run(files=PAGES) == ["ok", "failed", "ok"]
    assert [status for status, _, _ in index(run)] == ["failed", "ok", "ok"]
    assert index(run)[0][2] is None
    assert "exit 3" in (run.out / "index.html").read_text("utf-8")


def test_a_continued_run_lists_what_was_done_before(run):
    assert run(files=PAGES, sets=run.sets()[:2]) == ["ok"] * 2
    (run.out / "IMG_0001-IMG_0003.html").write_text("torn")
    assert run(files=PAGES, skip_existing=True) == ["ok", "skipped", "ok"]
    assert [status for status, _, _ in index(run)] == ["ok"] * 3
    assert (run.out / "IMG_0001-IMG_0003.html").read_text("utf-8").endswith("</html>\n")


def test_shards_share_one_index(run):
    for number in (1, 2):
        run(files=PAGES, shard=Shard(number, 2))
    assert len(index(run)) == 3


def test_an_interrupted_run_has_an_index_of_what_it_did(run):
    def interrupt(_record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(
            run.sets(), run.out, Settings(STATIC, PAGES), BatchOptions(), callbacks=Callbacks(interrupt),
            shoot=run.shoot,
        )  # fmt: skip
    assert "ok" in [status for status, _, _ in index(run)]


def test_a_set_named_index_is_refused_before_the_run(run):
    first = run.brackets[0][0]
    first.rename(first.with_name("index.jpg"))
    run.brackets[0][0] = first.with_name("index.jpg")
    with pytest.raises(UsageError, match="choose another --name"):
        run(files=PAGES, name="{first}")
    assert not run.out.exists()
    assert run(name="{first}", files=OutputFiles()) == ["ok"] * 3
