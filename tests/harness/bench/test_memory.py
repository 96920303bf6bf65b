"""`bench memory`: bytes against arithmetic over the shapes, and savings that follow from the peaks."""

from __future__ import annotations

import functools

import pytest
from transformers import AutoModelForSequenceClassification

from harness.bench.memory import (
    PARTS,
    _build_jobs,
    _build_row,
    _build_samples,
    _run_in_process,
    compute_saving,
    measure,
)
from harness.bench.memory_process import MemoryJob, MemoryMeasurement, measure_jobs
from harness.cli.main import main
from harness.core.spec_reading import make_spec

SPEC = make_spec({"methods": "lora", "batch_size": 2, "max_length": 8, "threads": 1})
RANK, FLOAT = 16, 4


@functools.cache
def jobs() -> dict[str, MemoryJob]:
    return {job.name: job for job in _build_jobs(SPEC, ("row", "b-only"), ("nf4",), "cpu")}


@functools.cache
def found(name: str) -> MemoryMeasurement:
    (made,) = measure_jobs([jobs()[name]])
    return made


def lora_bytes() -> int:
    """Of A and B of query and value in each layer, in float32."""
    path = str(jobs()["lora"].question.source.path)
    config = AutoModelForSequenceClassification.from_pretrained(path).config
    return int(config.num_hidden_layers * 2 * 2 * RANK * config.hidden_size * FLOAT)


def test_what_is_measured() -> None:
    assert list(jobs()) == [
        "lora",
        "peft + Trainer: lora",
        "lorasp",
        "full",
        "Trainer: full",
        "lora, nf4",
        "lora, selective activation checkpointing",
        "lora, full activation checkpointing",
        "lorasp, nf4, full activation checkpointing",
        "lorasp:select=row",
        "lorasp:select=b-only",
    ]
    assert [name for name, job in jobs().items() if not job.peak] == ["lorasp:select=row", "lorasp:select=b-only"]


@pytest.mark.parametrize("name", ["lora", "peft + Trainer: lora"])
def test_loras_gradients_and_moments_are_those_of_its_shapes(name: str) -> None:
    assert (found(name).gradients, found(name).moments) == (lora_bytes(), 2 * lora_bytes())


@pytest.mark.parametrize("name", ["lorasp", "lorasp:select=row", "lorasp:select=b-only"])
def test_lorasps_are_half_of_them(name: str) -> None:
    assert (2 * found(name).gradients, 2 * found(name).moments) == (lora_bytes(), 2 * lora_bytes())


@pytest.mark.parametrize("name", ["full", "Trainer: full"])
def test_fulls_are_those_of_the_whole_backbone(name: str) -> None:
    path = str(jobs()["full"].question.source.path)
    model = AutoModelForSequenceClassification.from_pretrained(path)
    backbone = FLOAT * sum(p.numel() for n, p in model.named_parameters() if not n.startswith("classifier"))
    assert (found(name).gradients, found(name).moments) == (backbone, 2 * backbone)


@pytest.mark.slow
def test_what_is_kept_for_the_backward_pass_is_what_trainer_keeps() -> None:
    ours, theirs = found("lora").kept, found("peft + Trainer: lora").kept
    assert ours == pytest.approx(theirs, rel=0.05)
    full, selective = (found(f"lora, {kind} activation checkpointing").kept for kind in ("full", "selective"))
    assert full < selective < ours
    assert found("lorasp:select=b-only").kept < found("lorasp:select=row").kept


def test_the_predicted_peak_is_the_counted_one_by_category() -> None:
    made = found("lora")
    assert made.predicted is not None and made.counted is not None and set(made.predicted) == set(PARTS)
    for part in ("weights", "gradients", "optimizer", "activations"):
        assert made.predicted[part] == pytest.approx(made.counted[part], rel=0.02, abs=4096)
    row = _build_row(made, made)
    assert sum(float(row[part].removesuffix(" %")) for part in PARTS) == pytest.approx(100, abs=0.5)


def test_a_saving_is_the_share_of_loras_peak_that_is_not_taken() -> None:
    assert compute_saving(75, 100) == 0.25 and compute_saving(150, 100) == -0.5 and compute_saving(None, 100) is None
    base = MemoryMeasurement("lora", 8, 16, 400, 1000, {"weights": 300, "activations": 100})
    less = MemoryMeasurement("x", 4, 8, 100, 900, {"weights": 300, "activations": 20})
    sample = _build_samples([base, less])[1]
    assert sample["saved"] == pytest.approx(0.1) and sample["saved_predicted"] == pytest.approx(0.2)


@pytest.mark.slow
def test_a_peak_is_of_a_process_of_its_own() -> None:
    (made,) = _run_in_process([jobs()["lora"]])
    assert made.peak and made.peak > 0 and made.gradients == lora_bytes()


def test_peaks_that_are_mostly_the_libraries_are_told_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def mostly(peak: int) -> bool:
        one = MemoryMeasurement("lora", 8, 16, 400, peak, {name: 100 for name in PARTS})
        monkeypatch.setattr("harness.bench.memory._run_in_process", lambda group: [one])
        return "mind" in measure(SPEC, (), ()).facts

    assert mostly(2 * 100 * len(PARTS) + 1) and not mostly(2 * 100 * len(PARTS))


@pytest.mark.parametrize(
    ("more", "says"), [(["--quantizations", "nf5"], "nf5"), (["--strategies", "rwo"], "did you mean 'row'")]
)
def test_a_mistake_is_one_line_and_exit_2(more: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "memory", *more]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert says in line
