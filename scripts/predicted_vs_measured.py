"""Predicted and measured memory of a training step on a GPU by model, method, quantization, activation checkpointing.

    python -m scripts.predicted_vs_measured --out predicted_vs_measured.json
    python -m scripts.predicted_vs_measured --only t5-small --only llama-1b --jobs 2

Each combination is predicted on fake tensors and measured in its own process, several at a time, because an allocator
reports its own process only. Prints a line for each result and rewrites the JSON; scripts/memory_figure.py makes
table and figure of it.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib.util
import itertools
import json
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

MODELS = {"minilm": (32, 128), "roberta-base": (32, 128), "t5-small": (32, 64), "llama-1b": (4, 256)}
"""Shape -> (rows per batch, tokens per row)."""
PLAIN = {"quantize": "none", "recompute": "none"}
# The most informative settings first, so that an interrupted script has covered them for all models.
WAYS: tuple[dict[str, str], ...] = (
    {"method": "lorasp", **PLAIN},
    {"method": "full", **PLAIN},
    {"method": "lorasp", **PLAIN, "recompute": "full"},
    {"method": "lorasp", **PLAIN, "quantize": "nf4"},
    {"method": "lora", **PLAIN},
    {"method": "lorasp", **PLAIN, "recompute": "selective"},
    {"method": "lorasp", **PLAIN, "quantize": "int8"},
)
PRELOAD = [
    "harness.profiling.measure",
    "harness.profiling.predict",
    "harness.planning.plan",
    "transformers.models.auto.modeling_auto",
    *(f"transformers.models.{kind}.modeling_{kind}" for kind in ("bert", "roberta", "t5", "llama")),
]
MAX_PREDICTORS = 8
"""Maximum number of processes that predict; they need no GPU."""
ROOMY = 8 * 2**30
Combination = dict[str, Any]


def list_combinations(only: Sequence[str] = ()) -> list[Combination]:
    """All combinations, models in turn; without bitsandbytes only those without quantization."""
    # bitsandbytes is an optional dependency.
    quantized = importlib.util.find_spec("bitsandbytes") is not None
    ways = [way for way in WAYS if quantized or way["quantize"] == "none"]
    selected = []
    for way, (model, (batch, length)) in itertools.product(ways, MODELS.items()):
        dtype = "bf16" if model.startswith("llama") else "fp32"
        if not only or model in only:
            selected.append({"model": model, **way, "dtype": dtype, "batch": batch, "length": length})
    return selected


def build_step(asked: Combination, device: str) -> Any:
    """The training step of a combination, with a cell that needs no rows."""
    import dataclasses

    from harness.core.registry import load_all
    from harness.core.spec_reading import make_spec
    from harness.planning.plan import make_plan
    from harness.profiling.prediction import Step

    load_all()
    length = asked["length"]
    settings = {name: (asked[name],) for name in ("quantize", "recompute", "dtype")}
    sizes = {"batch_size": asked["batch"], "max_length": length}
    # GLUE generates no text, so its suite has no such option; a method may set any field of the protocol.
    method = f"{asked['method']}{',' if ':' in asked['method'] else ':'}max_target_length={length}"
    flags = {"tasks": ("rte",), "seeds": "1", "methods": method, "model": (f"shape:{asked['model']}",)}
    plan = make_plan(make_spec(flags | sizes | settings))
    (planned,) = plan.cells
    task = planned.task
    if asked["model"].startswith("t5"):
        task = dataclasses.replace(task, labels=(), kind="translation")
    return Step((planned.cell,), (planned.method,), task, planned.source, length, device)


def measure_peak(asked: Combination) -> dict[str, Any]:
    """Peak of allocated bytes over four steps (eager, captured, two replays), or the first line of the error."""
    import gc

    import torch

    from harness.profiling.request import ProfileRequest, build_trainer, load_alone

    started = time.perf_counter()
    torch.set_num_threads(1)
    step = build_step(asked, "cuda")
    request = ProfileRequest("", step.cells[0], step.methods[0], step.task, step.source, step.length, "cuda", None)
    try:
        model = load_alone(request)
        # Loading leaves blocks in the allocator's cache; the peak must be that of training.
        gc.collect()
        torch.cuda.empty_cache()
        trainer = build_trainer(request, model, 5)
        state = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        with trainer.runner.stream():
            trainer.train_step(0)
            eager = torch.cuda.max_memory_allocated()
            for later in range(1, 4):
                trainer.train_step(later)
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
        "measuring_seconds": round(time.perf_counter() - started, 2),
    }


def predict_peak(asked: Combination) -> dict[str, Any]:
    """The plan's prediction for the same step, or the first line of the error."""
    import torch

    from harness.profiling.predict import predict

    torch.set_num_threads(1)
    started = time.perf_counter()
    try:
        prediction = predict(build_step(asked, "cuda"))
    except Exception as error:
        traceback.print_exc()
        return {"prediction_error": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}
    seconds = round(time.perf_counter() - started, 2)
    return {"predicted": prediction.peak, "shares": prediction.shares.model_dump(), "seconds": seconds}


def run_alone(context: Any, task: Callable[[Combination], dict[str, Any]], asked: Combination) -> dict[str, Any]:
    """The result of `task` in a fresh process; a killed process is an error of this combination only."""
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(task, asked).result()
        except concurrent.futures.process.BrokenProcessPool:
            return {"error": "its process was killed (out of memory?)"}


def format_line(found: Combination) -> str:
    """One result as a line of the printed table."""
    names = f"{found['model']:13} {found['method']:7} {found['quantize']:8} {found['recompute']:10}"
    predicted_bytes, measured_bytes = found.get("predicted"), found.get("measured")
    sizes = " ".join(
        f"{'-':>10}" if size is None else f"{size / 2**20:10.1f}" for size in (predicted_bytes, measured_bytes)
    )
    ratio = f"{predicted_bytes / measured_bytes:6.3f}" if predicted_bytes and measured_bytes else f"{'-':>6}"
    errors = " ".join(found[name] for name in ("prediction_error", "error") if name in found)
    return f"{names} {sizes} {ratio} {found.get('measuring_seconds', 0):5.1f} s {errors}".rstrip()


def collect_results(
    asked: Sequence[Combination],
    jobs: int,
    guess: Callable[[Combination], concurrent.futures.Future[dict[str, Any]]],
    seen: Callable[[Combination], dict[str, Any]],
    write: Callable[[list[Combination]], None],
) -> None:
    """Predict in the background and run `jobs` measurements at a time; `write` gets all results so far, in order."""
    guesses = [guess(one) for one in asked]
    results: dict[int, Combination] = {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(seen, one): place for place, one in enumerate(asked)}
        for future in concurrent.futures.as_completed(running):
            place = running[future]
            results[place] = asked[place] | guesses[place].result() | future.result()
            print(format_line(results[place]), flush=True)
            write([results[i] for i in sorted(results)])


def _create_forkserver() -> Any:
    """A context whose processes start with torch, transformers and the harness imported, before any use of the GPU."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    memory = Path("/dev/shm")
    # Weights that bitsandbytes quantizes go through a temporary file; memory is faster than a disk.
    if memory.is_dir():
        room = os.statvfs(memory)
        if room.f_bavail * room.f_frsize > ROOMY:
            os.environ.setdefault("TMPDIR", str(memory))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("predicted_vs_measured.json"))
    parser.add_argument("--only", action="append", choices=MODELS, default=[], help="a model; may be repeated")
    parser.add_argument("--jobs", type=int, default=4, help="measurements at a time on the GPU")
    arguments = parser.parse_args()
    context = _create_forkserver()
    import torch

    if not torch.cuda.is_available():
        sys.exit("no CUDA GPU: this script measures on one")
    facts = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}

    def write(results: list[Combination]) -> None:
        arguments.out.write_text(json.dumps(facts | {"results": results}, indent=1) + "\n")

    processes = max(1, min(MAX_PREDICTORS, (os.cpu_count() or 1) - arguments.jobs))
    print(
        f"{'model':13} {'method':7} {'quantize':8} {'recompute':10} {'predicted':>10} {'measured':>10} {'ratio':>6} MiB"
    )
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
        collect_results(
            list_combinations(arguments.only),
            arguments.jobs,
            lambda one: pool.submit(predict_peak, one),
            lambda one: run_alone(context, measure_peak, one),
            write,
        )


if __name__ == "__main__":
    main()
