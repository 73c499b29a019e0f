"""What a phase starts from has to fit its parameters; the message names those that differ."""

import re
from pathlib import Path

import pytest

from frcnn.detector.weights_file import write_weights
from frcnn.errors import UserError
from frcnn.params import Params
from frcnn.params.augment import Chance
from frcnn.pytorch.weights import arrays_of
from frcnn.training.setup import Inputs, set_up
from tests.factories import change


@pytest.mark.parametrize(
    ("values", "differing"),
    [
        ({"anchors.rpn_positive_iou": 0.6}, "anchors.rpn_positive_iou 0.7, now 0.6"),
        ({"anchors.anchor_sizes": ((24.0, 48.0),)}, "anchors.anchor_sizes [[24.0, 48.0, 96.0]], now [[24.0, 48.0]]"),
        (
            {"data.min_size": 320, "anchors.rpn_straddle_thresh": None},
            "data.min_size 160, now 320, anchors.rpn_straddle_thresh 0.0, now null",
        ),
        ({"model.backbone": "vgg16"}, 'feature maps "ceil 16", now "floor 16"'),
        ({"splits.train": "test"}, 'split "trainval", now "test"'),
    ],
    ids=["a number", "a list", "two", "a backbone", "a split"],
)
def test_anchors_of_other_parameters(
    params: Params, dataset: Path, anchors: Path, values: dict[str, object], differing: str
) -> None:
    with pytest.raises(UserError, match=re.escape(f"{anchors}: made with {differing}")) as error:
        set_up(change(params, values), 1, Inputs(dataset, anchors, None), "cpu")
    assert str(error.value).endswith("; run `frcnn anchors` again")


@pytest.mark.parametrize(
    ("values", "differing"),
    [
        ({"model.norm": "frozen"}, 'model.norm "trained", now "frozen"'),
        (
            {"model.width": 32, "model.roi_pool.op": "pool"},
            'model.width 16, now 32, model.roi_pool.op "align", now "pool"',
        ),
    ],
    ids=["one", "two"],
)
def test_phase_1_of_other_parameters(
    params: Params, dataset: Path, anchors: Path, tmp_path: Path, values: dict[str, object], differing: str
) -> None:
    path = tmp_path / "phase1.safetensors"
    network = set_up(params, 1, Inputs(dataset, anchors, None), "cpu").network
    write_weights(path, network.config, arrays_of(network), {})
    assert set_up(params, 2, Inputs(dataset, anchors, path), "cpu").network.config == network.config
    with pytest.raises(UserError) as error:
        set_up(change(params, values), 2, Inputs(dataset, anchors, path), "cpu")
    assert str(error.value) == f"{path}: trained with {differing}; run `frcnn train --phase 1` again"


@pytest.mark.parametrize(
    ("values", "notes"),
    [
        ({"train_phase1.warmup_steps": 9}, []),
        ({"train_phase1.warmup_steps": 10}, ["train_phase1.warmup_steps is 10, but the phase has 10 steps: it is all"]),
        ({"train.batch_size": 17}, ["train.batch_size is 17, but there are 16 images to train on"]),
        ({"train.validation.fraction": 0.01}, ["images held out for validation: 1, without ring, star; "]),
    ],
)
def test_what_may_not_be_meant_so_is_said(
    params: Params, dataset: Path, anchors: Path, values: dict[str, object], notes: list[str]
) -> None:
    changed = change(params, {"train_phase1.warmup_steps": 0} | values)
    said = set_up(changed, 1, Inputs(dataset, anchors, None), "cpu").notes
    assert len(said) == len(notes)
    assert all(line.startswith(f"note: {note}") for line, note in zip(said, notes, strict=True)), said


def test_what_a_checkpoint_may_be_gone_on_with(params: Params, dataset: Path, anchors: Path) -> None:
    def fingerprint(values: dict[str, object]) -> str:
        return set_up(change(params, values), 1, Inputs(dataset, anchors, None), "cpu").fingerprint

    same = fingerprint({})
    assert [fingerprint({key: 9}) == same for key in ("train_phase1.epochs", "train.keep_every")] == [True, True]
    assert fingerprint({"train_phase1.schedule": "cosine"}) != same


def test_phase_1_has_to_come_first(params: Params, dataset: Path, anchors: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"phase1: no such file; run `frcnn train --phase 1` first"):
        set_up(params, 2, Inputs(dataset, anchors, tmp_path / "phase1"), "cpu")


def test_augmentation_counts_where_there_is_any(params: Params, dataset: Path, anchors: Path) -> None:
    """Without it provenance and fingerprint are those of before there was augmentation."""
    off = [{}, {"augment.geometric.rotate": Chance(probability=0)}]
    on = [{"augment.preset": "light"}, {"augment.geometric.rotate": Chance(probability=0.5)}]
    inputs = Inputs(dataset, anchors, None)
    setups = [set_up(change(params, values), 1, inputs, "cpu") for values in off + on]
    assert ["augment" in setup.provenance for setup in setups] == [False, False, True, True]
    assert setups[3].provenance["augment"] == {"rotate": (0.5, 0, 0)}
    assert setups[0].fingerprint == setups[1].fingerprint
    assert len({setup.fingerprint for setup in setups}) == 3
