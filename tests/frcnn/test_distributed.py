"""Two processes (gloo, on the CPU) train as one does, but for rounding; what they say to each other."""

import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from frcnn import distributed
from frcnn.errors import UserError
from frcnn.params import Params
from frcnn.pytorch import data_parallel
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.learner import TorchLearner
from frcnn.training.checkpoint import load_checkpoint
from frcnn.training.log import NonFiniteLoss
from frcnn.training.loop import Interrupted, Job, train_phase
from frcnn.training.setup import Inputs, set_up
from tests.factories import change, write_anchors
from tests.frcnn.pytorch.test_faster_rcnn import make_batch

WORLD = 2
# Five batches an epoch, two of which are smaller: one of a single image, which leaves the second process without any.
CASES: dict[str, tuple[int, dict[str, Any]]] = {  # epochs and parameters
    "accumulated": (2, {"grad_accum": 2}),
    "validated": (1, {"validation.fraction": 0.25, "validation.keep": "best", "batch_size": 3}),
}


def make(params: Params, folder: Path, name: str) -> tuple[FasterRCNN, Job]:
    """Return a fresh float64 model without batch norm and the job of a case."""
    epochs, values = CASES[name.partition(" ")[0]]
    train = change(params.train, {"optimizer.name": "sgd", "optimizer.momentum": 0.9} | values)
    phase = change(params.train_phase1, {"epochs": epochs, "learning_rate": 0.01, "warmup_steps": 0})
    changed = change(params, {"train": train, "model.norm": "frozen", "train_phase1": phase})
    setup = set_up(changed, 1, Inputs(folder / "dataset", folder / "anchors.h5", None), "cpu")
    checkpoint = folder / f"{name}.pt"
    job = Job(1, phase, setup.source, setup.fingerprint, checkpoint, held_out=setup.held_out)
    return setup.network.double(), job


def learner(model: FasterRCNN, job: Job) -> TorchLearner:
    return TorchLearner(model, job.train, torch.device("cpu"), torch.float32)


def train(params: Params, folder: Path, name: str, stop_after: int = 0) -> dict[str, Any]:
    """Train a case to its end; return log, weights, and how far one of them moved."""
    model, job = make(params, folder, name)
    before = model.rpn.conv.weight.detach().clone()
    steps: list = []
    rows = train_phase(learner(model, job), job, steps.append, lambda: len(steps) == stop_after, lambda _: None)
    moved = float((model.rpn.conv.weight.detach() - before).abs().max())
    return {"rows": rows, "weights": model.state_dict(), "moved": moved}


def work(rank: int, port: int, params: Params, folder: Path) -> None:
    """Do everything that takes two processes; leave what came of it in a file of each."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(WORLD), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed.join("cpu")
    with pytest.raises(Interrupted):  # asked for in the second process alone
        train(params, folder, "accumulated", stop_after=4 * rank)
    if rank == 0:
        shutil.copy(folder / "accumulated.pt", folder / "accumulated handed.pt")
    done: dict[str, Any] = {name: train(params, folder, name) for name in CASES}
    done["spoilt"] = spoilt(params, folder)
    done["half"] = half(params, folder, rank)
    done["in order"] = [distributed.in_order(distributed.share(list(range(11)), run), run) for run in (1, 2, 4)]
    done["any"] = distributed.any_of(rank == 1, False)
    done["apart"] = apart(params, folder, rank)
    torch.save(done, folder / f"rank{rank}.pt")
    os._exit(0)  # the group is broken by now


def spoilt(params: Params, folder: Path) -> str:
    """Return what is said when images have targets that are not finite."""
    model, job = make(params, folder, "accumulated spoilt")
    for variant in (job.source.targets.identity, job.source.targets.mirror):
        variant.positive_delta[:] = np.inf
    with pytest.raises(NonFiniteLoss) as error:
        train_phase(learner(model, job), job, lambda _: None, lambda: False, lambda _: None)
    return str(error.value)


def half(params: Params, folder: Path, rank: int) -> tuple[float, bool, torch.Tensor]:
    """Return the scale, whether weights stayed, and the weights, after gradients infinite in the second process alone.

    Another step follows.
    """
    model, job = make(params, folder, "accumulated half")
    of_half = TorchLearner(model.float(), job.train, torch.device("cpu"), torch.float16)
    weight = model.rpn.conv.weight
    before, inputs = weight.detach().clone(), of_half.to_inputs(make_batch())
    hook = weight.register_hook(lambda gradient: gradient.fill_(np.inf) if rank == 1 else gradient)
    for last in (False, True):
        of_half.backward(inputs, 4, 2, last, (0,))
    of_half.update(1e-3)
    stayed = torch.equal(weight, before)
    hook.remove()
    of_half.backward(inputs, 4, 1, True, (0,))
    of_half.update(1e-3)
    return of_half.optimizer_state()["scaler"]["scale"], stayed, weight.detach().clone()


def apart(params: Params, folder: Path, rank: int) -> str:
    """Return what is said when the second process has other data."""
    model, job = make(params, folder, "accumulated apart")
    job = replace(job, fingerprint=f"of rank {rank}")
    try:
        train_phase(learner(model, job), job, lambda _: None, lambda: False, lambda _: None)
    except UserError as error:
        torch.distributed.destroy_process_group()
        return str(error)
    except RuntimeError as error:
        return f"lost peer: {distributed.is_lost_peer(error)}"
    return "nothing"


@pytest.fixture(scope="module")
def folder(params: Params, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dataset and anchors."""
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "dataset").symlink_to(dataset)
    write_anchors(params, dataset, folder / "anchors.h5")
    return folder


@pytest.fixture(scope="module")
def two(params: Params, folder: Path) -> list[dict[str, Any]]:
    """What each of two processes came to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = torch.multiprocessing.spawn(work, (port, params, folder), WORLD, join=False)
    deadline = time.monotonic() + 400
    while not running.join(timeout=max(0.0, deadline - time.monotonic())):
        if time.monotonic() > deadline:
            for process in running.processes:
                process.kill()
            pytest.fail("the processes wait for each other")
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(WORLD)]


@pytest.fixture(scope="module")
def one(params: Params, folder: Path) -> dict[str, Any]:
    """What a process of its own comes to."""
    (folder / "alone").mkdir()
    for name in ("dataset", "anchors.h5"):
        (folder / "alone" / name).symlink_to(folder / name)
    done: dict[str, Any] = {name: train(params, folder / "alone", name) for name in CASES}
    return done | {"spoilt": spoilt(params, folder / "alone")}


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compare logs and weights, up to rounding."""
    assert len(found["rows"]) == len(wanted["rows"])
    for row, expected in zip(found["rows"], wanted["rows"], strict=True):
        assert row == pytest.approx(expected, abs=2e-6, nan_ok=True)
    assert list(found["weights"]) == list(wanted["weights"])
    for name, tensor in found["weights"].items():
        torch.testing.assert_close(tensor, wanted["weights"][name], rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one_even_if_one_asked_both_to_stop(two: list[dict], one: dict, name: str) -> None:
    for found in two:
        assert_same(found[name], one[name])
    assert one[name]["moved"] > 1e-3


@pytest.mark.slow
def test_another_number_of_processes_goes_on(two: list[dict], one: dict, params: Params, folder: Path) -> None:
    _, job = make(params, folder, "accumulated handed")
    assert load_checkpoint(job.checkpoint)["step"] == 4
    found = train(params, folder, "accumulated handed")
    assert found["moved"] > 1e-3
    assert_same(found, one["accumulated"])


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_told_by_both_wherever_the_image_is(two: list[dict], one: dict) -> None:
    assert [found["spoilt"] for found in two] == [one["spoilt"]] * 2
    assert one["spoilt"].count("train_") == 3, "these are not of one process alone"


@pytest.mark.slow
def test_a_gradient_that_is_infinite_in_one_process_lets_all_leave_out_the_step(two: list[dict]) -> None:
    (scale, stayed, weights), other = (found["half"] for found in two)
    assert (scale, stayed) == other[:2]
    assert stayed
    assert scale <= 2.0**15
    assert torch.equal(weights, other[2])


@pytest.mark.slow
def test_what_they_say_to_each_other(two: list[dict]) -> None:
    for found in two:
        assert found["in order"] == [list(range(11))] * 3
        assert found["any"] == [True, False]
    assert two[0]["apart"] == "lost peer: True"
    assert "need the same data, weights and checkpoints" in two[1]["apart"]


def test_shares_are_dealt_out_in_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert distributed.share([1, 2, 3]) == [1, 2, 3]
    be(monkeypatch, 1, 3)
    assert distributed.share(list(range(8))) == [1, 4, 7]
    assert distributed.share(list(range(8)), run=2) == [2, 3]
    assert distributed.share(list(range(10)), run=2) == [2, 3, 8, 9]
    assert distributed.share([0]) == []


def be(monkeypatch: pytest.MonkeyPatch, rank: int, world: int) -> None:
    for module in (distributed, data_parallel):
        monkeypatch.setattr(module, "rank", lambda: rank)
        monkeypatch.setattr(module, "world", lambda: world)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_parts_make_up_the_whole_batch(monkeypatch: pytest.MonkeyPatch, count: int, world: int) -> None:
    whole = torch.arange(1.0, 2 * count + 1).view(2, count)
    placed, means = torch.zeros(2, count), []
    for rank in range(world):
        be(monkeypatch, rank, world)
        own = whole[:, rank::world] if rank < count else whole[:, :1]
        placed += distributed.place(own, count)
        means.append(data_parallel.mean_of_batch(own[0], count))
    assert torch.equal(placed, whole)
    torch.testing.assert_close(torch.stack(means).mean(), whole[0].mean())


class Net(nn.Module):
    """Two batch norms, the first frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).requires_grad_(False)
        self.layer = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))


def test_trained_batch_norms_alone_are_synchronized_and_keep_their_names() -> None:
    net = Net()
    names, tensors = list(net.state_dict()), list(net.parameters())
    data_parallel.synchronize_norms(net)
    assert [type(net.stem[1]), type(net.layer[1])] == [nn.BatchNorm2d, nn.SyncBatchNorm]
    assert list(net.state_dict()) == names
    assert all(new is old for new, old in zip(net.parameters(), tensors, strict=True))


def test_a_process_without_work_is_a_mistake(params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    be(monkeypatch, 0, params.train.batch_size + 1)
    with pytest.raises(UserError, match=r"train.batch_size: 4, for all processes together, leaves some of 5 without"):
        set_up(params, 1, Inputs(tmp_path, tmp_path, None), "cpu")


Choose = Callable[[str, int], str]


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Return `own_device` of the third of so many processes on a machine with four CUDA devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)

    def choose(name: str, processes: int) -> str:
        be(monkeypatch, 2, processes)
        monkeypatch.setenv("LOCAL_RANK", "2")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        return distributed.own_device(name)

    return choose


def test_each_process_has_a_device_of_its_own(choose: Choose) -> None:
    assert [choose(name, 4) for name in ("auto", "cuda", "cpu")] == ["cuda:2", "cuda:2", "cpu"]
    assert choose("cuda:1", 1) == "cuda:1"
    with pytest.raises(UserError, match="one device for 4 processes"):
        choose("cuda:1", 4)
    with pytest.raises(UserError, match="5 processes, but this machine has 4 CUDA devices"):
        choose("auto", 5)


def test_processes_cannot_share_mps(choose: Choose, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose("mps", 1) == "mps"
    with pytest.raises(UserError, match="--device mps: torch cannot join processes there"):
        choose("mps", 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [choose("auto", processes) for processes in (1, 2)] == ["auto", "cpu"]
