"""The network computes in TensorFlow what it computes in torch: features, proposals, losses, gradients, detections."""

import numpy as np
import pytest
import tensorflow as tf
import torch

from frcnn.detector.config import LOSSES
from frcnn.detector.layouts import from_keras
from frcnn.keras.inputs import IMAGE_SIGNATURE, SIGNATURE, Inputs, batch_inputs
from frcnn.keras.weights import arrays_of
from frcnn.params import Detect, Params
from tests.factories import Twins, build_twins, make_batch, nhwc, relative_error

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


def test_features_and_proposals(twins: Twins) -> None:
    model, train = twins.torch.eval(), twins.params.train
    pictures = twins.torch_inputs.pictures
    with torch.no_grad():
        expected = model._extract(pictures)
        wanted = model._propose(expected, pictures, train.rpn)
    found = twins.keras._extract(twins.inputs.pictures, training=False)
    proposals, real = twins.keras._propose(found, twins.inputs.pictures, train.rpn)
    assert relative_error(found.maps, nhwc(expected.maps[0])) < 1e-4
    assert relative_error(found.logits, expected.logits) < 1e-4
    assert relative_error(found.deltas, expected.deltas) < 1e-4
    assert real.numpy().sum() > 20
    np.testing.assert_array_equal(real, wanted[1])
    np.testing.assert_allclose(proposals, wanted[0], atol=1e-2)


@pytest.mark.parametrize("op", OPS)
def test_losses_and_running_statistics(twins: Twins, op: str) -> None:
    train = twins.params.train
    with twins.pooling(op):
        expected = twins.torch.train()(twins.torch_inputs, train)
        step = tf.function(lambda inputs: twins.keras.losses(inputs, train), input_signature=[SIGNATURE])
        found = step(twins.inputs)
        assert tuple(found) == LOSSES
        for name in LOSSES:
            assert (found[name].numpy() > 0).all()
            np.testing.assert_allclose(found[name], expected[name].detach(), rtol=1e-5)
        assert_same_state(twins)
        others = make_batch(twins.params, [[(3, 3, 60, 60)]], [(112, 80)])
        step(batch_inputs(others, twins.keras.config))
        assert step.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(("op", "smooth"), [("align", True), ("pool", False)])
def test_gradients(twins: Twins, op: str, smooth: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the input of a ReLU is 0 but for rounding it may open on one side only, and one of 200,000 of them is
    0.2 % of a gradient; torch's float32 differs from its float64 as much. Hence the smooth network.
    """
    if smooth:
        monkeypatch.setattr(torch.nn.ReLU, "forward", lambda self, x: torch.nn.functional.softplus(x))
        monkeypatch.setattr(torch.nn.functional, "relu", torch.nn.functional.softplus)
        monkeypatch.setattr(tf.nn, "relu", tf.nn.softplus)
    with twins.pooling(op):
        expected = torch_gradients(twins)
        found = keras_gradients(twins)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert relative_error(gradient, expected[name]) < (1e-4 if smooth else 1e-2), name


@pytest.mark.parametrize("op", OPS)
def test_detections(twins: Twins, op: str) -> None:
    settings = Detect(pre_nms_topk=200, post_nms_topk=60, score_threshold=0.15, max_detections=50)
    with twins.pooling(op):
        expected = twins.torch.eval().detect(twins.torch_inputs.pictures, settings)
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


def torch_gradients(twins: Twins) -> dict[str, torch.Tensor]:
    model = twins.torch.train()
    model.zero_grad()
    torch.stack(list(model(twins.torch_inputs, twins.params.train).values())).sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}


def keras_gradients(twins: Twins) -> dict[str, np.ndarray]:
    variables = {variable.path.replace("/", "."): variable.value for variable in twins.keras.trainable_variables}

    @tf.function(input_signature=[SIGNATURE])
    def differentiate(inputs: Inputs) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(list(twins.keras.losses(inputs, twins.params.train).values()))
        return tape.gradient(total, list(variables.values()))

    gradients = differentiate(twins.inputs)
    return {name: from_keras(name, gradient.numpy()) for name, gradient in zip(variables, gradients, strict=True)}


def assert_same_state(twins: Twins) -> None:
    """Of a step without an optimizer only the running statistics of trained norms tell."""
    wanted, found = twins.torch.state_dict(), arrays_of(twins.keras)
    assert found.keys() == wanted.keys()
    moved = {name for name in found if not np.array_equal(found[name], twins.start[name])}
    assert moved == {name for name in wanted if not torch.equal(wanted[name], twins.start[name])}
    assert bool(moved) == (twins.params.model.norm == "trained")
    for name in moved:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-5)
