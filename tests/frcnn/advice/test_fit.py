"""Proposals: each where the present value does not fit, and none where it does."""

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn.advice import fit
from frcnn.advice.machine import Machine, this_machine
from frcnn.advice.proposals import Advice, Proposal
from frcnn.advice.start import start_of
from frcnn.data.voc.dataset import VocDataset
from frcnn.detector.weights_file import write_weights
from frcnn.params import Params, load_params
from frcnn.pytorch.weights import arrays_of
from tests.factories import build, voc_object, write_voc

CPU, GPU = Machine(cuda=False, gibibytes=16), Machine(cuda=True, gibibytes=24)
LONG = ("train_phase1.epochs=60", "train_phase2.epochs=40")  # enough for any start
Make = Callable[..., VocDataset]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write 30 pictures of 320 x 320 px with so many square objects of one side each."""

    def write(side: int, per_picture: int = 4) -> VocDataset:
        rng = np.random.default_rng(side)
        corners = rng.integers(100, 200, (30, per_picture, 2))
        objects = {
            f"{i}": "".join(voc_object(box=(x + 1, y + 1, x + side, y + side)) for x, y in own)
            for i, own in enumerate(corners.tolist())
        }
        return VocDataset(write_voc(tmp_path / f"{side}-{per_picture}", objects, size=(320, 320)))

    return write


def values(advice: Advice) -> dict[str, object]:
    return {proposal.key: proposal.proposed for proposal in advice.proposals}


def demo(*changes: str) -> Params:
    return load_params(Path("demo"), ["data.min_size=320", *LONG, *changes])


def test_nothing_is_proposed_where_all_fits(make: Make) -> None:
    advice = fit.advise(make(48), demo("anchors.anchor_sizes=[48]", "anchors.anchor_ratios=[1]"), CPU)
    assert (advice.proposals, advice.remarks) == ([], [])


def test_anchors_that_fit_are_proposed_with_the_coverage(make: Make) -> None:
    advice = fit.advise(make(48), demo("anchors.anchor_sizes=[128, 256, 512]"), CPU)
    sizes, ratios = advice.proposals
    assert (sizes.key, sizes.current, sizes.proposed) == ("anchors.anchor_sizes", [128, 256, 512], [52])
    assert (ratios.key, ratios.current, ratios.proposed) == ("anchors.anchor_ratios", [0.5, 1, 2], [1])
    assert sizes.reason.startswith("coverage at IoU 0.5 / 0.7: 0.0% / 0.0% -> 100.0% / ")
    assert sizes.reason.endswith("1 anchors per cell (now 9)")


def test_the_options_give_the_parameters_that_were_measured(make: Make) -> None:
    params, advice = demo(), fit.advise(make(14), demo(), CPU)
    words = shlex.split(" ".join(proposal.override for proposal in advice.proposals))
    assert set(words[::2]) == {"-S"}
    assert demo(*words[1::2]) == advice.params != params


def test_too_few_objects_leave_anchors_alone(make: Make) -> None:
    advice = fit.advise(make(14, per_picture=3), demo(), CPU)
    assert values(advice) == {}
    assert advice.remarks[0].startswith("90 objects are too few to fit anchors to (at least 100)")


def test_small_objects_want_larger_images(make: Make) -> None:
    """Objects smaller than a cell: an anchor at the nearest cell misses most by half of their side."""
    found = values(fit.advise(make(12), demo(), CPU))
    assert (found["data.min_size"], found["data.max_size"]) == (640, 640)


def test_large_objects_want_no_enlarged_pictures(make: Make) -> None:
    changes = ("data.min_size=960", "data.max_size=960", "anchors.anchor_sizes=[100]", "anchors.anchor_ratios=[1]")
    assert values(fit.advise(make(100), demo(*changes), CPU)) == {"data.min_size": 320, "data.max_size": 320}


def test_the_anchors_of_a_detector_stay(make: Make) -> None:
    changes = ["data.min_size=320", "data.max_size=533", "model.backbone=resnet50-fpn-v2"]
    params = load_params(Path("finetune"), [*changes, "anchors.anchor_sizes=[[32],[64],[128],[256],[512]]", *LONG])
    advice = fit.advise(make(12), params, GPU)
    assert values(advice) == {"data.min_size": 640, "data.max_size": 1066}
    assert "anchors stay" in advice.remarks[0]


def test_a_part_of_ones_own_pictures_is_held_out_if_there_are_enough(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = demo(
        "download.source=mine", "anchors.anchor_sizes=[48]", "anchors.anchor_ratios=[1]", "augment.preset=strong"
    )
    dataset = make(48)
    assert values(fit.advise(dataset, own, CPU)) == {}
    monkeypatch.setattr(fit, "LEAST_TO_HOLD_OUT", 30)
    advice = fit.advise(dataset, own, CPU)
    held_out = {"fraction": 0.2, "keep": "best", "pre_nms_topk": 400, "post_nms_topk": 50}
    assert values(advice) == {f"train.validation.{name}": value for name, value in held_out.items()}
    assert values(fit.advise(dataset, advice.params, CPU)) == {}
    monkeypatch.setattr(fit, "LEAST_TO_HOLD_OUT", 31)
    none = {"train.validation.fraction": 0, "train.validation.keep": "last"}
    assert values(fit.advise(dataset, advice.params, CPU)) == none


@pytest.mark.parametrize(("epochs", "preset"), [((20, 3), None), ((20, 4), "light")])
def test_light_augmentation_where_pictures_are_seen_often(epochs: tuple[int, int], preset: str | None) -> None:
    changes = [f"train_phase{phase}.epochs={count}" for phase, count in enumerate(epochs, 1)]
    advice = fit.Advice(demo(*changes))
    fit._propose_augmentation(advice)
    assert values(advice) == ({"augment.preset": preset} if preset else {})
    fit._propose_augmentation(advice)
    assert len(advice.proposals) == bool(preset)


@pytest.mark.parametrize(("least", "proposed"), [(49, 0), (48, None)])
def test_thin_objects_must_be_allowed_as_proposals(make: Make, least: int, proposed: int | None) -> None:
    found = values(fit.advise(make(48), demo(f"model.proposals.min_size={least}"), CPU))
    assert found.get("model.proposals.min_size") == proposed


@pytest.mark.parametrize(
    ("written", "present", "proposed"),
    [("0", "voc", "continuous"), ("1", "continuous", "voc"), ("1", "voc", None), ("1", "reference", None)],
)
def test_the_box_convention(make: Make, written: str, present: str, proposed: str | None) -> None:
    dataset = make(48)
    for path in (dataset.root / "Annotations").iterdir():
        box = (0, 0, 48, 48) if written == "0" else (1, 1, 320, 48)
        path.write_text(path.read_text().replace("</annotation>", f"{voc_object(box=box)}</annotation>"))
    found = values(fit.advise(dataset, demo(f"data.box_convention={present}"), CPU))
    assert found.get("data.box_convention") == proposed


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], {"model.backbone": "resnet18", "model.weights": "imagenet"}),
        (
            ["model.weights=none", "model.freeze_at=0", "model.dropout=0.5"],
            {"model.backbone": "resnet18", "model.norm": "trained", "model.dropout": 0},
        ),
        (
            ["model.backbone=resnet50-fpn-v2", "model.weights=coco-resnet50-v2", "anchors.anchor_sizes=[32]"],
            {"model.backbone": "mobilenet-v3-fpn", "model.weights": "coco"},
        ),
        (["model.weights=my.pth"], {}),
        (["model.backbone=resnet34", "model.weights=imagenet"], {}),
    ],
)
def test_a_small_network_without_cuda(make: Make, changes: list[str], expected: dict[str, object]) -> None:
    params = load_params(Path("default"), ["data.min_size=320", *LONG, *changes])
    dataset = make(48)
    cpu, gpu = (values(fit.advise(dataset, params, machine)) for machine in (CPU, GPU))
    assert {key: value for key, value in cpu.items() if key.startswith("model")} == expected
    assert not any(key.startswith("model") for key in gpu)


@pytest.mark.parametrize(
    ("machine", "present", "changes", "expected", "why"),
    [
        (GPU, 1, ["model.norm=frozen", "model.weights=imagenet"], 4, "a CUDA device"),
        (CPU, 1, [], 8, "batch norms"),
        # 0.7 of 6 GiB less 1.2 leave 3 GiB; an image of 0.41 megapixels takes 0.82.
        (Machine(cuda=False, gibibytes=6), 20, ["data.min_size=640", "data.max_size=640"], 3, "6 GiB of memory"),
        (Machine(cuda=False, gibibytes=64), 64, [], 30, "no more pictures"),
        (CPU, 8, [], None, ""),
    ],
)
def test_the_batch(
    make: Make, machine: Machine, present: int, changes: list[str], expected: int | None, why: str
) -> None:
    advice = fit.advise(make(48), demo(f"train.batch_size={present}", *changes), machine)
    assert values(advice).get("train.batch_size") == expected
    assert values(advice).get("train.base_batch_size") == (expected and present)
    assert not expected or advice.proposals[-1].reason.startswith(why)


def test_few_pictures_want_more_epochs(make: Make) -> None:
    """30 pictures would need 534 epochs for 16,000 seen; 100 are proposed at most, in the present proportion."""
    params = demo("train_phase1.epochs=6", "train_phase2.epochs=2")
    advice = fit.advise(make(48), params, CPU)
    assert [values(advice)[f"train_phase{number}.epochs"] for number in (1, 2)] == [75, 25]
    assert "30 pictures in 8 epochs are 240 seen; from random weights 16,000 are usual" in advice.proposals[-1].reason


def test_what_training_starts_from(tmp_path: Path, params: Params) -> None:
    model = build(params)
    write_weights(tmp_path / "own.safetensors", model.config, arrays_of(model), {})
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png")
    starts = {
        "none": "random weights",
        "caffe": "pretrained weights",
        "coco": "a detector",
        "coco-resnet50": "a detector",
        str(tmp_path / "own.safetensors"): "a detector",
        str(tmp_path / "other.png"): "pretrained weights",
        str(tmp_path / "none.pth"): "pretrained weights",
    }
    assert {name: start_of(name) for name in starts} == starts


def test_values_that_contradict_others_are_not_proposed(params: Params) -> None:
    advice = Advice(params)
    advice.propose({"data.min_size": 2000}, "more than max_size")
    advice.propose({"data.min_size": params.data.min_size}, "as it is")
    assert (advice.proposals, advice.params) == ([], params)


def test_options_are_quoted_for_a_shell() -> None:
    assert Proposal("a.b", 1, 2.5, "").override == "-S a.b=2.5"
    assert Proposal("a.b", "c", "d", "").override == "-S a.b=d"
    assert Proposal("a.b", [1], [[8, 16], [0.5]], "").override == "-S 'a.b=[[8,16],[0.5]]'"
    assert Proposal("a.b", 1, None, "").override == "-S a.b=null"


def test_this_machine_has_memory() -> None:
    assert 0 < this_machine().gibibytes < 1 << 20
