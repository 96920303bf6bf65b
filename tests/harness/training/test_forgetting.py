"""The loss on a forgetting text before and after fine-tuning, against transformers and peft alone."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.cli.main import main
from harness.core.errors import CellFailed
from harness.core.record import Forgetting, Parameters, Record, TrainState
from harness.core.store import Store
from harness.core.suite import ForgettingText
from harness.training.forgetting import ForgettingLoss, split_windows
from harness.training.history import TrainingHistory
from harness.training.result import Result, from_plain, to_plain
from suites.mmlu import Mmlu
from tests.harness import causal
from tests.suites.sources.mmlu_files import write_mmlu

TEXT = "The cat sees a bird, and the bird sees the cat. Nobody is surprised.\n" * 30


def compute_reference(model: Any, tokenizer: Any, text: str, length: int = 256) -> tuple[float, int]:
    """Mean loss by transformers itself, window by window, and the number of predicted tokens."""
    ids = tokenizer(text)["input_ids"]
    total, count = 0.0, 0
    for start in range(0, len(ids), length):
        window = torch.tensor([ids[start : start + length]])
        predicted = window.shape[1] - 1
        if predicted:
            with torch.no_grad():
                total += float(model(input_ids=window, labels=window).loss) * predicted
            count += predicted
    return total / count, count


def test_the_loss_is_that_of_transformers() -> None:
    model, tokenizer = causal.model(), causal.tokenizer()
    forgetting = ForgettingLoss(ForgettingText("text", TEXT), model, tokenizer, autocast=False)
    expected, count = compute_reference(model, tokenizer, TEXT)
    assert forgetting.before == pytest.approx(expected, rel=1e-7)
    assert forgetting.tokens == count and forgetting.unknown == 0
    # replicas of one model are the same model
    assert forgetting.compute(model, 3) == pytest.approx([expected] * 3, rel=1e-7)


def test_small_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = causal.model(), causal.tokenizer()
    text = ForgettingText("text", TEXT)
    whole = ForgettingLoss(text, model, tokenizer, autocast=False).before
    monkeypatch.setattr("harness.training.forgetting.MAX_LOGITS", 1)
    assert ForgettingLoss(text, model, tokenizer, autocast=False).before == pytest.approx(whole, rel=1e-12)


def test_a_short_context_has_short_windows() -> None:
    model, tokenizer = causal.model(positions=32), causal.tokenizer()
    forgetting = ForgettingLoss(ForgettingText("text", TEXT), model, tokenizer, autocast=False)
    assert max(map(len, forgetting.windows)) == 32
    assert forgetting.before == pytest.approx(compute_reference(model, tokenizer, TEXT, 32)[0], rel=1e-7)


def test_windows_cover_the_text_but_for_a_lone_last_token() -> None:
    assert split_windows([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4]]
    assert split_windows([1, 2, 3], 2) == [[1, 2]] and split_windows([1, 2, 3, 4], 3) == [[1, 2, 3]]
    assert split_windows([1], 4) == []


def test_a_text_of_one_token_is_refused() -> None:
    with pytest.raises(CellFailed, match="has 1 tokens; give a text of 2 at least"):
        ForgettingLoss(ForgettingText("empty", ""), causal.model(), causal.tokenizer(), autocast=False)


def train(folder: Path, *words: str) -> dict[str, Record]:
    """Records of short runs of MMLU on the random causal model; its adapters are saved."""
    model = folder / "model"
    if not model.exists():
        causal.save(model)
        write_mmlu(folder)
    out = folder / f"out{len(list(folder.glob('out*')))}"
    small = (
        "--template plain --max-steps 3 --batch-size 4 --eval-rows 3 --no-profile --max-length 128 --lr 0.02".split()
    )
    start = ["run", "--suite", "mmlu", "--data-dir", str(folder), "--model", f"mmlu={model}", "--out", str(out)]
    assert main([*start, *small, "--save-adapters", "--formats", "csv", "--figures", "", *words]) == 0
    return {key: record.model_copy(update={"extra": {"out": out}}) for key, record in Store(out).read()[0].items()}


def test_each_replica_of_a_pack_has_the_loss_of_its_saved_adapter(tmp_path: Path) -> None:
    records = train(tmp_path, "--methods", "lora:rank=2,lora:rank=4", "--seeds", "2", "--pack", "4")
    assert {record.pack.size for record in records.values() if record.pack} == {4}
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    text = Mmlu().get_forgetting_text("mmlu", synthetic=False)
    assert text is not None
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    before, count = compute_reference(base, tokenizer, text.text)
    afters = set()
    for record in records.values():
        assert record.adapter is not None and record.forgetting is not None
        loaded = peft.PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32),
            str(record.extra["out"] / record.adapter.path),
        )
        after, _ = compute_reference(loaded.eval(), tokenizer, text.text)
        assert record.forgetting.before == pytest.approx(before, rel=1e-5)
        assert record.forgetting.after == pytest.approx(after, rel=1e-5)
        assert record.forgetting.change == record.forgetting.after - record.forgetting.before
        assert record.forgetting.tokens == count
        assert record.forgetting.sha256 == hashlib.sha256(text.text.encode()).hexdigest()
        afters.add(round(after, 6))
    assert len(afters) == 4 and min(abs(after - before) for after in afters) > 1e-3


def test_a_text_of_the_user_is_in_the_key_by_its_content(tmp_path: Path) -> None:
    own, copy, other = (tmp_path / name for name in ("own.txt", "copy.txt", "other.txt"))
    own.write_text(TEXT)
    copy.write_text(TEXT)
    other.write_text(f"{TEXT}!")
    words = ["--methods", "lora", "--seeds", "1"]
    plain = set(train(tmp_path, *words))
    records = train(tmp_path, *words, "--option", f"forgetting_file={own}")
    (record,) = records.values()
    assert record.forgetting is not None and record.forgetting.text == "own.txt"
    assert record.forgetting.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert set(train(tmp_path, *words, "--forgetting-file", str(copy))) == set(records) != plain
    assert Mmlu(forgetting_file=str(other)).parts() != Mmlu(forgetting_file=str(own)).parts()


def test_without_the_option_a_key_is_as_before() -> None:
    assert Mmlu().parts() == {} and not any("forgetting" in name for name in Mmlu().files())


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), (b"\xff\xfe\x00", "not UTF-8"), (b" \n", "is not empty"), (b"x" * (2**20 + 1), "at most")],
)
def test_a_file_that_is_no_text_ends_with_exit_2(
    tmp_path: Path, content: bytes | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    words = ["run", "--suite", "mmlu", "--forgetting-file", str(path), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and says in error[0] and not list((tmp_path / "out").rglob("*.json"))


def test_a_checkpoint_keeps_it() -> None:
    forgetting = Forgetting(text="a", sha256="b", tokens=3, unknown_tokens=0, before=1.0, after=1.5)
    parameters = Parameters(adapter_trained=1, adapter_frozen=0, head_trained=0, backbone=1, backbone_trained=0)
    result = Result(TrainingHistory(3), {}, None, parameters, TrainState(weights=1, gradients=1, optimizer=1))
    result = dataclasses.replace(result, forgetting=forgetting)
    plain = to_plain(result)
    assert from_plain(plain).forgetting == forgetting
    # of an earlier version
    del plain["forgetting"]
    assert from_plain(plain).forgetting is None


def test_the_statements_of_the_embedded_model_are_those_of_their_generator() -> None:
    from scripts.embedded.mmlu.forgetting_text import build_text

    text = Mmlu().get_forgetting_text("mmlu", synthetic=True)
    assert text is not None and text.text == build_text()
