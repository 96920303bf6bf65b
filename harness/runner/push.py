"""Push one saved adapter to the Hugging Face hub, with a base model that others can load."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.core.errors import UserError, build_unknown_error, shorten
from harness.core.files import describe_os_error
from harness.core.record import Record
from harness.models.adapter_files import CONFIG, is_saved

HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")


def select_adapter(out: Path, records: Sequence[Record], method: str, task: str, seed: int | None) -> Record:
    """The record of the adapter to push; the first seed, unless `seed` names one. Raises UserError."""
    tasks = dict.fromkeys(record.cell.task for record in records)
    if task not in tasks:
        raise build_unknown_error("task of this run", task, tasks)
    of_task = [record for record in records if record.cell.task == task]
    labels = dict.fromkeys(label for r in of_task for label in (r.cell.label, r.cell.title))
    chosen = [record for record in of_task if method in (record.cell.label, record.cell.title)]
    if not chosen:
        raise build_unknown_error("method of this run", method, labels)
    if seed is not None:
        seeds = sorted({str(value) for r in chosen for value in r.cell.seeds.values()})
        chosen = [record for record in chosen if set(record.cell.seeds.values()) == {seed}]
        if not chosen:
            raise build_unknown_error("seed of this method", str(seed), seeds)
    if len({r.cell.model_copy(update={"seeds": {}}).key for r in chosen}) > 1:
        raise UserError(
            f"--method {method}: its cells on {task} differ in more than their seeds (precision, protocol, ...), so it "
            "is not clear which one is meant; give a run with one of them"
        )
    saved = [record for record in chosen if is_saved(out, record)]
    if not saved:
        raise UserError(
            f"{out}: {method} on {task} has no saved adapter, or its files have changed; run its command again with "
            "--save-adapters"
        )
    # the first seed, not the one with the best score, which would be chosen on the dev set
    return saved[0]


def choose_base(record: Record, given: str | None) -> str:
    """The hub id of the base model: the given one, or the one that the run was given. Raises UserError."""
    name = given or record.cell.model.name
    if HUB_ID.fullmatch(name) and (given is not None or not Path(name).exists()):
        return name
    what = f"--base {shorten(name)}" if given else f"the base model '{shorten(name)}'"
    raise UserError(f"{what} is no id on the hub; give --base ORGANIZATION/NAME, a model with the same weights")


@contextlib.contextmanager
def stage_adapter(out: Path, record: Record, base: str, card: bytes | None) -> Iterator[Path]:
    """A temporary copy of an adapter as it is pushed: its base is a hub id, no folder of this machine.

    `card` replaces the README.md of the adapter, if given.
    """
    assert record.adapter is not None
    with tempfile.TemporaryDirectory(prefix="lorasp-push-") as temporary:
        folder = Path(temporary) / "adapter"
        try:
            shutil.copytree(out / record.adapter.path, folder)
            config = json.loads((folder / CONFIG).read_text())
            config["base_model_name_or_path"] = base
            # the hash of a local weights file is no revision of the hub
            is_commit = base == record.cell.model.name and COMMIT.fullmatch(record.cell.model.revision)
            config["revision"] = record.cell.model.revision if is_commit else None
            (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
            if card is not None:
                (folder / "README.md").write_bytes(card)
        except OSError as error:
            raise UserError(f"cannot copy {out / record.adapter.path}: {describe_os_error(error)}") from error
        yield folder


def check_repo(repo: str) -> None:
    """Raise UserError for a repository name that is not USER/NAME, or without a token, before anything is read."""
    import huggingface_hub

    if not HUB_ID.fullmatch(repo):
        raise UserError(f"--repo {shorten(repo)}: allowed: USER/NAME in letters, digits, '-', '_' and '.'")
    if huggingface_hub.get_token() is None:
        raise UserError("push-to-hub: no token of the Hugging Face hub; run `hf auth login`, or set HF_TOKEN")


def upload(folder: Path, repo: str, *, private: bool, message: str) -> str:
    """Upload a folder as a model repository, which is created if absent; returns its URL. Raises UserError."""
    import huggingface_hub

    api = huggingface_hub.HfApi()
    try:
        url = api.create_repo(repo, private=private, exist_ok=True, repo_type="model")
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message)
    except Exception as error:
        # httpx, huggingface_hub and the operating system each have errors of their own for a network that is down
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise UserError(
            f"push-to-hub: {repo} was not pushed: {shorten(reason)}; check the network, the token and its rights"
        ) from error
    return str(url)
