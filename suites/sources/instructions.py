"""Instruction data as examples: the fields of Alpaca or of Dolly, or conversations, from any kind of data file.

The texts of an example are (instruction, input), or with a system prompt or earlier turns
(instruction, input, system, question 1, answer 1, question 2, ...).
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources.abc import Traversable
from typing import Any

from harness.core.errors import UserError
from harness.core.method import Example
from suites.sources.content import read_content
from suites.sources.tables import format_cell, open_table, read_objects

FIELDS = (("instruction", "input", "output"), ("instruction", "context", "response"))
"""Names of instruction, its input (optional) and its answer: Alpaca's and Dolly's."""
CONVERSATIONS = (("messages", "role", "content"), ("conversations", "from", "value"))
"""Names of the list of turns, of the speaker and of the text: OpenAI's and ShareGPT's."""
SPEAKERS = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt"), "assistant"),
    "system": "system",
}
UNSUPPORTED = ("tools", "images", "videos", "audios", "tool_calls", "function_call")
"""Fields that change the meaning of a row and have no place in a text prompt: refused unless empty."""


@dataclasses.dataclass(frozen=True)
class InstructionRow:
    """One row: the texts of its example, and the answer to learn."""

    texts: tuple[str, ...]
    answer: str


@dataclasses.dataclass
class InstructionRows:
    """Rows in order. `dropped` counts unusable conversations by reason, `shortened` those of several answers."""

    rows: list[InstructionRow] = dataclasses.field(default_factory=list)
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)
    shortened: int = 0


def read_instructions(paths: Sequence[Traversable]) -> tuple[tuple[Example, ...], list[str]]:
    """Examples `train/0`, `train/1`, ... of all files, and notes on dropped rows.

    Raises UserError naming file, row and what was expected.
    """
    rows = InstructionRows()
    notes: list[str] = []
    for path in paths:
        notes += _read_file(path, rows)
    if not any(row.answer.strip() for row in rows.rows):
        raise UserError(f"{', '.join(map(str, paths))}: no row with an answer; expected fields {_describe_allowed()}")
    examples, more = build_examples(rows, several=len(paths) > 1)
    return examples, [*notes, *more]


def build_examples(rows: InstructionRows, *, several: bool) -> tuple[tuple[Example, ...], list[str]]:
    """Examples of the rows that have an answer, and notes; with `several` files without duplicates."""
    answered = [row for row in rows.rows if row.answer.strip()]
    # Only across files: parts of Alpaca overlap, and one file may repeat a row on purpose.
    distinct = list(dict.fromkeys(answered)) if several else answered
    counts = {
        "with an empty answer": len(rows.rows) - len(answered),
        "given twice": len(answered) - len(distinct),
        **rows.dropped,
    }
    notes = [f"dropped: train: {n} row{'s' * (n > 1)} {label}" for label, n in counts.items() if n]
    with_system = sum(len(row.texts) > 2 and bool(row.texts[2].strip()) for row in distinct)
    with_turns = sum(len(row.texts) > 3 for row in distinct)
    prompts = {"a system prompt": with_system, "earlier turns": with_turns}
    notes += [f"read: train: {n} row{'s' * (n > 1)} with {label} in the prompt" for label, n in prompts.items() if n]
    if rows.shortened:
        notes.append(
            f"derived: train: {rows.shortened} conversation{'s' * (rows.shortened > 1)} of several answers: the last "
            f"answer is learned, earlier turns are in its prompt"
        )
    return tuple(Example(f"train/{i}", row.texts, row.answer) for i, row in enumerate(distinct)), notes


def collect_records(name: str, records: Iterable[Mapping[str, Any]]) -> InstructionRows:
    """Rows of records in memory, as the hub gives them. Raises UserError."""
    rows = InstructionRows()
    _add_rows(name, ((f"row {i}", dict(record)) for i, record in enumerate(records, 1)), rows)
    return rows


def _read_file(path: Traversable, rows: InstructionRows) -> tuple[str, ...]:
    """Add the rows of a file to `rows`; returns notes on how it was read."""
    content = read_content(path)
    if content.suffix in (".json", ".jsonl", ".ndjson"):
        unit, objects = read_objects(content)
        _add_rows(content.name, ((f"{unit} {number}", item) for number, item in objects), rows)
        return ()
    table = open_table(path)
    header = [str(name).strip() for name in next(table.rows, (0, ()))[1]]
    if twice := [name for name in header if header.count(name) > 1]:
        raise table.error(1, f"{header.count(twice[0])} columns named '{twice[0]}'; rename one")

    def records() -> Iterable[tuple[str, dict[str, Any]]]:
        for number, cells in table.rows:
            if len(cells) != len(header):
                raise table.error(number, f"{len(cells)} columns, expected {len(header)} ({', '.join(header)})")
            yield f"{table.unit} {number}", dict(zip(header, cells, strict=True))

    _add_rows(table.name, records(), rows)
    return table.notes


def _add_rows(name: str, records: Iterable[tuple[str, dict[str, Any]]], rows: InstructionRows) -> None:
    for place, record in records:
        where = f"{name} {place}"
        if field := next((key for key in UNSUPPORTED if record.get(key)), None):
            raise UserError(f"{where}: '{field}' is not supported, expected text only; remove such rows")
        turns = next((names for names in CONVERSATIONS if record.get(names[0]) is not None), None)
        names = next((names for names in FIELDS if names[0] in record and names[2] in record), None)
        if names is not None:
            rows.rows.append(_parse_fields(where, record, names))
        elif turns is not None:
            _add_conversation(where, record, turns, rows)
        else:
            raise UserError(f"{where}: found {', '.join(record)[:80]}; expected fields {_describe_allowed()}")


def _parse_fields(where: str, record: Mapping[str, Any], names: tuple[str, str, str]) -> InstructionRow:
    instruction, input_text, answer = (_format_field(where, key, record.get(key)) for key in names)
    if not instruction.strip():
        raise UserError(f"{where}: empty instruction, expected text; fill it in or remove the row")
    system = _format_field(where, "system", record.get("system"))
    history = record.get("history")
    # A table has nan, which differs from itself, for an empty cell.
    if history is None or history == "" or history != history:
        history = []
    pairs = history if isinstance(history, list) else [None]
    turns = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise UserError(f"{where}: 'history' is no list of pairs [question, answer]; write it so")
        turns += [_format_field(where, "history", text) for text in pair]
    return InstructionRow(_join_texts(instruction, input_text, system, turns), answer)


def _add_conversation(
    where: str, record: Mapping[str, Any], names: tuple[str, str, str], rows: InstructionRows
) -> None:
    """Add the last answer of a conversation, with all turns before it as its prompt."""
    key, by, text_key = names
    turns = record[key]
    if not isinstance(turns, list) or not all(
        isinstance(turn, dict) and by in turn and text_key in turn for turn in turns
    ):
        raise UserError(f"{where}: '{key}' is no list of turns with '{by}' and '{text_key}'; write it so")
    spoken: list[tuple[str, str]] = []
    for turn in turns:
        if field := next((name for name in UNSUPPORTED if turn.get(name)), None):
            raise UserError(f"{where}: '{field}' is not supported, expected text only; remove such rows")
        speaker = SPEAKERS.get(str(turn[by]).lower())
        if speaker is None:
            raise UserError(
                f"{where}: '{by}' is '{turn[by]}', allowed: {', '.join(sorted(SPEAKERS))}; remove such rows"
            )
        spoken.append((speaker, _format_field(where, text_key, turn[text_key])))
    system = _format_field(where, "system", record.get("system"))
    if spoken and spoken[0][0] == "system":
        if system.strip():
            raise UserError(f"{where}: a system prompt in 'system' and in '{key}'; keep one")
        system = spoken.pop(0)[1]
    expected = [("user", "assistant")[n % 2] for n in range(len(spoken))]
    if len(spoken) < 2 or [speaker for speaker, _ in spoken] != expected or spoken[-1][0] != "assistant":
        rows.dropped["whose turns do not alternate from a user's to an assistant's"] += 1
        return
    # Only the last answer is learned: earlier ones would need a loss mask with gaps.
    rows.shortened += len(spoken) > 2
    *before, (_, instruction), (_, answer) = spoken
    if not instruction.strip():
        raise UserError(f"{where}: empty last question, expected text; fill it in or remove the row")
    rows.rows.append(InstructionRow(_join_texts(instruction, "", system, [text for _, text in before]), answer))


def _join_texts(instruction: str, given: str, system: str, turns: Sequence[str]) -> tuple[str, ...]:
    return (instruction, given, system, *turns) if turns or system.strip() else (instruction, given)


def _format_field(where: str, key: str, value: Any) -> str:
    """A field as text: numbers as JSON has them, '' for null. Raises UserError for a list or an object."""
    if isinstance(value, bool):
        return json.dumps(value)
    try:
        return format_cell(value)
    except ValueError as error:
        raise UserError(f"{where}: '{key}' {error}") from error


def _describe_allowed() -> str:
    fields = [f"({', '.join(names)})" for names in FIELDS]
    return " or ".join([*fields, *(names[0] for names in CONVERSATIONS)])
