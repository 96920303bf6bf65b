"""AdamW by the kernels of bitsandbytes, each replica and each tensor by itself.

    theta [K, N]   replica 0 | leaf 1 | leaf 2      | leaf 3 | padding |
                               segment             | segment |            first, second [n], and absmax [blocks] of each
                   replica 1 | leaf 1 | padding | leaf 2 | ...

A segment is a run of leaves of one replica that one kernel updates. Leaves share a segment where that changes nothing:
none of them starts within a block of 256 entries that share a scale. So a replica has in a pack the state that it has
alone, and a tensor has the state that bitsandbytes' own class gives it.
"""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.replicas.groups import Leaf, ParameterGroup
from harness.replicas.optimizer import ReplicaOptimizer

if TYPE_CHECKING:
    from harness.replicas.bitsandbytes_adamw import BitsAndBytesAdamW

MIN_PAGED = 100_000
"""Tensors with fewer entries are not paged, as in bitsandbytes."""
MAX_SEGMENT = 2**30
"""Entries of one segment at most: the kernels count them in 32 bits."""
_free_pages: list[Tensor] = []
"""Paged memory of packs that have ended, in bytes; bitsandbytes cannot free it, so later packs use it again."""


@dataclasses.dataclass
class Segment:
    """Columns of one replica that one kernel updates, and their state: first, second and, in 8 bits, their scales.

    In a group with projectors the columns are those of the moments. `leaf` is the first leaf.
    """

    leaf: Leaf
    start: int
    stop: int
    quantized: bool
    decayed: bool
    state: list[Tensor] = dataclasses.field(default_factory=list)

    def joins(self, other: Segment, block: int) -> bool:
        """Whether `other` may become a part of this segment without a change of its state."""
        alike = (self.stop, self.quantized, self.decayed) == (other.start, other.quantized, other.decayed)
        whole_blocks = not self.quantized or (self.stop - self.start) % block == 0
        return alike and whole_blocks and other.stop - self.start <= MAX_SEGMENT


class BlockwiseAdamW(ReplicaOptimizer):
    """bitsandbytes' AdamW8bit, PagedAdamW8bit or PagedAdamW32bit on the rows of matrices [K, N].

    `segments` has the state by group and replica. Learning rate and step are numbers of the host, and the kernels run
    on the default stream, so no CUDA graph holds the update.
    """

    optimizer: BitsAndBytesAdamW

    def _build_moments(self) -> dict[str, list[Tensor]]:
        self.functional = self.optimizer.load_functional()
        self.tables_8bit = [
            self.functional.create_dynamic_map(signed=signed).to(self.device) for signed in (True, False)
        ]
        self.pages: list[Tensor] = []
        weakref.finalize(self, _free_pages.extend, self.pages).atexit = False
        self.segments: list[list[list[Segment]]] = []
        for group in self.groups:
            self.segments.append([self._build_segments(group, row) for row in range(len(group.counts))])
        return {}

    def _build_segments(self, group: ParameterGroup, row: int) -> list[Segment]:
        segments: list[Segment] = []
        for segment in self._list_leaf_segments(group, row):
            # leaves whose gradients are tensors of their own cannot share a kernel
            joinable = not (group.parameters or group.projectors) and segments
            if joinable and segments[-1].joins(segment, self.optimizer.block):
                segments[-1].stop = segment.stop
            else:
                segments.append(segment)
        for segment in segments:
            segment.state = self._build_state(segment, group.theta)
        return segments

    def _list_leaf_segments(self, group: ParameterGroup, row: int) -> Iterator[Segment]:
        """One segment for each leaf, without its padding and without state."""
        if group.projectors:
            for projector, leaf, start, stop in group.iterate_projectors():
                yield Segment(leaf, start, stop, self.optimizer.quantizes(projector.size), decayed=False)
            return
        for leaf in group.leaves.values():
            if size := group.count_leaf(leaf, row):
                quantized, decayed = self.optimizer.quantizes(size), leaf.start < group.decayed
                yield Segment(leaf, leaf.start, leaf.start + size, quantized, decayed)

    def _build_state(self, segment: Segment, theta: Tensor) -> list[Tensor]:
        size, dtype = segment.stop - segment.start, torch.uint8 if segment.quantized else torch.float32
        moments = [self._allocate(size, dtype, theta) for _ in range(2)]
        blocks, scales = math.ceil(size / self.optimizer.block), 2 if segment.quantized else 0
        return moments + [theta.new_zeros(blocks, dtype=torch.float32) for _ in range(scales)]

    def _allocate(self, size: int, dtype: torch.dtype, theta: Tensor) -> Tensor:
        """Zeros [size], in paged memory where the optimizer is paged and the tensor is large."""
        # parameters of a predicted step may be fake tensors, whose state must take no memory either
        is_real = type(theta) is Tensor
        if not (self.optimizer.paged and is_real and theta.is_cuda) or size < MIN_PAGED:
            return theta.new_zeros(size, dtype=dtype)
        needed = size * dtype.itemsize
        fitting = sorted((page for page in _free_pages if len(page) >= needed), key=len)
        if fitting:
            page = fitting[0]
            # by identity, because == compares the entries of tensors
            _free_pages[:] = [other for other in _free_pages if other is not page]
        else:
            page = self.functional.get_paged(needed, dtype=torch.uint8, device=self.device)
        self.pages.append(page)
        moment: Any = page[:needed].view(dtype)
        # the attributes by which bitsandbytes knows paged memory; a view does not inherit them
        moment.is_paged, moment.page_deviceid = True, self.device.index
        self.functional.fill(moment, 0)
        zeros: Tensor = moment
        return zeros

    def _update_group(self, index: int, group: ParameterGroup, factor: Tensor) -> None:
        if group.projectors:
            self._update_projected(index, group, factor)
            return
        if group.grad_buffer is not None:
            group.grad_buffer.mul_(factor)
        for row, segments in enumerate(self.segments[index]):
            for segment in segments:
                if group.grad_buffer is not None:
                    grad = group.grad_buffer[row, segment.start : segment.stop]
                else:
                    grad = group.gradient_of(segment.leaf).flatten().mul_(factor.view(()))
                theta = group.theta.detach()[row, segment.start : segment.stop]
                decay = self.protocols[row].weight_decay if segment.decayed else 0.0
                self._launch(group, row, segment, theta, grad, decay)

    def _update_projected(self, index: int, group: ParameterGroup, factor: Tensor) -> None:
        self._apply_decay(index, group.theta, group.theta, group.decayed)
        for segment, (projector, leaf, _, _) in zip(self.segments[index][0], group.iterate_projectors(), strict=True):
            small = self._project(group, projector, leaf, factor)[0].contiguous()
            # the kernel moves zeros by the step, which is then lifted to the parameter
            step = torch.zeros_like(small)
            self._launch(group, 0, segment, step, small, 0.0)
            leaf.tensor[0].add_(projector.lift(step))

    def _launch(
        self, group: ParameterGroup, row: int, segment: Segment, theta: Tensor, grad: Tensor, decay: float
    ) -> None:
        """Update theta [n] and the segment's state in place by the clipped gradient [n]."""
        protocol, count, rate = self.protocols[row], self._count_now(row, group), self._get_rate(row, group)
        first, second, *scales = segment.state
        for moment in (first, second):
            if getattr(moment, "is_paged", False):
                self.functional.prefetch_tensor(moment)
        beta1, beta2, epsilon = protocol.beta1, protocol.beta2, protocol.epsilon
        if segment.quantized:
            self.functional.optimizer_update_8bit_blockwise(
                "adam",
                grad,
                theta,
                first,
                second,
                beta1,
                beta2,
                0.0,  # beta3 and alpha are AdEMAMix's
                0.0,
                epsilon,
                count,
                rate,
                *self.tables_8bit,
                *scales,
                weight_decay=decay,
            )
        else:
            self.functional.optimizer_update_32bit(
                "adam", grad, theta, first, beta1, epsilon, count, rate, second, beta2, weight_decay=decay
            )

    def _wait_for_pages(self) -> None:
        """Wait for the GPU before the host reads or writes paged memory."""
        if self.pages:
            torch.cuda.synchronize()

    def _restart(self, index: int, rows: Sequence[int]) -> None:
        self._wait_for_pages()
        for row in rows:
            for segment in self.segments[index][row]:
                for tensor in segment.state:
                    tensor.zero_()

    def list_tensors(self) -> list[Tensor]:
        return [tensor for segment in self._iterate_segments() for tensor in segment.state]

    def _iterate_segments(self) -> Iterator[Segment]:
        for replicas in self.segments:
            for segments in replicas:
                yield from segments

    def _copy_moments(self) -> Any:
        self._wait_for_pages()
        # a copy even on a CPU: training changes the moments in place
        moments = []
        for segment in self._iterate_segments():
            moments.append([tensor.to("cpu", copy=True) for tensor in segment.state])
        return moments

    def _restore_moments(self, stored: Any) -> None:
        self._wait_for_pages()
        for segment, tensors in zip(self._iterate_segments(), stored, strict=True):
            for tensor, value in zip(segment.state, tensors, strict=True):
                tensor.copy_(value)

    def _keep_moments(self, rows: list[int]) -> None:
        for group, replicas in enumerate(self.segments):
            self.segments[group] = [replicas[row] for row in rows]
