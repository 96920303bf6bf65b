"""Time of a training step by kind of kernel, for a pack of K replicas as in a grid.

    python -m scripts.step_kernels --model shape:roberta-base --dtype bf16 --pack 16 --length 32

Prints the wall time of a step, the time of its kernels, and each kind's share of the latter. On a GPU the steps are
replays of the captured graph.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
STEPS = 10
KINDS = (
    ("attention", ("flash", "fmha", "mha_", "attention")),
    ("batched matmul", ("bmm", "baddbmm", "batched")),
    ("matmul", ("gemm", "nvjet", "cutlass", "cublas", "addmm", "aten::mm", "splitk")),
    ("layer norm", ("layer_norm", "layernorm", "gammabeta")),
    ("softmax and loss", ("softmax", "nll")),
    ("reduction", ("reduce", "aten::sum")),
    ("copy and cast", ("copy", "memcpy", "cat")),
    ("optimizer", ("multi_tensor", "adam")),
    ("lookup", ("embedding", "index", "gather", "scatter")),
    ("elementwise", ("elementwise", "aten::", "memset")),
)
"""Kind -> parts of kernel names; the first match counts, so the more specific kinds come first."""


def find_kind(name: str) -> str:
    """The kind of a kernel."""
    low = name.lower()
    for kind, parts in KINDS:
        if any(part in low for part in parts):
            return kind
    return "other"


def sum_by_kind(kernels: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Seconds by kind, the longest first."""
    totals: dict[str, float] = {}
    for name, seconds in kernels:
        kind = find_kind(name)
        totals[kind] = totals.get(kind, 0.0) + seconds
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shape:minilm")
    parser.add_argument("--method", default="lora")
    parser.add_argument("--pack", type=int, default=16, help="replicas")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--length", type=int, default=32, help="tokens of a row")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--top", type=int, default=8, help="kernels to name")
    arguments = parser.parse_args()

    from harness.bench.subjects import Case, CaseTimer, build_requests
    from harness.core.registry import load_all
    from harness.core.spec_reading import make_spec
    from harness.profiling.ceiling import measure_matmul_flops

    load_all()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    flags = {"methods": arguments.method, "model": (arguments.model,), "batch_size": arguments.batch_size}
    spec = make_spec(flags | {"max_length": arguments.length, "dtype": (arguments.dtype,)})
    (request,) = build_requests(spec, device)[0]
    subject = CaseTimer(Case(request, arguments.pack, arguments.pack > 1, arguments.method), 4 * STEPS)
    # The first step is eager and the second captures the graph; neither belongs into the profile.
    subject.warm_up(4)
    subject.take(STEPS)
    kinds = [torch.profiler.ProfilerActivity.CPU] if device == "cpu" else [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profiler:
        subject.take(STEPS)
    on_cpu = device == "cpu"
    events = [
        (e.key, (e.self_cpu_time_total if on_cpu else e.self_device_time_total) / 1e6 / STEPS, e.count / STEPS)
        for e in profiler.key_averages()
    ]
    # The profiler also lists host operations that launched nothing.
    events = [e for e in events if e[1] > 0]
    step, kernels = subject.seconds[0], sum(seconds for _, seconds, _ in events)
    share = (
        subject.flops
        / step
        / measure_matmul_flops(device, torch.bfloat16 if arguments.dtype == "bf16" else torch.float32)
    )
    how = "eager" if on_cpu else subject.fallback or "captured"
    print(
        f"{arguments.model} {arguments.method} {arguments.dtype}: K = {arguments.pack}, {arguments.batch_size} "
        f"x {arguments.length} tokens"
    )
    print(f"step {1000 * step:.2f} ms, {subject.flops / step / 1e12:.3g} TFLOP/s, {100 * share:.1f} % of the ceiling")
    print(f"kernels {1000 * kernels:.2f} ms in {sum(n for *_, n in events):.0f} launches; {how}")
    for kind, seconds in sum_by_kind((name, seconds) for name, seconds, _ in events).items():
        print(f"  {100 * seconds / kernels:5.1f} %  {kind}")
    for name, seconds, count in sorted(events, key=lambda e: -e[1])[: arguments.top]:
        print(f"  {1000 * seconds:8.3f} ms {count:6.0f} x  {find_kind(name):16} {name[:110]}")


if __name__ == "__main__":
    main()
