"""MMLU's rows from files: places, notes, refusals that name file and line, and a run from the command line."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.core.errors import UserError
from harness.core.method import SourceRequest, TaskData
from harness.core.protocol import Protocol
from harness.core.store import Store
from suites.mmlu import Mmlu
from suites.sources.mmlu_subjects import GROUPS, SUBJECTS
from tests.harness import causal
from tests.suites.sources.mmlu_files import write_mmlu


def load(folder: Path, *files: Path) -> TaskData:
    given = {("mmlu", "train"): files} if files else {}
    return Mmlu().load("mmlu", SourceRequest("data-dir", folder, given))


def test_subjects_and_groups_are_those_of_lm_eval() -> None:
    from suites.lm_evaluation.definitions import _load_installed

    tags = {subject: _load_installed(f"mmlu_{subject}")["tag"] for subject in SUBJECTS}
    assert len(tags) == 57
    assert tags == {subject: f"mmlu_{name}_tasks" for name, members in GROUPS.items() for subject in members}


def test_the_three_places_of_a_data_dir_are_the_same(tmp_path: Path) -> None:
    root = write_mmlu(tmp_path)
    outer, inner, innermost = load(root), load(root / "mmlu"), load(root / "mmlu" / "data")
    assert outer == inner == innermost and outer.source == "data-dir"
    first = outer.splits["test"][0]
    assert (first.id, first.texts[0], first.label) == ("anatomy/0", "Which one, test 0?", 0)
    assert first.texts[1:] == ('red "0", ana', 'blue "0", ana', 'green "0", ana', 'grey "0", ana')
    assert outer.splits["dev"][5].id == "dev/astronomy/0" and len(outer.splits["train"]) == 40
    assert outer.notes[0].startswith("partial: 52 of the 57 subjects are missing: abstract_algebra, business_ethics")
    assert len(outer.notes) == 1


def test_fingerprint_follows_the_questions_too(tmp_path: Path) -> None:
    root = write_mmlu(tmp_path)
    before = load(root).fingerprint
    path = root / "mmlu/data/test/anatomy_test.csv"
    path.write_text(path.read_text().replace("test 0?", "test 0!"))
    assert load(root).fingerprint != before


def test_training_rows_beside_the_questions(tmp_path: Path) -> None:
    root = write_mmlu(tmp_path)
    row = {"instruction": "Say.", "input": "", "output": "Yes."}
    (root / "alpaca" / "partial").mkdir()
    for name, rows in (("a", [row, {**row, "output": " "}]), ("b", [row, {**row, "instruction": "Go."}])):
        (root / "alpaca" / "partial" / f"{name}.json").write_text(json.dumps(rows))
    assert len(load(root).splits["train"]) == 40
    (root / "alpaca" / "alpaca_data.json").unlink()
    data = load(root)
    assert [e.texts[0] for e in data.splits["train"]] == ["Say.", "Go."]
    assert data.notes[0] == "partial: train is the distinct rows of a.json, b.json, not all of alpaca_data.json"
    assert data.notes[1:3] == ("dropped: train: 1 row with an empty answer", "dropped: train: 1 row given twice")
    (root / "alpaca" / "partial").rename(root / "alpaca" / "dolly15k")
    assert load(root).notes[0].startswith("derived: train is databricks-dolly-15k")
    (root / "alpaca" / "dolly15k").rename(root / "alpaca" / "other")
    with pytest.raises(UserError, match=r"no training rows: .*give --data-file mmlu/train=FILE"):
        load(root)


def test_given_files_of_both_kinds(tmp_path: Path) -> None:
    alpaca, dolly = tmp_path / "a.jsonl", tmp_path / "d.json"
    alpaca.write_text('{"instruction": "One", "output": "1"}\n\n{"instruction": "Two", "input": "x", "output": "2"}\n')
    dolly.write_text(json.dumps([{"instruction": "Three", "context": "y", "response": "3", "category": "qa"}]))
    data = load(write_mmlu(tmp_path), alpaca, dolly)
    assert [(e.texts, e.label) for e in data.splits["train"]] == [
        (("One", ""), "1"),
        (("Two", "x"), "2"),
        (("Three", "y"), "3"),
    ]
    assert data.notes[0] == "partial: train is read from a.jsonl, d.json, not an official file"
    assert data.source == "data-dir and data-file"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"Q,a,b,c,A\n", r"anatomy_test.csv line 1: 5 columns, expected 6 \(question, four choices, answer letter\)"),
        (b"Q,a,b,c,d,A\nQ,a,b,c,d,E\n", r"anatomy_test.csv line 2: answer 'E', expected one of A, B, C, D"),
        (b"Q,a,b,c,d,\n", r"line 1: answer '', expected one of A, B, C, D"),
        (b"Q,a,b,c,d,A\nQ\xff,a,b,c,d,A\n", r"anatomy_test.csv line 2: expected UTF-8 text, found byte 0xff"),
        (b" ,a,b,c,d,A\n", r"line 1: empty question"),
        (b"question,A,B,C,D,answer\nQ,a,b,c,d,A\n", r"line 1: answer 'answer'.*no header"),
        (b"Q,a,b,c,d,2\n", r"line 1: answer '2', expected one of A, B, C, D"),
        (b"Q;a;b;c;d;A\n", r"line 1: 1 columns, expected 6"),
        (b"", r"anatomy_test.csv: empty file, expected rows of question, four choices, answer letter"),
    ],
)
def test_wrong_questions_end_with_exit_2_before_training(
    content: bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_mmlu(tmp_path)
    (root / "mmlu/data/test/anatomy_test.csv").write_bytes(content)
    model = causal.save(tmp_path / "model")
    words = ["--data-dir", str(root), "--model", f"mmlu={model}", "--out", str(tmp_path / "out")]
    assert main(["run", "--suite", "mmlu", "--seeds", "1", *words]) == 2
    with pytest.raises(UserError, match=says) as caught:
        load(root)
    assert str(caught.value) in capsys.readouterr().err and not list((tmp_path / "out").glob("cells/*"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"instruction": "a", "answer": "b"}]', r"t.json row 1: found instruction, answer; expected fields"),
        ('[{"instruction": "a", "output": ["b"]}]', r"t.json row 1: 'output' is a list, expected text"),
        ('{"instruction": "a", "output": "b"}\n{', r"t.json line 2: expected a JSON object"),
        ('[{"instruction": " ", "output": "b"}]', r"t.json row 1: empty instruction"),
        ('[{"instruction": "a", "output": ""}]', r"t.json: no row with an answer"),
        ("[1]", r"t.json row 1: expected a JSON object, found int"),
    ],
)
def test_wrong_instructions(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UserError, match=says) as caught:
        load(write_mmlu(tmp_path), tmp_path / "t.json")
    assert "\n" not in str(caught.value)


def test_more_shots_than_solved_questions(tmp_path: Path) -> None:
    data = load(write_mmlu(tmp_path))
    Mmlu().check("mmlu", data, Protocol(lr=1, shots=5))
    with pytest.raises(UserError, match="--shots 6: anatomy has 5 solved questions"):
        Mmlu().check("mmlu", data, Protocol(lr=1, shots=6))


def test_majority_is_the_best_constant_letter(tmp_path: Path) -> None:
    data = load(write_mmlu(tmp_path))
    letters = [e.label for e in data.splits["test"]]
    assert Mmlu().majority("mmlu", data) == pytest.approx(100 * max(letters.count(i) for i in range(4)) / len(letters))


@pytest.mark.parametrize("kind", ["bert", "t5"])
def test_a_model_that_writes_no_text_is_refused_in_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModel, BertConfig, T5Config

    config = {
        "bert": BertConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=259
        ),
        "t5": T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=259),
    }[kind]
    AutoModel.from_config(config).save_pretrained(tmp_path / "model")
    causal.tokenizer().save_pretrained(tmp_path / "model")
    words = ["--data-dir", str(write_mmlu(tmp_path)), "--model", f"mmlu={tmp_path / 'model'}"]
    assert main(["run", "--suite", "mmlu", *words, "--out", str(tmp_path / "out")]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert (
        len(errors) == 1
        and f"'{kind}' are encoder" in errors[0]
        and "mmlu needs a causal model (llama, gpt)" in errors[0]
    )


def test_a_run_from_files_to_its_records(tmp_path: Path) -> None:
    model = causal.save(tmp_path / "model")
    words = ["--data-dir", str(write_mmlu(tmp_path)), "--model", f"mmlu={model}", "--out", str(tmp_path / "out")]
    small = [
        "--template",
        "plain",
        "--seeds",
        "1",
        "--max-steps",
        "2",
        "--batch-size",
        "4",
        "--eval-rows",
        "3",
        "--no-profile",
        "--packed",
        "--formats",
        "csv",
        "--figures",
        "",
    ]
    assert main(["run", "--suite", "mmlu", *small, "--max-length", "128", *words]) == 0
    records, _ = Store(tmp_path / "out").read()
    assert len(records) == 2
    for record in records.values():
        assert set(record.scores) == {"accuracy", "accuracy_by_subject", *GROUPS}
        assert record.extra["lm_eval"]["questions"] == 15 and record.extra["lm_eval"]["task_version"] == "2"
        assert any(note.startswith("packed: 40 training examples in") for note in record.data_notes)
        assert record.averages["mmlu"].score == record.scores["accuracy"]


def test_task_files_of_lm_eval_are_in_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for name, prompt in (("one", "{{question}}"), ("two", "Q: {{question}}"), ("three", "{{question}}")):
        files = tmp_path / name / "lm_eval" / "tasks" / "mmlu" / "default"
        files.mkdir(parents=True)
        (tmp_path / name / "lm_eval" / "__init__.py").write_text("")
        (files / "_default_template_yaml").write_text(f"doc_to_text: '{prompt}'")
        spec = importlib.util.spec_from_file_location(
            "lm_eval", tmp_path / name / "lm_eval" / "__init__.py", submodule_search_locations=[str(files.parents[2])]
        )
        monkeypatch.setattr(importlib.util, "find_spec", lambda package, made=spec: made)
        digests.add(Mmlu().files()["lm-eval task files"])
    assert len(digests) == 2
