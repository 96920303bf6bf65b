"""Log-likelihoods of a trained and saved run, against those that peft and transformers compute from its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from harness.cli import main
from harness.contracts import SourceRequest
from harness.store import Store
from suites.mmlu import Mmlu
from tests.harness import causal
from tests.suites.sources.mmlu_files import write_mmlu

LETTERS = "ABCD"


def by_peft(base: Path, adapter: Path, prompts: list[str]) -> np.ndarray:
    """[prompts, 4]: the log-likelihood of each letter after each prompt, one sequence at a time."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter)).eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    found = np.empty((len(prompts), len(LETTERS)))
    for row, prompt in enumerate(prompts):
        start = len(tokenizer(prompt)["input_ids"])
        for column, letter in enumerate(LETTERS):
            ids = torch.tensor([tokenizer(f"{prompt} {letter}")["input_ids"]])
            with torch.no_grad():
                loss = model(input_ids=ids, labels=torch.cat([torch.full((1, start), -100), ids[:, start:]], 1)).loss
            found[row, column] = -float(loss) * (ids.shape[1] - start)
    return found


def words_of(question: object) -> str:
    """A question as MMLU's own evaluation words it, without examples."""
    name, (text, *choices) = question.id.partition("/")[0], question.texts  # type: ignore[attr-defined]
    options = "".join(f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, choices, strict=True))
    return f"The following are multiple choice questions (with answers) about {name}.\n\n{text}\n{options}Answer:"


def test_log_likelihoods_of_a_run_are_those_of_peft_and_transformers(tmp_path: Path) -> None:
    """Two methods and two seeds that train as one pack, each from its own folder on a base that nothing has touched."""
    base, data = causal.save(tmp_path / "model"), write_mmlu(tmp_path, 2)
    words = ["--suite", "mmlu", "--methods", "lora,lorasp", "--seeds", "2", "--max-steps", "4", "--lr", "0.05"]
    words += ["--template", "plain", "--max-length", "128", "--packed", "--save-adapters", "--no-profile"]
    words += ["--formats", "csv", "--figures", "", "--threads", "1", "--batch-size", "4"]
    places = ["--data-dir", str(data), "--model", f"mmlu={base}", "--out", str(tmp_path / "out")]
    assert main(["run", *words, *places]) == 0
    questions = {q.id: q for q in Mmlu().load("mmlu", SourceRequest("data-dir", data)).splits["test"]}
    records, _ = Store(tmp_path / "out").read()
    assert len(records) == 4 and all(r.pack is not None and r.pack.size == 4 for r in records.values())
    trained: list[np.ndarray] = []
    for key, record in records.items():
        assert record.adapter is not None
        frame = pd.read_parquet(tmp_path / "out" / "cells" / f"{key}.parquet")
        prompts = [words_of(questions[name]) for name in frame["id"]]
        ours = np.stack(frame["log_likelihoods"].to_list())
        theirs = by_peft(base, tmp_path / "out" / record.adapter.path, prompts)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
        right = theirs.argmax(1) == np.array([questions[name].label for name in frame["id"]])
        assert record.scores["accuracy"] == pytest.approx(100 * right.mean())
        trained.append(ours)
    assert min(abs(one - other).max() for i, one in enumerate(trained) for other in trained[:i]) > 1e-2
