"""Sentence pairs from two files of equal length, one sentence a line, and from the hub."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from typing import Any

from harness.contracts import Example
from harness.errors import Absent, UserError
from suites.sources.tables import text_of

LANGUAGE_NAMES = {"en": ("en", "eng"), "ro": ("ro", "ron", "rum")}
"""Parts of a file's name that tell its language."""


@dataclasses.dataclass(frozen=True)
class Direction:
    """From which language into which, by their two letters."""

    source: str
    target: str

    @classmethod
    def of(cls, task: str) -> Direction:
        source, _, target = task.partition("-")
        return cls(source, target)


def read_pairs(source: Traversable, target: Traversable, split: str, start: int = 0) -> list[Example]:
    """Examples `split/start`, ... from the lines of two files.

    Raises UserError naming file and line where they differ in length, hold an empty line, or are no UTF-8.
    """
    sides = (source, lines(source)), (target, lines(target))
    (short, fewer), (long, more) = sorted(sides, key=lambda side: len(side[1]))
    if len(fewer) < len(more):
        raise UserError(
            f"{short} line {len(fewer) + 1}: expected a sentence, found the end of the file; "
            f"{long} has {len(more)} lines, both sides must have the same number"
        )
    for path, own in sides:
        if not own:
            raise UserError(f"{path} line 1: expected a sentence, found an empty file")
        for number, text in enumerate(own, 1):
            if not text.strip():
                raise UserError(f"{path} line {number}: expected a sentence, found an empty line")
    pairs = zip(sides[0][1], sides[1][1], strict=True)
    return [Example(f"{split}/{i}", (a,), b) for i, (a, b) in enumerate(pairs, start)]


def lines(path: Traversable) -> list[str]:
    """The lines of a UTF-8 file; only a newline ends one. Raises UserError naming file and line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; give the path of a text file") from error
    found = text_of(str(path), content).split("\n")
    return [line.rstrip("\r") for line in (found if found[-1] else found[:-1])]


def given_pairs(what: str, paths: Sequence[Traversable], direction: Direction, *, by_suite: bool) -> list[Example]:
    """Pairs of the files that the user gave for a split, two and two.

    Which file is which language is read from their names; else they come as source, target of the named task.
    Raises UserError where only the suite was named and the names do not tell.
    """
    if len(paths) % 2:
        raise UserError(f"--data-file {what}={paths[-1]}: expected two files, one a language: {what}=SOURCE,TARGET")
    split = what.rpartition("/")[2]
    rows: list[Example] = []
    for first, second in zip(paths[::2], paths[1::2], strict=True):
        told = [language_of(first.name), language_of(second.name)]
        if sorted(map(str, told)) == sorted((direction.source, direction.target)):
            source, target = (first, second) if told[0] == direction.source else (second, first)
        elif told == [None, None] and not by_suite:
            source, target = first, second
        else:
            names = f"{first.name},{second.name}"
            task = f"{direction.source}-{direction.target}/{split}"
            raise UserError(
                f"--data-file {what}={names}: the file names do not tell which language is which; "
                f"end them in .en and .ro, or name the task: {task}=SOURCE,TARGET"
            )
        rows += read_pairs(source, target, split, start=len(rows))
    return rows


def language_of(name: str) -> str | None:
    """The language that a file's name tells, the last part that is one: RO-STS.train.en is English."""
    names = {part: language for language, parts in LANGUAGE_NAMES.items() for part in parts}
    found = [names[part] for part in re.split(r"[^a-z]+", name.lower()) if part in names]
    return found[-1] if found else None


def from_hub(repository: str, configuration: str, hint: str) -> dict[str, Any]:
    """The splits of a hub data set. Raises UserError that says how to go on without the hub."""
    try:
        import datasets

        return dict(datasets.load_dataset(repository, configuration))
    except Exception as error:  # datasets, huggingface_hub, httpx and pyarrow each raise their own
        first = (str(error).splitlines() or [""])[0]
        tried = f"datasets.load_dataset('{repository}', '{configuration}') failed: {type(error).__name__}: {first}"
        raise Absent(f"{tried}; without the hub, {hint}") from error


def hub_pairs(rows: Any, direction: Direction, split: str) -> tuple[list[Example], list[str]]:
    """Examples of a hub split, and a note on pairs left out because a side is empty (Europarl has such)."""
    pairs = [(pair[direction.source], pair[direction.target]) for pair in rows["translation"]]
    whole = [pair for pair in pairs if all(text.strip() for text in pair)]
    examples = [Example(f"{split}/{i}", (a,), b) for i, (a, b) in enumerate(whole)]
    dropped = len(pairs) - len(whole)
    return examples, [f"dropped: {split}: {dropped} pairs with an empty side"] if dropped else []
