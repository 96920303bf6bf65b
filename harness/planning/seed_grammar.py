"""The grammar of --seeds: 5 | 5..9 | init=0,mask=0..9 | 5,length=0 | auto:5..100 -> [{stream: seed}]."""

from __future__ import annotations

import itertools
import math
import re

from harness.core.errors import UserError, build_unknown_error, shorten
from harness.core.looks import MAX_SEEDS, parse_looks
from harness.core.seeds import STREAMS, equal

MAX_SEED = 2**63 - 1


def parse_seeds(text: str) -> list[dict[str, int]]:
    """The seeds of a run, one {stream: seed} each. Raises UserError.

    `5`                   seeds 0 to 4, the same in every stream
    `5..9`                seeds 5 to 9, the same in every stream
    `init=0,mask=0..9`    the product of the named ranges; streams that are not named have seed 0
    `5,length=0`          seeds 0 to 4, with the named stream fixed
    `auto:5..100`         the most seeds that an automatic run may take, 0 to 99
    """
    text = text.strip()
    if looks := parse_looks(text):
        return [equal(i) for i in range(looks.most)]
    ranges: dict[str, range] = {}
    first_piece, _, others = text.partition(",")
    numbers = _parse_equal_seeds(text, first_piece.strip())
    bases = [equal(0)] if numbers is None else [equal(i) for i in numbers]
    if numbers is not None and not others:
        return bases
    for piece in (text if numbers is None else others).split(","):
        match = re.fullmatch(r"\s*(\w+)=([0-9]+)(?:\.\.([0-9]+))?\s*", piece)
        if not match:
            allowed = f"a number of 1 to {MAX_SEEDS:,}, or e.g. 5..9, or init=0,mask=0..9, or 5,length=0, or auto"
            raise UserError(f"--seeds '{shorten(text)}': allowed: {allowed}")
        stream, first, last = match[1], _parse_seed(match[2]), _parse_seed(match[3] or match[2])
        if stream not in STREAMS:
            raise build_unknown_error("seed stream", stream, STREAMS)
        if last < first:
            raise UserError(f"--seeds {shorten(piece)}: the range ends before it begins")
        ranges[stream] = range(first, last + 1)
    _check_seed_count(text, len(bases) * math.prod(r.stop - r.start for r in ranges.values()))
    combinations = [dict(zip(ranges, values, strict=True)) for values in itertools.product(*ranges.values())]
    return [base | named_seeds for base in bases for named_seeds in combinations]


def _parse_equal_seeds(text: str, piece: str) -> range | None:
    """The seeds that a number of seeds or a range stands for; None for a named stream. Raises UserError."""
    if re.fullmatch("0*[1-9][0-9]*", piece):
        count = _parse_seed(piece)
        _check_seed_count(text, count)
        return range(count)
    match = re.fullmatch(r"([0-9]+)\.\.([0-9]+)", piece)
    if match is None:
        return None
    first, last = _parse_seed(match[1]), _parse_seed(match[2])
    if last < first:
        raise UserError(f"--seeds {shorten(piece)}: the range ends before it begins")
    _check_seed_count(text, last - first + 1)
    return range(first, last + 1)


def _parse_seed(digits: str) -> int:
    """The seed that the digits stand for. Raises UserError for one above `MAX_SEED`."""
    # length first: Python refuses to convert thousands of digits
    if len(digits) > 19 or int(digits) > MAX_SEED:
        raise UserError(f"--seeds {shorten(digits)}: allowed: numbers up to {MAX_SEED}")
    return int(digits)


def _check_seed_count(text: str, count: int) -> None:
    """Raise UserError for more than `MAX_SEEDS` seeds."""
    # the likely cause is a seed, as in --seeds 20260101, read as a number of seeds: the message says how to set one
    if count > MAX_SEEDS:
        single_seed = f"one seed of that value: --seeds {','.join(f'{stream}={text}' for stream in STREAMS)}"
        hint = f"; {single_seed}" if text.isascii() and text.isdigit() else "; name shorter ranges"
        raise UserError(f"--seeds {shorten(text)}: {count:,} seeds; allowed: {MAX_SEEDS:,} at most{hint}")
