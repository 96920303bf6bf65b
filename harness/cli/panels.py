"""The help of the commands with many flags, in groups.

Plain text rather than rich's panels: at 80 columns these leave 18 for the meaning of a flag and cut long words, and the
help takes 0.57 s of a processor's time with them and 0.36 s without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from typer.core import TyperCommand

from harness.core.spec import Spec

PANELS: Mapping[str, str] = {
    "What to run": "suite tasks methods seeds preset spec_file primary margin",
    "Methods and training": "protocol lr epochs max_steps batch_size schedule warmup label_smoothing group_by_length"
    " optimizer momentum init_from",
    "Tuning": "tune tune_tasks tune_seeds",
    "Model and data": "model data_dir data_file train_rows eval_rows max_length option",
    "Baseline": "baselines baseline at_once steps",
    "Options of suites (also as --option NAME=VALUE)": "",
    "Devices, memory and speed": "device devices executor threads pack dtype quantize recompute cache memory repeats",
    "Output and report": "out to as_json formats figures profile collapse_margin published with_text tensorboard log"
    " save_adapters sharpness detail",
    "Advanced": "retry plugin runs help",
}
"""Title of a group -> names of its flags, in the order of the help."""
SUITE_OPTIONS, ADVANCED = "Options of suites (also as --option NAME=VALUE)", "Advanced"


def choose_panel(name: str) -> str:
    """The group of a flag. A field of Spec that no group names is in the last one; other flags are suites' options."""
    for title, names in PANELS.items():
        if name in names.split():
            return title
    return ADVANCED if name in Spec.model_fields else SUITE_OPTIONS


class PanelCommand(TyperCommand):
    """A command whose help lists its flags in the groups of PANELS."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then one section per group."""
        rows_by_panel: dict[str, list[tuple[int, tuple[str, str]]]] = {}
        arguments: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is None:
                continue
            if parameter.param_type_name == "argument":
                arguments.append(row)
            else:
                title = choose_panel(parameter.name or "")
                rows_by_panel.setdefault(title, []).append((_find_place(title, parameter.name or ""), row))
        _write_section(formatter, "Arguments", arguments)
        for title in PANELS:
            ordered = sorted(rows_by_panel.get(title, []), key=lambda item: item[0])
            _write_section(formatter, title, [row for _, row in ordered])


def _find_place(title: str, name: str) -> int:
    names = PANELS[title].split()
    return names.index(name) if name in names else len(names)


def _write_section(formatter: Any, title: str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)
