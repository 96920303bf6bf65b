"""The model card (README.md) of a saved adapter: method, base model, data, protocol, scores of all seeds, command.

The last line of a card holds the hash of what is above it. A card whose text no longer has that hash was edited by
hand, and is never replaced.
"""

from __future__ import annotations

import hashlib
import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.files import read_bytes, write_atomically
from harness.core.record import Record
from reports.escape import escape_markdown, format_markdown_code
from reports.frames import build_method_names, format_seeds

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

CARD = "README.md"
MARK = re.compile(rb"<!-- written by lorasp-harness, sha256 ([0-9a-f]{64}) -->\n\Z")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
CLASSES = {
    "SEQ_CLS": ("AutoModelForSequenceClassification", "text-classification"),
    "SEQ_2_SEQ_LM": ("AutoModelForSeq2SeqLM", "translation"),
    "CAUSAL_LM": ("AutoModelForCausalLM", "text-generation"),
}
"""task_type of peft -> class of transformers, and task of the hub."""
LICENCE_NOTE = (
    "The licence of this adapter is not known: those of the base model and of the data decide what it may be. State it "
    "here and in the field `license` before you publish the adapter."
)


def write_cards(out: Path, records: Sequence[Record], command: str) -> None:
    """Write the card of each saved adapter of a run; one that was edited stays. Raises UserError."""
    seeds = group_seeds(records)
    for record in records:
        if record.adapter is None or record.adapter.path != f"adapters/{record.key}":
            continue
        path = out / record.adapter.path / CARD
        if path.parent.is_dir() and not is_edited(path):
            write_atomically(path, build_card(record, seeds[record.key], command, read_task_type(path.parent)))


def is_edited(path: Path) -> bool:
    """Whether a card exists that is not as `build_card` wrote it."""
    try:
        content = read_bytes(path)
    except OSError:
        return False
    # without the mark it is a card of somebody else
    mark = MARK.search(content)
    return mark is None or hashlib.sha256(content[: mark.start()]).hexdigest().encode() != mark[1]


def group_seeds(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Record key -> the cells of its task and method that have scores: all its seeds."""
    # names once for all: they depend on all records, of which there may be thousands
    names = build_method_names(records)
    groups: dict[tuple[str, str, str], list[Record]] = {}
    places = {record.key: (record.cell.suite, record.cell.task, names[record.key]) for record in records}
    for record in records:
        if record.scores:
            groups.setdefault(places[record.key], []).append(record)
    return {key: groups.get(place, []) for key, place in places.items()}


def read_task_type(folder: Path) -> str:
    """The task_type of a saved adapter; SEQ_CLS if there is none."""
    import json

    try:
        task_type = json.loads(read_bytes(folder / "adapter_config.json")).get("task_type")
    except (OSError, ValueError, AttributeError):
        task_type = None
    return task_type if task_type in CLASSES else "SEQ_CLS"


def build_card(
    record: Record,
    seeds: Sequence[Record],
    command: str,
    task_type: str,
    repo: str | None = None,
    base: str | None = None,
) -> bytes:
    """The content of a card. `seeds` are the cells whose scores are summarized; `repo` and `base` are hub ids."""
    data = _build_metadata(record, seeds, task_type, base)
    lines = ["---", data.to_yaml(), "---", "", *_build_lines(record, seeds, command, task_type, repo, base), ""]
    content = "\n".join(lines).encode(errors="replace")
    # last, so that the hash can be of everything before it
    return content + f"<!-- written by lorasp-harness, sha256 {hashlib.sha256(content).hexdigest()} -->\n".encode()


def _build_metadata(record: Record, seeds: Sequence[Record], task_type: str, base: str | None) -> ModelCardData:
    from huggingface_hub import EvalResult, ModelCardData

    cell = record.cell
    source = record.data_source.removeprefix("hub ")
    is_hub = record.data_source.startswith("hub ") and HUB_ID.fullmatch(source) is not None
    dataset = source if is_hub else f"{cell.suite}/{cell.task}"
    stand_in = "synthetic stand-in data for " if record.stand_in else ""
    results = [
        EvalResult(
            task_type=CLASSES[task_type][1],
            dataset_type=dataset,
            dataset_name=f"{stand_in}{cell.suite}/{cell.task}",
            metric_type=metric,
            metric_name=f"{metric}, points",
            metric_value=value,
        )
        for metric, value in _list_finite(record).items()
    ]
    return ModelCardData(
        base_model=base or (cell.model.name if HUB_ID.fullmatch(cell.model.name) else None),
        library_name="peft",
        license="unknown",
        pipeline_tag=CLASSES[task_type][1],
        tags=["lorasp-harness", cell.method],
        datasets=[source] if is_hub else None,
        model_name=f"{cell.method} on {cell.suite}/{cell.task}",
        eval_results=results or None,
    )


def _list_finite(record: Record) -> dict[str, float]:
    return {metric: value for metric, value in record.scores.items() if math.isfinite(value)}


def _build_lines(
    record: Record, seeds: Sequence[Record], command: str, task_type: str, repo: str | None, base: str | None
) -> Iterator[str]:
    cell = record.cell
    yield f"# {escape_markdown(cell.title)} on {escape_markdown(cell.suite)}/{escape_markdown(cell.task)}"
    yield ""
    if record.stand_in:
        yield "Trained on synthetic stand-in data: no evidence about the real task."
        yield ""
    yield from _build_table(("", ""), _describe(record, base or cell.model.name).items())
    yield "## Scores"
    yield ""
    yield f"In points (0 to 100; correlations times 100). This adapter has seed {format_seeds(cell.seeds)}."
    yield ""
    yield from _build_table(
        ("metric", "this adapter", "mean of all seeds", "standard deviation", "seeds"), _build_scores(record, seeds)
    )
    yield "## Use"
    yield ""
    yield from ["```python", *_build_usage(record, task_type, repo, base), "```", ""]
    yield from ["## Command", "", format_markdown_code(command), "", "## Licence", "", LICENCE_NOTE]


def _describe(record: Record, base: str) -> Mapping[str, Any]:
    cell = record.cell
    protocol = cell.protocol.model_dump(mode="json", exclude={"lr_source"})
    rows = ", ".join(f"{count} {split}" for split, count in record.rows.items())
    counts = record.parameters
    return {
        "method": f"{cell.title} (method version {cell.method_version})",
        "base model": f"{base} (revision {cell.model.revision[:12]}, {cell.precision})",
        "trainable parameters": f"{counts.adapter_trained:,}, head {counts.head_trained:,}" if counts else "-",
        "data": f"{record.data_source or 'not recorded'}; rows: {rows or 'not recorded'}; fingerprint {cell.data[:12]}",
        "protocol": ", ".join(f"{name} {value}" for name, value in protocol.items() if value is not None),
        "majority baseline": "-" if record.majority is None else f"{record.majority:.1f}",
        "harness": f"{record.environment.harness}, commit {record.environment.commit}" if record.environment else "-",
    }


def _build_scores(record: Record, seeds: Sequence[Record]) -> Iterator[tuple[str, ...]]:
    for metric, value in _list_finite(record).items():
        values = [r.scores[metric] for r in seeds if math.isfinite(r.scores.get(metric, math.nan))]
        # one seed has no standard deviation
        spread = f"{statistics.stdev(values):.1f}" if len(values) > 1 else "-"
        yield metric, f"{value:.1f}", f"{statistics.fmean(values):.1f}", spread, str(len(values))


def _build_usage(record: Record, task_type: str, repo: str | None, base: str | None) -> Iterator[str]:
    """Code that loads the adapter with its label names."""
    kind = CLASSES[task_type][0]
    if repo is None or base is None:
        auto = kind.replace("Auto", "AutoPeft", 1)
        yield f"from peft import {auto}"
        yield ""
        yield f'model = {auto}.from_pretrained("adapters/{record.key}")'
        return
    is_classifier = task_type == "SEQ_CLS"
    yield "from peft import PeftModel"
    yield f"from transformers import {'AutoConfig, ' if is_classifier else ''}{kind}"
    yield ""
    if is_classifier:
        yield f'config = AutoConfig.from_pretrained("{repo}")  # with the names of the labels'
    yield f'base = {kind}.from_pretrained("{base}"{", config=config" if is_classifier else ""})'
    yield f'model = PeftModel.from_pretrained(base, "{repo}")'


def _build_table(head: Sequence[str], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(map(escape_markdown, row))} |"
    yield ""
