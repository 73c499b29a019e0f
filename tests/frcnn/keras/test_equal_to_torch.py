"""The network computes in TensorFlow what it computes in torch: features, proposals, losses, gradients, detections."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision  # noqa: F401 - before TensorFlow; triton, which it loads, crashes after it

pytest.importorskip("tensorflow", reason="needs pip install '.[tensorflow]'")

import tensorflow as tf  # noqa: E402
from twins import Twins, build_twins, make_batch, nhwc, relative_error  # noqa: E402

from frcnn.keras.inputs import IMAGE_SIGNATURE, SIGNATURE, batch_inputs  # noqa: E402
from frcnn.keras.layouts import from_keras  # noqa: E402
from frcnn.keras.weights import state  # noqa: E402
from frcnn.model.faster_rcnn import LOSSES  # noqa: E402
from frcnn.params import Detect, Params  # noqa: E402

pytestmark = pytest.mark.tensorflow

KINDS = {
    "vgg16": {"backbone": "vgg16", "width": 64, "freeze_at": 2, "norm": "frozen"},
    "resnet50": {"backbone": "resnet50", "width": 64, "freeze_at": 2, "norm": "frozen"},
    "resnet18, trained norms": {"backbone": "resnet18", "width": 16, "freeze_at": 1, "norm": "trained"},
    "resnet34, max": {"backbone": "resnet34", "width": 16, "freeze_at": 0, "norm": "frozen", "head_pool": "max"},
}
OPS = ("align", "pool")


@pytest.fixture(scope="module", params=KINDS, ids=list(KINDS))
def built(request: pytest.FixtureRequest, params: Params) -> Twins:
    return build_twins(params, **KINDS[request.param])


@pytest.fixture
def twins(built: Twins) -> Twins:
    if built.params.model.norm == "trained":
        built.reset()  # training moves the running statistics
    return built


def differentiate(twins: Twins) -> Callable:
    """Return the traced function of a training step's losses and gradients."""

    @tf.function(input_signature=[SIGNATURE])
    def step(inputs):  # noqa: ANN001, ANN202
        with tf.GradientTape() as tape:
            losses = twins.keras.losses(inputs, twins.params.train)
            total = tf.add_n([tf.reduce_sum(loss) for loss in losses.values()])
        variables = [variable.value for variable in twins.keras.trainable_variables]
        return losses, tape.gradient(total, variables)

    return step


def test_features_and_proposals(twins: Twins) -> None:
    model, batch, train = twins.torch.eval(), twins.batch, twins.params.train
    with torch.no_grad():
        expected = model._extract(batch.images, batch.sizes)
        wanted = model._propose(expected, batch.sizes, train.pre_nms_topk, train.post_nms_topk)
    found = twins.keras._extract(twins.inputs.pictures, training=False)
    proposals, real = twins.keras._propose(found, twins.inputs.pictures, train.pre_nms_topk, train.post_nms_topk)
    assert relative_error(found.maps, nhwc(expected.maps)) < 1e-4
    assert relative_error(found.logits, expected.logits) < 1e-4
    assert relative_error(found.deltas, expected.deltas) < 1e-4
    assert real.numpy().sum() > 20
    np.testing.assert_array_equal(real, wanted[1])
    np.testing.assert_allclose(proposals, wanted[0], atol=1e-2)


@pytest.mark.parametrize("op", OPS)
def test_losses_gradients_and_running_statistics(twins: Twins, op: str) -> None:
    model = twins.torch.train()
    model.zero_grad()
    with twins.pooling(op):
        expected = model.losses(twins.batch, twins.params.train)
        torch.stack(list(expected.values())).sum().backward()
        step = differentiate(twins)
        losses, gradients = step(twins.inputs)
        assert tuple(losses) == LOSSES
        for name in LOSSES:
            assert (losses[name].numpy() > 0).all()
            np.testing.assert_allclose(losses[name], expected[name].detach(), rtol=1e-5)
        wanted = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        found = dict(zip(names_of(twins), gradients, strict=True))
        assert found.keys() == wanted.keys()
        errors = [relative_error(from_keras(name, found[name].numpy()), wanted[name]) for name in found]
        # A ReLU whose input is 0 but for rounding may open on one side only, which moves a small layer by some 1e-4;
        # torch's float32 and float64 differ as much.
        assert max(errors) < 1e-3
        assert np.quantile(errors, 0.9) < 1e-4
        assert_same_state(twins)
        others = make_batch(twins.params, [[(3, 3, 60, 60)]], [(112, 80)])
        step(batch_inputs(others, twins.keras.config))
        assert step.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("op", OPS)
def test_detections(twins: Twins, op: str) -> None:
    settings = Detect(pre_nms_topk=200, post_nms_topk=60, score_threshold=0.15, max_detections=50)
    with twins.pooling(op):
        expected = twins.torch.eval().detect(twins.batch.images, twins.batch.sizes, settings)
        detect = tf.function(lambda inputs: twins.keras.detect(inputs, settings), input_signature=[IMAGE_SIGNATURE])
        found = detect(twins.inputs.pictures)
    assert found.boxes.shape == (2, 50, 4)
    for boxes, scores, labels, (wanted_boxes, wanted_scores, wanted_labels) in zip(*found, expected, strict=True):
        count = int((labels > 0).numpy().sum())
        assert count > 5
        np.testing.assert_array_equal(labels[:count], wanted_labels)
        np.testing.assert_allclose(boxes[:count], wanted_boxes, atol=1e-2)
        np.testing.assert_allclose(scores[:count], wanted_scores, atol=1e-4)
        assert not np.any(boxes[count:]) and not np.any(scores[count:]) and not np.any(labels[count:])


def names_of(twins: Twins) -> list[str]:
    return [variable.path.replace("/", ".") for variable in twins.keras.trainable_variables]


def assert_same_state(twins: Twins) -> None:
    """Of a step without an optimizer only the running statistics of trained norms tell."""
    wanted, found = twins.torch.state_dict(), state(twins.keras)
    assert found.keys() == wanted.keys()
    moved = {name for name in found if not np.array_equal(found[name], twins.start[name])}
    assert moved == {name for name in wanted if not torch.equal(wanted[name], twins.start[name])}
    assert bool(moved) == (twins.params.model.norm == "trained")
    for name in moved:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-5)
