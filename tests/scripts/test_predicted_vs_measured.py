"""Order and bookkeeping of the measurement, predictions of shapes without a GPU, table and figure of made-up bytes."""

from __future__ import annotations

import concurrent.futures
import csv
import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from scripts import memory_figure
from scripts.predicted_vs_measured import MODELS, WAYS, collect_results, format_line, list_combinations, predict_peak

MIB = 2**20


def found(model: str, method: str, predicted: int | None, measured: int | None, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"model": model, "method": method, "quantize": "none", "recompute": "none", "dtype": "fp32"}
    sizes = {"predicted": predicted, "measured": measured}
    return made | {"batch": 4, "length": 16} | {k: v for k, v in sizes.items() if v is not None} | more


def test_each_model_has_some_early() -> None:
    every = list_combinations()
    assert [one["model"] for one in every[:4]] == list(MODELS) and len(every) == len(
        {str(sorted(o.items())) for o in every}
    )
    assert {one["method"] for one in every} == {"lora", "lorasp", "full"}
    assert [one["model"] for one in list_combinations(["llama-1b"])] == ["llama-1b"] * (len(every) // len(MODELS))
    assert len(list_combinations(["llama-1b"])) <= len(WAYS)


def test_what_is_done_is_written_each_time_in_the_order_asked(capsys: pytest.CaptureFixture[str]) -> None:
    asked = [found(name, "lora", None, None) for name in ("a", "b", "c")]
    together = threading.Barrier(3, timeout=300)
    turns = {name: threading.Event() for name in "abc"}
    turns["c"].set()

    def guess(one: dict[str, Any]) -> concurrent.futures.Future[dict[str, Any]]:
        made: concurrent.futures.Future[dict[str, Any]] = concurrent.futures.Future()
        made.set_result({"predicted": 110 * MIB})
        return made

    def seen(one: dict[str, Any]) -> dict[str, Any]:
        together.wait()  # three at once, or this never ends
        assert turns[one["model"]].wait(300)
        return {"error": "no memory"} if one["model"] == "b" else {"measured": 100 * MIB}

    writes: list[list[str]] = []

    def write(done: list[dict[str, Any]]) -> None:
        writes.append([one["model"] for one in done])
        turns[{1: "b", 2: "a", 3: "a"}[len(writes)]].set()

    collect_results(asked, 3, guess, seen, write)
    assert writes == [["c"], ["b", "c"], ["a", "b", "c"]]
    printed = capsys.readouterr().out.splitlines()
    assert "110.0      100.0  1.100" in printed[0] and printed[1].endswith("no memory")


def test_a_line_tells_what_is_absent() -> None:
    assert format_line(found("a", "lora", None, None, prediction_error="E: x", error="y")).endswith("E: x y")


SOME = [{}, {"recompute": "selective"}, {"recompute": "full"}, {"quantize": "nf4"}, {"quantize": "int8"}]
SHAPED = [pytest.param("t5-small", {"quantize": "nf4"}), pytest.param("llama-1b", {"recompute": "full"})]
SHAPED += [
    pytest.param(model, way, marks=pytest.mark.slow)
    for model in ("t5-small", "llama-1b")
    for way in (*SOME, {"method": "full"}, {"method": "lora"})
]


@pytest.mark.slow
@pytest.mark.parametrize("model, way", SHAPED, ids=str)
def test_shapes_are_predicted_without_a_gpu(model: str, way: dict[str, str]) -> None:
    """Weights are the published counts: 60.5M and 1,236M, the head of llama as a classifier being small."""
    asked = {"method": "lorasp", "quantize": "none", "recompute": "none"} | way
    batch, length = MODELS[model]
    dtype = "bf16" if model == "llama-1b" else "fp32"
    made = predict_peak({"model": model, "dtype": dtype, "batch": batch, "length": length} | asked)
    if asked["quantize"] != "none":
        pytest.importorskip("bitsandbytes")
    assert "prediction_error" not in made, made
    shares = made["shares"]
    numbers, words, whole = {
        "t5-small": (60.5e6, 32128 * 512, 12 * 512 * 2048),
        "llama-1b": (1236e6, 128256 * 2048, 0),
    }[model]
    each = 2 if model == "llama-1b" and asked["method"] != "full" else 4
    if asked["quantize"] == "none":
        assert shares["weights"] == pytest.approx(each * numbers, rel=0.02)
    else:
        # embeddings stay as they are, and so do T5's output projections (transformers keeps them in float32)
        small = {"nf4": 0.5, "int8": 1.0}[asked["quantize"]]
        kept = each * (words + whole) + small * (numbers - words - whole)
        assert shares["weights"] == pytest.approx(kept, rel=0.02) and shares["quantization"] > 0
    if asked["method"] == "full":
        # autograd creates the gradients in the backward pass; T5's peak lies before it, at the logits
        created = 0 if model == "t5-small" else 4 * numbers
        assert shares["gradients"] == pytest.approx(created, rel=0.02)
        assert shares["optimizer"] == pytest.approx(8 * numbers, rel=0.02)
    else:
        assert shares["optimizer"] == pytest.approx(2 * shares["gradients"], rel=0.01)


def test_table_and_figure_hold_what_was_predicted_and_measured(tmp_path: Path) -> None:
    results = [
        found("minilm", "lora", 110 * MIB, 100 * MIB, captured=True, reserved=128 * MIB),
        found("llama-1b", "full", 1900 * MIB, 2000 * MIB, captured=True, reserved=2048 * MIB),
        found("llama-1b", "lora", 1900 * MIB, None, error="OutOfMemoryError"),
    ]
    for folder in ("results", "docs/images"):
        (tmp_path / folder).mkdir(parents=True)
    content = json.loads(json.dumps({"gpu": "made up", "torch": "0", "results": results}))
    told, drawn = memory_figure.write_files(content, tmp_path)
    lines = list(csv.DictReader(io.StringIO(told.read_text()), delimiter="\t"))
    assert [(r["model"], r["predicted"], r["ratio"]) for r in lines] == [
        ("minilm", str(110 * MIB), "1.1"),
        ("llama-1b", str(1900 * MIB), "0.95"),
    ]
    assert {r["gpu"] for r in lines} == {"made up"}
    svg = drawn.read_text()
    assert svg.count("minilm") >= 2 and "measured peak, GiB" in svg
    assert memory_figure.draw_figure(memory_figure.select_rows(content)) == drawn.read_bytes()


def test_nothing_measured_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="on a GPU"):
        memory_figure.write_files({"gpu": "g", "torch": "0", "results": [found("a", "lora", 1, None)]}, tmp_path)
