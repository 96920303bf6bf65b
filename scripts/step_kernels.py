"""Where the time of a training step goes: kernels of a step by kind, of a pack of K replicas as it runs in a grid.

    python -m scripts.step_kernels --model shape:roberta-base --dtype bf16 --pack 16 --length 32

Prints the wall time of a step beside its kernels' time, and each kind's share of the latter. On a GPU the steps are
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
"""Kind by what the kernel's name has in it; the first that fits."""


def kind_of(name: str) -> str:
    """The kind of a kernel."""
    low = name.lower()
    return next((kind for kind, parts in KINDS if any(part in low for part in parts)), "other")


def by_kind(kernels: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Seconds by kind, the longest first."""
    found: dict[str, float] = {}
    for name, seconds in kernels:
        kind = kind_of(name)
        found[kind] = found.get(kind, 0.0) + seconds
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shape:minilm")
    parser.add_argument("--method", default="lora")
    parser.add_argument("--pack", type=int, default=16, help="replicas")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--length", type=int, default=32, help="tokens of a row")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--top", type=int, default=8, help="kernels to name")
    given = parser.parse_args()

    from harness.bench.subjects import Case, Subject, asked_of
    from harness.core.registry import load_all
    from harness.core.spec import make_spec
    from harness.profiling.ceiling import matmul_flops

    load_all()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    flags = {"methods": given.method, "model": (given.model,), "batch_size": given.batch_size}
    spec = make_spec(flags | {"max_length": given.length, "dtype": (given.dtype,)})
    (question,) = asked_of(spec, device)[0]
    subject = Subject(Case(question, given.pack, given.pack > 1, given.method), 4 * STEPS)
    subject.warm_up(4)
    subject.take(STEPS)
    kinds = [torch.profiler.ProfilerActivity.CPU] if device == "cpu" else [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as seen:
        subject.take(STEPS)
    on_cpu = device == "cpu"
    events = [
        (e.key, (e.self_cpu_time_total if on_cpu else e.self_device_time_total) / 1e6 / STEPS, e.count / STEPS)
        for e in seen.key_averages()
    ]
    events = [e for e in events if e[1] > 0]
    step, kernels = subject.seconds[0], sum(seconds for _, seconds, _ in events)
    share = subject.flops / step / matmul_flops(device, torch.bfloat16 if given.dtype == "bf16" else torch.float32)
    how = "eager" if on_cpu else subject.fallback or "captured"
    print(f"{given.model} {given.method} {given.dtype}: K = {given.pack}, {given.batch_size} x {given.length} tokens")
    print(f"step {1000 * step:.2f} ms, {subject.flops / step / 1e12:.3g} TFLOP/s, {100 * share:.1f} % of the ceiling")
    print(f"kernels {1000 * kernels:.2f} ms in {sum(n for *_, n in events):.0f} launches; {how}")
    for kind, seconds in by_kind((name, seconds) for name, seconds, _ in events).items():
        print(f"  {100 * seconds / kernels:5.1f} %  {kind}")
    for name, seconds, count in sorted(events, key=lambda e: -e[1])[: given.top]:
        print(f"  {1000 * seconds:8.3f} ms {count:6.0f} x  {kind_of(name):16} {name[:110]}")


if __name__ == "__main__":
    main()
