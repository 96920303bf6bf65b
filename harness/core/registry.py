"""The registries of methods, strategies and suites.

    our own modules      @METHODS.register("name"), imported by `load_package`
    installed plugins    entry points of the group lorasp_harness, imported by `load_entry_points`
    plugin files         --plugin FILE, imported by `load_plugin`

A plugin has no version of ours, so the sha256 of its source enters the cell keys.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
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
_contents: dict[Path, bytes] = {}
"""The source that was imported from each path the last time that the file was loaded."""


class Registry(Generic[T]):
    """Named things of one kind (methods, strategies, suites, metrics).

    `sources` has the sha256 of the file that a plugin's thing comes from; ours go by their `version`. The modules of
    `package` are imported at the first look-up, for things that stored records need where `load_all` is not called.
    """

    def __init__(self, kind: str, package: str | None = None) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}
        self.sources: dict[str, str] = {}
        self._package = package

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that registers an item under `name`. Raises UserError for an invalid or registered name."""
        # a plugin may pass anything as its name
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
            raise UserError(f"{self.kind} {shorten(ascii(name))}: allowed: a name of 1 to {MAX_NAME_LENGTH} characters")
        if RESERVED_CHARACTERS & set(name) or name != name.strip():
            marks = " ".join(sorted(RESERVED_CHARACTERS))
            raise UserError(f"{self.kind} '{name}': the command line gives {marks} a meaning; allowed: none of these")

        def put(item: T) -> T:
            self._load_package()
            if name in self._items:
                raise UserError(f"{self.kind} '{name}' is already registered; choose another name")
            self._items[name] = item
            if _loading is not None:
                self.sources[name] = _loading
            return item

        return put

    def _load_package(self) -> None:
        package, self._package = self._package, None  # first, because the package's own modules come back here
        if package is not None:
            with _attribute_to(None):
                load_package(package)

    def get(self, name: str) -> T:
        """The thing called `name`. Raises UserError with the nearest name."""
        self._load_package()
        if name not in self._items:
            raise build_unknown_error(self.kind, name, self._items)
        return self._items[name]

    def names(self) -> list[str]:
        self._load_package()
        return sorted(self._items)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        self._load_package()
        return iter(sorted(self._items.items()))

    def __contains__(self, name: object) -> bool:
        self._load_package()
        return name in self._items


@contextlib.contextmanager
def _attribute_to(source: str | None) -> Iterator[None]:
    """Everything that registers in here comes from a plugin's source (its sha256), or from us (None)."""
    global _loading
    previous, _loading = _loading, source
    try:
        yield
    finally:
        _loading = previous


OWN_PACKAGES = ("harness.models.quantization", "methods", "methods.selection", "suites.metrics", "suites")
"""Packages whose modules register what this project brings."""


def load_package(name: str) -> None:
    """Import each module of a package, so that its decorators run; packages in it have to be named themselves."""
    for module in list_modules(name):
        importlib.import_module(module)


def list_modules(name: str) -> list[str]:
    """The names of a package, which this imports, and of its modules, without packages in it."""
    package = importlib.import_module(name)
    modules = [f"{name}.{module.name}" for module in pkgutil.iter_modules(package.__path__) if not module.ispkg]
    return [name, *modules]


def load_entry_points(group: str = "lorasp_harness") -> None:
    """Import the entry points of installed plugins. Raises UserError, naming the plugin, if one raises."""
    for entry in _find_entry_points(group, tuple(sys.path)):
        source = _find_source(entry.module)
        digest = None if source is None else _compute_digest(source.read_bytes())
        with _record_plugin_source(f"plugin '{entry.name}' ({entry.value})", digest):
            entry.load()


# cached, because it reads a file of each installed package, and a process loads the registries several times
@functools.cache
def _find_entry_points(group: str, path: tuple[str, ...]) -> importlib.metadata.EntryPoints:
    """The entry points of the packages on the import path."""
    return importlib.metadata.entry_points(group=group)


def _find_source(module: str) -> Path | None:
    """The source file of an installed module; None if there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        # importing the module raises the same error, which is then reported with the plugin's name
        return None
    return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None


@contextlib.contextmanager
def _record_plugin_source(what: str, digest: str | None) -> Iterator[None]:
    """What registers in here is of the source with that sha256. Raises UserError naming the plugin."""
    try:
        with _attribute_to(digest):
            yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from error
    # SystemExit too: a plugin that calls sys.exit must not end the command without a message
    except (Exception, SystemExit) as error:
        raise UserError(f"{what} raises {type(error).__name__}: {error}") from error


def load_plugin(path: Path) -> None:
    """Import a plugin file; a second call does nothing. Raises UserError if the file is missing or raises."""
    if not os.path.isfile(path):
        raise UserError(f"plugin file '{path}' does not exist; give the path of a Python file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"plugin file '{path}': {error.strerror}; give a file that can be read") from error
    digest = _compute_digest(content)
    # two files of one name must not replace each other in sys.modules
    name = f"lorasp_plugin_{path.stem}_{digest[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
        raise UserError(f"plugin file '{path}' is not a Python file (.py)")
    _contents[path] = content
    if digest in _loaded:
        return
    module = importlib.util.module_from_spec(spec)
    # before it runs: dataclasses look their module up there
    sys.modules[name] = module
    with _record_plugin_source(f"plugin file '{path}'", digest):
        # what was hashed is what runs: the loader would read the file again, or bytecode of a version of the same size
        # and second
        exec(spec.loader.source_to_code(content, str(path)), module.__dict__)
    _loaded.add(digest)


def _compute_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def load_all(plugins: Sequence[Path] = ()) -> None:
    """Import all that we register ourselves, installed plugins, and the given files. Raises UserError."""
    if foreign := find_foreign_package():
        name, place = foreign
        raise UserError(
            f"a module '{name}' was imported from {place} before the harness, which has a package of that name; "
            "import the harness first, or rename that module"
        )
    for package in OWN_PACKAGES:
        load_package(package)
    load_entry_points()
    for path in plugins:
        load_plugin(path)


def get_plugin_contents(plugins: Sequence[Path]) -> dict[Path, bytes]:
    """The sources that this process has loaded from plugin files, whatever the files have by now."""
    return {path: _contents[path] for path in plugins if path in _contents}


def get_plugin_digests(plugins: Sequence[Path]) -> dict[Path, str]:
    """The sha256 that plugin files had when this process loaded them, for `load_same` in another process."""
    return {path: _compute_digest(content) for path, content in get_plugin_contents(plugins).items()}


def load_same(plugins: Sequence[Path], digests: Mapping[Path, str]) -> None:
    """`load_all` in a process that works for another one. Raises UserError if a plugin file changed between the two."""
    load_all(plugins)
    for path, digest in digests.items():
        # the keys of the cells have the first digest, so results of the changed code would be stored as the first's
        if get_plugin_digests([path]) != {path: digest}:
            raise UserError(f"plugin file '{path}' changed after the run loaded it; give the same command again")
