"""Minibatches of RoIs and their losses."""

from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn.params import Params
from frcnn.params.training import RoITraining
from frcnn.pytorch.roi_heads import roi_losses
from frcnn.pytorch.sampling import RoISample, label_rois, sample_rois

SETTINGS = RoITraining(batch_size=8, positive_fraction=0.25, positive_iou=0.5, background_min_iou=0.0)


def sample_one(proposals: torch.Tensor, gt_boxes: torch.Tensor, gt_labels: torch.Tensor) -> RoISample:
    """Sample from one image's proposals (P, 4), all of them real."""
    real = torch.ones(1, len(proposals), dtype=torch.bool)
    priorities = torch.rand(1, len(proposals) + gt_labels.shape[1])
    return sample_rois(proposals[None], real, gt_boxes, gt_labels, priorities, SETTINGS)


def test_objects_join_and_positives_are_limited() -> None:
    gt = torch.tensor([[[0.0, 0, 10, 10], [20, 20, 40, 40]]])
    proposals = torch.cat([gt[0].repeat(5, 1), torch.tensor([[50.0, 50, 60, 60]]).repeat(20, 1)])
    sample = sample_one(proposals, gt, torch.tensor([[3, 5]]))
    assert sample.rois.shape == (1, 8, 4)
    assert (sample.labels > 0).sum() == 2
    assert (sample.labels == 0).sum() == 6


def test_without_proposals_the_objects_remain_and_padding_is_marked() -> None:
    gt = torch.tensor([[[0.0, 0, 10, 10]]])
    sample = sample_one(torch.zeros(0, 4), gt, torch.tensor([[2]]))
    assert sample.labels.tolist() == [[2, -1, -1, -1, -1, -1, -1, -1]]
    assert sample.rois[0, 0].tolist() == [0, 0, 10, 10]
    assert sample.deltas[0, 0].tolist() == [0, 0, 0, 0]


def test_an_image_without_objects_trains_as_background() -> None:
    sample = sample_one(torch.rand(5, 4), torch.zeros(1, 0, 4), torch.zeros(1, 0).long())
    assert sample.labels.tolist() == [[0, 0, 0, 0, 0, -1, -1, -1]]


def test_the_highest_priorities_of_those_that_qualify_are_chosen_and_padding_never() -> None:
    gt, gt_labels = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 0, 0]]]), torch.tensor([[4, 0]])
    rois = torch.tensor([[0.0, 0, 10, 9], [0, 0, 9, 10], [50, 50, 60, 60], [70, 70, 90, 90], [0, 0, 0, 0]])
    real = torch.tensor([[True, True, True, True, False]])
    inputs = (rois[None], real, gt, gt_labels, torch.tensor([[0.3, 0.8, 0.2, 0.1, 0.9, 0.5, 0.99]]))
    sample = sample_rois(*inputs, SETTINGS.model_copy(update={"batch_size": 3, "positive_fraction": 0.34}))
    assert sample.labels.tolist() == [[4, 0, 0]]
    assert sample.rois[0].tolist() == [rois[i].tolist() for i in (1, 2, 3)]
    assert sample.deltas[0, 1:].abs().sum() == 0
    every = sample_rois(*inputs, SETTINGS.model_copy(update={"positive_fraction": 1.0}))
    assert every.labels.tolist() == [[4, 4, 4, 0, 0, -1, -1, -1]]


def test_an_image_of_a_batch_is_sampled_as_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    rois = torch.rand(3, 40, 4, generator=generator).cumsum(-1) * 50
    real = torch.rand(3, 40, generator=generator) < 0.7
    gt = torch.rand(3, 5, 4, generator=generator).cumsum(-1) * 50
    gt_labels = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 0, 0, 0], [0, 0, 0, 0, 0]])
    inputs = (rois, real, gt, gt_labels, torch.rand(3, 45, generator=generator))
    together = sample_rois(*inputs, SETTINGS)
    for i in range(3):
        alone = sample_rois(*(each[i : i + 1] for each in inputs), SETTINGS)
        for name in ("rois", "labels", "deltas"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[i])
        assert together.deltas.isfinite().all()


def test_background_floor() -> None:
    gt, rois = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[0.0, 0, 10, 4], [50, 50, 60, 60]])
    labels, _ = label_rois(rois, gt, torch.tensor([1]), positive_iou=0.5, background_min_iou=0.1)
    assert labels.tolist() == [0, -1]


def test_no_gradient_comes_back() -> None:
    proposals = torch.rand(6, 4, requires_grad=True)
    sample = sample_one(proposals, torch.tensor([[[0.0, 0, 1, 1]]]), torch.tensor([[1]]))
    assert not any(tensor.requires_grad for tensor in (sample.rois, sample.deltas))


def test_published_box_loss() -> None:
    labels = torch.tensor([[1, 0]])
    target = torch.tensor([[[0.5, -0.5, 2, -2], [9, 9, 9, 9]]])
    _, box = roi_losses(torch.zeros(1, 2, 4), torch.zeros(1, 2, 3, 4), labels, target, sigma=1)
    assert box.item() == pytest.approx(1.625)


@pytest.mark.golden
def test_golden_labels_and_losses(golden: Path, reference: Params) -> None:
    file = np.load(golden / "labels_losses_detections.npz")
    gt = torch.from_numpy(file["label/gt"][:, [1, 0, 3, 2]].copy())
    rois = torch.cat([torch.from_numpy(file["label/proposals"][:, [1, 0, 3, 2]].copy()), gt])
    train = reference.train.roi
    np.testing.assert_array_equal(rois.numpy(), file["label/out_proposals"][:, [1, 0, 3, 2]])
    classes = torch.from_numpy(file["label/gt_class"])
    labels, deltas = label_rois(rois, gt, classes, train.positive_iou, train.background_min_iou)
    np.testing.assert_array_equal(labels.numpy(), file["label/out_class"])
    targets = file["label/out_targets_of_objects"][:, [1, 0, 3, 2]]
    np.testing.assert_allclose(deltas[labels > 0].numpy(), targets, atol=1e-5)

    # The reference takes the logarithm of probability + 1e-7; ours comes from logits.
    logits = (torch.from_numpy(file["det_loss/logits"])[None].softmax(-1) + 1e-7).log()
    predicted = torch.from_numpy(file["det_loss/deltas"]).view(1, -1, 20, 4)[..., [1, 0, 3, 2]]
    cls, box = roi_losses(logits, predicted, labels[None], deltas[None], train.sigma)
    assert cls.item() == pytest.approx(file["det_loss/class_loss"].item(), rel=1e-5)
    assert box.item() == pytest.approx(file["det_loss/regression_loss"].item(), rel=1e-5)
