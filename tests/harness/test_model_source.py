"""Where a model is looked for, and what is said when it is not there."""

from __future__ import annotations

import hashlib
import importlib.machinery
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import model_source
from harness.errors import UserError
from harness.model_source import MINILM_HASHES, resolve
from harness.presets import PRESETS, preset


def folder(path: Path, *names: str, weights: bytes = b"weights") -> Path:
    path.mkdir(exist_ok=True)
    for name in names:
        (path / name).write_bytes(weights if name.endswith("safetensors") else b"{}")
    return path


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ((), "no config.json"),
        (("config.json", "tokenizer.json"), "no weights model.safetensors"),
        (("config.json", "model.safetensors"), "no tokenizer"),
    ],
)
def test_an_incomplete_folder_is_named_with_what_it_lacks(tmp_path: Path, names: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        resolve(preset("paper"), "glue", str(folder(tmp_path / "model", *names)))


def test_revision_is_the_hash_of_the_weights(tmp_path: Path) -> None:
    path = folder(tmp_path / "model", "config.json", "tokenizer.json", "model.safetensors")
    source = resolve(preset("paper"), "glue", str(path))
    assert source.ref.revision == hashlib.sha256(b"weights").hexdigest()
    assert (source.precision, source.stand_in) == ("as stored", False)


def test_shards_hash_as_one_and_a_missing_one_is_named(tmp_path: Path) -> None:
    path = folder(tmp_path / "model", "config.json", "vocab.txt", "a.safetensors", "b.safetensors")
    (path / "model.safetensors.index.json").write_text('{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}')
    one = hashlib.sha256(b"weights").hexdigest()
    source = resolve(preset("paper"), "glue", str(path))
    assert source.ref.revision == hashlib.sha256((one + one).encode()).hexdigest()
    (path / "b.safetensors").unlink()
    with pytest.raises(UserError, match=r"no weights b\.safetensors"):
        resolve(preset("paper"), "glue", str(path))


@pytest.mark.parametrize("index", ["{", "{}", "[]", '{"weight_map": 1}'])
def test_an_index_of_something_else_is_named(tmp_path: Path, index: str) -> None:
    path = folder(tmp_path / "model", "config.json", "tokenizer.json")
    (path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match="is no index of weights"):
        resolve(preset("paper"), "glue", str(path))


def test_a_path_that_is_no_folder() -> None:
    with pytest.raises(UserError, match="not a folder"):
        resolve(preset("quick"), "glue", "./nowhere")


def test_a_suite_without_a_model_asks_for_one() -> None:
    with pytest.raises(UserError, match=r"--model none=PATH"):
        resolve(preset("quick"), "none", None)


def test_a_hub_that_is_not_reachable_says_how_to_give_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[str] = []

    def unreachable(name: str, **_: Any) -> str:
        asked.append(name)
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(UserError, match=r"'FacebookAI/roberta-base'.*ConnectionError; give --model PATH"):
        resolve(preset("paper"), "glue", None)
    assert asked == ["FacebookAI/roberta-base"]


def test_a_hub_snapshot_is_read_as_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    path = folder(tmp_path / "model", "config.json", "tokenizer.json", "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(path))
    source = resolve(preset("quick"), "glue", "someone/encoder")
    assert (source.name, source.path) == ("someone/encoder", path)


class Package:
    """A finder that has the MiniLM package, whose code must not be run."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name != model_source.MINILM_PACKAGE:
            return None
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(self.root)]
        return spec


def test_minilm_with_other_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "weights", "config.json", "vocab.txt", "model.safetensors")
    monkeypatch.setattr(sys, "meta_path", [Package(tmp_path), *sys.meta_path])
    with pytest.raises(UserError, match="sha256") as caught:
        resolve(preset("small"), "glue", None)
    assert all(digest in str(caught.value) for digest in MINILM_HASHES)
    assert model_source.MINILM_PACKAGE not in sys.modules


def test_minilm_is_accepted_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "weights", "config.json", "vocab.txt", "model.safetensors")
    monkeypatch.setattr(sys, "meta_path", [Package(tmp_path), *sys.meta_path])
    monkeypatch.setattr(model_source, "MINILM_HASHES", {hashlib.sha256(b"weights").hexdigest(): "fp16"})
    assert resolve(preset("small"), "glue", None).precision == "fp16"


def test_minilm_that_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed; do: pip install 'lorasp-harness\[minilm\]'"):
        resolve(preset("small"), "glue", None)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_whole(name: str) -> None:
    from harness.cell import Protocol
    from harness.contracts import METHODS

    chosen = preset(name)
    assert chosen.name == name and chosen.models["glue"] and chosen.summary
    Protocol.model_validate({"lr": 1.0, **chosen.protocol})
    assert all(name in kind.learning_rates and kind.learning_rates[name].source for _, kind in METHODS)
