"""Proposals and their targets are constants: the RoI losses leave the RPN alone."""

import numpy as np
import pytest
import tensorflow as tf

from frcnn.params import Params
from tests.factories import Twins, build_twins

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def twins(params: Params) -> Twins:
    return build_twins(params, backbone="resnet18", norm="frozen")


@pytest.mark.parametrize("op", ["align", "pool"])
def test_roi_losses_give_the_rpn_no_gradient(twins: Twins, op: str) -> None:
    model = twins.keras
    with twins.pooling(op), tf.GradientTape() as tape:
        losses = model.losses(twins.inputs, twins.params.train)
        total = tf.reduce_sum(losses["loss_roi_cls"] + losses["loss_roi_box"])
    own, others = model.rpn.trainable_variables, model.backbone.trainable_variables
    gradients = tape.gradient(total, [variable.value for variable in own + others])
    assert len(own) == 6
    assert all(gradient is None or not np.any(gradient) for gradient in gradients[:6])
    assert all(np.any(gradient) for gradient in gradients[6:])


def test_proposals_and_samples_carry_no_gradient(twins: Twins) -> None:
    train = twins.params.train
    with tf.GradientTape(persistent=True) as tape:
        found = twins.keras._extract(twins.inputs.pictures, training=True)
        tape.watch(found)
        proposals, _ = twins.keras._propose(found, twins.inputs.pictures, train.rpn)
        total = tf.reduce_sum(proposals)
    assert np.any(proposals)
    assert tape.gradient(total, found.deltas) is None
