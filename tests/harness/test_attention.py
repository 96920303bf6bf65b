"""The attention kernel of short rows: chosen on a GPU only, the others left to fall back on."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend

from harness.attention import SHORT, attention


def chosen() -> dict[str, bool]:
    backends = torch.backends.cuda
    return {
        "efficient": backends.mem_efficient_sdp_enabled(),
        "flash": backends.flash_sdp_enabled(),
        "math": backends.math_sdp_enabled(),
        "cudnn": backends.cudnn_sdp_enabled(),
    }


@pytest.mark.parametrize(("device", "tokens"), [("cpu", 8), ("cuda", SHORT + 1)])
def test_elsewhere_torch_chooses(device: str, tokens: int) -> None:
    before = torch._C._get_sdp_priority_order()
    with attention(torch.device(device), tokens):
        assert torch._C._get_sdp_priority_order() == before


def test_short_rows_take_the_efficient_kernel_first_and_leave_the_rest_enabled() -> None:
    before = torch._C._get_sdp_priority_order()
    with attention(torch.device("cuda"), SHORT):
        assert torch._C._get_sdp_priority_order()[0] == SDPBackend.EFFICIENT_ATTENTION.value
        assert all(chosen().values())
    assert torch._C._get_sdp_priority_order() == before
