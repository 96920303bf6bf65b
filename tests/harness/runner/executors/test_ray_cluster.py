"""The memory that packs declare to Ray."""

from __future__ import annotations

from harness.planning.packs import Pack
from harness.runner.executors.ray_cluster import MemoryEstimates, Slots
from harness.training.pack_job import PackJob
from tests.harness.sittings import planned

GIB = 2**30


def estimate(node: int, share: int, seeds: tuple[int, ...]) -> int:
    """What a pack declares on nodes of two slots, in bytes."""
    plan, _ = planned("lora", seeds, device="cpu")
    return MemoryEstimates(Slots("cpu", 1, {"a": 2}, node, share), cache=False).estimate(PackJob(Pack(plan.cells)))


def test_packs_that_fit_into_a_slot_declare_its_share() -> None:
    """The same amount for all, so that Ray gives each the process of the last one."""
    assert estimate(16 * GIB, 8 * GIB, (3,) * 2) == 8 * GIB
    assert estimate(16 * GIB, 8 * GIB, (3, 4)) == 8 * GIB


def test_a_pack_declares_more_than_a_small_share_and_at_most_a_node() -> None:
    needed = estimate(16 * GIB, 0, (3, 4))
    assert GIB // 2 < needed < 8 * GIB
    assert estimate(GIB // 2, 0, (3, 4)) == GIB // 2
