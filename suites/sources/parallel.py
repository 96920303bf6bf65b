"""Sentence pairs for translation.

two files, a sentence a line or SGML           -> read_pairs
one file with both: table, JSON, WMT's XML     -> _read_both
the hub's rows {"translation": {"en", "ro"}}   -> convert_hub_pairs
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources.abc import Traversable
from typing import Any

from harness.core.errors import UserError
from harness.core.method import Example
from suites.sources import hub
from suites.sources.content import decode_text, get_suffix, read_content, split_lines
from suites.sources.sgm import SGML, XML, Side, read_sgml, read_xml
from suites.sources.tables import DataTable, open_table

LANGUAGE_NAMES = {"en": ("en", "eng"), "ro": ("ro", "ron", "rum")}
"""Parts of a file name that identify its language."""
LANGUAGE_CODES: dict[str, str] = {}
for _language, _parts in LANGUAGE_NAMES.items():
    LANGUAGE_CODES |= dict.fromkeys(_parts, _language)
BOTH = (".tsv", ".csv", ".json", ".jsonl", ".ndjson", ".parquet")
"""Extensions of tables, which may have both languages."""


@dataclasses.dataclass(frozen=True)
class Direction:
    """Source and target language by their two-letter codes."""

    source: str
    target: str

    @classmethod
    def of(cls, task: str) -> Direction:
        """The direction of a task named en-ro."""
        source, _, target = task.partition("-")
        return cls(source, target)


def read_pairs(source: Traversable, target: Traversable, split: str, start: int = 0) -> tuple[list[Example], list[str]]:
    """Examples `split/start`, ... of two files, and notes on dropped pairs, which have an empty side.

    A file has one sentence per line, or is WMT's SGML. Raises UserError naming file and line if the sides differ.
    """
    sides = [(path, _read_side(path)) for path in (source, target)]
    for path, side in sides:
        if not side.texts:
            raise UserError(f"{path} line 1: expected a sentence, found an empty file")
    (first, one), (second, two) = sides
    # SGML numbers its segments, so sides in another order still pair up; plain text pairs by line.
    if one.keys is not None and two.keys is not None:
        two = _sort_segments(str(first), one, str(second), two)
    (short, fewer), (long, more) = sorted(((first, one), (second, two)), key=lambda side: len(side[1].texts))
    if len(fewer.texts) < len(more.texts):
        raise UserError(
            f"{short} line {len(fewer.texts) + 1}: expected a sentence, found the end of the file; "
            f"{long} has {len(more.texts)} lines, both sides must have the same number"
        )
    rows, notes = build_examples(
        list(zip(one.texts, two.texts, strict=True)), split, start, f"{first.name}, {second.name}"
    )
    return rows, [*one.notes, *two.notes, *notes]


def build_examples(
    pairs: Sequence[tuple[str, str]], split: str, start: int, name: str
) -> tuple[list[Example], list[str]]:
    """Examples of (source, target) pairs without those that have an empty side, and a note that counts these."""
    whole = [(a, b) for a, b in pairs if a.strip() and b.strip()]
    if pairs and not whole:
        raise UserError(f"{name}: each pair has an empty side, expected sentences in two languages")
    rows = [Example(f"{split}/{i}", (a,), b) for i, (a, b) in enumerate(whole, start)]
    dropped = len(pairs) - len(whole)
    return rows, [f"dropped: {split}: {dropped} pair{'s' * (dropped > 1)} with an empty side"] if dropped else []


def _read_side(path: Traversable) -> Side:
    """The sentences of a file. Raises UserError naming file and line."""
    content = read_content(path)
    text = decode_text(content.name, content.data)
    if content.suffix == ".xml" or XML.match(text):
        raise UserError(f"{path}: WMT's XML format has both languages in it; give it alone: TASK/SPLIT={path.name}")
    if content.suffix in (".sgm", ".sgml") or SGML.match(text):
        return read_sgml(content.name, text)
    return Side(split_lines(text))


def _sort_segments(first: str, one: Side, second: str, two: Side) -> Side:
    """The segments of the second file in the order of the first. Raises UserError if their segments differ."""
    assert one.keys is not None and two.keys is not None
    texts = dict(zip(two.keys, two.texts, strict=True))
    for name, keys, other, other_keys in ((second, texts, first, one.keys), (first, set(one.keys), second, two.keys)):
        if lacking := [key for key in other_keys if key not in keys]:
            raise UserError(
                f"{name}: no segment {lacking[0][1]} of document '{lacking[0][0]}', which {other} has "
                f"({len(lacking)} missing in all); both sides must have the same segments"
            )
    return Side([texts[key] for key in one.keys], one.keys, two.notes)


def read_given_pairs(
    what: str, paths: Sequence[Traversable], direction: Direction, *, by_suite: bool
) -> tuple[list[Example], list[str]]:
    """Pairs of the files that the user gave for a split, and notes. Files come in twos, or one has both languages.

    File names identify the languages; without such names the order is source, target of the named task.
    Raises UserError if only the suite was named and the names do not identify the languages.
    """
    split = what.rpartition("/")[2]
    rows: list[Example] = []
    notes: list[str] = []
    left = list(paths)
    while left:
        first = left.pop(0)
        if get_suffix(first.name) in (".xml", *BOTH) and (find_language(first.name) is None or not left):
            read, more = _read_both(what, first, direction, split, len(rows), by_suite=by_suite)
        elif not left:
            raise UserError(f"--data-file {what}={first}: expected two files, one a language: {what}=SOURCE,TARGET")
        else:
            read, more = _read_two(what, first, left.pop(0), direction, len(rows), by_suite=by_suite)
        rows += read
        notes += more
    return rows, notes


def _read_two(
    what: str, first: Traversable, second: Traversable, direction: Direction, start: int, *, by_suite: bool
) -> tuple[list[Example], list[str]]:
    split = what.rpartition("/")[2]
    languages = [find_language(first.name), find_language(second.name)]
    if sorted(map(str, languages)) == sorted((direction.source, direction.target)):
        source, target = (first, second) if languages[0] == direction.source else (second, first)
    elif languages == [None, None] and not by_suite:
        source, target = first, second
    else:
        names = f"{first.name},{second.name}"
        task = f"{direction.source}-{direction.target}/{split}"
        raise UserError(
            f"--data-file {what}={names}: the file names do not tell which language is which; "
            f"end them in .en and .ro, or name the task: {task}=SOURCE,TARGET"
        )
    return read_pairs(source, target, split, start)


def _read_both(
    what: str, path: Traversable, direction: Direction, split: str, start: int, *, by_suite: bool
) -> tuple[list[Example], list[str]]:
    """Pairs of one file: WMT's XML, or a table with columns named by language, or with source and target only.

    Data sets of the hub have a column `translation` of objects by language.
    """
    if get_suffix(path.name) == ".xml":
        content = read_content(path)
        source, target = read_xml(content.name, content.data, direction.source, direction.target)
        target = _sort_segments(f"{path}: <src>", source, f"{path}: <ref>", target)
        rows, notes = build_examples(list(zip(source.texts, target.texts, strict=True)), split, start, path.name)
        return rows, [*target.notes, *notes]
    table = open_table(path)
    header = next(table.rows, None)
    if header is None:
        raise UserError(f"{path}: empty file, expected pairs of sentences")
    names = [str(name).strip() for name in header[1]]
    wanted = [direction.source, direction.target]
    below: Iterable[tuple[int, Sequence[Any]]] = table.rows
    if names == ["translation"] or ("translation" in names and not set(wanted) <= set(names)):
        below = _iterate_sides(table, names.index("translation"), below, wanted)
        names = wanted
    languages = [LANGUAGE_CODES.get(name.casefold()) for name in names]
    if all(languages.count(side) == 1 for side in wanted):
        places = [languages.index(side) for side in wanted]
    elif len(names) == 2 and header[0] == 1 and not by_suite:
        places, below = [0, 1], itertools.chain([header], below)
    else:
        raise UserError(
            f"--data-file {what}={path.name}: expected a header with the columns {' and '.join(wanted)}, or two "
            f"columns without a header and the task named: {'-'.join(wanted)}/{split}=FILE (source, target)"
        )
    pairs = []
    for number, cells in below:
        if len(cells) != len(names):
            raise table.error(number, f"{len(cells)} columns, expected {len(names)}")
        source_text, target_text = (
            table.text(number, side, cells[place]) for side, place in zip(wanted, places, strict=True)
        )
        pairs.append((source_text, target_text))
    rows, notes = build_examples(pairs, split, start, path.name)
    if not rows:
        raise UserError(f"{path}: no pairs of sentences in it")
    return rows, [*table.notes, *notes]


def _iterate_sides(
    table: DataTable, place: int, rows: Iterable[tuple[int, Sequence[Any]]], languages: Sequence[str]
) -> Iterator[tuple[int, Sequence[Any]]]:
    """(row number, one sentence per language) from objects {"en": ..., "ro": ...} in column `place`."""
    for number, cells in rows:
        sentences = cells[place]
        if not isinstance(sentences, dict):
            raise table.error(number, "'translation' is no object, expected sentences by language")
        yield number, [sentences.get(language) for language in languages]


def find_language(name: str) -> str | None:
    """The language in a file name, by its last part that is one: English for RO-STS.train.en; None if no part is."""
    # The last part decides: RO-STS.train.en is English, although "ro" occurs in its name.
    languages = [LANGUAGE_CODES[part] for part in re.split(r"[^a-z]+", name.lower()) if part in LANGUAGE_CODES]
    return languages[-1] if languages else None


def load_hub_splits(repository: str, configuration: str, hint: str) -> dict[str, Any]:
    """The splits of a hub data set. Raises Absent, which says what to do without the hub."""
    return hub.load_splits(repository, configuration, hint)


def convert_hub_pairs(rows: Any, direction: Direction, split: str) -> tuple[list[Example], list[str]]:
    """Examples of a hub split, and a note on dropped pairs with an empty side (Europarl has some)."""
    pairs = [(pair[direction.source] or "", pair[direction.target] or "") for pair in rows["translation"]]
    return build_examples(pairs, split, 0, split)
