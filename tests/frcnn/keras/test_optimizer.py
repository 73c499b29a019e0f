"""Steps of the optimizers and clipped gradients equal torch's."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from frcnn.keras.clipping import clip_gradients
from frcnn.keras.optimizer import Optimizer, build_optimizer
from frcnn.params.training import Optimizer as Settings
from frcnn.pytorch import clipping as torch_clipping
from frcnn.pytorch import optimizer as torch_side

pytestmark = pytest.mark.tensorflow

SHAPES = {"conv/kernel": (3, 3, 4, 8), "conv/bias": (8,), "dense/kernel": (20, 30), "dense/bias": (30,)}
RATES = (0.1, 0.1, 0.01)  # a fall of the rate tells whether it is folded into the momentum


def tensors(seed: int, scale: float = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(scale * rng.standard_normal(shape)).astype(np.float32) for shape in SHAPES.values()]


@pytest.fixture
def settings() -> Settings:
    """Parameters in which nothing that the two groups could confuse is equal."""
    return Settings(momentum=0.9, weight_decay=0.1, bias_lr_mult=2.0, bias_weight_decay=0.03)


def make_variables() -> list[keras.Variable]:
    return [keras.Variable(value, name=name.replace("/", "_")) for name, value in zip(SHAPES, tensors(0), strict=True)]


def compiled(optimizer: Optimizer) -> tf.types.experimental.GenericFunction:
    specs = [[tf.TensorSpec(shape) for shape in SHAPES.values()], tf.TensorSpec(())]
    return tf.function(lambda gradients, rate: optimizer.update(gradients, rate), input_signature=specs)


def torch_steps(settings: Settings, gradients: list[list[np.ndarray]]) -> list[np.ndarray]:
    model = torch.nn.ParameterList([torch.nn.Parameter(torch.from_numpy(value)) for value in tensors(0)])
    optimizer = torch_side.build_optimizer(model, settings)
    for step, rate in zip(gradients, RATES, strict=True):
        torch_side.set_learning_rate(optimizer, rate)
        for parameter, gradient in zip(model, step, strict=True):
            parameter.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
    return [parameter.detach().numpy() for parameter in model]


@pytest.mark.parametrize("change", [{}, {"weight_decay": 0.0, "bias_weight_decay": 0.0}, {"momentum": 0.0}])
@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_three_steps_equal_torchs(settings: Settings, kind: str, change: dict[str, float]) -> None:
    settings = settings.model_copy(update={"name": kind, **change})
    gradients = [tensors(seed) for seed in (1, 2, 3)]
    for step in gradients:
        step[2][:10] *= 1e-9  # as small as Adam's epsilon
        step[0][0] = 0
    variables = make_variables()
    update = compiled(build_optimizer(variables, settings))
    for step, rate in zip(gradients, RATES, strict=True):
        update(step, rate)
    for variable, expected in zip(variables, torch_steps(settings, gradients), strict=True):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_from_a_saved_state_the_bits_are_the_same(settings: Settings, kind: str) -> None:
    settings = settings.model_copy(update={"name": kind})
    variables = make_variables()
    optimizer = build_optimizer(variables, settings)
    update = compiled(optimizer)
    update(tensors(1), 0.1)
    state, weights = optimizer.state(), [variable.numpy() for variable in variables]
    update(tensors(2), 0.1)

    others = make_variables()
    resumed = build_optimizer(others, settings)
    for variable, value in zip(others, weights, strict=True):
        variable.assign(value)
    resumed.load_state(state)
    compiled(resumed)(tensors(2), 0.1)
    for variable, other in zip(variables, others, strict=True):
        assert other.numpy().tobytes() == variable.numpy().tobytes()
    assert resumed.state()["steps"] == 2


def test_a_state_of_another_kind_is_refused(settings: Settings) -> None:
    sgd, adam = (
        build_optimizer(make_variables(), settings.model_copy(update={"name": kind})) for kind in ("sgd", "adam")
    )
    with pytest.raises(ValueError, match="not this optimizer's state: conv_bias/mean is on one side only"):
        adam.load_state(sgd.state())


@pytest.mark.parametrize("scale", [0, 1e-9, 1e-3, 1, 1e3])
@pytest.mark.parametrize("how", ["variable", "global_norm", "value", None])
def test_clipped_gradients_equal_torchs(how: str | None, scale: float) -> None:
    gradients = tensors(4, scale)
    gradients[1][:] = 0
    parameters = [torch.zeros(value.shape, requires_grad=True) for value in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.from_numpy(gradient.copy())
    torch_clipping.clip_gradients(parameters, how, 0.01)
    clipped = tf.function(lambda tensors: clip_gradients(tensors, how, 0.01))([tf.constant(each) for each in gradients])
    for found, parameter in zip(clipped, parameters, strict=True):
        np.testing.assert_allclose(found.numpy(), parameter.grad.numpy(), rtol=1e-6, atol=0)
