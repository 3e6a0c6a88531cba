"""How many cores are ours, on systems that tell and on those that do not."""

import os

import pytest

from smarthdr_cli import cores


def test_what_a_job_was_given_and_not_what_the_machine_has(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    assert cores.usable() == 2


@pytest.mark.parametrize(("told", "usable"), [(6, 6), (None, 1)])
def test_all_of_them_where_the_system_does_not_tell(monkeypatch, told, usable):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: told)
    assert cores.usable() == usable
