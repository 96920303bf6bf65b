"""Where a model is looked for, and what is said when it is not there."""

from __future__ import annotations

import hashlib
import importlib.machinery
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.cell import ModelRef
from harness.core.errors import UserError
from harness.core.presets import PRESETS, get_preset
from harness.models import source as model_source
from harness.models.source import MINILM_HASHES, resolve
from tests.harness.families import build_family
from tests.reports.records import cell


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
        resolve(get_preset("paper"), "glue", str(folder(tmp_path / "model", *names)))


def test_revision_is_the_hash_of_the_weights(tmp_path: Path) -> None:
    path = folder(tmp_path / "model", "config.json", "tokenizer.json", "model.safetensors")
    source = resolve(get_preset("paper"), "glue", str(path))
    assert source.ref.revision == hashlib.sha256(b"weights").hexdigest()
    assert (source.precision, source.stand_in) == ("as stored", False)


def test_shards_hash_as_one_and_a_missing_one_is_named(tmp_path: Path) -> None:
    path = folder(tmp_path / "model", "config.json", "vocab.txt", "a.safetensors", "b.safetensors")
    (path / "model.safetensors.index.json").write_text('{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}')
    one = hashlib.sha256(b"weights").hexdigest()
    source = resolve(get_preset("paper"), "glue", str(path))
    assert source.ref.revision == hashlib.sha256((one + one).encode()).hexdigest()
    (path / "b.safetensors").unlink()
    with pytest.raises(UserError, match=r"no weights b\.safetensors"):
        resolve(get_preset("paper"), "glue", str(path))


@pytest.mark.parametrize("index", ["{", "{}", "[]", '{"weight_map": 1}'])
def test_an_index_of_something_else_is_named(tmp_path: Path, index: str) -> None:
    path = folder(tmp_path / "model", "config.json", "tokenizer.json")
    (path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match="is no index of weights"):
        resolve(get_preset("paper"), "glue", str(path))


def test_a_path_that_is_no_folder() -> None:
    with pytest.raises(UserError, match="not a folder"):
        resolve(get_preset("quick"), "glue", "./nowhere")


def test_a_suite_without_a_model_asks_for_one() -> None:
    with pytest.raises(UserError, match=r"--model none=PATH"):
        resolve(get_preset("quick"), "none", None)


def test_a_hub_that_is_not_reachable_says_how_to_give_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[str] = []

    def unreachable(name: str, **_: Any) -> str:
        asked.append(name)
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(UserError, match=r"'FacebookAI/roberta-base'.*ConnectionError; give --model PATH"):
        resolve(get_preset("paper"), "glue", None)
    assert asked == ["FacebookAI/roberta-base"]


def test_a_hub_snapshot_is_read_as_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    path = folder(tmp_path / "model", "config.json", "tokenizer.json", "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(path))
    source = resolve(get_preset("quick"), "glue", "someone/encoder")
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
        resolve(get_preset("small"), "glue", None)
    assert all(digest in str(caught.value) for digest in MINILM_HASHES)
    assert model_source.MINILM_PACKAGE not in sys.modules


def test_minilm_is_accepted_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "weights", "config.json", "vocab.txt", "model.safetensors")
    monkeypatch.setattr(sys, "meta_path", [Package(tmp_path), *sys.meta_path])
    monkeypatch.setattr(model_source, "MINILM_HASHES", {hashlib.sha256(b"weights").hexdigest(): "fp16"})
    assert resolve(get_preset("small"), "glue", None).precision == "fp16"


def test_minilm_that_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed; do: pip install 'lorasp-harness\[minilm\]'"):
        resolve(get_preset("small"), "glue", None)


@pytest.mark.parametrize("name", PRESETS.names())
def test_presets_are_whole(name: str) -> None:
    from harness.core.method import METHODS
    from harness.core.protocol import Protocol

    chosen = get_preset(name)
    assert chosen.name == name and chosen.get_suite_preset("glue").model and chosen.summary
    Protocol.model_validate({"lr": 1.0, **chosen.protocol})
    assert all(name in kind.learning_rates and kind.learning_rates[name].source for _, kind in METHODS)


def _cell_key(path: Path) -> str:
    source = resolve(get_preset("paper"), "glue", str(path))
    return cell("rte", model=source.ref).key


def _change_json(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    "change",
    [
        lambda f: _change_json(f / "config.json", num_attention_heads=2),
        lambda f: _change_json(f / "config.json", hidden_act="relu"),
        lambda f: (f / "tokenizer.json").write_text((f / "tokenizer.json").read_text().replace('"film"', '"flim"')),
        lambda f: _change_json(f / "tokenizer_config.json", pad_token="[SEP]"),
        lambda f: (f / "generation_config.json").write_text('{"repetition_penalty": 1.5}'),
        lambda f: (f / "chat_template.jinja").write_text("{{ messages }}"),
        lambda f: (f / "added_tokens.json").write_text('{"<new>": 4}'),
        lambda f: (f / "vocab.txt").write_text("film"),
        lambda f: (f / "merges.txt").write_text("f i"),
        lambda f: (f / "spiece.model").write_bytes(b"film"),
    ],
)
def test_whatever_is_read_of_a_model_folder_is_in_the_key(change: Callable[[Path], object], tmp_path: Path) -> None:
    path = build_family("bert", tmp_path)
    before, revision = _cell_key(path), resolve(get_preset("paper"), "glue", str(path)).ref.revision
    change(path)
    assert _cell_key(path) != before
    assert resolve(get_preset("paper"), "glue", str(path)).ref.revision == revision


def test_what_is_not_read_is_not_in_the_key(tmp_path: Path) -> None:
    path = build_family("bert", tmp_path)
    before = _cell_key(path)
    (path / "README.md").write_text("# A model")
    (path / "training_args.bin").write_bytes(b"x")
    (path / "trainer_state.json").write_text("{}")
    _change_json(path / "config.json", transformers_version="9.9")
    assert _cell_key(path) == before


def test_a_key_of_an_earlier_version_stays() -> None:
    """The reference is the canonical JSON without the field that earlier versions lacked."""
    old = cell("rte", model=ModelRef(name="m", revision="a" * 64))
    content = old.model_dump(mode="json", exclude_defaults=True)
    assert "files" not in content["model"]
    assert ModelRef.model_validate({"name": "m", "revision": "a" * 64}).content == "a" * 64
    assert old.key != cell("rte", model=ModelRef(name="m", revision="a" * 64, files="b" * 64)).key


def test_a_whole_file_goes_before_an_index_as_in_transformers(tmp_path: Path) -> None:
    path = folder(tmp_path / "model", "config.json", "vocab.txt", "model.safetensors", "a.safetensors")
    (path / "a.safetensors").write_bytes(b"other")
    (path / "model.safetensors.index.json").write_text('{"weight_map": {"x": "a.safetensors"}}')
    assert resolve(get_preset("paper"), "glue", str(path)).ref.revision == hashlib.sha256(b"weights").hexdigest()


OWN_CODE = """
import sys
from harness.cli.main import main
code = main(sys.argv[1:])
print(code, *[name for name in ("torch", "transformers", "peft") if name in sys.modules])
"""


@pytest.mark.parametrize("verb", ["plan", "run", "merge"])
def test_code_of_a_folder_is_refused_before_anything_heavy_is_imported(verb: str, tmp_path: Path) -> None:
    model = folder(tmp_path / "model", "config.json", "tokenizer.json", "model.safetensors")
    fields = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    (model / "config.json").write_text(json.dumps(fields))
    (model / "mine.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    words = [verb, "--model", str(model)]
    if verb == "merge":
        adapter = folder(tmp_path / "a")
        (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 8}')
        (adapter / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
        words += [str(adapter), "--out", str(tmp_path / "out")]
    else:
        words += ["--tasks", "rte", "--seeds", "1", "--out", str(tmp_path / "out")]
    ended = subprocess.run([sys.executable, "-c", OWN_CODE, *words], capture_output=True, text=True)
    assert ended.stdout.strip() == "2", ended.stderr
    assert "auto_map" in ended.stderr and ended.stderr.startswith("error: ") and not (tmp_path / "run").exists()


def test_a_type_that_transformers_has_needs_no_code_of_its_folder(tmp_path: Path) -> None:
    """As of many folders on the hub that were made before transformers had the type."""
    import transformers.models.auto.configuration_auto as known

    path = folder(tmp_path / "model", "config.json", "tokenizer.json", "model.safetensors")
    for kind in ("phi3", "bert"):
        (path / "config.json").write_text(json.dumps({"model_type": kind, "auto_map": {"AutoConfig": "a.B"}}))
        assert resolve(get_preset("quick"), "glue", str(path)).path == path
    program = (
        "from harness.models.source import _is_known_type as f; import sys; print(all(map(f, sys.argv[1:])), f('x'))"
    )
    kinds = list(known.CONFIG_MAPPING_NAMES)
    ended = subprocess.run([sys.executable, "-c", program, *kinds], capture_output=True, text=True)
    assert ended.stdout.strip() == "True False"
