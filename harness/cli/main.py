"""The entry point: registers all commands, and turns errors and signals into one line and an exit code.

exit code   0 all ok; 1 some cells failed, or a fault of the harness; 2 a mistake of the user; 128 + N signal N
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

import harness
from harness.cli import board as boards, machine, measured, registered, running, stored, studies as studying
from harness.cli.bench import bench
from harness.cli.flags import Json, with_flags
from harness.cli.panels import PanelCommand
from harness.core.errors import UserError, shorten
from harness.core.interrupt import SignalHandler, catch_signals, is_interrupted
from harness.core.spec import DECLARED_FIELDS, REPORT_FIELDS, Spec, check_text
from harness.core.terminal import print_lines
from harness.core.version import DISTRIBUTION

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
SpecFile = Annotated[
    Path | None, typer.Option("--spec", help="TOML file with these flags as keys; flags on the command line win")
]
Folder = Annotated[Path, typer.Argument(help="folder of a run or study")]
To = Annotated[Path | None, typer.Option("--to", help="output folder of the report; default: OUT/report")]
SPEC = {"spec_file": (SpecFile, None), "as_json": (Json, False)}


def print_version(asked: bool) -> None:
    """Print the version and end, where `--version` is given."""
    if asked:
        print(harness.__version__)
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


app.command("run", cls=PanelCommand)(with_flags(running.run, Spec.model_fields, SPEC))
STUDY = {"name": (studying.Name, inspect.Parameter.empty), "as_json": (Json, False), "runs": (studying.Runs, None)}
app.command("study", cls=PanelCommand)(with_flags(studying.study, studying.FLAGS, STUDY))
for ahead, option in ((measured.plan, measured.MEMORY), (measured.profile, measured.REPEATS)):
    app.command(ahead.__name__, cls=PanelCommand)(with_flags(ahead, Spec.model_fields, SPEC | option))
app.command("report", cls=PanelCommand)(
    with_flags(
        stored.report,
        REPORT_FIELDS | DECLARED_FIELDS | {"plugin"},
        {"out": (Folder, inspect.Parameter.empty), "to": (To, None)},
    )
)
PLAIN_COMMANDS: tuple[Callable[..., None], ...] = (
    *(stored.show, stored.compare, stored.watch, stored.merge, boards.board),
    *(registered.methods, registered.strategies, registered.suites, registered.new),
    *(machine.schema, machine.doctor),
    studying.studies,
)
for verb in PLAIN_COMMANDS:
    app.command()(verb)
app.add_typer(bench, name="bench")


def main(arguments: list[str] | None = None) -> int:
    """The exit code of a command line (see the top of this file)."""
    words = sys.argv[1:] if arguments is None else arguments
    with catch_signals() as signals:
        try:
            code = _run(words)
        except BaseException:
            # a library may turn our KeyboardInterrupt into an error of its own: the signal is still the cause
            if signals.number is None:
                raise
            code = 0
        return code if signals.number is None else report_interrupt(signals, words)


def report_interrupt(signals: SignalHandler, words: Sequence[str]) -> int:
    """Print one line about a signal and return the exit code."""
    sender = "" if signals.name == "SIGINT" else f" by {signals.name}"
    hint = ": finished cells are stored; the same command runs the rest" if RESUMABLE & set(words) else ""
    # after SIGHUP the terminal is closed, and writing to it fails
    with contextlib.suppress(OSError):
        print(f"interrupted{sender}{hint}", file=sys.stderr)
    return signals.exit_code


def _run(words: Sequence[str]) -> int:
    debug = "--debug" in words
    try:
        # before typer reads them: a NUL or half of a character would fail somewhere deep in a library
        for word in words:
            check_text("argument", word)
        # a shell completes the name of a program: a script for "python -m harness" would not be valid
        program = DISTRIBUTION if COMPLETION_FLAGS & set(words) else None
        code = app([w for w in words if w != "--debug"], prog_name=program, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        # `harness methods | head`: the reader has all that it wants
        return 0
    except Exception as error:
        # after a signal, `main` prints one line about the signal instead of about its consequences
        if debug or is_interrupted():
            raise
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
