"""Start backbone and head from ImageNet classification weights with torchvision's key names."""

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from frcnn.errors import UserError
from frcnn.model.faster_rcnn import FasterRCNN
from frcnn.model.weights import check_fit

# The classifier of 1,000 ImageNet classes, which a detector has no use for.
UNUSED = ("classifier.6.", "fc.")
COUNTER = "num_batches_tracked"  # of batch norms, in some files only and used by none


def torchvision_url(backbone: str) -> tuple[str, str]:
    """Return the address of torchvision's ImageNet weights and the first 8 digits of their SHA-256."""
    from torchvision.models import get_model_weights

    url = get_model_weights("vgg16" if backbone.startswith("vgg") else backbone)["IMAGENET1K_V1"].url
    return url, url.rsplit("-", 1)[1].removesuffix(".pth")


def load_pretrained(model: FasterRCNN, path: Path) -> None:
    """Load a file of classification weights (a state dict saved by torch) into backbone and head.

    Raises:
        UserError: no such file, not a state dict, or its tensors are not exactly those of the backbone and head;
            then nothing is loaded.
    """
    tensors = {name: tensor for name, tensor in read_state_dict(path).items() if not name.startswith(UNUSED)}
    parts = nn.ModuleList([model.backbone, model.head])
    own_names = {name.split(".", 1)[1]: name for name in parts.state_dict() if not name.endswith(COUNTER)}
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(COUNTER)}
    own = parts.state_dict()
    check_fit(tensors, {name: own[own_name] for name, own_name in own_names.items()}, str(path))
    parts.load_state_dict(own | {own_name: tensors[name] for name, own_name in own_names.items()})


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict saved by torch, executing nothing that the file holds.

    Raises:
        UserError: no such file, or not a mapping of names to tensors.
    """
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file of initial weights (model.weights)") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable state dict saved by torch (.pth)") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise UserError(f"{path}: holds no plain state dict of tensors")
    return tensors
