"""What a detector is, apart from its weights; stored inside every weights file."""

from typing import Annotated, Literal

from pydantic import Strict

from frcnn.backbones import BACKBONES
from frcnn.params import Anchors, Data, Model, Params
from frcnn.params.training import Postprocessing
from frcnn.params.types import Names, Positive, Section

# The four losses of training, in the order of all arrays and tables that hold them.
LOSSES = ("loss_rpn_cls", "loss_rpn_box", "loss_roi_cls", "loss_roi_box")
# Standard deviations of the RoI deltas, by which targets are divided (Fast R-CNN's code; Faster R-CNN keeps it).
ROI_DELTA_STD = (0.1, 0.1, 0.2, 0.2)


class Preprocessing(Section):
    """How uint8 RGB becomes the input of a backbone: (channels in `order` * scale - mean) / std."""

    order: Literal["RGB", "BGR"]
    scale: Positive
    mean: Annotated[tuple[float, float, float], Strict(False)]
    std: Annotated[tuple[Positive, Positive, Positive], Strict(False)]


PREPROCESSING = {
    "caffe": Preprocessing(order="BGR", scale=1.0, mean=(103.939, 116.779, 123.680), std=(1.0, 1.0, 1.0)),
    "torchvision": Preprocessing(order="RGB", scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
}


class DetectorConfig(Section):
    """Everything that `predict` needs beside the tensors; class_names are without background.

    An imported detector has the postprocessing of its project, which `predict` takes if no parameters are named.
    """

    class_names: Names
    model: Model
    anchors: Anchors
    data: Data
    preprocessing: Preprocessing
    postprocessing: Postprocessing | None = None


def detector_config(class_names: list[str], params: Params) -> DetectorConfig:
    """Return the configuration of a detector for these classes; the preprocessing is that of the backbone."""
    return DetectorConfig(
        class_names=tuple(class_names),
        model=params.model,
        anchors=params.anchors,
        data=params.data,
        preprocessing=PREPROCESSING[BACKBONES[params.model.backbone].preprocessing],
    )
