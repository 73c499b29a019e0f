"""The RPN: losses and proposals, against published numbers and by their properties."""

from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn.anchors.grid import anchor_grid, feature_grid, valid_anchors
from frcnn.anchors.label import label_image
from frcnn.params import Params
from frcnn.pytorch.rpn import RPNHead, generate_proposals, proposing_anchors, rpn_losses

PAPER = ((128.0, 256.0, 512.0), (0.5, 1.0, 2.0), 0.5)


def test_head_layout() -> None:
    head = RPNHead(8, 9)
    with torch.no_grad():
        head.objectness.bias.copy_(torch.arange(9.0))
        head.deltas.bias.copy_(torch.arange(36.0))
        head.objectness.weight.zero_()
        head.deltas.weight.zero_()
        logits, deltas = head(torch.rand(2, 8, 3, 5))
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


def test_filling_and_unused_targets_do_not_count() -> None:
    logits, deltas = torch.randn(1, 20), torch.randn(1, 20, 4)
    index, labels = torch.tensor([[3, 5, 7]]), torch.tensor([[1, 0, 0]])
    target = torch.randn(1, 3, 4)
    filled_target = torch.cat([target, torch.full((1, 2, 4), torch.nan)], 1)
    filled = rpn_losses(
        logits, deltas, torch.tensor([[3, 5, 7, 0, 0]]), torch.tensor([[1, 0, 0, -1, -1]]), filled_target, 3
    )
    for loss, expected in zip(filled, rpn_losses(logits, deltas, index, labels, target, 3), strict=True):
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


def propose(
    logits: torch.Tensor, deltas: torch.Tensor, anchors: torch.Tensor, size: tuple[int, int], **more
) -> torch.Tensor:
    options = {"pre_nms_topk": 2000, "post_nms_topk": 300, "nms_threshold": 0.7, "min_size": 0, "delta_clamp": True}
    inside = torch.ones(1, len(anchors), dtype=torch.bool)
    proposals, real = generate_proposals(logits, deltas, anchors, [size], inside, **(options | more))
    return proposals[real]


def test_proposals_lie_in_the_image_and_are_large_enough() -> None:
    torch.manual_seed(0)
    anchors = torch.from_numpy(anchor_grid(10, 15, (32.0, 64.0), (1.0,), 0.5).copy())
    found = propose(torch.randn(1, 300), torch.randn(1, 300, 4), anchors, (233, 155), min_size=20)
    assert len(found) > 5
    assert (found >= 0).all()
    assert (found[:, 2] <= 233).all()
    assert (found[:, 3] <= 155).all()
    assert ((found[:, 2:] - found[:, :2]) >= 20).all()


def test_only_the_best_anchors_are_decoded_and_the_best_proposals_kept() -> None:
    anchors = torch.from_numpy(anchor_grid(4, 6, (8.0,), (1.0,), 0.5).copy())  # 24 anchors that do not overlap
    logits = torch.randn(1, 24)
    logits[0, 3] = 8
    deltas = torch.zeros(1, 24, 4)
    assert len(propose(logits, deltas, anchors, (96, 64), pre_nms_topk=10)) == 10
    best = propose(logits, deltas, anchors, (96, 64), pre_nms_topk=10, post_nms_topk=1)
    assert best.tolist() == [anchors[3].tolist()]


def test_anchors_of_the_padding_yield_nothing() -> None:
    anchors = torch.from_numpy(anchor_grid(4, 6, (32.0,), (1.0,), 0.5).copy())
    inside = torch.zeros(2, 4, 6, dtype=torch.bool)
    inside[0, :2, :3] = True
    inside[1] = True
    logits = torch.where(inside, 0.0, 9.0).flatten(1)  # the padding shouts loudest
    proposals, real = generate_proposals(
        logits, torch.zeros(2, 24, 4), anchors, [(48, 32), (96, 64)], inside.flatten(1), pre_nms_topk=100,
        post_nms_topk=100, nms_threshold=1.0, min_size=0, delta_clamp=True,
    )  # fmt: skip
    assert real.sum(1).tolist() == [6, 24]
    assert real[0, :6].all()
    assert proposals[0, :6, 2].max() <= 48
    assert not proposals[~real].any()


def test_anchors_across_the_border_may_be_left_out() -> None:
    """Of the padded map of 4 x 6 cells, an image of 48 x 48 px has 3 x 3 and another the whole."""
    anchors = torch.from_numpy(anchor_grid(4, 6, (32.0,), (1.0,), 0.5).copy())
    options = (anchors, (4, 6), [(3, 3), (4, 6)], [(48, 48), (96, 64)])
    inside, solid = (proposing_anchors(*options, exclude_edge=exclude).view(2, 4, 6) for exclude in (False, True))
    assert inside.sum((1, 2)).tolist() == [9, 24]
    assert torch.nonzero(solid[0]).tolist() == [[1, 1]]  # 32 px in the middle cell reach from 8 to 40
    assert solid[1].sum() == 2 * 4
    assert not solid[1, 0].any()


def test_proposals_carry_no_gradient() -> None:
    anchors = torch.from_numpy(anchor_grid(4, 6, (32.0,), (1.0,), 0.5).copy())
    found = propose(
        torch.randn(1, 24, requires_grad=True), torch.randn(1, 24, 4, requires_grad=True), anchors, (96, 64)
    )
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
    grid = feature_grid(width, height, reference.model.backbone)
    anchors = torch.from_numpy(anchor_grid(*grid, *PAPER).copy())
    settings = reference.train if mode == "train" else reference.detect
    proposals, real = generate_proposals(
        logits,
        deltas,
        anchors,
        [(width, height)],
        proposing_anchors(anchors, grid, [grid], [(width, height)], exclude_edge=edge == "noedge"),
        pre_nms_topk=settings.pre_nms_topk,
        post_nms_topk=settings.post_nms_topk,
        nms_threshold=reference.model.rpn_nms_threshold,
        min_size=reference.model.proposal_min_size,
        delta_clamp=reference.model.delta_clamp,
    )
    expected = file[f"{size}/{mode}/{edge}/proposals_y1x1y2x2"][:, [1, 0, 3, 2]]
    np.testing.assert_allclose(proposals[real].numpy(), expected, atol=1e-3)


@pytest.mark.golden
def test_golden_losses(golden: Path, reference: Params) -> None:
    file = np.load(golden / "labels_losses_detections.npz")
    gt = file["rpn_loss/gt"][:, [1, 0, 3, 2]]
    labels = label_image(gt, 800, 600, reference.model.backbone, reference.anchors)
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
    cls, box = rpn_losses(
        logits, deltas, torch.from_numpy(index)[None], kind, torch.from_numpy(targets), reference.train.rpn_sigma
    )
    assert cls.item() == pytest.approx(file["rpn_loss/class_loss"].item(), rel=1e-5)
    assert box.item() == pytest.approx(file["rpn_loss/regression_loss"].item(), rel=1e-5)
    assert set(index) <= set(valid_anchors(800, 600, 37, 50, *PAPER, 0))
