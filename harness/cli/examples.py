"""The command `examples`: which examples change between two methods or two seeds."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.flags import Json, add_flags, collect_flags
from harness.cli.stored import ROW_FIELDS, Folder, WithText, print_skipped
from harness.core.errors import UserError
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.core.terminal import align_rows, print_lines

if TYPE_CHECKING:
    from harness.runner.example_texts import ExampleTexts
    from reports.statistics.changed_examples import ChangedExample, ExampleChanges

WIDTH = 80
Task = Annotated[str, typer.Option("--task", metavar="TASK", help="task of the run")]
Between = Annotated[
    str,
    typer.Option(
        "--between",
        metavar="A,B",
        help="two methods, paired by seed (lora,lorasp), or two runs (lora@0,lora@1; lora@0,lorasp@0); the second is "
        "compared with the first",
    ),
]
Limit = Annotated[int, typer.Option("--limit", metavar="INTEGER", help="most examples that are listed, 0 or more")]


@add_flags(ROW_FIELDS)
def examples(
    out: Folder,
    task: Task,
    between: Between,
    limit: Limit = 20,
    with_text: WithText = False,
    as_json: Json = False,
    **values: Any,
) -> None:
    """List the examples that change between two methods or seeds.

    Counts those that become right or wrong, tests the counts, and lists the examples that change in most seeds first.
    For regression and generation the score of an example is minus the absolute error or sentence chrF2.

    Example: python -m harness examples results/runs/glue-quick-1a2b3c4d --task rte --between lora,lorasp
    """
    from harness.runner.run import build_no_records_error, load_run
    from reports.between import pair_sides
    from reports.statistics.changed_examples import as_dict, find_changes

    if limit < 0:
        raise UserError(f"--limit {limit}: allowed: 0 or more")
    records, _, skipped = load_run(out)
    print_skipped(skipped)
    if not records:
        raise build_no_records_error(out, skipped)
    before, after, pair_names = pair_sides(records, between, task)
    changes = find_changes(before, after, pair_names, Store(out).cells)
    texts = None
    if with_text:
        from harness.runner.example_texts import read_example_texts

        texts = read_example_texts(before.records, make_spec(collect_flags(values)))
    if as_json:
        print_lines([json.dumps(as_dict(changes, limit, None if texts is None else texts.texts))])
    else:
        print_lines(format_changes(changes, limit, texts))


def format_changes(changes: ExampleChanges, limit: int, texts: ExampleTexts | None) -> Iterator[str]:
    """The lines of the command: counts for each pair of runs, the test, and the examples."""
    yield from _wrap(f"{changes.suite} {changes.task}: {changes.before.name} to {changes.after.name}")
    where = " in at least one pair of runs" if len(changes.pairs) > 1 else ""
    yield from _wrap(f"{len(changes.examples)} of {changes.total} examples change{where}")
    yield ""
    counts = _build_count_rows(changes)
    lines = align_rows(counts)
    if max(map(len, lines)) <= WIDTH:
        yield from lines
    else:
        for row in counts[1:]:
            yield from _stack_row(counts[0], row)
    yield ""
    yield from _wrap(_describe_test(changes))
    chosen = changes.examples[:limit]
    # nothing changes, or --limit 0
    if not chosen:
        return
    yield ""
    values = [_build_example_row(one, changes) for one in chosen]
    # names of methods as heads where they fit, for they are easier to read
    for sides in ((changes.before.name, changes.after.name), ("before", "after")):
        rows: list[tuple[str, ...]] = [("example", "target", *sides, "change"), *values]
        lines = align_rows(rows)
        if is_narrow := max(map(len, lines)) <= WIDTH:
            break
    yield from _wrap(_describe_columns(changes, texts))
    yield ""
    if is_narrow:
        yield lines[0]
    for one, row, line in zip(chosen, rows[1:], lines[1:], strict=True):
        if is_narrow:
            yield line
        else:
            yield from _stack_row(rows[0], row)
        if texts is not None:
            for text in (*texts.texts[one.split, one.id], *_list_outputs(one, changes)):
                yield from textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ") or [""]
    if hidden := len(changes.examples) - len(chosen):
        yield f"and {hidden} more: --limit {len(changes.examples)} lists all"


def _build_count_rows(changes: ExampleChanges) -> list[tuple[str, ...]]:
    """One row per pair of runs, and their mean."""
    pairs = changes.pairs
    is_classes = changes.kind == "classes"
    head = ("seed", "right→wrong", "wrong→right", "both right", "both wrong", "McNemar p")
    rows: list[tuple[str, ...]] = [
        head if is_classes else ("seed", "lower score", "higher score", "same score", "sign test p")
    ]
    for pair in pairs:
        right = pair.both_right
        rest = (pair.same,) if right is None else (right, pair.same - right)
        rows.append((pair.seeds, *map(str, (pair.worsened, pair.improved, *rest)), _format_p(pair.p)))
    if len(pairs) > 1:
        sums = [sum(p.worsened for p in pairs), sum(p.improved for p in pairs)]
        if is_classes:
            right = sum(p.both_right or 0 for p in pairs)
            sums += [right, sum(p.same for p in pairs) - right]
        else:
            sums.append(sum(p.same for p in pairs))
        rows.append(("mean", *(f"{total / len(pairs):.1f}" for total in sums), ""))
    return rows


def _describe_test(changes: ExampleChanges) -> str:
    name = "McNemar's test" if changes.kind == "classes" else "Sign test"
    if len(changes.pairs) == 1:
        # the p of the pair's row takes examples as independent
        if changes.p != changes.pairs[0].p:
            name += " with clusters of examples (such as the questions of one subject)"
        return f"{name} of these two models on new examples: {_format_p_value(changes.p)}."
    small = sum(pair.p < 0.05 for pair in changes.pairs)
    return (
        f"p < 0.05 in {small} of {len(changes.pairs)} pairs of runs. {name} over all pairs, examples as clusters: "
        f"{_format_p_value(changes.p)}. It generalizes to new examples with these models, not to new seeds; "
        "the report has the difference of the scores."
    )


def _format_p(p: float) -> str:
    from reports.cells import format_p

    return format_p(p)


def _format_p_value(p: float) -> str:
    text = _format_p(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _describe_columns(changes: ExampleChanges, texts: ExampleTexts | None) -> str:
    if changes.kind == "classes":
        names = texts.labels if texts else ()
        classes = f" Classes: {', '.join(f'{i} {name}' for i, name in enumerate(names))}." if names else ""
        numbers = ", with the number of runs of each" if len(changes.pairs) > 1 else ""
        return f"Predicted classes{numbers}.{classes}"
    if changes.kind == "values":
        return "Mean predictions; change: of the score, which is minus the absolute error."
    return "Mean sentence chrF2 of the generated texts, 0 to 100."


def _build_example_row(one: ChangedExample, changes: ExampleChanges) -> tuple[str, ...]:
    pairs = len(changes.pairs)
    words = ("right→wrong", "wrong→right") if changes.kind == "classes" else ("worse", "better")
    parts = [f"{word} in {n}" for word, n in zip(words, (one.worsened, one.improved), strict=True) if n]
    change = f"{', '.join(parts)} of {pairs}" if pairs > 1 else parts[0].split()[0]
    if changes.kind == "classes":
        return one.id, str(one.target), _count_values(one.before), _count_values(one.after), change
    if changes.kind == "values":
        sides = [f"{sum(side) / pairs:.2f}" for side in (one.before, one.after)]
        return one.id, f"{one.target:.2f}", *sides, f"{one.change:+.2f}, {change}"
    from reports.statistics.changed_examples import score_examples

    scores = [score_examples("texts", side, [one.target] * pairs).mean() for side in (one.before, one.after)]
    return one.id, "(text)", *(f"{score:.1f}" for score in scores), f"{one.change:+.1f}, {change}"


def _list_outputs(one: ChangedExample, changes: ExampleChanges) -> list[str]:
    """The reference and what both sides generated in the first pair of runs; nothing where no texts are predicted."""
    if changes.kind != "texts":
        return []
    first = f", seed {changes.pairs[0].seeds}" if len(changes.pairs) > 1 else ""
    sides = ((changes.before, one.before), (changes.after, one.after))
    return [f"reference: {one.target}", *(f"{side.name}{first}: {values[0]}" for side, values in sides)]


def _count_values(values: tuple[Any, ...]) -> str:
    """'1 (8), 0 (2)': each predicted class with the number of its runs, the most frequent first."""
    counts = {value: values.count(value) for value in values}
    if len(values) == 1:
        return str(values[0])
    return ", ".join(f"{value} ({n})" for value, n in sorted(counts.items(), key=lambda item: -item[1]))


def _stack_row(head: tuple[str, ...], row: tuple[str, ...]) -> Iterator[str]:
    """A row that does not fit in the width: its first column, then one line per column."""
    yield from _wrap(row[0])
    for name, value in zip(head[1:], row[1:], strict=True):
        yield from textwrap.wrap(f"  {name}: {value}", WIDTH, subsequent_indent="    ")


def _wrap(text: str) -> list[str]:
    # a name longer than the line is broken, never cut
    return textwrap.wrap(text, WIDTH)
