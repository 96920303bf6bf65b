"""Saved adapters with their cards, and `push-to-hub` with a hub that only notes what it is given."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pandas as pd
import peft
import pytest
import torch

import results
from harness.cli.main import main
from harness.core.record import Record
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.data.inputs import read_inputs
from harness.models.adapter_files import is_saved
from harness.models.load import load_tokenizer
from harness.planning.plan import make_plan

BASE = Path(__file__).parents[3] / "suites" / "embedded" / "models" / "encoder"
SETTINGS = {"suite": "glue", "methods": "lora,lorasp", "tasks": "rte", "seeds": 2, "max_steps": 3, "eval_rows": 40}


class Hub:
    """Stands for HfApi: keeps a copy of what is uploaded."""

    target: Path
    calls: list[dict[str, Any]]

    def create_repo(self, repo_id: str, **given: Any) -> str:
        self.calls.append({"repo": repo_id, **given})
        return f"https://huggingface.co/{repo_id}"

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        shutil.copytree(folder_path, self.target)
        self.calls.append({"upload": repo_id, "message": commit_message})


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    results.run(**SETTINGS, profile=False, threads=1, out=out, formats="md", figures="svg", save_adapters=True)
    return out


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    monkeypatch.setattr(Hub, "target", tmp_path / "uploaded", raising=False)
    monkeypatch.setattr(Hub, "calls", [], raising=False)
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_made_up")
    return Hub


def read_records(out: Path, method: str = "lora") -> list[Record]:
    records = [r for r in Store(out).read()[0].values() if r.cell.method == method]
    return sorted(records, key=lambda r: r.cell.seeds["init"])


def test_each_card_has_scores_and_the_command(run_folder: Path) -> None:
    for method in ("lora", "lorasp"):
        records = read_records(run_folder, method)
        scores = [r.scores["accuracy"] for r in records]
        for record in records:
            card = huggingface_hub.ModelCard.load(run_folder / "adapters" / record.key / "README.md")
            assert card.data.license == "unknown" and card.data.library_name == "peft"
            assert card.data.eval_results[0].metric_value == record.scores["accuracy"]
            mean, spread = np.mean(scores), np.std(scores, ddof=1)
            row = f"| accuracy | {record.scores['accuracy']:.1f} | {mean:.1f} | {spread:.1f} | 2 |"
            assert row in card.text and f"This adapter has seed {record.cell.seeds['init']}." in card.text
            assert (
                Store(run_folder).read_run()["command"] in card.text
                and "licence of this adapter is not known" in card.text
            )


def test_adapters_have_the_names_of_the_labels(run_folder: Path) -> None:
    folder = run_folder / "adapters" / read_records(run_folder)[0].key
    model = peft.AutoPeftModelForSequenceClassification.from_pretrained(str(folder))
    assert model.config.id2label == {0: "entailment", 1: "not_entailment"}
    assert model.config.label2id == {"entailment": 0, "not_entailment": 1}


def test_a_card_that_was_edited_stays_and_the_adapter_is_still_whole(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run_folder, out, symlinks=True)
    first, second = read_records(out)
    edited, damaged = (out / "adapters" / r.key / "README.md" for r in (first, second))
    before = damaged.read_bytes()
    edited.write_text("# mine\n")
    damaged.unlink()
    results.run(**SETTINGS, profile=False, threads=1, out=out, formats="md", figures="svg", save_adapters=True)
    assert edited.read_text() == "# mine\n" and len(damaged.read_bytes()) > 500
    assert [r.finished for r in read_records(out)] == [first.finished, second.finished] and is_saved(out, first)
    assert (
        before.split(b"## Command")[0].split(b"---")[2] == damaged.read_bytes().split(b"## Command")[0].split(b"---")[2]
    )


def test_what_is_pushed_repeats_the_stored_logits(
    run_folder: Path, hub: type[Hub], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["push-to-hub", str(run_folder), "--method", "lora", "--task", "rte", "--repo", "user/name"]
    assert main([*arguments, "--base", "org/base", "--seed", "1", "--private", "--json"]) == 0
    record = read_records(run_folder)[1]
    assert json.loads(capsys.readouterr().out) == {"url": "https://huggingface.co/user/name", "cell": record.key}
    assert hub.calls[0] == {"repo": "user/name", "private": True, "exist_ok": True, "repo_type": "model"}
    assert hub.calls[1] == {"upload": "user/name", "message": "lora on rte"}
    card = huggingface_hub.ModelCard.load(hub.target / "README.md")
    assert card.data.base_model == "org/base"
    config = json.loads((hub.target / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "org/base"
    # the only place of this machine that others see is in the command
    texts = {p.name: p.read_text() for p in hub.target.iterdir() if p.suffix in (".json", ".md")}
    texts["README.md"] = texts["README.md"].replace(Store(run_folder).read_run()["command"], "")
    assert not any(str(run_folder) in text or str(BASE) in text for text in texts.values())
    code = card.text.split("```python\n")[1].split("```")[0]
    scope: dict[str, Any] = {}
    exec(code.replace("user/name", str(hub.target)).replace("org/base", str(BASE)), scope)
    model = scope["model"].eval()
    assert model.config.id2label == {0: "entailment", 1: "not_entailment"}
    first = make_plan(make_spec({"tasks": ("rte",), "seeds": "1", "eval_rows": 40})).cells[0]
    rows = read_inputs(load_tokenizer(first.source), first.task, first.data, record.cell.protocol).splits["validation"]
    stored = pd.read_parquet(run_folder / "cells" / f"{record.key}.parquet")["logits"].to_list()
    with torch.no_grad():
        logits = model(**rows.batch(np.arange(len(rows)))).logits.numpy()
    np.testing.assert_allclose(logits[: len(stored)], np.stack(stored), rtol=0, atol=1e-5)


def test_the_first_seed_and_an_edited_card(run_folder: Path, hub: type[Hub], tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run_folder, out, symlinks=True)
    record = read_records(out, "lorasp")[0]
    (out / "adapters" / record.key / "README.md").write_text("# mine\n")
    arguments = ["push-to-hub", str(out), "--method", "lorasp", "--task", "rte", "--repo", "user/name"]
    assert main([*arguments, "--base", "org/base"]) == 0
    assert (hub.target / "README.md").read_text() == "# mine\n"


def test_mistakes_are_one_line(run_folder: Path, hub: type[Hub], capsys: pytest.CaptureFixture[str]) -> None:
    given = {"--method": "lora", "--task": "rte", "--repo": "user/name", "--base": "org/base"}
    for change, message in (
        ({"--repo": "name"}, "--repo name: allowed: USER/NAME"),
        ({"--method": "lorra"}, "unknown method of this run 'lorra': did you mean 'lora'"),
        ({"--task": "rt"}, "unknown task of this run 'rt'"),
        ({"--seed": "9"}, "unknown seed of this method '9': allowed: 0, 1"),
        ({"--base": "base"}, "--base base is no id on the hub"),
        ({"--base": None}, "the base model 'embedded:encoder' is no id on the hub; give --base"),
    ):
        flags = {name: value for name, value in (given | change).items() if value is not None}
        words = [word for pair in flags.items() for word in pair]
        assert main(["push-to-hub", str(run_folder), *words]) == 2
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1
    assert hub.calls == []


@pytest.mark.parametrize("error", [OSError("no route to host"), huggingface_hub.errors.OfflineModeIsEnabled("offline")])
def test_no_network_is_one_line(
    run_folder: Path,
    hub: type[Hub],
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(self: Hub, *args: Any, **given: Any) -> None:
        raise error

    monkeypatch.setattr(Hub, "create_repo", fail)
    words = ["push-to-hub", str(run_folder), "--method", "lora", "--task", "rte", "--repo", "u/n", "--base", "o/b"]
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f"error: push-to-hub: u/n was not pushed: {error}; check the network, the token and its rights\n"
    )


def test_no_token_is_one_line(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert main(["push-to-hub", str(run_folder), "--method", "lora", "--task", "rte", "--repo", "u/n"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: push-to-hub: no token of the Hugging Face hub; run `hf auth login`"
    )
