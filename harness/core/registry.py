"""The registries of methods, strategies and suites.

    our own modules      @METHODS.register("name"), imported by `load_package`
    installed plugins    entry points of the group lorasp_harness, imported by `load_entry_points`
    plugin files         --plugin FILE, imported by `load_plugin`

A plugin has no version of ours, so the sha256 of its source enters the cell keys.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from harness.core.errors import UserError, build_unknown_error, shorten
from harness.core.process import find_foreign_package

T = TypeVar("T")
MAX_NAME_LENGTH = 100
RESERVED_CHARACTERS = frozenset(",:=|")
"""Characters with a meaning in --methods, so that no name may contain them."""
_loading: str | None = None
"""sha256 of the source of the plugin that is being imported; None while our own modules are imported."""
_loaded: set[str] = set()
"""sha256 of the plugin files that were imported."""


class Registry(Generic[T]):
    """Named items of one kind (methods, strategies or suites).

    `sources` maps the name of a plugin's item to the sha256 of its file; our own items have a `version` instead.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}
        self.sources: dict[str, str] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that registers an item under `name`. Raises UserError for an invalid or registered name."""
        # a plugin may pass anything as its name
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
            raise UserError(f"{self.kind} {shorten(ascii(name))}: allowed: a name of 1 to {MAX_NAME_LENGTH} characters")
        if RESERVED_CHARACTERS & set(name) or name != name.strip():
            marks = " ".join(sorted(RESERVED_CHARACTERS))
            raise UserError(f"{self.kind} '{name}': the command line gives {marks} a meaning; allowed: none of these")

        def put(item: T) -> T:
            if name in self._items:
                raise UserError(f"{self.kind} '{name}' is already registered; choose another name")
            self._items[name] = item
            if _loading is not None:
                self.sources[name] = _loading
            return item

        return put

    def get(self, name: str) -> T:
        """The item called `name`. Raises UserError with the nearest name for an unknown one."""
        if name not in self._items:
            raise build_unknown_error(self.kind, name, self._items)
        return self._items[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._items)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        # sorted, so that lists and products do not depend on the order of imports
        return iter(sorted(self._items.items()))

    def __contains__(self, name: object) -> bool:
        return name in self._items


def load_package(name: str) -> None:
    """Import each module of a package, so that its registering decorators run."""
    package = importlib.import_module(name)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{name}.{module.name}")


def load_entry_points(group: str = "lorasp_harness") -> None:
    """Import the entry points of installed plugins. Raises UserError, naming the plugin, if one raises."""
    for entry in importlib.metadata.entry_points(group=group):
        with _record_plugin_source(f"plugin '{entry.name}' ({entry.value})", _find_source(entry.module)):
            entry.load()


def _find_source(module: str) -> Path | None:
    """The source file of an installed module; None if there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        # importing the module raises the same error, which is then reported with the plugin's name
        return None
    return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None


@contextlib.contextmanager
def _record_plugin_source(what: str, file: Path | None) -> Iterator[None]:
    """A context in which every registered item belongs to a plugin's file. Raises UserError naming the plugin."""
    global _loading
    _loading = hashlib.sha256(file.read_bytes()).hexdigest() if file else None
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from error
    # SystemExit too: a plugin that calls sys.exit must not end the command without a message
    except (Exception, SystemExit) as error:
        raise UserError(f"{what} raises {type(error).__name__}: {error}") from error
    finally:
        _loading = None


def load_plugin(path: Path) -> None:
    """Import a plugin file; a second call does nothing. Raises UserError if the file is missing or raises."""
    if not os.path.isfile(path):
        raise UserError(f"plugin file '{path}' does not exist; give the path of a Python file")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"plugin file '{path}': {error.strerror}; give a file that can be read") from error
    # two files of one name must not replace each other in sys.modules
    name = f"lorasp_plugin_{path.stem}_{digest[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"plugin file '{path}' is not a Python file (.py)")
    if digest in _loaded:
        return
    module = importlib.util.module_from_spec(spec)
    # before it runs: dataclasses look their module up there
    sys.modules[name] = module
    with _record_plugin_source(f"plugin file '{path}'", path):
        spec.loader.exec_module(module)
    _loaded.add(digest)


def load_all(plugins: Sequence[Path] = ()) -> None:
    """Import our own methods, strategies and suites, installed plugins, and the given files.

    Raises UserError for a plugin that raises, and for a foreign module that has the name of one of our packages.
    """
    if foreign := find_foreign_package():
        name, place = foreign
        raise UserError(
            f"a module '{name}' was imported from {place} before the harness, which has a package of that name; "
            "import the harness first, or rename that module"
        )
    for package in ("methods", "methods.selection", "suites"):
        load_package(package)
    load_entry_points()
    for path in plugins:
        load_plugin(path)
