"""The one place to register: a decorator for our own modules, entry points and plugin files for others'."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from harness.errors import UserError, unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """Named things of one kind (methods, strategies, suites)."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: put the decorated thing under `name`. Raises UserError if the name is taken."""

        def put(item: T) -> T:
            if name in self._items:
                raise UserError(f"{self.kind} '{name}' is already registered; choose another name")
            self._items[name] = item
            return item

        return put

    def get(self, name: str) -> T:
        """The thing called `name`. Raises UserError with the nearest name."""
        if name not in self._items:
            raise unknown(self.kind, name, self._items)
        return self._items[name]

    def names(self) -> list[str]:
        return sorted(self._items)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return iter(sorted(self._items.items()))

    def __contains__(self, name: object) -> bool:
        return name in self._items


def load_package(name: str) -> None:
    """Import each module of a package, so that its decorators run."""
    package = importlib.import_module(name)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{name}.{module.name}")


def load_entry_points(group: str = "lorasp_harness") -> None:
    """Import what installed plugins declare under the entry point group."""
    for entry in importlib.metadata.entry_points(group=group):
        entry.load()


def load_plugin(path: Path) -> None:
    """Import a plugin from a file. Raises UserError if the file is absent or raises."""
    if not path.is_file():
        raise UserError(f"plugin file '{path}' does not exist; give the path of a Python file")
    name = f"lorasp_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"plugin file '{path}' is not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"plugin file '{path}' raises {type(error).__name__}: {error}") from error


def load_all(plugins: Sequence[Path] = ()) -> None:
    """Import our own methods, strategies and suites, installed plugins, and the given files."""
    for package in ("methods", "methods.selection", "suites"):
        load_package(package)
    load_entry_points()
    for path in plugins:
        load_plugin(path)
