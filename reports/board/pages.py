"""The pages of the board: the runs, comparisons of two, and cells over time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from harness.core.file_names import make_file_names
from harness.core.text import count_noun
from reports.board.history import Place, Sighting
from reports.board.pairs import RunPair
from reports.board.runs import BoardRun, DamagedRun, get_commit, get_version
from reports.board.tables import BoardTable, Column, Link, Page, Value
from reports.frames import format_seeds
from reports.run_gaps import Gap

PAIR_NOTE = (
    "Points; intervals are for new seeds, each stands for itself (no correction is made). `compare` in a terminal also "
    "gives the minimum detectable difference."
)


class Site:
    """The names of all files, which pages link to."""

    def __init__(self, target: Path, runs: Sequence[BoardRun], pairs: Sequence[RunPair], places: Sequence[Place]):
        self.target, self.runs, self.pairs = target, runs, pairs
        base = target.resolve()
        self.reports = {
            run.folder: Path(os.path.relpath(run.report.resolve(), base)).as_posix() for run in runs if run.report
        }
        titles = {id(pair): f"{pair.a.name}--{pair.b.name}" for pair in pairs}
        names = make_file_names(titles.values())
        self.pair_files = {key: f"compare/{names[title]}.html" for key, title in titles.items()}
        place_names = make_file_names("-".join(place) for place in places)
        self.place_files = {place: f"history/{place_names['-'.join(place)]}.html" for place in places}

    def link_run(self, run: BoardRun, root: str) -> Link:
        """The run's name, with a link to its report."""
        if run.folder not in self.reports:
            return Link(run.name)
        return Link(run.name, root + quote(self.reports[run.folder]))

    def link_pair(self, pair: RunPair, text: str, root: str) -> Link:
        """A link to the comparison of two runs."""
        return Link(text, root + quote(self.pair_files[id(pair)]))


RUN_COLUMNS = (
    Column("run"),
    Column("date (UTC)"),
    Column("title"),
    Column("suite", "filter"),
    Column("methods", "filter"),
    Column("ok", "number"),
    Column("failed", "number"),
    Column("missing", "number"),
    Column("best method, mean"),
    Column("model", "filter"),
    Column("commit", "filter"),
    Column("compare with"),
)


def build_index(site: Site, damaged: Sequence[DamagedRun]) -> Page:
    rows = []
    for run in site.runs:
        earlier = [site.link_pair(pair, pair.a.name, "") for pair in site.pairs if pair.b is run]
        rows.append(
            (
                site.link_run(run, ""),
                run.date,
                run.title,
                ", ".join(run.suites),
                ", ".join(run.methods),
                run.ok,
                run.failed,
                run.cells - len(run.records),
                "; ".join(run.best),
                ", ".join(run.models),
                ", ".join(run.commits),
                earlier,
            )
        )
    notes = ["A mean with the half-width of its 95 % interval over seeds, as in the report of the run."]
    skipped = [run for run in site.runs if run.skipped]
    notes += [f"{run.name}: {count_noun(run.skipped, 'file')} skipped, not readable as a record" for run in skipped]
    tables = [BoardTable("Runs", RUN_COLUMNS, rows, notes)]
    if damaged:
        bad_rows = [(one.folder.name, one.reason) for one in damaged]
        tables.append(BoardTable("Runs that cannot be read", (Column("folder"), Column("why")), bad_rows))
    count = f"{count_noun(len(site.runs), 'run')}, {sum(len(run.records) for run in site.runs):,} cells"
    return Page("Runs", [f"{count}{f'; {len(damaged)} cannot be read' if damaged else ''}"], tables)


def build_comparisons(site: Site) -> Page:
    columns = (
        Column("before (A)", "filter"),
        Column("after (B)", "filter"),
        Column("scores", "number"),
        Column("higher", "number"),
        Column("lower", "number"),
        Column("largest change", "number"),
        Column("what changed"),
        Column("details"),
    )
    newest_first = sorted(site.pairs, key=lambda pair: (pair.b.date, pair.a.date), reverse=True)
    rows = [_build_pair_row(site, pair) for pair in newest_first]
    names = [(pair.a.name, pair.b.name) for pair in newest_first]
    notes = [
        "Higher and lower: scores of B above and below A whose 95 % interval over paired seeds excludes 0; no "
        "correction is made for their number.",
        "Each run is compared with up to three earlier ones that have the most cells in common with it; for others: "
        "python -m harness compare A B",
    ]
    return Page("Comparisons", (), [BoardTable("Pairs of runs", columns, rows, notes, names)], has_chooser=True)


def _build_pair_row(site: Site, pair: RunPair) -> list[Value]:
    gaps = pair.comparison.gaps
    sure = [gap for gap in gaps if not gap.within_noise]
    largest = max(gaps, key=lambda gap: abs(gap.difference.mean), default=None)
    parts = list(dict.fromkeys(change.what for change in pair.comparison.changes))
    return [
        site.link_run(pair.a, ""),
        site.link_run(pair.b, ""),
        len(gaps),
        sum(gap.difference.mean > 0 for gap in sure),
        sum(gap.difference.mean < 0 for gap in sure),
        "" if largest is None else _order_number(largest.difference.mean, 2, note=" ".join(largest.place[1:])),
        ", ".join(parts) or "nothing",
        site.link_pair(pair, "open", ""),
    ]


def _order_number(value: float | None, digits: int, *, sign: bool = True, note: str = "") -> Link:
    if value is None:
        return Link("-")
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return Link(text, note=note, order=f"{value:.12g}")


def build_pair(site: Site, pair: RunPair) -> Page:
    comparison = pair.comparison
    alone = comparison.alone
    lines = [
        f"A (before): {pair.a.name}, {pair.a.date}. B (after): {pair.b.name}, {pair.b.date}.",
        f"Paired by {comparison.pairing}; without a partner: {alone[0]} of A, {alone[1]} of B.",
    ]
    changes = [(c.part, c.what, ", ".join(c.a) or "-", ", ".join(c.b) or "-") for c in comparison.changes]
    columns = ("suite", "task", "method", "A", "B", "B - A", "95 % interval", "pairs", "reading")
    tables = [
        BoardTable(
            "Score of B less score of A, paired by seed",
            [Column(name, _choose_kind(name)) for name in columns],
            [_build_gap_row(gap) for gap in comparison.gaps],
            [PAIR_NOTE],
        ),
        BoardTable("What changed", [Column(name) for name in ("part", "what", "A", "B")], changes),
    ]
    if comparison.lost:
        lost = [(*cell.place, cell.seeds, cell.why) for cell in comparison.lost]
        head = [Column(name) for name in ("suite", "task", "method", "seed", "why")]
        tables.append(BoardTable("Scored in A, without a score in B", head, lost))
    return Page(f"{pair.a.name} and {pair.b.name}", lines, tables, root="../")


def _choose_kind(name: str) -> str:
    if name in ("A", "B", "B - A", "pairs"):
        return "number"
    return "filter" if name in ("suite", "task", "method") else "text"


def _build_gap_row(gap: Gap) -> list[Value]:
    mean, half = gap.difference.mean, gap.difference.half
    interval = "" if half is None else f"{mean - half:+.2f} to {mean + half:+.2f}"
    difference = _order_number(mean, 2)
    if not gap.within_noise:
        difference = Link(difference.text, order=difference.order, mark="better" if mean > 0 else "worse")
    means = [_order_number(value, 2, sign=False) for value in (gap.a, gap.b)]
    return [*gap.place, *means, difference, interval, gap.difference.n, gap.short_reading]


def build_cells(site: Site, histories: dict[Place, list[list[Sighting]]]) -> Page:
    rows: list[list[Value]] = []
    for place, cells in histories.items():
        sightings = [one for cell in cells for one in cell]
        runs = {one.run.folder for one in sightings}
        commits = {get_commit(one.record) for one in sightings}
        changes = [one.change for one in sightings if one.change is not None]
        largest = max(changes, key=abs, default=None)
        page = Link("open", quote(site.place_files[place]))
        rows.append([*place, len(cells), len(runs), len(commits), _order_number(largest, 2), page])
    names = ("suite", "task", "method")
    columns = [*(Column(name, "filter") for name in names)]
    columns += [Column(name, "number") for name in ("cells", "runs", "commits", "largest change")] + [Column("details")]
    note = "Cells that at least two runs have, equal in all but the versions of the code. Largest change of one cell."
    return Page("Cells over time", (), [BoardTable("Cells by task and method", columns, rows, [note])])


def build_history(site: Site, place: Place, cells: Sequence[Sequence[Sighting]]) -> Page:
    columns = (
        Column("seed", "filter"),
        Column("date (UTC)"),
        Column("run"),
        Column("commit", "filter"),
        Column("harness"),
        Column("method version"),
        Column("score", "number"),
        Column("change", "number"),
        Column("status", "filter"),
        Column("key"),
    )
    rows = [row for cell in sorted(cells, key=_get_seeds) for row in _list_history_rows(site, cell)]
    lines = [" ".join(place), f"{count_noun(len(cells), 'cell')} in {count_noun(len(rows), 'record')}"]
    note = "Score in points. Change: to the same cell in the run before."
    return Page(f"{place[1]} {place[2]}", lines, [BoardTable("Scores over time", columns, rows, [note])], root="../")


def _get_seeds(cell: Sequence[Sighting]) -> tuple[tuple[str, int], ...]:
    return cell[0].record.cell.sorted_seeds


def _list_history_rows(site: Site, cell: Sequence[Sighting]) -> Iterator[list[Value]]:
    for one in cell:
        record = one.record
        yield [
            format_seeds(record.cell.seeds),
            one.run.date,
            site.link_run(one.run, "../"),
            get_commit(record),
            get_version(record),
            str(record.cell.method_version),
            _order_number(one.score, 2, sign=False),
            _order_number(one.change, 2),
            record.status,
            record.key,
        ]
