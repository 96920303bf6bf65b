"""The commands `methods`, `strategies`, `suites` (lists of what is registered) and `new` (writes a plugin)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.flags import Json, read_path
from harness.core.errors import UserError
from harness.core.terminal import print_lines, print_table

Show = Annotated[list[str] | None, typer.Argument(help="show NAME: details of one", metavar="[show NAME]")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(parser=read_path, metavar="FILE", help="Python file that registers more (repeatable)"),
]
DROPPED = ("paper", "quantize", "optimizer", "packs", "exact in", "FLOPs", "activations")
"""Columns that a narrow terminal leaves out, the first of them first; `show NAME` and --json have them."""


def methods(what: Show = None, plugin: Plugins = None, as_json: Json = False) -> None:
    """List the methods with their costs, or show one.

    The page of a method has its options, learning rates and quantization types.

    Example: python -m harness methods show lorasp-column
    """
    from harness.cli.facts import build_method_table, format_method_page
    from harness.cli.listing import list_methods, show_method

    name = _load_and_parse_name("methods", what, plugin)
    if name is None:
        _print_rows(list_methods(), build_method_table, as_json)
    else:
        _print_page(show_method(name), format_method_page, as_json)


def strategies(what: Show = None, plugin: Plugins = None, as_json: Json = False) -> None:
    """List the selection strategies of lorasp, or show one.

    Example: python -m harness strategies show column
    """
    from harness.cli.facts import build_strategy_table, format_strategy_page
    from harness.cli.listing import list_strategies, show_strategy

    name = _load_and_parse_name("strategies", what, plugin)
    if name is None:
        _print_rows(list_strategies(), build_strategy_table, as_json)
    else:
        _print_page(show_strategy(name), format_strategy_page, as_json)


def suites(what: Show = None, plugin: Plugins = None, as_json: Json = False) -> None:
    """List the suites with their tasks, or show one.

    Example: python -m harness suites show mmlu
    """
    from harness.cli.facts import build_suite_table, format_suite_page
    from harness.cli.listing import list_suites, show_suite

    name = _load_and_parse_name("suites", what, plugin)
    if name is None:
        _print_rows(list_suites(), build_suite_table, as_json)
    else:
        _print_page(show_suite(name), format_suite_page, as_json)


def new(
    kind: Annotated[str, typer.Argument(help="strategy, method, suite, table, schedule or optimizer")],
    name: Annotated[str, typer.Argument(help="its name: small letters, digits, dashes")],
    out: Annotated[Path, typer.Option(parser=read_path, metavar="FOLDER", help="folder to write to")] = Path(),
) -> None:
    """Write a working plugin and its test as a starting point.

    The plugin is a new selection strategy, method, suite, report table, learning-rate schedule or optimizer.

    Example: python -m harness new strategy mine
    """
    from harness.cli.new import format_run, write_new
    from harness.core.registry import load_all

    # a name that is registered already is refused
    load_all()
    plugin, test = write_new(kind, name, out)
    print_lines([plugin, test, f"run it: python -m harness run --plugin {plugin} {format_run(kind, name)}"])


def _load_and_parse_name(verb: str, what: list[str] | None, plugins: list[Path] | None) -> str | None:
    """The NAME of `show NAME`, or None for a list; loads all plugins. Raises UserError for other words."""
    from harness.core.registry import load_all

    load_all(plugins or ())
    if not what:
        return None
    if what[0] != "show" or len(what) != 2:
        raise UserError(f"{verb} {' '.join(what)}: allowed: {verb}, or {verb} show NAME")
    return what[1]


def _print_rows(items: list[dict[str, Any]], table: Callable[[Any], Any], as_json: bool) -> None:
    if as_json:
        print_lines([json.dumps(items, default=str)])
        return
    rows, note = table(items)
    # text columns are flush left: name, paper or task, and the summary at the end
    print_table(rows, {0, 1, len(rows[0]) - 1}, caption=note, drop=DROPPED)


def _print_page(item: dict[str, Any], page: Callable[[Any], list[str]], as_json: bool) -> None:
    print_lines([json.dumps(item, default=str)] if as_json else page(item))
