"""libjpeg's and LibRaw's lines are heard and everybody else's pass, whoever prints at the same time."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from smarthdr_cli.burst.read import read_file
from smarthdr_cli.burst.warned import heard, listened
from smarthdr_cli.errors import InputError


def test_only_libjpegs_lines_are_kept(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before\n")
    with heard() as said:
        os.write(2, b"Corrupt JPEG data: bad Huffman code\nsomebody else\nPremature end of JPEG file\n")
    os.write(2, b"after\n")
    assert said == ["Corrupt JPEG data: bad Huffman code", "Premature end of JPEG file"]
    assert capfd.readouterr().err == "before\nsomebody else\nafter\n"


def test_a_raw_cut_at_every_kilobyte(dng: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    path = dng("a.dng", np.full((64, 96), 900))
    whole = path.read_bytes()
    for length in range(1024, len(whole), 1024):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"^a\.dng is damaged or cut short"):
            read_file(path)
    assert capfd.readouterr().err == ""


def test_what_libraw_says_of_pixels_is_an_error(dng: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts faults in compressed data and goes on; no file of ours is compressed so, hence by another's voice."""
    import rawpy

    unpack = rawpy.RawPy.unpack

    class Muttering(rawpy.RawPy):  # type: ignore[misc]
        def unpack(self) -> None:
            os.write(2, b"unknown file: data corrupted at 4711\n")
            unpack(self)

    def opened(file: object) -> rawpy.RawPy:
        raw = Muttering()
        raw.open_buffer(file)
        return raw

    monkeypatch.setattr(rawpy, "imread", opened)
    with pytest.raises(InputError, match=r"a\.dng is damaged or cut short: LibRaw says data corrupted at 4711"):
        read_file(dng("a.dng", np.full((64, 96), 900)))


def test_threads_take_turns(capfd: pytest.CaptureFixture[str]) -> None:
    def one(number: int) -> list[str]:
        with heard() as said:
            os.write(2, f"Corrupt JPEG data: {number}\n".encode())
        return said

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(200))) == [[f"Corrupt JPEG data: {n}"] for n in range(200)]
    assert capfd.readouterr().err == ""


def test_side_by_side_only_the_damaged_are_done_again(capfd: pytest.CaptureFixture[str]) -> None:
    done: list[int] = []

    def work(number: int) -> int:
        done.append(number)
        time.sleep(0.002)
        if number % 50 == 7:
            os.write(2, f"Corrupt JPEG data: {number}\n".encode())
        if number % 50 == 8:
            os.write(2, b"somebody else\n")
        return number

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: listened(lambda: work(n)), range(200)))
    assert found == [(n, [f"Corrupt JPEG data: {n}"] if n % 50 == 7 else []) for n in range(200)]
    assert len(done) < 200 + 8 * 8  # those that were beside one of the four, at most
    assert set(capfd.readouterr().err.splitlines()) == {"somebody else"}


def test_side_by_side_is_as_fast_as_the_work(capfd: pytest.CaptureFixture[str]) -> None:
    together = threading.Barrier(4, timeout=20)  # would break if they took turns
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: listened(together.wait)[1], range(4))) == [[]] * 4
    assert capfd.readouterr().err == ""


def test_alone_nothing_is_done_twice(capfd: pytest.CaptureFixture[str]) -> None:
    calls: list[int] = []
    result, said = listened(lambda: (calls.append(1), os.write(2, b"Invalid JPEG file\n"))[1])
    assert (result, said, calls) == (18, ["Invalid JPEG file"], [1])
    assert capfd.readouterr().err == ""


def test_an_error_among_many_leaves_the_others_and_stderr_alone(capfd: pytest.CaptureFixture[str]) -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ZeroDivisionError
        return number

    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(listened, lambda n=n: work(n)) for n in range(20)]
    assert [t.result()[0] for n, t in enumerate(tasks) if n != 3] == [n for n in range(20) if n != 3]
    with pytest.raises(ZeroDivisionError):
        tasks[3].result()
    os.write(2, b"here\n")
    assert capfd.readouterr().err == "here\n"


def test_an_error_inside_leaves_stderr_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208
    for _ in range(20):
        with pytest.raises(ZeroDivisionError), heard():
            raise ZeroDivisionError
    os.write(2, b"here\n")
    assert capfd.readouterr().err == "here\n"
    if before:
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize("missing", ["dup", "dup2"])
def test_without_a_stderr_nothing_is_heard(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    def refuse(*_arguments: int) -> int:
        raise OSError(9, "Bad file descriptor")

    with monkeypatch.context() as broken:
        broken.setattr(os, missing, refuse)
        with heard() as said:
            pass
    assert said == []
