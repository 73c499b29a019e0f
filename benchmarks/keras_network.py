"""Our network in Keras and TensorFlow, with the weights of the one in torch, to be timed beside it in float32."""

from collections.abc import Callable
from typing import Any

from frcnn.detector.batch import Batch
from frcnn.keras.inputs import image_inputs
from frcnn.keras.learner import KerasLearner
from frcnn.params import Params
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.weights import arrays_of


def keras_training(model: FasterRCNN, batch: Batch, params: Params) -> Callable[[], Any]:
    """Return a training step on the batch; its rate is 0."""
    learner = KerasLearner(model.config, arrays_of(model), params.train)

    inputs = learner.to_inputs(batch)

    def step() -> None:
        learner.backward(inputs, len(batch.sizes), 1, True, (0,))
        learner.update(0.0)

    return step


def keras_detection(model: FasterRCNN, batch: Batch, params: Params) -> Callable[[], Any]:
    """Return detection in the batch."""
    with KerasLearner(model.config, arrays_of(model), params.train).evaluating() as detector:
        detect = detector.traced(params.detect)
    return lambda: detect(image_inputs(batch.images, batch.sizes, model.config))
