"""Predicted against measured memory of a training step on a GPU: model shape, method, quantization, recomputation.

    python scripts/predicted_vs_measured.py --out predicted_vs_measured.json

Each combination is predicted on fake tensors and measured in a process of its own. Prints a table, writes JSON.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib.util
import json
import multiprocessing
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

MODELS = {"minilm": (32, 128), "roberta-base": (32, 128), "t5-small": (32, 64), "llama-1b": (4, 256)}
"""Rows of a batch and tokens of a row by shape."""
METHODS = ("lora", "lorasp", "full")
WAYS: tuple[dict[str, str], ...] = (
    {"quantize": "none", "recompute": "none"},
    {"quantize": "none", "recompute": "selective"},
    {"quantize": "none", "recompute": "full"},
    {"quantize": "nf4", "recompute": "none"},
    {"quantize": "int8", "recompute": "none"},
)


def combinations() -> list[dict[str, Any]]:
    """Every method plainly; recomputation and quantization with lorasp. Without bitsandbytes no quantization."""
    quantized = importlib.util.find_spec("bitsandbytes") is not None
    made = []
    for model in MODELS:
        if model.startswith("t5") and importlib.util.find_spec("harness.task_types.translation") is None:
            continue
        made += [{"model": model, "method": m, **WAYS[0]} for m in METHODS]
        ways = [w for w in WAYS[1:] if quantized or w["quantize"] == "none"]
        made += [{"model": model, "method": "lorasp", **w} for w in ways]
    return made


def step_of(asked: dict[str, Any], device: str) -> Any:
    """The training step of a combination, its cell made by hand so that no rows are needed."""
    import dataclasses

    from harness.contracts import SUITES
    from harness.plan import make_plan
    from harness.predict import Step
    from harness.registry import load_all
    from harness.spec import make_spec

    load_all()
    batch, length = MODELS[asked["model"]]
    levels = {name: (asked[name],) for name in ("quantize", "recompute")}
    shape = {"model": (f"shape:{asked['model']}",), "batch_size": batch, "max_length": length}
    dtype = "bf16" if asked["model"].startswith("llama") else "fp32"
    flags = {
        "tasks": ("rte",),
        "seeds": "1",
        "methods": asked["method"],
        "dtype": (dtype,),
        "max_target_length": length,
    }
    plan = make_plan(make_spec(flags | shape | levels))
    (cell,) = plan.cells
    task = SUITES.get("glue").tasks["rte"]
    if asked["model"].startswith("t5"):
        task = dataclasses.replace(task, labels=(), kind="translation")
    return Step((cell,), (plan.methods[cell.key],), task, plan.models["glue"], length, device)


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """Peak of allocated bytes over three steps, the third replayed from a graph; or the first line of the error."""
    import torch

    from harness.measure import Question, load_alone, train_alone

    step = step_of(asked, "cuda")
    question = Question("", step.cells[0], step.methods[0], step.task, step.source, step.length, "cuda", None)
    try:
        model = load_alone(question)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        trainer = train_alone(question, model, 5)
        state = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        trainer.one_step(0)
        eager = torch.cuda.max_memory_allocated()
        with trainer.runner.stream():
            for later in range(1, 4):
                trainer.one_step(later)
        torch.cuda.synchronize()
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    return {
        "state": state,
        "eager": eager,
        "measured": torch.cuda.max_memory_allocated(),
        "reserved": torch.cuda.max_memory_reserved(),
        "captured": trainer.runner.fallback is None,
    }


def predicted(asked: dict[str, Any]) -> dict[str, Any]:
    """What the plan says of the same step."""
    from harness.predict import predict

    started = time.perf_counter()
    made = predict(step_of(asked, "cuda"))
    seconds = round(time.perf_counter() - started, 2)
    return {"predicted": made.peak, "shares": made.shares.model_dump(), "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("predicted_vs_measured.json"))
    out = parser.parse_args().out
    import torch

    if not torch.cuda.is_available():
        sys.exit("no CUDA GPU here: this script measures one")
    context = multiprocessing.get_context("spawn")
    results = []
    print(f"{'model':13} {'method':7} {'quantize':8} {'recompute':10} {'predicted':>10} {'measured':>10} {'ratio':>6}")
    for asked in combinations():
        found = asked | predicted(asked)
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            found |= pool.submit(measure, asked).result()
        results.append(found)
        measured = found.get("measured")
        right = f"{measured / 2**20:10.1f} {found['predicted'] / measured:6.3f}" if measured else f" {found['error']}"
        names = f"{asked['model']:13} {asked['method']:7} {asked['quantize']:8} {asked['recompute']:10}"
        print(f"{names} {found['predicted'] / 2**20:10.1f} {right}", flush=True)
        content = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "results": results}
        out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
