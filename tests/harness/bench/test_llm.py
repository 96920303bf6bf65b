"""`bench llm` as its user meets it, on a CPU with a tiny shape."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.bench import llm
from harness.bench.llm import find_reason_missing
from harness.bench.llm_job import LlmJob, LlmMeasurement
from harness.bench.llm_process import OurTraining, PeftTraining, make_rows, measure_job
from harness.cli.main import main
from harness.models.shapes import SHAPES, build_shape_config, count_llama_parameters
from harness.profiling.worker import WorkerKilled

JOB = LlmJob("ours", "llama-tiny", 2, 16, 4, 0.0, "fp32", 3, 4, "cpu", 1)
SMALL = ["bench", "llm", "--shape", "llama-tiny", "--dtype", "fp32", "--warmup", "3", "--repeats", "2"]
SMALL += ["--device", "cpu", "--threads", "1", "--rank", "4"]


def test_ours_peft_and_what_is_missing_as_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "llm.json"
    assert main([*SMALL, "--batch-sizes", "1", "--lengths", "16", "--out", str(out)]) == 0
    facts, head, *rows = capsys.readouterr().out.strip().splitlines()
    assert "shape llama-tiny" in facts and "tokens/s" in head
    names = ["ours", "peft", "peft+liger", "peft+liger+compile", "unsloth"]
    assert [row.split()[0] for row in rows] == names
    results = json.loads(out.read_text())["results"]
    for result in results:
        if result["subject"] in ("ours", "peft"):
            seconds = result["seconds"]
            assert len(seconds) == 2 and len(result["losses"]) == 3 + 2 and result["peak"] > 0
            assert result["tokens_per_second"] == pytest.approx(result["length"] / np.median(seconds))
        else:
            assert result["failure"].startswith("missing: ") and result["tokens_per_second"] is None
    assert all("missing: " in row for row in rows if row.split()[0] not in ("ours", "peft"))
    assert out.with_suffix(".svg").is_file()


def test_both_train_the_same_rows_from_the_same_weights() -> None:
    """Before its first update an adapter changes nothing, whatever its random factors."""
    ours, peft = measure_job(JOB), measure_job(dataclasses.replace(JOB, subject="peft"))
    assert ours.failure is None and peft.failure is None
    assert ours.losses[0] == pytest.approx(peft.losses[0], rel=1e-6)
    assert len(set(ours.losses)) == JOB.steps


def test_both_train_as_many_parameters() -> None:
    ours, peft = OurTraining(JOB), PeftTraining(dataclasses.replace(JOB, subject="peft"))
    groups = ours.trainer.attached.groups
    assert sum(group.counts[0] for group in groups) == sum(p.numel() for p in peft.trained)
    assert len(make_rows(JOB, 512)) == 8 * JOB.batch


def test_a_subject_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.bench.llm_process.OurTraining", lambda job: 1 / 0)
    assert measure_job(JOB).failure == "failed: ZeroDivisionError: division by zero"

    def killed(*_: object) -> LlmMeasurement:
        raise WorkerKilled

    monkeypatch.setattr(llm, "call_alone", killed)
    result = llm.measure(JOB, ["ours"], [1], [8])
    assert result.rows[0]["note"] == "failed: its process was killed (out of memory?)" and not result.panels


def test_ratios_compare_subjects_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(_module: str, _work: object, job: LlmJob) -> LlmMeasurement:
        seconds = job.batch * (1.0 if job.subject == "ours" else 1.5)
        return LlmMeasurement((seconds,) * 3, (2.0, 1.0), 100 if job.subject == "ours" else 150)

    monkeypatch.setattr(llm, "call_alone", timed)
    result = llm.measure(JOB, ["ours", "peft"], [1, 2], [8])
    assert [row["ours / it"] for row in result.rows] == ["1.00", "1.50"] * 2
    assert [row["its peak / ours"] for row in result.rows] == ["1.00", "1.50"] * 2
    assert [row["tokens/s"] for row in result.rows] == ["8", "5", "8", "5"]


def test_weights_that_do_not_fit_are_refused_before_a_process_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(llm, "get_free_memory", lambda device: 2**30)
    monkeypatch.setattr(llm, "_run", lambda job: pytest.fail("a process would start"))
    assert main([*SMALL, "--shape", "llama-7b", "--dtype", "bf16"]) == 2
    message = capsys.readouterr().err
    assert "12.55 GiB in bf16, and 1.00 GiB are free" in message and len(message.strip().splitlines()) == 1


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.kind == "llama"])
def test_parameters_are_those_of_transformers_model(name: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(build_shape_config(name, {}))
    assert count_llama_parameters(SHAPES[name].fields) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("subject", ["peft+liger", "peft+liger+compile"])
def test_kernels_need_a_gpu(subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'lorasp-harness[kernels]'" in str(find_reason_missing(subject, "cuda"))
    monkeypatch.setattr(llm.importlib.util, "find_spec", lambda name: object())
    assert find_reason_missing(subject, "cpu") == "missing: its kernels need a GPU"
    assert find_reason_missing(subject, "cuda") is None and find_reason_missing("peft", "cpu") is None


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--subjects", "ours,trl"], "allowed: ours, peft, peft+liger"),
        (["--shape", "bert-base"], "not a causal model"),
        (["--shape", "llama-6b"], "did you mean 'llama-"),
        (["--dtype", "fp8"], "allowed: fp32 or bf16"),
        (["--rank", "65"], "--rank 65: allowed: at most 64"),
        (["--lengths", "8,1"], "--lengths 1: allowed: 2 or more"),
        (["--lengths", ""], "--lengths: no number is given"),
        (["--batch-sizes", "two"], "--batch-sizes two: allowed: whole numbers"),
    ],
)
def test_wrong_flags(flags: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, *flags]) == 2
    message = capsys.readouterr().err
    assert says in message and len(message.strip().splitlines()) == 1
