"""The random network works as a trained one does."""

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.inputs import make_batch
from benchmarks.network import OBJECTNESS_STD, RPN_DELTA_STD, build_model
from frcnn.data.voc.annotation import Annotation
from frcnn.params import Params
from frcnn.pytorch.inputs import batch_inputs

CPU = torch.device("cpu")


def test_outputs_have_the_spread_of_a_trained_network(small: Params, pictures: list[Annotation]) -> None:
    batch = make_batch(pictures, small)
    model = build_model(small, batch, CPU, training=False)
    outputs: list[tuple[Tensor, Tensor]] = []
    model.rpn.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    found = model.detect(batch_inputs(batch, model.config).pictures, small.detect)
    [(logits, deltas)] = outputs
    assert logits.std().item() == pytest.approx(OBJECTNESS_STD, rel=0.05)
    assert deltas.std().item() == pytest.approx(RPN_DELTA_STD, rel=0.05)
    assert logits.mean().item() == pytest.approx(0, abs=0.01)
    assert all(len(scores) > 0 for _, scores, _ in found)


def test_proposals_and_rois_reach_the_limits(small: Params, pictures: list[Annotation]) -> None:
    batch = make_batch(pictures, small)
    model = build_model(small, batch, CPU, training=True)
    inputs, rois = batch_inputs(batch, model.config), []
    model.head.register_forward_hook(lambda module, inputs, output: rois.append(len(output)))
    model(inputs, small.train)
    _, real = model._propose(model._extract(inputs.pictures), inputs.pictures, small.train.rpn)
    assert real.sum(1).tolist() == [small.train.rpn.post_nms_topk] * 2
    few: dict[str, Any] = {"post_nms_topk": 7}
    model.detect(inputs.pictures, small.detect.model_copy(update=few))
    assert rois == [2 * small.train.roi.batch_size, 2 * 7]
