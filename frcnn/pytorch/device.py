"""Choose device and precision, and prepare the process for them."""

import os

import torch
from torch import Tensor

from frcnn.allocation import keep_freed_memory
from frcnn.errors import UserError


def choose_device(name: str) -> torch.device:
    """Return the torch device for `cpu`, `cuda`, `cuda:N`, `mps` or `auto` (CUDA, else mps, else CPU), ready for use.

    Raises:
        UserError: not a device, or one that this machine lacks.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name}: not a device; use cpu, cuda, cuda:N, mps or auto") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"--device {name}: only cpu, cuda and mps are supported")
    if device.type == "mps" and (device.index or not torch.backends.mps.is_available()):
        raise UserError(f"--device {name}: torch has no such device here; use --device cpu")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use --device cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)  # bf16 support and pinned memory are asked of the current one
    else:
        keep_freed_memory()
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of convolutions and matrix products for `float32`, `bf16`, `fp16` or `auto`.

    `auto` is bf16 where it is fast, else fp16 on CUDA.
    """
    if name == "auto":
        name = "bf16" if _fast_bf16(device) else "fp16" if device.type == "cuda" else "float32"
    if name == "float32" and device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # 10 bits of mantissa are not float32
    return {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def layout(device: torch.device) -> torch.memory_format:
    """Return how weights and maps lie in memory: channels last, for which torch on mps has had wrong results."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def make_deterministic() -> None:
    """Let torch use only algorithms that give the same bits at every run, or fail; for CUDA, before its first use."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Filling memory that is written anyway costs time and changes nothing.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def at_least_float32(tensor: Tensor) -> Tensor:
    """Leave half precision, in which no loss or box is computed."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # torch has no public question
    return device.type == "cpu" and supported is not None and supported()
