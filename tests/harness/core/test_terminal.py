"""What reaches a terminal: every name in full, and no control character of a name."""

from __future__ import annotations

import ast
import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.cli.progress import ProgressListener
from harness.cli.show import format_record
from harness.cli.watch import RunWatcher
from harness.core.listener import PlainListener, SilentListener
from harness.core.record import Record
from harness.core.store import Store
from harness.core.terminal import (
    MOST_ROWS,
    align_rows,
    escape_text,
    limit_rows,
    make_table,
    print_lines,
    print_table,
)
from tests.reports.records import grid_of, record

ATTACKS = [
    "lora [lr=0.001]",
    "x[/x]",
    "[bold red]x[/]",
    "a:smile:b",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b31m",
    "a\rb",
    "a\nreport: /fake",
    "a\x08\x7fb",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "a\u2028b",
    "a\u200bb",
    "a\x00b",
]
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What rich and Live write themselves: colours, cursor moves."""


def run_on_terminal(action: Callable[[], object], columns: int) -> str:
    """What `action` writes when stdout and stderr are a pseudo-terminal of so many columns; colours are taken out."""
    pid, master = pty.fork()
    if pid == 0:  # the child's standard streams are the pseudo-terminal
        code = 1
        try:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
            os.environ["TERM"] = "xterm"
            os.environ.pop("COLUMNS", None)  # it would count instead of the terminal's width
            sys.stdin, sys.stdout, sys.stderr = (open(n, mode) for n, mode in ((0, "r"), (1, "w"), (2, "w")))  # noqa: SIM115
            action()
            sys.stdout.flush()
            code = 0
        finally:
            os._exit(code)
    output = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        output += part
    _, status = os.waitpid(pid, 0)
    os.close(master)
    text = output.decode().replace("\r\n", "\n")
    assert os.waitstatus_to_exitcode(status) == 0, text
    return SEQUENCE.sub("", text)


def unsafe(text: str) -> list[str]:
    """Characters of a text that a terminal would act on, line ends apart."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c != "\n"]


def named(name: str) -> Record:
    """A record of a method, task and reason of that name."""
    made = record(None, reason=name)
    cell = made.cell.model_copy(update={"task": name, "method": name})
    return made.model_copy(update={"cell": cell, "key": cell.key, "traceback": name})


@pytest.mark.parametrize("name", ATTACKS)
def test_text_is_printable_and_keeps_what_can_be_read(name: str) -> None:
    text = escape_text(name)
    assert text.isprintable() and "".join(c for c in name if c.isprintable()) in re.sub(
        r"\\(x..|u....|[nrt])", "", text
    )


def test_readable_text_is_untouched() -> None:
    for text in ("lora [lr=0.001]", "naïve café 中文\u3000", "84.2 ± 1.3", r"C:\x1b"):
        assert escape_text(text) == text


@pytest.mark.parametrize("columns", [200, 40, 12])
def test_a_terminal_shows_every_name_in_full(columns: int) -> None:
    rows = [("task", *ATTACKS), ("rte", *(str(float(i)) for i, _ in enumerate(ATTACKS)))]
    text = run_on_terminal(lambda: print_table(rows, {0}, ATTACKS[1], ATTACKS[2]), columns)
    assert not unsafe(text)
    joined = re.sub(r"[\s│┃]", "", text)
    if columns == 12:  # plain lines, which the terminal wraps
        assert all(re.sub(r"\s", "", escape_text(name)) in joined for name in ATTACKS)
    narrow = [("method", "lr"), ("lora [lr=0.001]", "1"), ("lora [lr=0.0001]", "2")]
    text = run_on_terminal(lambda: print_table(narrow, {0}), columns)
    assert "[lr=0.001]" in text and "[lr=0.0001]" in text


def test_a_drawn_table_and_plain_columns_have_the_same_cells() -> None:
    from rich.console import Console

    rows = [("method", "score"), *((name, "1") for name in ATTACKS)]
    stream = io.StringIO()
    Console(file=stream, width=200).print(make_table(rows, {0}, "title [x]", "caption [/x]"))
    plain = "\n".join(align_rows(rows))
    for name in ATTACKS:
        assert escape_text(name) in stream.getvalue() and escape_text(name) in plain
    assert "title [x]" in stream.getvalue() and "caption [/x]" in stream.getvalue()


@pytest.mark.parametrize("name", ATTACKS)
def test_progress_shows_names_as_they_are(name: str) -> None:
    for kind in (SilentListener, lambda stream: PlainListener(stream, 2), lambda stream: ProgressListener(stream, 2)):
        stream = io.StringIO()
        listener = kind(stream)
        listener.on_pack_start(name, 1, 2)
        listener.step(1, [0.5])
        listener.on_profile_start(name)
        listener.on_cell_end(named(name))
        listener.note(name)
        listener.close()
        text = SEQUENCE.sub("", stream.getvalue())
        assert not unsafe(text) and escape_text(name) in text.replace("\n", "")


def test_a_terminal_keeps_progress_of_any_name() -> None:
    def show() -> None:
        for name in ATTACKS:
            live = ProgressListener(sys.stderr, 2)
            live.on_pack_start(name, 1, 2)
            time.sleep(0.12)  # one refresh of the drawing thread
            live.note(name)
            live.close()

    text = run_on_terminal(show, 200)
    assert not [c for c in unsafe(text) if c != "\r"]
    assert all(escape_text(name) in text for name in ATTACKS)


def written(folder: Path, names: list[str]) -> Path:
    store = Store(folder)
    store.prepare()
    records = [named(name) for name in names]
    for one in records:
        store.write(one, None)
    store.write_run(names[0], names[1], [r.key for r in records], names)
    return folder


def test_commands_that_read_a_store_print_no_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = written(tmp_path / "run", ATTACKS)
    for words in (
        ["watch", str(run), "--once"],
        ["compare", str(run), str(run)],
        ["compare", str(run), str(run), "--json"],
        ["report", str(run), "--formats", "md"],
        *(["show", named(name).key, str(run)] for name in ATTACKS),
        *(["show", named(name).key, str(run), "--json"] for name in ATTACKS),
    ):
        assert main(words) in (0, 1)
        output = capsys.readouterr()
        assert not unsafe(output.out + output.err), words
    # the lines themselves, for those who read them from Python
    assert not any(unsafe(line) or "\n" in line for line in RunWatcher(run).look().lines())
    for name in ATTACKS:
        assert not any(unsafe(line) or "\n" in line for line in format_record(run, named(name)))
    assert not unsafe(run_on_terminal(lambda: main(["watch", str(run), "--once"]), 100))


@pytest.mark.parametrize("name", ATTACKS)
def test_errors_and_arguments_print_no_control_characters(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["plan", "--methods", name],
        ["plan", "--seeds", name],
        ["plan", f"--{name}"],
        [name],
        ["show", name, name],
        ["report", name],
        ["methods", "show", name],
        ["schema", name],
        ["study", name],
    ):
        assert main(words) == 2, words
        output = capsys.readouterr()
        assert not unsafe(output.out + output.err) and output.err.count("\n") == 1, words


def test_plugins_with_brackets_are_listed_on_a_terminal(tmp_path: Path) -> None:
    plugin = tmp_path / "plug.py"
    plugin.write_text(
        '''from harness.core.method import strategy

@strategy("mine-[/x]")
def mine(sites, ratio, rng):
    """Rows of A [rank, d_in] and of B [/x] first."""
    return {s.name: tuple(rng.random(shape) for shape in s.shapes) for s in sites}
'''
    )
    words = ["-c", f"from harness.cli.main import main; main(['strategies', '--plugin', {str(plugin)!r}])"]
    text = run_on_terminal(lambda: os.execv(sys.executable, [sys.executable, *words]), 200)
    assert "mine-[/x]" in text and "[rank, d_in]" in re.sub(r"\s+", " ", text)


WIDE = [
    ("method", "paper", "peak", "what it is"),
    ("lora:rank=8 [lr=0.001]", "arXiv 2106.09685", "1.00 MiB", "low-rank adaptation: A and B train"),
    ("full", "", "12.00 MiB", "every weight trains"),
]


def test_a_narrow_terminal_leaves_columns_out_and_names_them() -> None:
    text = run_on_terminal(lambda: print_table(WIDE, {0, 1, 3}, drop=("paper", "peak")), 80)
    assert "lora:rank=8 [lr=0.001]" in text and "arXiv" not in text and "12.00 MiB" in text
    assert "Left out at this width: paper." in text and max(map(len, text.splitlines())) <= 80


def test_a_terminal_that_is_too_narrow_for_a_table_stacks_the_values_of_a_row() -> None:
    text = run_on_terminal(lambda: print_table(WIDE, {0, 1, 3}, "Methods", "A note.", drop=("paper",)), 40)
    assert text.splitlines() == [
        "Methods",
        "lora:rank=8 [lr=0.001]",
        "  paper       arXiv 2106.09685",
        "  peak        1.00 MiB",
        "  what it is  low-rank adaptation: A and",
        "              B train",
        "full",
        "  peak        12.00 MiB",
        "  what it is  every weight trains",
        "A note.",
    ]


def test_a_pipe_has_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(WIDE, {0}, drop=("paper", "peak"))
    assert capsys.readouterr().out.splitlines() == align_rows(WIDE)


@pytest.mark.parametrize("verb", ["methods", "strategies", "suites", "studies"])
def test_lists_fit_eighty_columns_and_cut_no_name(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb]) == 0
    names = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[1:] if "  " in line]
    text = run_on_terminal(lambda: main([verb]), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert len(names) > 4 and all(re.search(rf"(^|[│ ]){re.escape(name)}($|[│ ])", text, re.M) for name in names)


def test_what_an_encoding_lacks_is_escaped() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_lines(["café \ud800"], stream)
    stream.flush()
    assert stream.buffer.getvalue() == rb"caf\xe9 \ud800" + b"\n"  # type: ignore[attr-defined]


def test_two_rates_have_columns_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    from reports.statistics.analysis import analyse
    from reports.terminal import print_end

    records = []
    for rate in (1e-3, 1e-4):
        for one in grid_of({("rte", "lora"): [60.0, 61.0]}):
            protocol = one.cell.protocol.model_copy(update={"lr": rate})
            cell = one.cell.model_copy(update={"protocol": protocol})
            records.append(one.model_copy(update={"cell": cell, "key": cell.key}))
    text = run_on_terminal(lambda: print_end(analyse(records, []), []), 120)
    assert "lr=0.001]" in text and "lr=0.0001]" in text


def test_only_one_module_prints() -> None:
    root = Path(__file__).parents[3]
    machine_readable = {"harness/bench/at_once.py", "harness/bench/startup_process.py"}  # JSON to the parent process
    fixed_text = {"harness/cli/main.py"}
    for package in ("harness", "reports", "studies", "results"):
        for path in sorted((root / package).rglob("*.py")):
            place = path.relative_to(root).as_posix()
            if place in machine_readable | fixed_text | {"harness/core/terminal.py"}:
                continue
            calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            assert not [f for f in calls if isinstance(f, ast.Name) and f.id == "print"], place


def test_rows_beyond_a_screen_are_counted_and_those_that_matter_stay() -> None:
    rows = [["name", "fits"], *([f"m{n}", "no" if n == 90 else "yes"] for n in range(100))]
    shown, caption = limit_rows(rows, "--json", lambda row: row[1] == "no")
    assert len(shown) == 1 + MOST_ROWS and shown[0] == rows[0] and shown[-1] == ["m90", "no"]
    assert caption == "60 more rows are left out here: --json has all."
    assert limit_rows(rows[:3], "--json") == (rows[:3], None)
