"""Padding, batches of like length, and the rows that a cell reads."""

from __future__ import annotations

import numpy as np

from harness.core.method import Example
from harness.data.row_limit import select_rows
from harness.data.tokens import iterate_length_batches, pad_rows


def test_rows_are_padded_to_the_longest() -> None:
    ids, lengths = pad_rows([[5, 6, 7], [8]], 9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]] and lengths.tolist() == [3, 1]


def test_batches_cover_each_row_once_shortest_first_within_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 100)
    parts = list(iterate_length_batches(lengths, 3, "cpu", budget=240))
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    assert all(len(p) == 1 or 3 * len(p) * int(lengths[p].max()) <= 240 for p in parts)
    assert [int(lengths[p].max()) for p in parts] == sorted(int(lengths[p].max()) for p in parts)


def test_fewer_training_rows_are_a_fixed_sample_and_fewer_eval_rows_the_first() -> None:
    many = [Example(str(i), (str(i),), 0) for i in range(50)]
    some = select_rows(many, 10, "train")
    assert len({e.id for e in some}) == 10 and some == select_rows(many, 10, "train")
    assert [e.id for e in some] != [e.id for e in many[:10]]
    assert list(select_rows(many, 20, "train"))[:10] == list(some)
    assert select_rows(many, 10, "validation") == many[:10]
    assert select_rows(many, None, "train") is many and select_rows(many, 50, "train") is many
