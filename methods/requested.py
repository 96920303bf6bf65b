"""Collect what strategies request before training: start values, frozen weights, statistics of inputs.

    strategy.requests ──> "starts"    of the replica itself
                          "weights"   read from the model on access, one layer at a time
                          "inputs"    one pass of the calibration rows for all replicas of a pack

All arrays are read-only: on a CPU they share memory with the model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.core.errors import CellFailed
from harness.core.method import InputStatistics

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.core.method import Calibration
    from methods.lowrank import ReplicaInit


class FrozenWeights(Mapping[str, np.ndarray]):
    """Site name -> weight [d_out, d_in] in float32, or float64 in a float64 model.

    A weight is dequantized at each access and not stored, since all weights of a large model may not fit in memory.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        self._model, self._names = model, names

    def __getitem__(self, name: str) -> np.ndarray:
        from methods.layers.weights import get_dense_weight

        if name not in self._names:
            raise KeyError(name)
        return _read_array(get_dense_weight(self._model.get_submodule(name)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def collect_requested(
    model: nn.Module, layouts: Sequence[ReplicaInit], calibration: Calibration
) -> tuple[list[dict[str, Any]], list[dict[str, float]]]:
    """What each replica's strategy requests, by name, and its cost for the record (seconds of the whole pack, rows).

    The model must be as loaded, without heads or pairs of replicas. Nothing is computed that no replica requests.
    """
    began = time.perf_counter()
    wanted = [replica.method.requests() for replica in layouts]
    read: dict[str, None] = {}
    for replica, names in zip(layouts, wanted, strict=True):
        if "inputs" in names:
            read |= dict.fromkeys(replica.starts)
    inputs = measure_inputs(model, list(read), calibration) if read else {}
    requested = []
    for replica, names in zip(layouts, wanted, strict=True):
        sites = list(replica.starts)
        values: dict[str, Any] = {}
        if "starts" in names:
            values["starts"] = {n: (_read_array(a), _read_array(b)) for n, (a, b) in replica.starts.items()}
        if "weights" in names:
            values["weights"] = FrozenWeights(model, sites)
        if "inputs" in names:
            values["inputs"] = {name: inputs[name] for name in sites}
        requested.append(values)
    seconds, rows = time.perf_counter() - began, sum(len(labels) for _, labels in calibration.batches)
    return requested, [
        {"calibration_seconds": seconds, "calibration_rows": rows} if "inputs" in names else {} for names in wanted
    ]


def add_costs(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """The cost of two measurements on the same rows, one after the other."""
    both = {**one, **other}
    if one and other:
        both["calibration_seconds"] = one["calibration_seconds"] + other["calibration_seconds"]
        both["calibration_rows"] = max(one["calibration_rows"], other["calibration_rows"])
    return both


def measure_inputs(model: nn.Module, names: Sequence[str], calibration: Calibration) -> dict[str, InputStatistics]:
    """Statistics of the inputs of these layers over the calibration rows, in float64, from a pass in evaluation mode.

    Raises CellFailed for a layer that reads something other than one vector per token of a row.
    """
    import torch

    sums: dict[str, tuple[Tensor, Tensor, int]] = {}
    real: list[Tensor] = []
    unread: set[str] = set()

    def add(name: str, x: Tensor) -> None:
        # a layer may also read something else, such as DeBERTa's embeddings of relative positions
        mask = next((m for m in real if tuple(x.shape[:-1]) in (tuple(m.shape), (m.numel(),))), None)
        if mask is None:
            return
        unread.discard(name)
        tokens = x.detach().reshape(-1, x.shape[-1])[mask.to(x.device).flatten()].double()
        total, squares, count = sums.get(name, (0, 0, 0))
        sums[name] = (total + tokens.sum(0), squares + (tokens * tokens).sum(0), count + len(tokens))

    def watch(name: str) -> Any:
        return lambda module, arguments: add(name, arguments[0])

    handles = [model.get_submodule(name).register_forward_pre_hook(watch(name)) for name in names]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch, labels in calibration.batches:
                inputs = _separate_lengths(batch)
                real[:] = find_tokens(inputs, labels)
                unread |= set(names)
                model(**inputs)
                if unread:
                    what = "it does not read one vector per token of a row"
                    raise CellFailed(f"inputs of {min(unread)} cannot be measured: {what}")
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return {
        name: InputStatistics(count, _read_array(total / count), _read_array(squares / count))
        for name, (total, squares, count) in sums.items()
    }


def find_tokens(inputs: Mapping[str, Tensor], labels: Tensor) -> list[Tensor]:
    """Where the rows have tokens and no padding: [B, L], and [B, T] for the decoder of an encoder-decoder.

    In rows of several instructions the tokens end with the last one that has a target.
    """
    # imported here: it loads torch, which a list of the methods does not need
    from harness.replicas.linear_loss import IGNORED

    mask, decoder = inputs["attention_mask"], inputs.get("decoder_input_ids")
    has_target = labels != IGNORED
    if mask.dim() > 2:  # says which positions see each other, and padding sees itself
        mask = has_target.flip(1).cumsum(1).flip(1)
    if decoder is None:
        return [mask > 0]
    tokens = mask.new_zeros(decoder.shape)
    tokens[:, : has_target.shape[1]] = has_target
    return [mask > 0, tokens > 0]


def _separate_lengths(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs, with one more position of the decoder where both sequences have the same length.

    Shapes then show which of the two a layer reads; the position changes none before it.
    """
    inputs = dict(batch)
    decoder = inputs.get("decoder_input_ids")
    if decoder is not None and decoder.shape == inputs["input_ids"].shape:
        inputs["decoder_input_ids"] = decoder[:, [*range(decoder.shape[1]), -1]]
    return inputs


def _read_array(tensor: Tensor) -> np.ndarray:
    """The values on the host, read-only; without a copy where they are there already."""
    import torch

    wide = tensor if tensor.dtype == torch.float64 else tensor.float()
    array: np.ndarray = wide.detach().cpu().numpy()
    array.flags.writeable = False
    return array
