"""The RPN: losses and proposals, against published numbers and by their properties."""

from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn.anchors.grid import anchor_grid, proposing_anchors, valid_anchors
from frcnn.anchors.label import label_image
from frcnn.params import Anchors, Model, Params, Proposals
from frcnn.params.training import Postprocessing
from frcnn.pytorch.rpn import RPNHead, generate_proposals, rpn_losses
from tests.factories import grid_of, one_map

PAPER = Anchors(anchor_sizes=(128.0, 256.0, 512.0), anchor_ratios=(0.5, 1.0, 2.0))


def test_head_layout() -> None:
    head = RPNHead(8, 9)
    with torch.no_grad():
        head.objectness.bias.copy_(torch.arange(9.0))
        head.deltas.bias.copy_(torch.arange(36.0))
        head.objectness.weight.zero_()
        head.deltas.weight.zero_()
        logits, deltas = head([torch.rand(2, 8, 3, 5)])
    assert logits.shape == (2, 135)
    assert deltas.shape == (2, 135, 4)
    assert logits[1, 9 * 7 : 9 * 8].tolist() == list(range(9))  # anchor k of a cell is channel k
    assert deltas[0, 9 * 7 + 2].tolist() == [8, 9, 10, 11]  # its deltas are channels 4k..4k+3


def test_published_box_loss() -> None:
    index = torch.arange(9)[None]
    labels = torch.tensor([[1] + [0] * 8])
    target = torch.zeros(1, 9, 4)
    target[0, 0] = torch.tensor([0.05, 0.2, -0.5, 2])
    _, box = rpn_losses(torch.zeros(1, 20), torch.zeros(1, 20, 4), index, labels, target, sigma=3)
    assert box.item() == pytest.approx(0.2827315, abs=1e-6)


def test_padding_and_unused_targets_do_not_count() -> None:
    logits, deltas = torch.randn(1, 20), torch.randn(1, 20, 4)
    index, labels = torch.tensor([[3, 5, 7]]), torch.tensor([[1, 0, 0]])
    target = torch.randn(1, 3, 4)
    padded_target = torch.cat([target, torch.full((1, 2, 4), torch.nan)], 1)
    padded_index, padded_labels = torch.tensor([[3, 5, 7, 0, 0]]), torch.tensor([[1, 0, 0, -1, -1]])
    padded = rpn_losses(logits, deltas, padded_index, padded_labels, padded_target, 3)
    for loss, expected in zip(padded, rpn_losses(logits, deltas, index, labels, target, 3), strict=True):
        torch.testing.assert_close(loss, expected)


def test_no_sampled_anchor_is_no_loss() -> None:
    losses = rpn_losses(
        torch.zeros(1, 4),
        torch.zeros(1, 4, 4),
        torch.zeros(1, 2).long(),
        -torch.ones(1, 2).long(),
        torch.zeros(1, 2, 4),
        3,
    )
    assert [loss.item() for loss in losses] == [0, 0]


def squares(grid: tuple[int, int], *sizes: float) -> torch.Tensor:
    """Return the anchors of a grid: in each cell one square of each size."""
    return torch.from_numpy(anchor_grid(one_map(*grid), Anchors(anchor_sizes=sizes, anchor_ratios=(1.0,))).copy())


def propose(
    logits: torch.Tensor,
    deltas: torch.Tensor,
    anchors: torch.Tensor,
    size: tuple[int, int],
    pre: int = 2000,
    post: int = 300,
    least: float = 0,
) -> torch.Tensor:
    allowed = torch.ones(1, len(anchors), dtype=torch.bool)
    settings, model = Postprocessing(pre_nms_topk=pre, post_nms_topk=post), Model(proposals=Proposals(min_size=least))
    proposals, real = generate_proposals(logits, deltas, anchors, [size], allowed, settings, model)
    return proposals[real]


def test_proposals_lie_in_the_image_and_are_large_enough() -> None:
    torch.manual_seed(0)
    anchors = squares((10, 15), 32.0, 64.0)
    found = propose(torch.randn(1, 300), torch.randn(1, 300, 4), anchors, (233, 155), least=20)
    assert len(found) > 5
    assert (found >= 0).all()
    assert (found[:, 2] <= 233).all()
    assert (found[:, 3] <= 155).all()
    assert ((found[:, 2:] - found[:, :2]) >= 20).all()


def test_only_the_best_anchors_are_decoded_and_the_best_proposals_kept() -> None:
    anchors = squares((4, 6), 8.0)  # 24 anchors that do not overlap
    logits = torch.randn(1, 24)
    logits[0, 3] = 8
    deltas = torch.zeros(1, 24, 4)
    assert len(propose(logits, deltas, anchors, (96, 64), pre=10)) == 10
    best = propose(logits, deltas, anchors, (96, 64), pre=10, post=1)
    assert best.tolist() == [anchors[3].tolist()]


def test_anchors_of_the_padding_yield_nothing() -> None:
    allowed = torch.zeros(2, 4, 6, dtype=torch.bool)
    allowed[0, :2, :3] = True
    allowed[1] = True
    logits = torch.where(allowed, 0.0, 9.0).flatten(1)  # the padding has the highest scores
    settings = Postprocessing(pre_nms_topk=100, post_nms_topk=100)
    model = Model(proposals=Proposals(nms_threshold=1.0, min_size=0))
    images = (squares((4, 6), 32.0), [(48, 32), (96, 64)], allowed.flatten(1))
    proposals, real = generate_proposals(logits, torch.zeros(2, 24, 4), *images, settings, model)
    assert real.sum(1).tolist() == [6, 24]
    assert real[0, :6].all()
    assert proposals[0, :6, 2].max() <= 48
    assert not proposals[~real].any()


def test_proposals_carry_no_gradient() -> None:
    outputs = torch.randn(1, 24, requires_grad=True), torch.randn(1, 24, 4, requires_grad=True)
    found = propose(*outputs, squares((4, 6), 32.0), (96, 64))
    assert len(found)
    assert not found.requires_grad


@pytest.mark.golden
@pytest.mark.parametrize("size", ["600x800", "600x901"])
@pytest.mark.parametrize("mode", ["train", "test"])
@pytest.mark.parametrize("edge", ["edge", "noedge"])
def test_golden_proposals(golden: Path, reference: Params, size: str, mode: str, edge: str) -> None:
    file = np.load(golden / "proposals.npz")
    height, width = map(int, size.split("x"))
    logits = torch.from_numpy(file[f"{size}/logits_nchw"]).permute(0, 2, 3, 1).flatten(1)
    deltas = torch.from_numpy(file[f"{size}/deltas_nchw"]).permute(0, 2, 3, 1).reshape(1, -1, 4)[..., [1, 0, 3, 2]]
    grid = grid_of((width, height), reference.model.backbone)
    anchors = torch.from_numpy(anchor_grid(one_map(*grid), PAPER).copy())
    allowed = proposing_anchors(one_map(*grid), [(grid,)], [(width, height)], PAPER, exclude_edge=edge == "noedge")
    settings = reference.train.rpn if mode == "train" else reference.detect
    proposals, real = generate_proposals(
        logits, deltas, anchors, [(width, height)], torch.from_numpy(allowed), settings, reference.model
    )
    expected = file[f"{size}/{mode}/{edge}/proposals_y1x1y2x2"][:, [1, 0, 3, 2]]
    np.testing.assert_allclose(proposals[real].numpy(), expected, atol=1e-3)


@pytest.mark.golden
def test_golden_losses(golden: Path, reference: Params) -> None:
    file = np.load(golden / "labels_losses_detections.npz")
    gt = file["rpn_loss/gt"][:, [1, 0, 3, 2]]
    labels = label_image(gt, (800, 600), reference.model.backbone, reference.anchors)
    row, column, k = file["rpn_loss/sampled_yxk"].astype(np.int64).T
    index = (row * 50 + column) * 9 + k
    place = {int(anchor): i for i, anchor in enumerate(labels.positive_index)}
    kind = torch.tensor([[int(anchor in place) for anchor in index]])
    targets = np.zeros((1, len(index), 4), np.float32)
    for i, anchor in enumerate(index):
        if anchor in place:
            targets[0, i] = labels.positive_delta[place[anchor]]
    logits = torch.logit(torch.from_numpy(file["rpn_loss/scores_sigmoid"]).double()).flatten(1)
    deltas = torch.from_numpy(file["rpn_loss/deltas"]).reshape(1, -1, 4)[..., [1, 0, 3, 2]]
    sampled = (torch.from_numpy(index)[None], kind, torch.from_numpy(targets))
    cls, box = rpn_losses(logits, deltas, *sampled, reference.train.rpn.sigma)
    assert cls.item() == pytest.approx(file["rpn_loss/class_loss"].item(), rel=1e-5)
    assert box.item() == pytest.approx(file["rpn_loss/regression_loss"].item(), rel=1e-5)
    assert set(index) <= set(valid_anchors((800, 600), one_map(37, 50), PAPER))
