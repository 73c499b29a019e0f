"""The sections of params.yaml that training reads, and postprocessing, which it shares with detection."""

from typing import Annotated, Literal

from pydantic import Field, Strict

from frcnn.params.types import (
    NUMBER,
    AtLeastOne,
    Count,
    Fraction,
    Framework,
    NonNegative,
    Positive,
    Precision,
    Section,
    Seed,
    Share,
)


class Optimizer(Section):
    """The optimizer of both phases."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Fraction = 0.9
    weight_decay: NonNegative = 0.0005
    bias_lr_mult: NonNegative = 1.0
    bias_weight_decay: NonNegative = 0.0
    clip_gradients: Literal["variable", "global_norm", "value"] | None = None
    clip_at: Positive = 1.0


class RPNTraining(Section):
    """Proposals in training, and the minibatch of anchors of an image."""

    pre_nms_topk: AtLeastOne = 12000
    post_nms_topk: AtLeastOne = 2000
    batch_size: AtLeastOne = 256
    positive_fraction: Fraction = 0.5
    sigma: Positive = 3.0


class RoITraining(Section):
    """The minibatch of RoIs of an image."""

    batch_size: AtLeastOne = 128
    positive_fraction: Fraction = 0.25
    positive_iou: Fraction = 0.5
    background_min_iou: Fraction = 0.0
    sigma: Positive = 1.0


class Postprocessing(Section):
    """From the network's output to detections; the defaults are the paper's."""

    pre_nms_topk: AtLeastOne = 6000
    post_nms_topk: AtLeastOne = 300
    score_threshold: Fraction = 0.05
    nms_threshold: Fraction = 0.3
    max_detections: AtLeastOne | None = 100
    count_empty: bool = False


class Validation(Postprocessing):
    """Validation on a part of the training split, with its own postprocessing."""

    fraction: Annotated[float, Field(ge=0, le=0.9), NUMBER] = 0.0
    every: AtLeastOne = 1
    keep: Literal["last", "best"] = "last"
    patience: AtLeastOne | None = None


class Train(Section):
    """What both phases of training share."""

    framework: Framework = "torch"
    seed: Seed = 1
    batch_size: AtLeastOne = 1
    grad_accum: AtLeastOne = 1
    base_batch_size: AtLeastOne | None = None
    precision: Precision = "float32"
    deterministic: bool = False
    flip_probability: Fraction = 0.5
    ema_decay: Share | None = None
    keep_every: AtLeastOne | None = None
    optimizer: Optimizer = Optimizer()
    rpn: RPNTraining = RPNTraining()
    roi: RoITraining = RoITraining()
    validation: Validation = Validation()


class Phase(Section):
    """What is particular to one of the two phases."""

    epochs: AtLeastOne
    learning_rate: Positive
    warmup_steps: Count = 0
    schedule: Literal["constant", "cosine", "steps"] = "constant"
    milestones: Annotated[tuple[Share, ...], Strict(False)] = ()
    gamma: Positive = 0.1


class Phase1(Phase):
    """The first phase."""

    epochs: AtLeastOne = 10
    learning_rate: Positive = 0.001


class Phase2(Phase):
    """The second phase, which starts from the weights of the first."""

    epochs: AtLeastOne = 4
    learning_rate: Positive = 0.0001
