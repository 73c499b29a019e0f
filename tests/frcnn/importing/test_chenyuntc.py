"""chenyuntc's checkpoints compute the same with our network; the arithmetic of theirs is written here once more."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from frcnn import boxes
from frcnn.anchors.grid import anchor_grid
from frcnn.detector.config import PREPROCESSING, ROI_DELTA_STD, Preprocessing
from frcnn.errors import UserError
from frcnn.importing.recognize import recognize
from frcnn.params import Params
from frcnn.pytorch.faster_rcnn import FasterRCNN
from tests.factories import one_map
from tests.foreign_weights import (
    anchors_by,
    convolve,
    decode,
    imported_detector,
    layer,
    linear,
    vgg_features,
    vgg_layers,
)

FEATURES = "extractor.{index}"
CAFFE_REVERSED = Preprocessing(order="BGR", scale=1.0, mean=(122.7717, 115.9465, 102.9801), std=(1.0, 1.0, 1.0))


def checkpoint(fc7: str = "head.classifier.2") -> dict[str, Tensor]:
    tensors = vgg_layers(FEATURES, "head.classifier.0", fc7)
    tensors |= layer("rpn.conv1", 512, 512, 3, 3) | layer("rpn.score", 18, 512, 1, 1) | layer("rpn.loc", 36, 512, 1, 1)
    return tensors | layer("head.cls_loc", 84, 4096) | layer("head.score", 21, 4096)


def load(path: Path, reference: Params, preparation: str | None = None) -> FasterRCNN:
    found = recognize(path, "", preparation)
    return imported_detector(found, reference, str(path))


@torch.no_grad()
def test_the_network_computes_what_theirs_does(reference: Params, tmp_path: Path) -> None:
    tensors, path = checkpoint(), tmp_path / "w"
    torch.save(tensors, path)
    model = load(path, reference, "torchvision")
    image = torch.rand(1, 3, 48, 64)
    features = vgg_features(image, FEATURES, tensors)
    torch.testing.assert_close(model.backbone(image)[0], features, rtol=1e-4, atol=1e-5)

    # RPN: nine pairs (background, foreground) and nine (dy, dx, dh, dw) a cell, ratios outside and sizes inside.
    hidden = F.relu(convolve(features, "rpn.conv1", tensors))
    scores = convolve(hidden, "rpn.score", tensors).permute(0, 2, 3, 1).reshape(-1, 2)
    locations = convolve(hidden, "rpn.loc", tensors).permute(0, 2, 3, 1).reshape(-1, 4)
    theirs = anchors_by("ratios", 3, 4)
    expected = {
        tuple(np.round(anchor[[1, 0, 3, 2]], 1)): (probability, box)
        for anchor, probability, box in zip(
            theirs, scores.softmax(1)[:, 1].numpy(), decode(locations.numpy(), theirs), strict=True
        )
    }
    logits, deltas = model.rpn([features])
    ours = torch.from_numpy(anchor_grid(one_map(3, 4), reference.anchors).copy())
    assert len(expected) == len(ours) == 108
    assert logits.std() > 0.01
    for anchor, logit, box in zip(ours, logits[0], boxes.decode(deltas[0], ours, False), strict=True):
        probability, expected_box = expected[tuple(np.round(anchor.numpy().astype(float), 1))]
        np.testing.assert_allclose(logit.sigmoid(), probability, rtol=1e-4)
        np.testing.assert_allclose(box, expected_box, rtol=1e-4, atol=1e-2)

    # Head: 21 scores and 21 times (dy, dx, dh, dw), background first in both.
    pooled = torch.rand(2, 512, 7, 7)
    vector = F.relu(
        linear(F.relu(linear(pooled.flatten(1), "head.classifier.0", tensors)), "head.classifier.2", tensors)
    )
    their_scores = linear(vector, "head.score", tensors).softmax(1)
    their_deltas = linear(vector, "head.cls_loc", tensors).view(2, 21, 4)[:, 1:] * torch.tensor([0.1, 0.1, 0.2, 0.2])
    rois = np.array([[10.0, 20, 110, 90], [30, 5, 60, 200]])  # y1, x1, y2, x2
    class_logits, roi_deltas = model.predictor(model.head(pooled))
    torch.testing.assert_close(class_logits.softmax(1), their_scores, rtol=1e-3, atol=1e-5)
    our_rois = torch.tensor(rois[:, [1, 0, 3, 2]], dtype=torch.float32)[:, None]
    found = boxes.decode(roi_deltas * torch.tensor(ROI_DELTA_STD), our_rois, False)
    np.testing.assert_allclose(found, decode(their_deltas.numpy(), rois[:, None]), rtol=1e-3, atol=1e-2)


def test_fc7_after_a_dropout(reference: Params, tmp_path: Path) -> None:
    tensors = checkpoint("head.classifier.3")
    torch.save(tensors, tmp_path / "w")
    found = load(tmp_path / "w", reference, "caffe").state_dict()
    assert torch.equal(found["head.classifier.3.bias"], tensors["head.classifier.3.bias"])
    assert torch.equal(found["head.classifier.3.weight"][7], tensors["head.classifier.3.weight"][7])


def test_the_checkpoint_tells_how_pictures_are_prepared(reference: Params, tmp_path: Path) -> None:
    path = tmp_path / "w"
    rest = {"other_info": {"best_map": np.float64(0.7)}, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]}}
    for caffe in (True, False):
        content = {"model": checkpoint(), "config": {"caffe_pretrain": caffe, "epoch": 14}, **rest}
        torch.save(content, path, _use_new_zipfile_serialization=False)  # as torch wrote files until 1.6
        found = recognize(path, "", None)
        assert found.backbone == ("vgg16" if caffe else "vgg16-torch")
        expected = CAFFE_REVERSED if caffe else PREPROCESSING["torchvision"]
        assert found.preprocessing == expected
        with pytest.raises(UserError, match="expects pictures prepared as for"):
            recognize(path, "", "torchvision" if caffe else "caffe")
    torch.save(checkpoint(), path)
    with pytest.raises(UserError, match="does not tell how pictures are prepared"):
        recognize(path, "", None)
    assert load(path, reference, "caffe").config.preprocessing.mean == (122.7717, 115.9465, 102.9801)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("extractor.14.bias"), r"missing extractor\.14\.bias$"),
        (lambda t: t.update({"head.extra.weight": torch.zeros(1)}), r"unexpected head\.extra\.weight$"),
        (
            lambda t: t.update({"rpn.score.weight": torch.zeros(24, 512, 1, 1)}),
            r"rpn\.score\.weight is \(24, 512, 1, 1\), expected \(18, 512, 1, 1\)$",
        ),
        (lambda t: t.pop("head.score.bias"), r"missing head\.score\.bias$"),
        (lambda t: t.update(layer("head.score", 6, 4096)), "has 5 classes, and 20 names are given"),
    ],
    ids=["missing", "extra", "misshapen", "no class bias", "other classes"],
)
def test_what_does_not_fit_is_refused(reference: Params, tmp_path: Path, change, message: str) -> None:
    tensors = checkpoint()
    change(tensors)
    torch.save(tensors, tmp_path / "w")
    with pytest.raises(UserError, match=message):
        load(tmp_path / "w", reference, "caffe")
