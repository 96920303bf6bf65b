"""Write the report of a run's folder from what is stored there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.errors import UserError
from harness.core.garbage import pause_collection
from harness.core.record import Profile, Record, Tuned
from harness.core.spec import Spec
from harness.core.store import Store, first_lines
from harness.runner.run import no_records, stored

if TYPE_CHECKING:
    from reports.document import Findings

def check_shown(spec: Spec) -> None:
    """Raise UserError for a format that is not there, before any training."""
    from reports.figures import IMAGES
    from reports.render import FORMATS, check

    check("format", spec.formats, FORMATS)
    check("figure format", spec.figures, IMAGES)
    if spec.tensorboard:
        from reports.tensorboard import writer

        writer()


@pause_collection()
def write_report(
    store: Store,
    records: tuple[Record, ...],
    profiles: list[Profile],
    spec: Spec,
    found: Findings | None = None,
    *,
    notes: Sequence[str] = (),
    folder: Path | None = None,
) -> Path:
    """The report of a folder, from what is stored there, as the spec's fields of SHOWN say.

    `found` stands in the place of what the statistics say. `notes` are lines about files that were skipped, `folder`
    is where to write instead of OUT/report.
    """
    from reports.render import write_report as render
    from reports.tuning import with_tuning

    asked = store.read_run()
    tuned, about_tuning = _tuned(store.out)
    absent = len(set(asked["order"]) - {r.key for r in records})
    lost = [f"{absent} of {len(asked['order'])} cells have no record: the same command runs them"] if absent else []
    path: Path = render(
        records,
        profiles,
        folder or store.out / "report",
        asked["title"],
        asked["command"],
        [*asked["dropped"], *lost, *first_lines(notes), *about_tuning],
        findings=with_tuning(found or _found(store, records, profiles), records, tuned),
        published=_published() if spec.published else [],
        formats=spec.formats,
        images=spec.figures,
    )
    if spec.tensorboard:
        from reports.tensorboard import write_events

        write_events(records, (folder or store.out) / "tensorboard")
    return path


def _tuned(out: Path) -> tuple[list[Tuned], list[str]]:
    """What tuning found, and a line where its file is damaged: the report goes without."""
    from harness.runner.tuning.tuning import read

    try:
        return read(out), []
    except UserError as error:
        return [], [str(error)]


def _found(store: Store, records: tuple[Record, ...], profiles: list[Profile]) -> Findings:
    from reports.findings import findings
    from reports.statistics.analysis import analyse

    asked = store.read_run()
    late = bool(asked.get("margin_late"))
    return findings(analyse(records, profiles, margin=asked.get("margin"), cells=store.cells, late=late))


def _published() -> list[dict[str, str]]:
    from results.published import read

    return read()


def rewrite_report(out: Path, spec: Spec | None = None, to: Path | None = None) -> tuple[Path, list[str]]:
    """Write the report again from a run's folder, into `to` if given; where it is, and lines about skipped files."""
    records, profiles, lines = stored(out)
    if not records:
        raise no_records(out, lines)
    path = write_report(Store(out), records, profiles, spec or Spec(), notes=lines, folder=to)
    return path, [*lines, *_tuned(out)[1]]
