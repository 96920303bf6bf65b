"""Replicas scored together and alone, and in memory against lm-eval's command line on a saved, merged model."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.core.method import METHODS, Evaluated, Member, SourceRequest, TaskData
from harness.core.protocol import Protocol
from harness.core.seeds import Streams, equal
from harness.data.task_types.instruction import TASK_TYPE
from harness.training.pack_setup import build_calibration
from methods.layers.lowrank import LowRankLinear
from suites.lm_evaluation.definitions import write_definitions
from suites.mmlu import TASK, Mmlu
from tests.harness import causal
from tests.suites.sources.mmlu_files import write_mmlu

METHOD = METHODS.get("lora")(rank=4)


def rows(tmp_path: Path, questions: int = 6) -> TaskData:
    return Mmlu().load("mmlu", SourceRequest("data-dir", write_mmlu(tmp_path, questions)))


def adapted(data: TaskData, seeds: Sequence[int], positions: int = 512) -> nn.Module:
    """A float32 model with a lora of its own per seed, B drawn so that the replicas differ."""
    model = causal.model(torch.float32, positions=positions)
    own = Protocol(lr=1, max_length=128, template="plain")
    split = TASK_TYPE.tokenise(causal.tokenizer(), TASK, data.splits["train"], own, train=True)
    members = [Member(METHOD, Streams(equal(s)), 1) for s in seeds]
    METHOD.attach(model, members, build_calibration(split, TASK_TYPE.losses(own)))
    for name, module in model.named_modules():
        if isinstance(module, LowRankLinear):
            for slot, seed in enumerate(seeds):
                b = module.b.dense()[slot]
                drawn = torch.randn(b.shape, generator=torch.Generator().manual_seed(seed * 1000 + len(name)))
                module.b.leaf.tensor.data[slot].copy_(drawn)  # type: ignore[union-attr]
    return model.eval()


def scored(model: nn.Module, data: TaskData, k: int, **fields: Any) -> list[Evaluated]:
    evaluator = Mmlu().evaluator("mmlu", data)
    found = evaluator(model, causal.tokenizer(), k, Protocol(lr=1, **fields), autocast=False)
    assert all(one is not None for one in found)
    return [one for one in found if one is not None]


def values(found: Evaluated) -> np.ndarray:
    return np.stack(found.predictions["log_likelihoods"].tolist())


@pytest.mark.parametrize("fields", [{}, {"shots": 1, "eval_rows": 3}], ids=["zero-shot", "one-shot"])
def test_replicas_together_are_each_alone(tmp_path: Path, fields: dict[str, Any]) -> None:
    data = rows(tmp_path)
    together = scored(adapted(data, [1, 2, 3]), data, 3, **fields)
    assert abs(values(together[0]) - values(together[1])).max() > 0.1
    for seed, found in zip((1, 2, 3), together, strict=True):
        (alone,) = scored(adapted(data, [seed]), data, 1, **fields)
        np.testing.assert_allclose(values(found), values(alone), atol=2e-5)
        assert found.scores == alone.scores and found.extra == alone.extra


def test_scores_are_those_of_the_predictions(tmp_path: Path) -> None:
    data = rows(tmp_path)
    (found,) = scored(causal.model(torch.float32), data, 1)
    frame = found.predictions
    assert frame["id"].tolist() == [e.id for e in data.splits["test"]]
    assert frame["target"].tolist() == [e.label for e in data.splits["test"]]
    right = frame["prediction"] == frame["target"]
    by_subject = right.groupby(frame["id"].str.split("/").str[0]).mean()
    assert found.scores["accuracy"] == pytest.approx(100 * right.mean())
    assert found.scores["accuracy_by_subject"] == pytest.approx(100 * by_subject.mean())
    assert found.scores["stem"] == pytest.approx(100 * right[frame["id"].str.match("anatomy|astronomy")].mean())
    assert set(found.scores) == set(TASK.metrics)
    assert not {"question", "doc"} & set(frame.columns)


def test_log_likelihoods_are_the_models(tmp_path: Path) -> None:
    """Against a plain forward pass over the prompt as MMLU words it."""
    data = rows(tmp_path, 2)
    model, tokenizer = causal.model(torch.float32), causal.tokenizer()
    (found,) = scored(model, data, 1)
    for question, own in zip(data.splits["test"], values(found), strict=True):
        subject = question.id.partition("/")[0]
        options = "".join(f"{c}. {t}\n" for c, t in zip("ABCD", question.texts[1:], strict=True))
        head = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
        text = f"{head}{question.texts[0]}\n{options}Answer:"
        for letter, value in zip("ABCD", own, strict=True):
            ids = torch.tensor([tokenizer(f"{text} {letter}")["input_ids"]])
            logs = model(ids).logits.log_softmax(-1)[0]
            expected = sum(float(logs[-3 + i, ids[0, -2 + i]]) for i in range(2))
            assert value == pytest.approx(expected, abs=1e-4)


def test_prompts_beyond_the_models_positions_are_counted(tmp_path: Path) -> None:
    data = rows(tmp_path)
    (found,) = scored(causal.model(torch.float32, positions=100), data, 1)
    assert found.extra["lm_eval"]["truncated_prompts"] >= len(data.splits["test"])
    assert scored(causal.model(torch.float32), data, 1)[0].extra["lm_eval"]["truncated_prompts"] == 0


def test_outputs_that_are_not_finite_give_none_for_that_replica(tmp_path: Path) -> None:
    data = rows(tmp_path, 1)
    model = adapted(data, [1, 2])
    for module in model.modules():
        if isinstance(module, LowRankLinear):
            module.b.leaf.tensor.data[1] = float("nan")  # type: ignore[union-attr]
    found = Mmlu().evaluator("mmlu", data)(model, causal.tokenizer(), 2, Protocol(lr=1), autocast=False)
    assert found[0] is not None and found[1] is None


def test_no_network_and_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: object, **named: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    data = rows(tmp_path, 1)
    scored(causal.model(torch.float32), data, 1)
    assert capfd.readouterr() == ("", "")


def merged(model: nn.Module, folder: Path) -> Path:
    """The plain model with W + scale * B A, saved with its tokenizer."""
    plain: Any = causal.model(torch.float32)
    for name, module in model.named_modules():
        if isinstance(module, LowRankLinear):
            update = METHOD.scale * module.b.dense()[0] @ module.a.dense()[0]
            plain.get_submodule(name).weight.data += update
    plain.save_pretrained(folder)
    causal.tokenizer().save_pretrained(folder)
    return folder


def command_line(model: Path, tasks: Path, out: Path, shots: int) -> dict[str, list[float]]:
    """Log-likelihoods per question of lm-eval's own command."""
    words = ["--model", "hf", "--model_args", f"pretrained={model},dtype=float32", "--include_path", str(tasks)]
    words += ["--tasks", "mmlu", "--num_fewshot", str(shots), "--batch_size", "4", "--device", "cpu"]
    words += ["--log_samples", "--output_path", str(out)]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(out / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", *words], env=os.environ | offline, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = {}
    for path in out.rglob("samples_mmlu_*.jsonl"):
        subject = path.name.removeprefix("samples_mmlu_").rpartition("_")[0]
        for line in path.read_text().splitlines():
            row = json.loads(line)
            found[f"{subject}/{row['doc_id']}"] = [float(answer[0]) for answer in row["filtered_resps"]]
    return found


@pytest.mark.slow  # test_peft.py holds the same numbers to peft and transformers
@pytest.mark.parametrize(("questions", "shots"), [(1, 0), (20, 5)], ids=["few", "many"])
def test_the_saved_and_merged_model_says_the_same_to_lm_evals_command(
    tmp_path: Path, questions: int, shots: int
) -> None:
    data = rows(tmp_path, questions)
    model = adapted(data, [1])
    tasks = tmp_path / "tasks"
    write_definitions(tasks, data.splits["dev"], data.splits["test"])
    theirs = command_line(merged(model, tmp_path / "merged"), tasks, tmp_path / "out", shots)
    (ours,) = scored(model, data, 1, shots=shots)
    assert set(theirs) == set(ours.predictions["id"])
    for name, own in zip(ours.predictions["id"], values(ours), strict=True):
        assert np.argsort(own).tolist() == np.argsort(theirs[name]).tolist()
        np.testing.assert_allclose(own, theirs[name], atol=1e-3)
