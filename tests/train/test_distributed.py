"""Two processes on one run against a single one, over gloo on the CPU."""

import socket
import sys

import pytest
import torch

from smarthdr_cli.errors import UsageError
from smarthdr_cli.train import distributed
from smarthdr_cli.train.uncertainty_masks import LogHistogram

RUN = """
import os, signal
from dataclasses import replace
if world > 1:
    os.environ.update(WORLD_SIZE=str(world), RANK=str(rank), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1",
                      MASTER_PORT=str(port), ACCELERATE_USE_CPU="1")
import torch
torch.set_num_threads(1)
from smarthdr_cli.train import distributed, scene_session
from smarthdr_cli.train.config import train_config
from smarthdr_cli.train.loop import TimeBudget, train
from smarthdr_cli.train.scene_session import SceneSession
from smarthdr_cli.train.state import new_state
from smarthdr_cli.train.burst_stream import StreamSession

device = distributed.join_group(torch.device("cpu"))
found = {"group": (distributed.rank(), distributed.world_size(), str(device))}

def begun(name, **more):
    config = train_config(values | {"clip": 1e9} | more)
    state = new_state(config, device)
    return config, state, SceneSession(data, config, state, folder / name)

def grads(name, **more):
    config, state, session = begun(name, **more)
    session.step(state)
    session.close()
    found[name] = {n: p.grad for n, p in state.student.named_parameters()}
    found[name + " ranges"] = {k: part.state_dict() for k, part in session.method.statistics().items()}

def run(name, on_step=lambda record: None, budget=TimeBudget(), change=None, **more):
    config, state, session = begun(name, **more)
    config = replace(config, **(change or {}))
    train(config, session, folder / name, state, lambda _: None, on_step=on_step, budget=budget)
    found[name] = {"step": state.step, "student": state.student.state_dict(), "teacher": state.teacher.state_dict(),
                   "extra": state.extra}

def stream(name):
    config = train_config(streamed)
    state = new_state(config, device)
    session = StreamSession(bank, [], config, state)
    session.step(state)
    session.close()
    found[name] = {n: p.grad for n, p in state.student.named_parameters()}

off = {"side": 16, "patch": False, "pixel": False}
grads("supervised", method="supervised")
grads("selfhdr", method="selfhdr")
for pseudo in ("epoch", "step"):
    grads("unmasked " + pseudo, labelled_first=0.0, pseudo=pseudo, masks=off)
    grads("adaptive " + pseudo, labelled_first=0.0, pseudo=pseudo, masks={"side": 16, "adaptive": True})
    grads("smae " + pseudo, labelled_first=0.0, pseudo=pseudo, method="smae")
stream("stream")
run("long", labelled_first=0.25, iterations=6, refresh=2, pseudo="epoch")
run("long step", labelled_first=0.25, iterations=4, pseudo="step", masks={"side": 16, "adaptive": True})

if world > 1:
    def stop(record):
        if rank == 1 and record["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)
    run("signal", stop, iterations=50)
    run("minutes", budget=TimeBudget(1e-9 if rank == 0 else None), iterations=50)
    run("cooled", budget=TimeBudget(60, 60) if rank == 0 else TimeBudget(60), iterations=2)
    found["lr scale"] = distributed.from_main_process(0.25 if rank == 0 else 1.0)
    saves = []
    real = SceneSession.before_save
    SceneSession.before_save = lambda self, state: (saves.append(state.step), real(self, state))
    run("saves", iterations=3, change={"save_minutes": 0.0 if rank == 1 else 99.0})
    found["saved at"] = saves
    SceneSession.before_save = real
    loss = scene_session.semi_supervised_loss
    def spoilt(student, labelled, target, config, draw, vgg, **more):
        total, terms = loss(student, labelled, target, config, draw, vgg, **more)
        if rank == 1:
            total = {"nan": total * torch.nan, "constant": total.detach()}[how]
        return total, terms
    scene_session.semi_supervised_loss = spoilt
    for how in ("nan", "constant"):
        run(how, iterations=2, method="supervised")
    scene_session.semi_supervised_loss = loss
    config, state, session = begun("uneven")
    session.close()
    for n, p in enumerate(state.student.parameters()):
        p.grad = None if n == 0 or (n == 1 and rank == 0) else torch.full_like(p, 1.0 + rank)
    distributed.average_gradients(state.student)
    found["uneven"] = [None if p.grad is None else p.grad.mean().item() for p in state.student.parameters()]

torch.save(found, folder / f"found {world} {rank}.pt")

if world > 1:  # one fails: the other does not wait forever, and the state is saved
    def fail(record):
        if rank == 1 and record["step"] == 2:
            raise ValueError("the disk is gone")
    try:
        run("failed", fail, iterations=50, method="supervised", save_minutes=99.0)
    except (ValueError, RuntimeError) as error:
        (folder / f"failed {rank}").write_text(type(error).__name__)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def results(processes, tmp_path_factory, scenes, scene_values, values, bank):
    """Results of a single process, and of each of two."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    started = []
    for world, rank in ((1, 0), (2, 0), (2, 1)):
        where = folder / str(world)
        where.mkdir(exist_ok=True)
        known = {"world": world, "rank": rank, "port": port, "folder": where, "data": scenes, "values": scene_values,
                 "streamed": values | {"clip": 1e9}, "bank": bank}  # fmt: skip
        started.append(processes.Process(target=exec, args=(RUN, known)))
        started[-1].start()
    for process in started:
        process.join(400)
        assert process.exitcode == 0
    single, *both = (
        torch.load(folder / str(w) / f"found {w} {r}.pt", weights_only=True) for w, r in ((1, 0), (2, 0), (2, 1))
    )
    return folder, single, both


def joined(gradients):
    return torch.cat([g.flatten() for g in gradients.values() if g is not None])


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(value, b[key]) for key, value in a.items())
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.slow
class TestTwoProcesses:
    def test_each_has_its_rank_and_device(self, results):
        _, single, both = results
        assert single["group"] == (0, 1, "cpu"), single["group"]
        assert [part["group"][:2] for part in both] == [(0, 2), (1, 2)]
        assert all(part["group"][2].startswith("cpu") for part in both)

    @pytest.mark.parametrize("name", ["supervised", "unmasked epoch", "unmasked step"])
    def test_gradients_equal_those_of_a_single_process(self, results, name):
        """Where every pixel counts, the mean over equal parts is the mean over all."""
        _, single, both = results
        assert equal(both[0][name], both[1][name])
        flat = [joined(part[name]) for part in (single, both[0])]
        assert (flat[0] - flat[1]).norm() < 1e-5 * flat[0].norm()
        assert (flat[0] - flat[1]).abs().max() < 1e-5 * flat[0].abs().max()
        assert [n for n, g in single[name].items() if g is None] == [n for n, g in both[0][name].items() if g is None]

    @pytest.mark.parametrize(
        "name", ["selfhdr", "adaptive epoch", "adaptive step", "smae epoch", "smae step", "stream"]
    )
    def test_masked_gradients_are_close_to_those_of_a_single_process(self, results, name):
        """Each process divides by the pixels that its own part keeps; both end with the same gradient."""
        _, single, both = results
        assert equal(both[0][name], both[1][name])
        flat = [joined(part[name]) for part in (single, both[0])]
        assert torch.cosine_similarity(flat[0], flat[1], dim=0) > 0.9

    @pytest.mark.parametrize("name", ["adaptive", "smae"])
    @pytest.mark.parametrize("pseudo", ["epoch", "step"])
    def test_statistics_equal_those_of_a_single_process(self, results, name, pseudo):
        _, single, both = results
        ranges = [part[f"{name} {pseudo} ranges"] for part in (single, *both)]
        assert equal(ranges[1], ranges[2])
        for part, levels in ranges[0].items():
            for level, counts in levels.items():
                other = ranges[1][part][level]
                assert counts.sum() == other.sum()
                assert (counts.cumsum(0) - other.cumsum(0)).abs().max() <= 1e-3 * counts.sum()
        assert sum(float(c.sum()) for levels in ranges[0].values() for c in levels.values()) > 0

    def test_a_refresh_equals_that_of_a_single_process(self, results):
        folder, *_ = results
        for name in ("adaptive epoch", "smae epoch"):
            single, both = (folder / world / name / "pseudo" / "000000000" for world in ("1", "2"))
            assert sorted(p.name for p in single.iterdir()) == sorted(p.name for p in both.iterdir())
            assert len(list(single.iterdir())) == 7
            for path in single.iterdir():
                assert path.read_bytes() == (both / path.name).read_bytes(), path.name

    @pytest.mark.parametrize(
        ("name", "step"),
        [("long", 6), ("long step", 4), ("saves", 3), ("cooled", 2), ("nan", 2), ("constant", 2)],
    )
    def test_both_have_the_same_student(self, results, name, step):
        _, _, both = results
        assert equal(both[0][name], both[1][name])
        assert both[0][name]["step"] == step

    def test_a_run_ends_close_to_that_of_a_single_process(self, results):
        _, single, both = results
        for name, value in both[0]["long"]["student"].items():
            torch.testing.assert_close(value, single["long"]["student"][name], rtol=0, atol=5e-3)

    def test_both_stop_together(self, results):
        """A signal or the end of the time in one of them ends both after the same update."""
        _, _, both = results
        assert [part["signal"]["step"] for part in both] == [2, 2]
        assert [part["minutes"]["step"] for part in both] == [1, 1]
        assert equal(both[0]["signal"], both[1]["signal"])

    def test_both_follow_the_clock_of_process_0(self, results):
        _, _, both = results
        assert [part["lr scale"] for part in both] == [0.25, 0.25]
        assert distributed.from_main_process(0.5) == 0.5

    def test_both_save_together(self, results):
        _, _, both = results
        assert both[0]["saved at"] == both[1]["saved at"] == [1, 2, 3, 3]

    def test_a_non_finite_loss_in_one_changes_neither(self, results, scene_values):
        _, _, both = results
        for name in ("nan", "constant"):
            assert equal(both[0][name]["student"], both[0][name]["teacher"])
            assert equal(both[0][name]["student"], both[1][name]["student"])

    def test_a_missing_gradient_counts_as_0(self, results):
        _, _, both = results
        for part in both:
            assert part["uneven"][:2] == [None, 1.0]
            assert set(part["uneven"][2:]) == {1.5}

    def test_when_one_fails_the_other_stops_with_its_state_saved(self, results):
        folder, *_ = results
        assert (folder / "2" / "failed 1").read_text() == "ValueError"
        assert (folder / "2" / "failed 0").read_text() == "RuntimeError"
        assert torch.load(folder / "2" / "failed" / "state.pt", weights_only=True)["step"] == 2


def test_a_single_process_needs_no_group(batch):
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.any_process(True)
    assert not distributed.any_process(False)
    assert distributed.shard(batch) is batch
    assert distributed.join_group(torch.device("cpu")) == torch.device("cpu")
    distributed.barrier()
    histogram = LogHistogram()
    distributed.all_reduce_counts([histogram], lambda: histogram.update(torch.tensor([0.1, 0.2])))
    assert histogram.counts.sum() == 2
    layer = torch.nn.Linear(2, 2)
    layer(torch.ones(1, 2)).sum().backward()
    before = layer.weight.grad.clone()
    distributed.average_gradients(layer)
    assert torch.equal(layer.weight.grad, before)


def test_without_accelerate_the_error_names_the_extra(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UsageError, match=r"pip install 'smarthdr\[distributed\]'"):
        distributed.join_group(torch.device("cpu"))


def test_the_processes_of_this_machine_are_counted(monkeypatch):
    assert distributed.local_world_size() == 1
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 8)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert distributed.local_world_size() == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert distributed.local_world_size() == 4


def test_counts_of_a_group_decay_like_those_of_a_single_process(monkeypatch):
    """A group of one, whose sum over processes is its own counts."""
    values = [torch.rand(50, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    single, grouped = LogHistogram(decay=0.5), LogHistogram(decay=0.5)
    for part in values:
        single.update(part)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: "gloo")
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda _tensor: None)
    for part in values:
        distributed.all_reduce_counts([grouped], lambda part=part: grouped.update(part))
    assert torch.equal(grouped.counts, single.counts)
    distributed.recount([grouped], lambda: grouped.update(values[0]))
    assert float(grouped.counts.sum()) == 50
