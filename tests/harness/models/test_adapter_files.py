"""Adapters on the disk: runs that save them, and runs that start from them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peft
import pytest
import torch
from safetensors.torch import load_file

from harness.cli.main import main
from harness.core.errors import UserError
from harness.core.method import Exported
from harness.core.record import Record
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.models.adapter_files import is_saved, write_adapter
from harness.models.load import load_model, load_tokenizer
from harness.planning.plan import make_plan
from tests.harness.core.files import limit_files
from tests.harness.runner.test_run import go


def logits_by_peft(out: Path, record: Record) -> np.ndarray:
    """Logits of the evaluated rows from the saved folder alone, on a base that nothing has touched."""
    import peft

    from harness.data.inputs import read_inputs

    plan = make_plan(make_spec({"tasks": (record.cell.task,), "seeds": "1"}))
    first = plan.cells[0]
    source, task = first.source, first.task
    assert record.adapter is not None
    base = load_model(source, task.outputs)
    model = peft.PeftModel.from_pretrained(base, str(out / record.adapter.path)).eval()
    protocol = record.cell.protocol
    rows = first.data
    inputs = read_inputs(load_tokenizer(source), task, rows, protocol).splits["validation"]
    with torch.no_grad():
        return model(**inputs.batch(np.arange(len(inputs)))).logits.numpy()  # type: ignore[no-any-return]


def test_each_cell_of_a_pack_is_saved_and_peft_repeats_its_predictions(tmp_path: Path) -> None:
    outcome, said = go(tmp_path, methods="lora:max_steps=2,lora,lorasp,head", save_adapters=True)
    assert "not expressible in peft: head; not saved" in said and outcome.failed == 0
    for record in outcome.records:
        if record.cell.method == "head":
            assert record.adapter is None
            continue
        assert record.adapter is not None and record.adapter.path == f"adapters/{record.key}"
        weights = (tmp_path / record.adapter.path / "adapter_model.safetensors").read_bytes()
        assert record.adapter.sha256 == hashlib.sha256(weights).hexdigest()
        frame = pd.read_parquet(tmp_path / "cells" / f"{record.key}.parquet")
        wanted = np.stack(frame["logits"].to_list())
        np.testing.assert_allclose(logits_by_peft(tmp_path, record), wanted, rtol=0, atol=1e-5)
    assert len({r.adapter.sha256 for r in outcome.records if r.adapter}) == 6


def test_a_finished_cell_runs_again_only_for_an_adapter_that_is_not_there(tmp_path: Path) -> None:
    first, said = go(tmp_path, methods="lora,head")
    assert all(r.adapter is None for r in first.records) and "peft" not in said
    second, said = go(tmp_path, methods="lora,head", save_adapters=True)
    assert "2 finished cells have no saved adapter" in said and "4 cells: 2 done" in said
    assert [r.key for r in second.records] == [r.key for r in first.records]
    assert [r.scores for r in second.records] == [r.scores for r in first.records]
    assert "4 cells: 4 done" in go(tmp_path, methods="lora,head", save_adapters=True)[1]
    (tmp_path / "adapters" / second.records[0].key / "adapter_model.safetensors").write_bytes(b"changed")
    assert not is_saved(tmp_path, second.records[0]) and is_saved(tmp_path, second.records[1])
    third, said = go(tmp_path, methods="lora,head", save_adapters=True)
    assert "4 cells: 3 done" in said
    assert is_saved(tmp_path, third.records[0]) and not list((tmp_path / "adapters").glob(".*"))


WORDS = [
    "--max-steps",
    "5",
    "--train-rows",
    "64",
    "--eval-rows",
    "40",
    "--no-profile",
    "--formats",
    "csv",
    "--figures",
    "",
    "--threads",
    "1",
    "--seeds",
    "2",
]


def run(out: Path, *words: str) -> dict[str, Record]:
    assert main(["run", *WORDS, "--out", str(out), *words]) == 0
    return Store(out).read()[0]


@pytest.mark.slow
def test_from_a_run_of_one_task_to_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = run(tmp_path / "mnli", "--methods", "lora,lorasp", "--tasks", "mnli", "--save-adapters")
    slow = ("--methods", "lora,lorasp", "--tasks", "rte", "--lr", "1e-6")
    plain = run(tmp_path / "plain", *slow)
    capsys.readouterr()
    start = f"{tmp_path}/mnli:mnli"
    words = (*slow, "--init-from", start, "--save-adapters")
    started = run(tmp_path / "started", *words)
    assert "glue/rte: --init-from has no head of 2 outputs: classifier initialized at random" in capsys.readouterr().err
    assert len(started) == len(plain) == 4 and not set(started) & set(plain)
    assert run(tmp_path / "started", *words).keys() == started.keys()
    for record in started.values():
        source = next(r for r in given.values() if _same(r, record))
        assert record.cell.initial is not None and source.adapter is not None
        assert record.cell.initial.revision == source.adapter.sha256
        assert source.adapter.path in record.cell.initial.name
        before, after = (
            load_file(folder / r.adapter.path / "adapter_model.safetensors")  # type: ignore[union-attr]
            for folder, r in ((tmp_path / "mnli", source), (tmp_path / "started", record))
        )
        pairs = [n for n in before if "lora_" in n]
        assert all(float(before[n].abs().max()) > 1e-3 for n in pairs)
        gap = max(float((before[n] - after[n]).abs().max()) for n in pairs)
        assert 0 < gap < 1e-5  # AdamW moves an entry by about its rate a step
        if record.cell.method == "lorasp":
            kept = sum(int((before[n] == after[n]).sum()) for n in pairs)
            total = sum(before[n].numel() for n in pairs)
            assert kept >= total // 2


def _same(a: Record, b: Record) -> bool:
    return (a.cell.method, a.cell.seeds) == (b.cell.method, b.cell.seeds)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--methods", "lora", "--tasks", "rte", "--seeds", "3"], "0 adapters of lora with the seeds init=2"),
        (["--methods", "rslora", "--tasks", "rte"], "no adapter of rslora on this model; it has lora"),
        (["--methods", "pissa", "--tasks", "rte"], "method 'pissa' starts from the weight itself"),
        (["--methods", "lora:rank=4", "--tasks", "rte", "--init-from", "ONE"], "of --init-from has rank 16"),
        (["--methods", "lora", "--tasks", "rte", "--init-from", "RUN:cola"], "allowed tasks: mnli"),
    ],
)
def test_a_start_that_cannot_be_is_one_line_and_nothing_trains(
    words: list[str], says: str, one_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = str(next((one_run / "adapters").iterdir()))
    given = [w.replace("RUN", str(one_run)).replace("ONE", one) for w in words]
    assert main(["run", *WORDS, "--out", str(tmp_path), "--init-from", str(one_run), *given]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and says in errors[0]
    assert not list(tmp_path.glob("cells/*"))


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    flags: dict[str, Any] = {"methods": "lora", "tasks": ("mnli",), "save_adapters": True}
    go(out, **flags)
    return out


def test_a_disk_that_fills_up_amid_an_adapter_is_one_line(tmp_path: Path) -> None:
    """safetensors writes in Rust and raises an error of its own."""
    tensors = {"base_model.model.a.lora_A.weight": torch.zeros(100, 1000)}
    exported = Exported(peft.LoraConfig(r=100), tensors)
    with limit_files(60_000), pytest.raises(UserError, match=r"cannot write .*adapters/abc"):
        write_adapter(tmp_path, "abc", exported, "base")
    assert list((tmp_path / "adapters").iterdir()) == []
