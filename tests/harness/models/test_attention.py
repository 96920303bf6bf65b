"""The attention kernel of short rows: chosen on a GPU only, the others left to fall back on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.core.cell import Recompute
from harness.core.method import METHODS
from harness.models.attention import SHORT, attention
from harness.training import trainer as train
from harness.training.recompute import recompute
from tests.harness.small_training import protocol, rows, trainer


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


@pytest.mark.parametrize("how", ["selective", "full"])
def test_a_block_computed_again_runs_on_the_kernel_of_its_forward_pass(
    how: Recompute, monkeypatch: pytest.MonkeyPatch, tiny_bert: Callable[..., nn.Module]
) -> None:
    """With a kernel that a CPU has and would not choose: another one keeps other tensors."""
    monkeypatch.setattr(train, "attention", lambda device, tokens: sdpa_kernel(SDPBackend.MATH))
    gradients = []
    ways: tuple[Recompute, ...] = ("none", how)
    for way in ways:
        model = tiny_bert()
        model.set_attn_implementation("sdpa")  # type: ignore[operator]
        made, attached = trainer(model, [METHODS.get("lora")()], [protocol()], [0], rows())
        recompute(model, way, attached)
        made.one_step(0)
        gradients.append(attached.groups[0].grad.clone())
    assert gradients[0].any()
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-12)
