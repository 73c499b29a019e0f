"""Which device and precision are chosen."""

import pytest
import torch

from frcnn.pytorch.device import choose_precision


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_auto_is_fp16_on_cuda_without_bf16(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert choose_precision("auto", torch.device("cuda")) == expected
    assert choose_precision("fp16", torch.device("cpu")) == torch.float16


def test_auto_is_never_fp16_elsewhere() -> None:
    assert choose_precision("auto", torch.device("cpu")) in (torch.float32, torch.bfloat16)
    assert choose_precision("auto", torch.device("mps")) == torch.float32
