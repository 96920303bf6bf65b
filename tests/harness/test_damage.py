"""A flipped bit in any file that is read back is seen, or changes nothing that is read."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from harness.core.errors import UserError
from harness.core.files import append_digest, hash_file, verify_digest, write_atomically
from harness.core.record import AdapterInfo, Phases, Record
from harness.core.store import Store
from harness.core.stored_files import to_json
from harness.core.tuned import Trial, Tuned, TunedMethods
from harness.data.token_cache import get_split_path, read_split, write_split
from harness.models.adapter_files import DIGESTS, add_digests, check_unchanged, find_changed_files, is_saved
from harness.models.adapter_source import resolve_init_from
from harness.runner.tuning import tuning
from harness.training.checkpoint import Checkpoints, PackCheckpoint
from scripts.pack_reference import main as pack, unpack
from studies import stored as study_files
from tests.harness.small_training import rows
from tests.reports.records import cell, profile, record

FRAME = pd.DataFrame({"id": ["a", "b"], "target": [0, 1], "prediction": [1, 1], "logits": [[0.5, 1.0], [0.25, 3.0]]})


def flips(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Copies of some bytes with one bit flipped each."""
    random_bits = random.Random(seed)
    for _ in range(count):
        place = random_bits.randrange(8 * len(content))
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        yield bytes(flipped)


def assert_seen_or_harmless(path: Path, read: Callable[[], Any], count: int = 150) -> None:
    """`read` gives None where the file is not used."""
    before, content, seen = read(), path.read_bytes(), 0
    assert before is not None
    for flipped in flips(content, count):
        path.write_bytes(flipped)
        after = read()
        assert after is None or after == before
        seen += after is None
    path.write_bytes(content)
    assert seen > count / 2 and read() == before


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "out")
    made.prepare()
    return made


def refused(read: Callable[[], Any]) -> Callable[[], Any]:
    """None where it raises UserError."""

    def attempt() -> Any:
        try:
            return read()
        except UserError:
            return None

    return attempt


def test_records_and_their_predictions(store: Store) -> None:
    made = record(61.25, loss_curve=[(1, 0.7), (2, 0.5)], extra={"note": "two words", "value": 1e-5})
    store.write(made, FRAME)
    path = store.cells / f"{made.key}.json"
    for file in (path, path.with_suffix(".parquet")):
        assert_seen_or_harmless(file, lambda: store._read_records(wait=False)[0].get(made.key))


def test_profiles_and_what_was_asked(store: Store) -> None:
    measured = profile("lora")
    store.write_profile(measured)
    assert_seen_or_harmless(store.profile_dir / f"{measured.key}.json", lambda: store.profiles().get(measured.key))
    store.write_run("python -m harness run", "glue: lora, head", ["0123", "4567"], ["a: b"], margin=1.0)
    assert_seen_or_harmless(store.out / "run.json", refused(store.read_run))


def test_tuning_and_studies(store: Store) -> None:
    trial = Trial(values={"lr": 1e-3}, keys=["0123"], score=61.5, steps=10, seconds=1.5)
    found = Tuned(
        suite="glue", tasks=["cola"], method="lora", ranges={"lr": (1e-5, 1e-2)}, trials=[trial], best=0, edges={}
    )
    (store.out / "tuning").mkdir()
    write_atomically(store.out / "tuning" / "tuned.json", to_json(TunedMethods(methods=[found])))
    assert tuning.read_tuned(store.out) == [found]
    assert_seen_or_harmless(store.out / "tuning" / "tuned.json", refused(lambda: tuning.read_tuned(store.out)))
    content = b'{"study": "parity", "kind": "confirmed", "sentence": "two words", "parts": {}}'
    (store.out / study_files.FILE).write_bytes(append_digest(content))
    assert_seen_or_harmless(store.out / study_files.FILE, refused(lambda: study_files.read_content(store.out)))


def test_checkpoints(tmp_path: Path) -> None:
    notes: list[str] = []
    checkpoints = Checkpoints(tmp_path / "checkpoints", {"torch": "2"}, notes.append)
    state = {"theta": [torch.randn(3, 5)], "step": 8}
    spent = Phases(load=0, input=0, attach=0, train=1, evaluate=0)
    checkpoints.write(PackCheckpoint(("a", "b"), (0, 1), 8, state, {}, spent))
    (path,) = (tmp_path / "checkpoints").iterdir()
    content = path.read_bytes()
    ((_, whole),) = checkpoints._read_all()
    assert torch.equal(whole.state["theta"][0], state["theta"][0])
    for flipped in flips(content, 200):
        path.write_bytes(flipped)
        assert checkpoints._read_all() == []
    assert len(notes) == 200 and all("damaged" in note for note in notes)
    (tmp_path / "checkpoints" / "0.pt").mkdir()
    os.mkfifo(tmp_path / "checkpoints" / "1.pt")
    (tmp_path / "checkpoints" / "2.pt").symlink_to("/nowhere")
    path.write_bytes(content)
    assert len(checkpoints._read_all()) == 1 and sum("does not read" in note for note in notes) == 3
    for end in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        assert checkpoints._read_all() == []


def adapter_run(store: Store) -> tuple[Record, Path]:
    made = record(61.0)
    folder = store.out / "adapters" / made.key
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "target_modules": ["query"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    prefix = "base_model.model.query.lora"
    tensors = {f"{prefix}_A.weight": torch.randn(2, 6), f"{prefix}_B.weight": torch.randn(6, 2)}
    save_file(tensors, folder / "adapter_model.safetensors")
    info = AdapterInfo(path=f"adapters/{made.key}", sha256=hash_file(folder / "adapter_model.safetensors"))
    made = add_digests(store.out, made.model_copy(update={"adapter": info}))
    store.write(made, None)
    store.write_run("command", "title", [made.key], [])
    return made, folder


def test_an_adapter_outside_of_the_run_is_never_taken(store: Store) -> None:
    """A record may name any folder, with the right hashes of what lies there."""
    made, folder = adapter_run(store)
    outside = store.out.parent / "elsewhere"
    shutil.copytree(folder, outside)
    assert made.adapter is not None
    for path in (f"../{outside.name}", str(outside), f"adapters/../adapters/{made.key}"):
        info = made.adapter.model_copy(update={"path": path})
        store.write(made.model_copy(update={"adapter": info}), None)
        (stored,) = store.read()[0].values()
        assert not is_saved(store.out, stored)
        with pytest.raises(UserError, match=made.key):
            resolve_init_from(str(store.out))(made.cell)
    for digests in ([1], "x", {"a\0b": "0" * 64}):
        store.write(made.model_copy(update={"extra": {DIGESTS: digests}}), None)
        (stored,) = store.read()[0].values()
        assert not is_saved(store.out, stored)


def test_adapters(store: Store) -> None:
    made, folder = adapter_run(store)
    assert is_saved(store.out, made)
    check_unchanged(folder)
    for file in folder.iterdir():
        content = file.read_bytes()
        for flipped in flips(content, 4):
            file.write_bytes(flipped)
            assert not is_saved(store.out, made) and find_changed_files(store.out, made) == [file.name]
            for start in (str(folder), f"{store.out}:cola"):
                with pytest.raises(UserError, match=file.name):
                    resolve_init_from(start)(made.cell)
        file.write_bytes(content)
    assert is_saved(store.out, made.model_copy(update={"extra": {}}))  # of an earlier version


def test_tokenised_rows(tmp_path: Path) -> None:
    split = rows(4)
    assert write_split(tmp_path, "0123", split)

    def read() -> list[Any] | None:
        found = read_split(tmp_path, "0123")
        return None if found is None else [v.tolist() if hasattr(v, "tolist") else v for v in vars(found).values()]

    assert_seen_or_harmless(get_split_path(tmp_path, "0123"), read)


def test_packed_runs(store: Store, tmp_path: Path) -> None:
    made = [record(60.0 + seed, cell(seed=seed)) for seed in range(2)]
    for own in made:
        store.write(own, None)
    store.write_run("command", "title", [own.key for own in made], [])
    assert pack([str(store.out), str(tmp_path / "packed")]) == 0
    archive, back = tmp_path / "packed" / "cells.tar.xz", tmp_path / "back"

    def read() -> dict[str, Record] | None:
        shutil.rmtree(back, ignore_errors=True)
        try:
            unpack(tmp_path / "packed", back)
        except UserError:
            assert not back.exists()
            return None
        return Store(back).read()[0]

    assert_seen_or_harmless(archive, read, count=25)


def test_files_of_earlier_versions_have_no_digest_and_still_load(store: Store) -> None:
    made = record(61.25)
    (store.cells / f"{made.key}.json").write_text(made.model_dump_json(indent=1))
    assert store.read() == ({made.key: made}, [])
    own = profile("lora")
    (store.profile_dir / f"{own.key}.json").write_text(own.model_dump_json())
    assert store.profiles() == {own.key: own}
    (store.out / "run.json").write_text('{"command": "c", "title": "t", "order": [], "dropped": []}')
    assert store.read_run()["title"] == "t"
    trial = Trial(values={}, keys=[], score=None, steps=0, seconds=0)
    found = Tuned(suite="s", tasks=[], method="m", ranges={}, trials=[trial], best=None, edges={})
    (store.out / "tuning").mkdir()
    (store.out / "tuning" / "tuned.json").write_text(f"[{found.model_dump_json()}]")
    assert tuning.read_tuned(store.out) == [found]


def test_the_digest_stays_out_of_what_is_copied_from_a_record(store: Store) -> None:
    """A script that reads a record, changes it and writes it has no stale digest in it."""
    made = record(61.25)
    store.write(made, None)
    path = store.cells / f"{made.key}.json"
    assert verify_digest(path.read_bytes(), 2) and "sha256" in json.loads(path.read_text())["extra"]
    read = Record.model_validate_json(path.read_bytes())
    path.write_text(read.model_copy(update={"scores": {"accuracy": 3.0}}).model_dump_json())
    assert store.read()[0][made.key].scores == {"accuracy": 3.0}


def test_layout_is_no_content(store: Store) -> None:
    made = record(61.25)
    store.write(made, None)
    path = store.cells / f"{made.key}.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4).replace("\n", "\r\n"))
    assert store.read() == ({made.key: made}, [])
    path.write_text(path.read_text().replace("61.25", "61.26"))
    assert store.read()[0] == {} and math.isclose(made.scores["accuracy"], 61.25)
