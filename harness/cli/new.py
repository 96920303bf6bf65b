"""`new KIND NAME`: a plugin file that works, and its test."""

from __future__ import annotations

import ast
import importlib.util
import keyword
import os
import re
import string
import sys
from pathlib import Path
from typing import Any

from harness.cli.plugin_templates import BODIES, RUN, TESTS
from harness.core.errors import UserError, shorten
from harness.core.learning_rate import SCHEDULES
from harness.core.method import METHODS, STRATEGIES, SUITES
from harness.core.optimizer import OPTIMIZERS
from harness.core.registry import MAX_NAME_LENGTH, Registry, load_package


def format_run(kind: str, name: str) -> str:
    """The flags of a run that uses what was written."""
    if kind == "suite":
        return f"--suite {name} --methods lora"
    if kind in ("table", "schedule", "optimizer"):
        return "--methods lora --tasks rte" + (f" --{kind} {name}" if kind != "table" else "")
    return f"--methods {f'lorasp:select={name}' if kind == 'strategy' else name} --tasks rte"


def _load_registry(kind: str) -> Registry[Any]:
    """Where the names of a kind are registered."""
    if kind == "table":
        from reports.registered import TABLES

        load_package("reports.tables")
        return TABLES
    registries: dict[str, Registry[Any]] = {
        "strategy": STRATEGIES,
        "method": METHODS,
        "suite": SUITES,
        "schedule": SCHEDULES,
        "optimizer": OPTIMIZERS,
    }
    return registries[kind]


def _check_shadowing(kind: str, name: str, word: str, class_name: str, folder: Path) -> None:
    """Raise UserError for a name that would hide a module for Python, or a name that the plugin's code uses."""
    try:
        spec = None if (folder / f"{word}.py").exists() else importlib.util.find_spec(word)
    except (ValueError, ImportError, OSError):  # __main__ has no spec
        spec = None
    is_local = spec is not None and spec.origin is not None and Path(spec.origin).parent == Path.cwd()
    if word in sys.stdlib_module_names or (spec is not None and not is_local):
        raise UserError(f"new {kind} {name}: a file {word}.py would hide Python's module '{word}'; choose another name")
    code = string.Template(BODIES[kind]).safe_substitute(word="_", class_name="_", name="_", file="_", run="_")
    used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    if used & {word, class_name}:
        raise UserError(f"new {kind} {name}: the code of the plugin uses this name; choose another one, e.g. my-{name}")


def write_new(kind: str, name: str, folder: Path) -> tuple[Path, Path]:
    """Write the plugin and its test; returns both. Raises UserError for a name or a file that is taken."""
    if kind not in BODIES:
        raise UserError(f"new {shorten(kind)}: allowed: {', '.join(f'new {name} NAME' for name in BODIES)}")
    word = name.replace("-", "_")
    # the name becomes a module, a function and a part of cell labels: it must be valid in all three
    fits = len(name) <= MAX_NAME_LENGTH and re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name)
    if not fits or keyword.iskeyword(word):
        raise UserError(
            f"new {kind} {shorten(name)}: allowed: small letters, digits and single dashes, {MAX_NAME_LENGTH} at most,"
            f" e.g. my-{kind}"
        )
    if name in _load_registry(kind):
        raise UserError(f"{_load_registry(kind).kind} '{name}' is already registered; choose another name")
    plugin, test = folder / f"{word}.py", folder / f"test_{word}.py"
    class_name = "".join(part.capitalize() for part in name.split("-"))
    _check_shadowing(kind, name, word, class_name, folder)
    for path in (plugin, test):
        if os.path.exists(path):
            raise UserError(f"'{path}' already exists; choose another name, or another folder with --out DIR")
    words = {"name": name, "word": word, "file": word, "class_name": class_name, "run": format_run(kind, name)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plugin.write_text(string.Template(BODIES[kind]).substitute(words))
        test.write_text(string.Template(TESTS[kind] + ("" if kind == "table" else RUN)).substitute(words))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--out {shorten(folder)}: {reason}; give a folder that can be written") from error
    return plugin, test
