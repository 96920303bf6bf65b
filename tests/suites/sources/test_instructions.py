"""Instruction files: what reaches the prompt, what is kept, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.core.errors import UserError
from harness.core.method import Example
from harness.data.task_types.instruction import ALPACA, ALPACA_INPUT, format_prompt
from suites.sources.instructions import read_instructions


def read(path: Path, *records: Any) -> tuple[list[Example], list[str]]:
    path.write_text(json.dumps(list(records)))
    examples, notes = read_instructions([path])
    return list(examples), notes


def test_a_row_without_system_and_history_is_as_it_was(tmp_path: Path) -> None:
    rows, notes = read(
        tmp_path / "a.json",
        {"instruction": "Say {x}.", "input": "now", "output": "x"},
        {"instruction": "Go.", "output": "y", "system": "", "history": []},
    )
    assert [row.texts for row in rows] == [("Say {x}.", "now"), ("Go.", "")] and notes == []
    assert format_prompt(rows[0], "alpaca") == ALPACA_INPUT.format(instruction="Say {x}.", input="now")
    assert format_prompt(rows[1], "alpaca") == ALPACA.format(instruction="Go.")
    assert format_prompt(rows[1], "plain") == "Go.\nAnswer: "


def test_system_and_history_are_in_the_prompt(tmp_path: Path) -> None:
    record = {"instruction": "And 3?", "input": "", "output": "odd", "system": "Be brief.", "history": [["2?", "even"]]}
    rows, notes = read(tmp_path / "a.json", record)
    assert format_prompt(rows[0], "alpaca") == (
        "Be brief.\n\n### Instruction:\n2?\n\n### Response:even\n\n### Instruction:\nAnd 3?\n\n### Response:"
    )
    assert format_prompt(rows[0], "plain") == "Be brief.\n\n2?\nAnswer: even\n\nAnd 3?\nAnswer: "
    assert rows[0].label == "odd" and len(notes) == 2
    only, _ = read(tmp_path / "a.json", record | {"system": None})
    begin = ALPACA.partition("### Instruction:")[0]
    assert format_prompt(only[0], "alpaca").startswith(f"{begin}### Instruction:\n2?\n\n### Response:even\n\n")
    with_input, _ = read(tmp_path / "a.json", record | {"history": None, "input": "three"})
    text = format_prompt(with_input[0], "alpaca")
    assert text.startswith("Be brief.\n\n### Instruction:\nAnd 3?\n\n### Input:\nthree\n\n")


SHAREGPT = [("system", "Be brief."), ("human", "2?"), ("gpt", "even"), ("human", "And 3?"), ("gpt", "odd")]


@pytest.mark.parametrize("key", ["messages", "conversations"])
def test_conversations_give_what_the_same_history_gives(tmp_path: Path, key: str) -> None:
    names = {"human": "user", "gpt": "assistant"}
    turns: list[dict[str, str]] = [
        {"role": names.get(who, who), "content": text} if key == "messages" else {"from": who, "value": text}
        for who, text in SHAREGPT
    ]
    rows, notes = read(tmp_path / "a.json", {key: turns}, {key: turns[1:3]}, {key: turns[:2]}, {key: turns[2:]})
    record = {"instruction": "And 3?", "output": "odd", "system": "Be brief.", "history": [["2?", "even"]]}
    expected, _ = read(tmp_path / "b.json", record, {"instruction": "2?", "output": "even"})
    assert rows == expected
    assert sum(note.startswith("dropped: train: 2 rows") for note in notes) == 1
    assert sum(note.startswith("derived: train: 1 conversation") for note in notes) == 1


@pytest.mark.parametrize(("value", "kept"), [(0, "0"), (False, "false"), (1.5, "1.5"), ("0", "0"), (5, "5")])
def test_answers_that_are_numbers_or_false_are_kept(tmp_path: Path, value: Any, kept: str) -> None:
    rows, notes = read(tmp_path / "a.json", {"instruction": "x", "output": value})
    assert [row.label for row in rows] == [kept] and notes == []


def test_answers_that_are_missing_are_dropped_and_counted(tmp_path: Path) -> None:
    records = [{"instruction": "x", "output": value} for value in ("y", None, float("nan"), "", " ")]
    rows, notes = read(tmp_path / "a.json", *records)
    assert len(rows) == 1 and notes == ["dropped: train: 4 rows with an empty answer"]


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"instruction": "x", "output": ["y"]}, "'output' is a list"),
        ({"instruction": {"a": 1}, "output": "y"}, "'instruction' is an object"),
        ({"instruction": "x", "output": "y", "history": ["a"]}, "'history'"),
        ({"instruction": "x", "output": "y", "history": [["a", "b", "c"]]}, "'history'"),
        ({"instruction": "x", "output": "y", "images": ["a.png"]}, "'images'"),
        ({"instruction": "x", "output": "\ud83d"}, "surrogate"),
        ({"conversations": "hello"}, "'conversations'"),
        ({"conversations": [{"from": "observation", "value": "x"}]}, "observation"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "'content' is a list"),
        ({"messages": [{"role": "assistant", "content": "x", "tool_calls": [1]}]}, "'tool_calls'"),
        ({"prompt": "x", "completion": "y"}, "prompt, completion"),
        ({"Instruction": "x", "Output": "y"}, "Instruction"),
        ({"text": "### Human: x"}, "found text"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_by_name(tmp_path: Path, record: Any, says: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path / "a.json", record)
    assert says in str(caught.value) and "a.json row 1" in str(caught.value) and "\n" not in str(caught.value)


def test_each_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    records = [{"instruction": f"Say {n}", "input": "" if n % 2 else "x,\ny", "output": str(n)} for n in range(6)]
    expected, _ = read(tmp_path / "a.json", *records)
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "b.jsonl").write_text(json.dumps(records, indent=1))
    frame = pd.DataFrame(records)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_json(tmp_path / "c.jsonl.gz", orient="records", lines=True)
    frame.to_parquet(tmp_path / "a.parquet")
    turns = [[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]]
    for name in ("a.jsonl", "b.jsonl", "a.csv", "c.jsonl.gz", "a.parquet"):
        assert list(read_instructions([tmp_path / name])[0]) == expected
    pd.DataFrame({"messages": turns}).to_parquet(tmp_path / "m.parquet")
    assert read_instructions([tmp_path / "m.parquet"])[0] == (Example("train/0", ("q", ""), "a"),)


def test_deeply_nested_rows_are_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"a\.json"):
        read_instructions([tmp_path / "a.json"])
