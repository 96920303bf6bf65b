"""Rows per step: permutations, groups of like length, and what does not depend on the pack."""

from __future__ import annotations

import numpy as np

from harness.core.seeds import Streams, equal
from harness.data.sampler import BUCKETS, ReplicaSampler

LENGTHS = np.random.default_rng(0).integers(4, 60, 203)


def streams(*seeds: int) -> list[Streams]:
    return [Streams(equal(seed)) for seed in seeds]


def test_order_is_a_permutation_per_epoch_and_keeps_the_short_last_batch() -> None:
    order = ReplicaSampler(streams(0, 1), np.ones(10), 4)
    first = [order.at(s).reshape(2, -1) for s in range(3)]
    assert [b.shape[1] for b in first] == [4, 4, 2]
    for slot in range(2):
        assert sorted(np.concatenate([b[slot] for b in first])) == list(range(10))
    assert not np.array_equal(first[0][0], first[0][1])
    assert not np.array_equal(order.at(3).reshape(2, -1), first[0])


def test_groups_hold_rows_of_like_length_and_each_row_comes_once_an_epoch() -> None:
    order = ReplicaSampler(streams(0, 1), LENGTHS, 8, by_length=True)
    for epoch in (0, 1):
        steps = [order.at(epoch * 26 + s).reshape(2, -1) for s in range(26)]
        for slot in range(2):
            assert sorted(np.concatenate([b[slot] for b in steps])) == list(range(203))
    spread = [np.ptp(LENGTHS[order.at(s).reshape(2, -1)], axis=1).mean() for s in range(26)]
    alone = ReplicaSampler(streams(0, 1), LENGTHS, 8)
    assert np.mean(spread) < np.mean([np.ptp(LENGTHS[alone.at(s)]) for s in range(26)]) / 3


def test_a_replica_reads_the_same_rows_in_any_pack_and_few_lengths_occur() -> None:
    together, alone = (ReplicaSampler(streams(*seeds), LENGTHS, 8, by_length=True) for seeds in ((0, 1, 2), (2,)))
    padded = [int(LENGTHS[together.select_padding_rows(s)].max()) for s in range(52)]
    assert len(set(padded)) <= BUCKETS
    assert all(LENGTHS[together.at(s)].max() <= padded[s] for s in range(52))
    assert all(np.array_equal(together.at(s).reshape(3, -1)[2], alone.at(s)) for s in range(52))


def test_replicas_of_one_length_seed_pad_as_one_alone_and_read_rows_of_their_own() -> None:
    one_length = [Streams(equal(seed) | {"length": 7}) for seed in (0, 1, 2)]
    together, alone = (ReplicaSampler(own, LENGTHS, 8, by_length=True) for own in (one_length, one_length[:1]))
    assert all(np.array_equal(together.select_padding_rows(s), alone.select_padding_rows(s)) for s in range(52))
    first = together.at(0).reshape(3, -1)
    assert not np.array_equal(first[0], first[1]) and not np.array_equal(first[1], first[2])


def test_each_seed_has_its_own_sequence_of_length_groups() -> None:
    def sequence(seed: int) -> np.ndarray:
        order = ReplicaSampler(streams(seed), LENGTHS, 8, by_length=True)
        return np.array([LENGTHS[order.select_padding_rows(s)].max() for s in range(25 * 4)])

    sequences = np.stack([sequence(seed) for seed in range(8)]).astype(float)
    correlation = np.corrcoef(sequences)[np.triu_indices(8, 1)]
    assert np.abs(correlation).max() < 0.5 and abs(correlation.mean()) < 0.1


def test_a_replica_that_stays_keeps_its_groups() -> None:
    together, alone = (ReplicaSampler(streams(*seeds), LENGTHS, 8, by_length=True) for seeds in ((0, 1, 2), (2,)))
    together.at(3)
    together.keep([2])
    assert all(np.array_equal(together.at(s), alone.at(s)) for s in range(4, 52))
    assert all(np.array_equal(together.select_padding_rows(s), alone.select_padding_rows(s)) for s in range(4, 52))


def test_groups_come_in_another_order_each_epoch() -> None:
    order = ReplicaSampler(streams(0), LENGTHS, 8, by_length=True)
    first, second = ([int(LENGTHS[order.select_padding_rows(e * 26 + s)].max()) for s in range(26)] for e in (0, 1))
    assert first != second and sorted(first) == sorted(second)
