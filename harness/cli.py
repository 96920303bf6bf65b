"""The command line: run, plan, profile, report, merge, methods, strategies, suites, new, schema, bench, doctor."""

from __future__ import annotations

import inspect
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.bench.commands import bench
from harness.errors import UserError
from harness.spec import Spec, make_spec

if TYPE_CHECKING:
    from harness.progress import Listener

app = typer.Typer(
    name="harness",
    help="Benchmark and ablation harness for LoRA-SP (arXiv 2403.08822) and its rivals.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
INTERRUPTED = 130
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.callback()
def root(debug: Annotated[bool, typer.Option(help="Show tracebacks.")] = False) -> None:
    """Benchmark and ablation harness for LoRA-SP (arXiv 2403.08822) and its rivals.

    Example: python -m harness run --suite glue --methods lora,lorasp
    """


def run(spec_file: Path | None, as_json: bool, **flags: Any) -> None:
    """Train what is missing, measure, and write the report.

    Example: python -m harness run --suite glue --methods lora,lorasp:ratio=0.25 --seeds 5
    """
    from harness.run import run as run_spec

    spec = make_spec({name: value for name, value in flags.items() if value not in (None, ())}, spec_file)
    outcome = run_spec(spec, f"python -m harness {shlex.join(sys.argv[1:])}", lambda total: listener(as_json, total))
    if as_json:
        answer = {
            "out": str(outcome.out),
            "cells": len(outcome.records),
            "ok": len(outcome.records) - outcome.failed,
            "failed": outcome.failed,
            "seconds": round(outcome.seconds, 2),
            "report": str(outcome.report),
        }
        print(json.dumps(answer))
    else:
        _print_table(outcome)
        print(f"{len(outcome.records)} cells in {outcome.seconds:.0f} s, {outcome.failed} failed")
        print(f"report: {outcome.report}")
    raise typer.Exit(1 if outcome.failed else 0)


def _print_table(outcome: Any) -> None:
    from reports import terminal

    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(terminal.table(outcome.records, outcome.profiles))
    else:
        print(terminal.plain(outcome.records, outcome.profiles))


def listener(as_json: bool, total: int) -> Listener:
    """Live on a terminal, lines elsewhere, notes only for --json."""
    from harness.progress import Live, Plain, Silent

    if as_json:
        return Silent(sys.stderr)
    return Live(sys.stderr, total) if sys.stderr.isatty() else Plain(sys.stderr, total)


def _run_parameters() -> list[inspect.Parameter]:
    """One flag per field of Spec, with its description: the flags and the TOML keys are the same words."""
    kinds: dict[str, Any] = {"data_dir": Path, "out": Path, "plugin": list[Path]}
    kinds |= {n: bool for n in ("profile", "retry", "save_adapters", "group_by_length")}
    kinds |= {n: list[str] for n in ("suite", "tasks", "model", "data_file", "dtype", "quantize", "recompute")}
    kinds |= {n: float for n in ("lr", "epochs", "label_smoothing", "margin")}
    whole = "max_steps batch_size max_length max_target_length beams shots train_rows eval_rows pack threads"
    kinds |= {n: int for n in whole.split()}
    made = []
    for name, field in Spec.model_fields.items():
        flag = "--" + name.replace("_", "-")
        declared = [f"{flag}/--no-{flag[2:]}"] if kinds.get(name) is bool else [flag]
        option = typer.Option(*declared, help=field.description, show_default=False)
        kind = Annotated[kinds.get(name, str) | None, option]  # type: ignore[valid-type]
        made.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind))
    return made


def _command(function: Any, *own: inspect.Parameter) -> Any:
    """A verb as typer sees it: its own flags, then those of Spec."""

    def command(**flags: Any) -> None:
        listed = {k: tuple(v) if isinstance(v, list) else v for k, v in flags.items()}
        function(listed.pop("spec_file"), listed.pop("as_json"), **listed)

    spec_file = inspect.Parameter(
        "spec_file",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Path | None, typer.Option("--spec", help="a TOML file with these flags as keys")],
    )
    as_json = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json)
    command.__signature__ = inspect.Signature([spec_file, as_json, *own, *_run_parameters()])  # type: ignore[attr-defined]
    command.__doc__ = function.__doc__
    return command


app.command("run")(_command(run))


def plan(spec_file: Path | None, as_json: bool, memory: str | None, **flags: Any) -> None:
    """Say what a run would come to, without running it: packs, memory, time, and what will not fit.

    Example: python -m harness plan --model shape:llama-7b --methods lora,full --device cuda --memory 24GiB
    """
    from harness.forecast import forecast, text
    from harness.registry import load_all

    spec = make_spec({name: value for name, value in flags.items() if value not in (None, ())}, spec_file)
    load_all(spec.plugin)
    made = forecast(spec, memory)
    print(json.dumps(made) if as_json else text(made))


def profile(spec_file: Path | None, as_json: bool, repeats: int, **flags: Any) -> None:
    """Measure memory and speed of each method alone, in detail, and store it for the report of the same run.

    Example: python -m harness profile --model shape:roberta-base --methods lora,lorasp --batch-size 16
    """
    from harness.profile import profile as take
    from harness.profile_text import text
    from harness.registry import load_all

    spec = make_spec({name: value for name, value in flags.items() if value not in (None, ())}, spec_file)
    load_all(spec.plugin)
    watched = listener(as_json, 0)
    try:
        found = take(spec, repeats, watched)
    finally:
        watched.close()
    print(json.dumps([p.model_dump(mode="json") for p in found]) if as_json else text(found))
    raise typer.Exit(0 if found and all(p.status == "ok" for p in found) else 1)


MEMORY = inspect.Parameter(
    "memory",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[str | None, typer.Option(help="plan for a device of so much: 24GiB; none: what is free")],
)
REPEATS = inspect.Parameter(
    "repeats",
    inspect.Parameter.KEYWORD_ONLY,
    default=3,
    annotation=Annotated[int, typer.Option(min=1, help="blocks of 20 timed steps")],
)
app.command("plan")(_command(plan, MEMORY))
app.command("profile")(_command(profile, REPEATS))


@app.command()
def report(out: Annotated[Path, typer.Argument(help="the folder of a run")]) -> None:
    """Write the report again from a run's folder.

    Example: python -m harness report results/runs/glue-quick-1a2b3c4d
    """
    from harness.run import report as write

    path, lines = write(out)
    for line in lines:
        print(line, file=sys.stderr)
    print(f"report: {path}")


@app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(help="a saved adapter: RUN/adapters/KEY")],
    model: Annotated[str, typer.Option(help="the model it was trained on: a folder or hub id")],
    out: Annotated[Path, typer.Option(help="a new folder")],
) -> None:
    """Merge a saved adapter into its model: one plain folder for transformers.

    Example: python -m harness merge RUN/adapters/0123456789abcdef --model BASE --out MERGED
    """
    from harness.merging import merge as write

    print(f"model: {write(adapter, model, out)}")


Show = Annotated[list[str] | None, typer.Argument(help="show NAME: all that is known of one", metavar="[show NAME]")]
Plugins = Annotated[list[Path] | None, typer.Option(help="Python files that register more")]


@app.command()
def methods(what: Show = None, plugin: Plugins = None, as_json: Json = False) -> None:
    """List the methods, or show one with its options.

    Example: python -m harness methods show lorasp-column
    """
    from harness import facts, listing

    name = _named("methods", what, plugin)
    if name is None:
        _print_rows(listing.list_methods(), facts.method_table, as_json)
    else:
        _print_page(listing.show_method(name), facts.method_page, as_json)


@app.command()
def strategies(what: Show = None, plugin: Plugins = None, as_json: Json = False) -> None:
    """List the selection strategies of lorasp, or show one.

    Example: python -m harness strategies show column
    """
    from harness import facts, listing

    name = _named("strategies", what, plugin)
    if name is None:
        _print_rows(listing.list_strategies(), facts.strategy_table, as_json)
    else:
        _print_page(listing.show_strategy(name), facts.strategy_page, as_json)


@app.command()
def suites(plugin: Plugins = None, as_json: Json = False) -> None:
    """List the suites, their tasks and metrics.

    Example: python -m harness suites --json
    """
    from harness import facts, listing

    _named("suites", None, plugin)
    _print_rows(listing.list_suites(), facts.suite_table, as_json)


def _named(verb: str, what: list[str] | None, plugins: list[Path] | None) -> str | None:
    """Load all that is registered; the NAME of `show NAME`. Raises UserError for other words."""
    from harness.registry import load_all

    load_all(plugins or ())
    if not what:
        return None
    if what[0] != "show" or len(what) != 2:
        raise UserError(f"{verb} {' '.join(what)}: allowed: {verb}, or {verb} show NAME")
    return what[1]


def _print_rows(items: list[dict[str, Any]], table: Callable[[Any], Any], as_json: bool) -> None:
    from reports.columns import aligned, drawn

    if as_json:
        print(json.dumps(items, default=str))
        return
    rows, note = table(items)
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(drawn(rows, {0, 1, len(rows[0]) - 1}, caption=note))
    else:
        print("\n".join([*aligned(rows), note]))


def _print_page(item: dict[str, Any], page: Callable[[Any], list[str]], as_json: bool) -> None:
    print(json.dumps(item, default=str) if as_json else "\n".join(page(item)))


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="strategy or method")],
    name: Annotated[str, typer.Argument(help="its name: small letters, digits, dashes")],
    out: Annotated[Path, typer.Option(help="folder to write to")] = Path(),
) -> None:
    """Write a strategy or a method that works, with its test, to build on.

    Example: python -m harness new strategy mine
    """
    from harness.new import write_new
    from harness.registry import load_all

    load_all()
    plugin, test = write_new(kind, name, out)
    call = f"lorasp:select={name}" if kind == "strategy" else name
    print(f"{plugin}\n{test}\nrun it: python -m harness run --plugin {plugin} --methods {call} --tasks rte")


@app.command()
def schema(what: Annotated[str, typer.Argument(help="record, profile or spec")] = "record") -> None:
    """Print the JSON Schema of the stored files.

    Example: python -m harness schema record
    """
    from harness.errors import unknown
    from harness.record import Profile, Record

    kinds: dict[str, Any] = {"record": Record, "profile": Profile, "spec": Spec}
    if what not in kinds:
        raise unknown("schema", what, kinds)
    print(json.dumps(kinds[what].model_json_schema(), indent=1))


app.add_typer(bench, name="bench")


@app.command()
def doctor(data_dir: Annotated[Path | None, typer.Option(help="a folder of official data to look at")] = None) -> None:
    """Say what is installed and found here; each line is ok or what to do.

    Example: python -m harness doctor --data-dir ~/data
    """
    from harness.doctor import checks

    found = checks(data_dir)
    for check in found:
        print(f"{'ok  ' if check.ok else 'todo'} {check.name}: {check.detail}{'' if check.ok else f'; {check.remedy}'}")
    raise typer.Exit(1 if any(c.needed and not c.ok for c in found) else 0)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 all ok, 1 some cells failed, 2 usage, 130 interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    try:
        code = app([w for w in words if w != "--debug"], standalone_mode=False)
        if code == INTERRUPTED:  # typer makes this of Ctrl-C
            print("interrupted: finished cells are stored; the same command runs the rest", file=sys.stderr)
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        return 0
    except Exception as error:
        # typer brings its own copy of click, so its usage errors are known by what they can do
        usage = getattr(error, "format_message", None)
        if debug or (usage is None and not isinstance(error, UserError)):
            raise
        message = usage() if usage else str(error)
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        return 2
