"""The attention kernel of short rows: chosen on a GPU only, the others left to fall back on."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.core.cell import Recompute
from harness.core.method import METHODS
from harness.data.task_types.answered_rows import build_packed_inputs
from harness.models.attention import SHORT, use_attention_kernels
from harness.training import trainer as train
from harness.training.recompute import apply_checkpointing
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
    with use_attention_kernels(torch.device(device), tokens):
        assert torch._C._get_sdp_priority_order() == before


def test_short_rows_take_the_efficient_kernel_first_and_leave_the_rest_enabled() -> None:
    before = torch._C._get_sdp_priority_order()
    with use_attention_kernels(torch.device("cuda"), SHORT):
        assert torch._C._get_sdp_priority_order()[0] == SDPBackend.EFFICIENT_ATTENTION.value
        assert all(chosen().values())
    assert torch._C._get_sdp_priority_order() == before


FIRST_ATTENTION = """
import torch
from torch.nn.functional import scaled_dot_product_attention
from harness.models.attention import use_attention_kernels

row = torch.ones(2, 3, 16, 32, dtype=torch.bfloat16, device="cuda")
orders = []
for tokens in (16, 128, 16):
    with use_attention_kernels(row.device, tokens):
        scaled_dot_product_attention(row, row, row)
        orders.append(torch._C._get_sdp_priority_order())
scaled_dot_product_attention(row, row, row)
print([*orders, torch._C._get_sdp_priority_order()])
"""


@pytest.mark.gpu
def test_the_first_attention_of_a_process_runs_on_the_kernel_of_later_ones() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_ATTENTION], capture_output=True, text=True, check=True)
    first, long, again, outside = ast.literal_eval(done.stdout)
    assert first == again and first[0] == SDPBackend.EFFICIENT_ATTENTION.value
    assert long == outside


@pytest.mark.parametrize("how", ["selective", "full"])
def test_a_block_computed_again_runs_on_the_kernel_of_its_forward_pass(
    how: Recompute, monkeypatch: pytest.MonkeyPatch, tiny_bert: Callable[..., nn.Module]
) -> None:
    """With a kernel that a CPU has and would not choose: another one keeps other tensors."""
    monkeypatch.setattr(train, "use_attention_kernels", lambda device, tokens: sdpa_kernel(SDPBackend.MATH))
    gradients = []
    ways: tuple[Recompute, ...] = ("none", how)
    for way in ways:
        model = tiny_bert()
        model.set_attn_implementation("sdpa")  # type: ignore[operator]
        made, attached = trainer(model, [METHODS.get("lora")()], [protocol()], [0], rows())
        apply_checkpointing(model, way, attached)
        made.train_step(0)
        gradients.append(attached.groups[0].grad.clone())
    assert gradients[0].any()
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_the_kernel_that_torch_chooses_is_right_on_packed_rows(dtype: torch.dtype, autocast: bool) -> None:
    """Values and gradients against softmax by hand in float64; a row of padding too, and a length of odd blocks."""
    generator = torch.Generator().manual_seed(0)
    segments = torch.randint(0, 5, (3, 157), generator=generator).sort(1).values
    segments[0, 100:] = -1
    mask = build_packed_inputs(segments)["attention_mask"]
    start = [torch.randn(3, 2, 157, 16, generator=generator).to(dtype) for _ in range(4)]

    def results(attend: Callable[[Tensor, Tensor, Tensor], Tensor], kind: torch.dtype) -> list[Tensor]:
        *inputs, weights = (t.to(kind, copy=True) for t in start)
        leaves = [t.requires_grad_() for t in inputs]
        value = attend(*leaves)
        return [value.detach(), *torch.autograd.grad((value * weights).sum(), leaves)]

    def by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        visible = (segments[:, :, None] == segments[:, None, :]).tril()[:, None]
        return (q @ k.mT / 4).masked_fill(~visible, -torch.inf).softmax(-1) @ v  # type: ignore[no-any-return]

    def chosen(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast), use_attention_kernels(torch.device("cpu"), 157):
            return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    tolerance = 1e-5 if dtype is torch.float32 and not autocast else 0.06
    for one, other in zip(results(chosen, dtype), results(by_hand, torch.float64), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=tolerance)
