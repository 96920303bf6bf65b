"""Where a step's time goes: kinds of kernels by their names, shares that are of the whole, a real step on the CPU."""

from __future__ import annotations

import re
import sys

import pytest

from scripts import step_kernels


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cudnn_generated_fort_native_sdpa_sm90_flash_bprop_wgmma_f16_knob_26", "attention"),
        ("fmha_cutlassB_bf16_aligned_64x64_k32_sm80", "attention"),
        ("nvjet_sm90_tst_192x128_64x5_1x2_h_bz_coopB_NNT", "matmul"),
        ("aten::bmm", "batched matmul"),
        ("void at::native::vectorized_layer_norm_kernel<c10::BFloat16, float, false>", "layer norm"),
        ("void at::native::multi_tensor_apply_kernel<FusedOptimizer>", "optimizer"),
        (
            "void at::native::vectorized_elementwise_kernel<8, at::native::CUDAFunctor_add<c10::BFloat16>>",
            "elementwise",
        ),
        ("_dropout", "other"),
    ],
)
def test_kinds_of_kernels_that_were_seen(name: str, kind: str) -> None:
    assert step_kernels.find_kind(name) == kind


def test_kinds_are_summed_and_the_longest_comes_first() -> None:
    found = step_kernels.sum_by_kind([("aten::bmm", 1.0), ("aten::mm", 2.5), ("aten::bmm", 2.0), ("thing", 0.5)])
    assert list(found.items()) == [("batched matmul", 3.0), ("matmul", 2.5), ("other", 0.5)]


@pytest.mark.slow
def test_a_step_on_the_cpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["step_kernels", "--pack", "2", "--batch-size", "2", "--length", "8", "--top", "3"]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(step_kernels, "STEPS", 2)
    step_kernels.main()
    said = capsys.readouterr().out
    assert "shape:minilm lora fp32: K = 2, 2 x 8 tokens" in said and "; eager" in said
    shares = [float(x) for x in re.findall(r"^ +([\d.]+) %  ", said, re.MULTILINE)]
    assert sum(shares) == pytest.approx(100, abs=1) and shares == sorted(shares, reverse=True)
    assert len(re.findall(r" ms +\d+ x ", said)) == 3 and shares[0] > 10
