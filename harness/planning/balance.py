"""Order packs, and split some, so that several workers finish together.

without a split          with the last pack split
worker 0  ████████       worker 0  ████████
worker 1  ██████         worker 1  ██████▒▒▒
worker 2  █████▒▒▒▒▒▒▒   worker 2  █████▒▒▒▒
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from harness.planning.packs import Pack
from harness.planning.schedule import count_steps

REPLICA_COST = {"cpu": 1.0, "cuda": 0.08}
"""Time of a step per replica, over the part that does not depend on K. Measured: MiniLM-sized steps on an H100 take
0.88, 1.66 and 3.18 ms for 1, 8 and 32 replicas; on a CPU time grows with K."""
LOADING_STEPS = 200.0
"""Steps that loading, attaching and scoring a pack takes the time of."""
LEAST_GAIN = 0.02
"""Share of the finishing time that a split must save."""


def weigh_pack(pack: Pack, device: str) -> float:
    """The relative time of a pack; comparable between packs of one run."""
    return (count_pack_steps(pack) + count_scoring_steps(pack) + LOADING_STEPS) * weigh_step(pack, device)


def weigh_step(pack: Pack, device: str) -> float:
    """The relative time of an optimizer step of a pack."""
    protocol = pack.first.cell.protocol
    tokens = protocol.batch_size * protocol.max_length / 1024
    return 1 + REPLICA_COST[device] * len(pack.members) * max(tokens, 0.25)


def count_pack_steps(pack: Pack) -> int:
    """Optimizer steps of the member that trains longest."""
    # members that differ only in their seeds share the protocol and the rows
    distinct = {(id(member.cell.protocol), id(member.data)): member for member in pack.members}
    return max(count_steps(member.cell.protocol, member.train_rows) for member in distinct.values())


def count_scoring_steps(pack: Pack) -> float:
    """Optimizer steps that take as long as scoring: a row costs a third of a training row, without backward pass."""
    return pack.first.eval_rows / pack.first.cell.protocol.batch_size / 3


def balance_packs(packs: Sequence[Pack], workers: int, weigh: Callable[[Pack], float]) -> list[Pack]:
    """The packs for so many workers, longest first; packs are halved while that makes the last worker finish earlier.

    The same packs for the same arguments, so that a resumed run has them too.
    """
    if workers < 2 or not packs:
        return list(packs)
    ordered = sorted(packs, key=weigh, reverse=True)
    best, (finish, last) = ordered, _schedule(ordered, workers, weigh)
    # with six equal packs on four workers only the second split helps, so several are tried before giving up
    failed_splits = 0
    while len(last.members) > 1 and failed_splits < workers:
        parts = [pack for pack in ordered if pack is not last] + last.split()
        ordered = sorted(parts, key=weigh, reverse=True)
        earlier, last = _schedule(ordered, workers, weigh)
        if earlier < finish * (1 - LEAST_GAIN):
            best, finish, failed_splits = ordered, earlier, 0
        else:
            failed_splits += 1
    return best


def _schedule(packs: Sequence[Pack], workers: int, weigh: Callable[[Pack], float]) -> tuple[float, Pack]:
    """When the last worker finishes if each free worker takes the next pack, and the pack that ends last."""
    free = [(0.0, i) for i in range(workers)]
    ends: list[tuple[float, Pack]] = []
    for pack in packs:
        start, worker = heapq.heappop(free)
        end = start + weigh(pack)
        ends.append((end, pack))
        heapq.heappush(free, (end, worker))
    return max(ends, key=lambda item: item[0])
