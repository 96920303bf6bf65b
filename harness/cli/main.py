"""The entry point: registers all commands, and turns errors and signals into one line and an exit code.

exit code   0 all ok; 1 some cells failed, or a fault of the harness; 2 a mistake of the user; 128 + N signal N
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from harness.cli.bench import bench
from harness.cli.bench_llm import llm
from harness.cli.board import board
from harness.cli.examples import examples
from harness.cli.export import export
from harness.cli.fit import fit
from harness.cli.importing import import_results
from harness.cli.machine import doctor, schema
from harness.cli.measured import plan, profile
from harness.cli.panels import PanelCommand
from harness.cli.push import push_to_hub
from harness.cli.registered import methods, new, strategies, suites
from harness.cli.running import run
from harness.cli.store import store
from harness.cli.stored import compare, merge, report, show, watch
from harness.cli.studies import studies, study
from harness.core.errors import UserError, shorten
from harness.core.interrupt import SignalHandler, catch_signals
from harness.core.spec_texts import check_text
from harness.core.terminal import print_lines
from harness.core.version import DISTRIBUTION, read_version

app = typer.Typer(
    name="harness",
    help="Benchmark and ablation harness for LoRA-SP (arXiv 2403.08822) and its baselines.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
RESUMABLE = {"run", "study", "profile"}
"""Verbs that store what is finished, so that the same command does the rest."""
COMPLETION_FLAGS = {"--install-completion", "--show-completion"}
MAX_MESSAGE_LENGTH = 2000
"""Most characters of an error message; a longer one loses its middle."""


def print_version(asked: bool) -> None:
    """Print the version and end, where `--version` is given."""
    if asked:
        print(read_version())
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", help="Show the version.", callback=print_version, is_eager=True)]


@app.callback()
def root(
    debug: Annotated[bool, typer.Option(help="Show tracebacks.")] = False,
    version: Version = False,
) -> None:
    """Benchmark and ablation harness for LoRA-SP (arXiv 2403.08822) and its baselines.

    Example: python -m harness run --suite glue --methods lora,lorasp
    """


COMMANDS: tuple[Callable[..., None], ...] = (
    *(examples, show, compare, watch, merge, push_to_hub, board),
    *(methods, strategies, suites, new),
    *(fit, schema, doctor),
    studies,
)
for grouped in (run, study, plan, profile, report):
    app.command(cls=PanelCommand)(grouped)
for command in COMMANDS:
    app.command()(command)
# a function cannot have this name
app.command(name="import")(import_results)
bench.command()(llm)
app.add_typer(bench, name="bench")
app.add_typer(export, name="export")
app.add_typer(store, name="store")


# cached, because typer builds the flags of all commands from their signatures, and one process may give many commands
@functools.cache
def build_commands() -> Any:
    """The commands as click has them."""
    return get_command(app)


def main(arguments: list[str] | None = None) -> int:
    """The exit code of a command line (see the top of this file)."""
    words = sys.argv[1:] if arguments is None else arguments
    with catch_signals() as signals:
        try:
            # before typer reads them: a NUL or half of a character would fail somewhere deep in a library
            for word in words:
                check_text("argument", word)
            # a shell completes the name of a program: a script for "python -m harness" would not be valid
            program = DISTRIBUTION if COMPLETION_FLAGS & set(words) else None
            result = build_commands()([w for w in words if w != "--debug"], prog_name=program, standalone_mode=False)
            code = result if isinstance(result, int) else 0
        except BaseException as error:
            # a library may turn our KeyboardInterrupt into an error of its own: the signal is still the cause
            code = 0 if signals.number is not None else report_error(error, debug="--debug" in words)
        return code if signals.number is None else report_interrupt(signals, words)


def report_interrupt(signals: SignalHandler, words: Sequence[str]) -> int:
    """Print one line about a signal and return the exit code."""
    sender = "" if signals.name == "SIGINT" else f" by {signals.name}"
    hint = ": finished cells are stored; the same command runs the rest" if RESUMABLE & set(words) else ""
    # after SIGHUP the terminal is closed, and writing to it fails
    with contextlib.suppress(OSError):
        print(f"interrupted{sender}{hint}", file=sys.stderr)
    return signals.exit_code


def report_error(error: BaseException, *, debug: bool) -> int:
    """Print one line about an error and return the exit code. With `debug` raises the error."""
    if isinstance(error, BrokenPipeError):
        # `harness methods | head`: the reader has all that it wants
        return 0
    if debug or not isinstance(error, Exception):
        raise error
    # typer may bundle its own copy of click, so isinstance checks against click's classes would miss
    usage = getattr(error, "format_message", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print_lines((usage() if usage else str(error)).split("\n"), sys.stderr)
        return 2
    message = usage() if usage else describe_user_error(error)
    internal = message is None
    text = " ".join((f"{type(error).__name__}: {error}" if message is None else message).split())
    if len(text) > MAX_MESSAGE_LENGTH:
        text = f"{text[: MAX_MESSAGE_LENGTH * 3 // 4]} … {text[-MAX_MESSAGE_LENGTH // 4 :]}"
    print_lines([f"error: {text}{'; --debug shows where' if internal else ''}"], sys.stderr)
    return 1 if internal else 2


def describe_user_error(error: Exception) -> str | None:
    """The message of an error that the user can correct; None for a fault of the harness."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{shorten(error.filename)}: {error.strerror}; give a path that can be read or written"
    if isinstance(error, RecursionError):
        return "the input is nested too deeply to be read; --debug shows which"
    if isinstance(error, UnicodeError):
        return f"text that is not UTF-8 ({error}); convert the file, --debug shows which"
    return None
