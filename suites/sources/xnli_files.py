"""XNLI's files: dev-LANG.tsv without a header, and train rows from one of several places.

train: a file of the user | XTREME, XNLI 1.0 or MNLI beside the folder | two thirds of dev's premises
"""

from __future__ import annotations

import hashlib
import importlib.resources
import itertools
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from harness.core.errors import Absent, UserError, build_unknown_error
from harness.core.method import Example, SourceRequest
from suites.sources import hub
from suites.sources.content import find_file
from suites.sources.layouts import Columns, FileLayout
from suites.sources.rows import read_examples
from suites.sources.tables import DataTable, open_table

LANGUAGES = tuple("ar bg de el en es fr hi ru sw th tr ur vi zh".split())
LABELS = ("entailment", "neutral", "contradiction")
REPOSITORY = "facebook/xnli"
LAYOUT = FileLayout(
    "xnli",
    (
        Columns(("premise", "hypothesis"), "label"),
        Columns(("sentence1", "sentence2"), "gold_label"),
        Columns(("premise", "hypo"), "label"),
    ),
    # XNLI 1.0's translated train files write "contradictory".
    {label: n for n, label in enumerate(LABELS)} | {str(n): n for n in range(3)} | {"contradictory": 2},
    bare=("premise", "hypothesis", "label"),
    unlabelled="-",
)
TRAINED_SHARE = 2 / 3
"""Share of dev's premises that train if there are no train rows."""

Rows = dict[str, tuple[Example, ...]]


def get_dev_split(language: str) -> str:
    """The eval split of a language."""
    return f"validation_{language}"


def load(language: str, request: SourceRequest) -> tuple[Rows, list[str]]:
    """Train rows in `language` and dev rows in each language, with notes. Raises UserError."""
    given_files = _collect_given_files(language, request)
    notes = []
    for split, paths in given_files.items():
        notes.append(f"partial: {split} is read from {', '.join(path.name for path in paths)}")
    rows = {split: _read(list(map(open_table, paths)), split, notes) for split, paths in given_files.items()}
    missing = [split for split in ("train", *map(get_dev_split, LANGUAGES)) if split not in rows]
    if request.kind == "embedded":
        rows |= _read_embedded(language, missing, notes)
    elif request.kind == "hub":
        rows |= _load_hub(language, missing, notes)
    else:
        rows |= _read_folder(language, request.data_dir, missing, notes)
    if "train" not in rows:
        rows, note = split_train_from_dev(language, rows)
        notes.append(note)
    return rows, notes


def split_train_from_dev(language: str, rows: Rows) -> tuple[Rows, str]:
    """Train rows from the dev rows of `language`: those of two thirds of the premises, which no language scores.

    A hash of the English premise selects it. Raises UserError if the files of the languages do not have the same rows
    in the same order.
    """
    english = rows[get_dev_split("en")]
    for code in LANGUAGES:
        language_rows = rows[get_dev_split(code)]
        if [row.label for row in language_rows] != [row.label for row in english]:
            raise UserError(
                f"xnli: dev rows of '{code}' ({len(language_rows)}) are not those of 'en' ({len(english)}) line by"
                " line, so none can be held out for training; give --data-file xnli/train=PATH"
            )
    # By premise and not by row: each premise has three hypotheses, and training on one would leak into the others.
    premises = sorted({row.texts[0] for row in english}, key=lambda text: hashlib.sha256(text.encode()).digest())
    chosen = set(premises[: round(len(premises) * TRAINED_SHARE)])
    is_train = [row.texts[0] in chosen for row in english]
    if not any(is_train) or all(is_train):
        raise UserError(
            f"xnli: dev has {len(premises)} premises, too few to train on a part; give --data-file xnli/train=PATH"
        )
    eval_rows = {}
    for split, language_rows in rows.items():
        eval_rows[split] = tuple(r for r, t in zip(language_rows, is_train, strict=True) if not t)
    train = tuple(itertools.compress(rows[get_dev_split(language)], is_train))
    note = (
        f"derived: train is {len(train)} dev rows of '{language}' ({len(chosen)} of {len(premises)} premises); rows of "
        f"these premises are scored in no language, which leaves {len(is_train) - len(train)} each"
    )
    return {"train": train, **eval_rows}, note


def _collect_given_files(language: str, request: SourceRequest) -> dict[str, tuple[Path, ...]]:
    """Files that the user gave for the task, or for the whole suite under its name."""
    splits = ("train", *map(get_dev_split, LANGUAGES))
    files: dict[str, tuple[Path, ...]] = {}
    for (name, split), paths in request.files.items():
        if name in (language, "xnli"):
            if split not in splits:
                raise build_unknown_error(f"split of {name}", split, splits)
            files[split] = (*files.get(split, ()), *paths)
    return files


def _read(tables: Sequence[DataTable], split: str, notes: list[str]) -> tuple[Example, ...]:
    rows: list[Example] = []
    for table in tables:
        read, dropped = read_examples(table, LAYOUT, split, start=len(rows))
        rows += read
        notes += dropped
    return tuple(rows)


def _load_hub(language: str, missing: Sequence[str], notes: list[str]) -> Rows:
    rows: Rows = {}
    for code in LANGUAGES:
        theirs = {"validation": get_dev_split(code)} if get_dev_split(code) in missing else {}
        theirs |= {"train": "train"} if code == language and "train" in missing else {}
        if theirs:
            tables = hub.fetch(REPOSITORY, code, LAYOUT, list(theirs)).tables
            rows |= {ours: _read([tables[name]], ours, notes) for name, ours in theirs.items()}
    return rows


def _read_folder(language: str, data_dir: Path | None, missing: Sequence[str], notes: list[str]) -> Rows:
    """Dev rows of the folder (the suite's or its parent), and train rows if a file has them. Raises Absent."""
    if data_dir is None:
        raise Absent("xnli: no folder given; give --data-dir DIR with dev-LANG.tsv in it")
    # Either spelling, because some file systems distinguish them.
    folder = next((d for d in (data_dir / "xnli", data_dir / "XNLI") if d.is_dir()), data_dir)
    names = {split: f"dev-{split.rpartition('_')[2]}.tsv" for split in missing if split != "train"}
    wanted = {split: path for split, name in names.items() if (path := find_file(folder, name)) is not None}
    if absent := [name for split, name in names.items() if split not in wanted]:
        raise Absent(
            f"xnli/{language}: no {', '.join(absent)} in {folder}; give --data-dir DIR with a dev-LANG.tsv for each "
            f"language, or --data-file xnli/validation_LANG=PATH"
        )
    rows = {split: _read([open_table(path)], split, notes) for split, path in wanted.items()}
    path = _find_train_file(folder, data_dir, language) if "train" in missing else None
    return rows if path is None else rows | {"train": _read([open_table(path)], "train", notes)}


def _find_train_file(folder: Path, data_dir: Path, language: str) -> Traversable | None:
    """The file of train rows: XTREME's, XNLI's translations, or for English MNLI's beside the folder; else None."""
    candidates = [folder / f"train-{language}.tsv", folder / "multinli" / f"multinli.train.{language}.tsv"]
    if language == "en":
        for place in dict.fromkeys((folder, data_dir, folder.parent)):
            candidates += [place / name / "train.tsv" for name in ("MNLI", "glue/MNLI")]
    matches = (find_file(path.parent, path.name) for path in candidates)
    return next((path for path in matches if path is not None), None)


def _read_embedded(language: str, missing: Sequence[str], notes: list[str]) -> Rows:
    """Rows of the generated files. Only English has a train file; the other languages are translated from it."""
    folder: Traversable = importlib.resources.files("suites.embedded") / "data" / "xnli"
    names = {split: "train-en" if split == "train" else f"dev-{split.rpartition('_')[2]}" for split in missing}
    rows: Rows = {}
    for split, name in names.items():
        path = folder / f"{name}.tsv"
        if not path.is_file():
            raise UserError(f"xnli: the package has no embedded {name}.tsv; reinstall it")
        rows[split] = _read([open_table(path)], split, notes)
    if "train" in rows and language != "en":
        rows["train"] = _translate_rows(language, rows["train"], rows.get(get_dev_split(language), ()))
    return rows


def _translate_rows(language: str, train: Sequence[Example], scored: Sequence[Example]) -> tuple[Example, ...]:
    """English rows in a generated language, without those that become equal to a scored row."""
    from suites.embedded.xnli.orders import translate_sentence

    scored_texts: Mapping[tuple[str, ...], None] = dict.fromkeys(row.texts for row in scored)
    examples = []
    for row in train:
        texts = tuple(" ".join(translate_sentence(language, text.split())) for text in row.texts)
        # Two English sentences may become equal in a generated language.
        if texts not in scored_texts:
            examples.append(Example(row.id, texts, row.label))
    return tuple(examples)
