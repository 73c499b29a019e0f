"""The nearest model of torchvision, as its users have it, with our network's weights and counts.

Same layers, frozen ones included, input size, anchors, numbers of proposals and RoIs, so the same arithmetic. Its own
remain: float32 images, labels of the anchors in the step, sampling, RoIAlign without half a cell's shift, plain SGD.
"""

from collections import OrderedDict
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.detection import FasterRCNN as TorchvisionFasterRCNN
from torchvision.models.detection.backbone_utils import _mobilenet_extractor, _resnet_fpn_extractor
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator, RPNHead
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from frcnn.backbones import BACKBONES
from frcnn.detector.batch import Batch
from frcnn.detector.config import Preprocessing
from frcnn.errors import UserError
from frcnn.params import Params
from frcnn.pytorch.faster_rcnn import FasterRCNN

TRUNK = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")


def build_rival(ours: FasterRCNN, params: Params) -> Any:
    """Return torchvision's model with the weights, mode and device of ours.

    Raises:
        UserError: torchvision has no such network.
    """
    if params.model.width != 64:
        raise UserError(f"--against torchvision: it has no ResNet of model.width {params.model.width}; set 64")
    table, anchors, train, detect = BACKBONES[params.model.backbone], params.anchors, params.train, params.detect
    backbone, head = {"vgg": _vgg, "resnet": _resnet, "pyramid": _pyramid}[table.family](params)
    sizes = [anchors.sizes_of(level) for level in range(len(table.strides))]
    mean, std = _normalization(ours.config.preprocessing)
    rival: Any = TorchvisionFasterRCNN(
        backbone,
        min_size=params.data.min_size,
        max_size=params.data.max_size,
        image_mean=mean,
        image_std=std,
        size_divisible=params.data.size_divisor,
        rpn_anchor_generator=AnchorGenerator(tuple(sizes), (tuple(anchors.anchor_ratios),) * len(sizes)),
        rpn_head=RPNHead(backbone.out_channels, anchors.per_cell, 2 if table.convolutional_heads else 1),
        rpn_pre_nms_top_n_train=train.rpn.pre_nms_topk,
        rpn_post_nms_top_n_train=train.rpn.post_nms_topk,
        rpn_pre_nms_top_n_test=detect.pre_nms_topk,
        rpn_post_nms_top_n_test=detect.post_nms_topk,
        rpn_nms_thresh=params.model.proposals.nms_threshold,
        rpn_batch_size_per_image=train.rpn.batch_size,
        rpn_score_thresh=params.model.proposals.score_threshold,
        box_roi_pool=MultiScaleRoIAlign(
            [str(level) for level in range(table.roi_maps)],
            params.model.roi_pool.size,
            params.model.roi_pool.sampling_ratio,
        ),
        box_head=head,
        box_predictor=FastRCNNPredictor(ours.head.out_channels, len(ours.config.class_names) + 1),
        box_batch_size_per_image=train.roi.batch_size,
        box_positive_fraction=train.roi.positive_fraction,
        box_score_thresh=detect.score_threshold,
        box_nms_thresh=detect.nms_threshold,
        box_detections_per_img=detect.max_detections or detect.post_nms_topk * len(ours.config.class_names),
    )
    rival.rpn.min_size = params.model.proposals.min_size
    _copy_weights(ours, rival, len(sizes[0]), len(anchors.anchor_ratios))
    return rival.to(next(ours.parameters()).device).train(ours.training)


def _vgg(params: Params) -> tuple[nn.Module, nn.Module]:
    network = get_model("vgg16", weights=None, init_weights=False, dropout=params.model.dropout)
    backbone: Any = nn.Sequential(OrderedDict(features=network.features[:30]))
    backbone.out_channels = 512
    return backbone, nn.Sequential(OrderedDict(flatten=nn.Flatten(), classifier=network.classifier[:6]))


def _resnet(params: Params) -> tuple[nn.Module, nn.Module]:
    norm = FrozenBatchNorm2d if params.model.norm == "frozen" else nn.BatchNorm2d
    network = get_model(params.model.backbone, weights=None, norm_layer=norm)
    backbone = nn.Sequential(OrderedDict((name, getattr(network, name)) for name in TRUNK))
    backbone.out_channels = network.fc.in_features // 2
    pool = nn.AdaptiveAvgPool2d(1) if params.model.head_pool == "avg" else nn.AdaptiveMaxPool2d(1)
    return backbone, nn.Sequential(OrderedDict(layer4=network.layer4, pool=pool, flatten=nn.Flatten()))


def _pyramid(params: Params) -> tuple[nn.Module, nn.Module]:
    table = BACKBONES[params.model.backbone]
    norm = FrozenBatchNorm2d if params.model.norm == "frozen" else nn.BatchNorm2d
    network = get_model(table.body, weights=None, norm_layer=norm)
    build, of_pyramid = _mobilenet_extractor, None
    if table.body == "resnet50":
        build, of_pyramid = _resnet_fpn_extractor, norm if table.convolutional_heads else None
    trained = table.stages - params.model.freeze_at
    arguments = (True, trained) if build is _mobilenet_extractor else (trained,)
    backbone = build(network, *arguments, norm_layer=of_pyramid)
    if table.convolutional_heads:
        return backbone, FastRCNNConvFCHead((256, 7, 7), 4 * [256], [1024], norm_layer=norm)
    return backbone, TwoMLPHead(256 * 7 * 7, 1024)


def _normalization(how: Preprocessing) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of images in 0..1 that give the input of our backbone."""
    return [mean / (255 * how.scale) for mean in how.mean], [std / (255 * how.scale) for std in how.std]


@torch.no_grad()
def _copy_weights(ours: FasterRCNN, rival: Any, sizes: int, ratios: int) -> None:
    """Copy all weights; torchvision lays the anchors of a cell out by ratio first, ours by size first."""
    for name in ("backbone", "head"):
        source, target = getattr(ours, name), rival.backbone if name == "backbone" else rival.roi_heads.box_head
        target.load_state_dict(source.state_dict())
        trained = {key: parameter.requires_grad for key, parameter in source.named_parameters()}
        for key, parameter in target.named_parameters():
            parameter.requires_grad_(trained[key])
    head = rival.rpn.head
    head.conv[0][0].load_state_dict(ours.rpn.conv.state_dict())
    if ours.rpn.conv2 is not None:
        head.conv[1][0].load_state_dict(ours.rpn.conv2.state_dict())
    for source, target in ((ours.rpn.objectness, head.cls_logits), (ours.rpn.deltas, head.bbox_pred)):
        for key, tensor in source.state_dict().items():
            by_ratio = tensor.unflatten(0, (sizes, ratios, -1)).transpose(0, 1).flatten(0, 2)
            target.state_dict()[key].copy_(by_ratio)
    predictor = rival.roi_heads.box_predictor
    predictor.cls_score.load_state_dict(ours.predictor.classes.state_dict())
    for key, tensor in ours.predictor.deltas.state_dict().items():
        predictor.bbox_pred.state_dict()[key].zero_()[4:].copy_(tensor)  # the first four: the background's


def rival_inputs(
    batch: Batch, how: Preprocessing, device: torch.device
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return a batch as torchvision takes it: images (3, H, W) float32 in 0..1, and boxes and labels, on a device."""
    pixels = torch.from_numpy(batch.images).permute(0, 3, 1, 2)
    ordered = pixels.flip(1) if how.order == "BGR" else pixels
    images = [
        (image[:, :height, :width].float().contiguous() / 255).to(device)
        for image, (width, height) in zip(ordered, batch.sizes, strict=True)
    ]
    targets = [
        {
            "boxes": torch.from_numpy(boxes[labels > 0]).to(device),
            "labels": torch.from_numpy(labels[labels > 0]).to(device),
        }
        for boxes, labels in zip(batch.gt_boxes, batch.gt_labels, strict=True)
    ]
    return images, targets


def rival_optimizer(rival: nn.Module, params: Params) -> torch.optim.Optimizer:
    """Return SGD as torchvision's training script builds it, with a rate that leaves the weights as they are."""
    trained = [parameter for parameter in rival.parameters() if parameter.requires_grad]
    return torch.optim.SGD(
        trained, lr=0.0, momentum=params.train.optimizer.momentum, weight_decay=params.train.optimizer.weight_decay
    )


def rival_training_step(
    rival: Any,
    optimizer: torch.optim.Optimizer,
    batch: tuple[list[Tensor], list[dict[str, Tensor]]],
    precision: torch.dtype,
) -> None:
    """Train torchvision's model on one batch, as its training script does it, without its log."""
    images, targets = batch
    with _as_users_have_it(images[0].device, precision):
        losses = rival(images, targets)
        total = sum(losses.values())
    optimizer.zero_grad()
    with _as_users_have_it(images[0].device, torch.float32):
        total.backward()
        optimizer.step()


@torch.no_grad()
def rival_detect(rival: Any, images: list[Tensor], precision: torch.dtype) -> list[dict[str, Tensor]]:
    """Detect objects in a batch."""
    with _as_users_have_it(images[0].device, precision):
        found: list[dict[str, Tensor]] = rival(images)
    return found


def _as_users_have_it(device: torch.device, precision: torch.dtype) -> ExitStack:
    """Return a context with torch's default precision of convolutions, under autocast if it is not float32."""
    stack = ExitStack()
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True  # torch's default, which our float32 switches off
    stack.callback(setattr, torch.backends.cudnn, "allow_tf32", before)
    if precision != torch.float32:
        stack.enter_context(torch.autocast(device.type, dtype=precision))
    return stack
