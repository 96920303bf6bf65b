"""Activation checkpointing: the backward pass recomputes activations (arXiv 1604.06174, 2205.05198).

Activations [rows, length, width] that a block of the backbone saves for the backward pass:

    none       all of them
    selective  the block's input and the results of the backbone's linear layers
    full       the block's input only
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
    noop_context_fn,
)

from harness.core.cell import Recompute
from harness.core.errors import UserError
from harness.core.quantization import QUANTIZATIONS
from harness.replicas.groups import Attached

Forward = Callable[..., Any]

INPLACE_LAYERS = ("base", "base_layer", "in_proj", "pos_q_proj")
"""Layers whose result is modified in place: of low-rank pairs, of peft's AdaLoRA, and in DeBERTa's first version."""


def apply_checkpointing(model: nn.Module, how: Recompute, attached: Attached) -> None:
    """Turn on activation checkpointing for each block of a model with an attached method.

    `full` saves a block's input only. `selective` also saves the results of the backbone's linear layers, so the
    backward pass recomputes norms, activation functions, dropout, the core of attention and the adapter. Raises
    UserError for a model without a list of blocks.
    """
    if how == "none":
        return
    model_blocks = find_blocks(model)
    if not model_blocks:
        raise UserError(f"recompute={how}: this model has no list of blocks; allowed: none; leave --recompute out")
    contexts: Callable[[], Any] = noop_context_fn
    if how == "selective":
        selective = SelectivePolicy()
        for name, linear in find_backbone_linears(model_blocks, attached):
            selective.mark(linear, written=name.rpartition(".")[2] in INPLACE_LAYERS)
        contexts = functools.partial(create_selective_checkpoint_contexts, selective.choose_policy)
    for block in model_blocks:
        # only the method is replaced: module paths name the dropout sites, so a wrapper module would draw other masks
        block.forward = _wrap_forward(block.forward, contexts)


def find_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of the outermost lists of layers, of the encoder and of the decoder.

    Lists among a module's own children come before lists further down.
    """
    blocks: list[nn.Module] = []
    other_children = []
    for child in model.children():
        if isinstance(child, nn.ModuleList) and all(map(_is_block, child)):
            blocks += child
        else:
            other_children.append(child)
    for child in other_children:
        blocks += find_blocks(child)
    return blocks


def _is_block(module: nn.Module) -> bool:
    """Whether a module has a forward pass of its own and at least two matrices.

    So a list of single linear layers (heads, projections) is not a list of blocks.
    """
    if isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        return False
    return sum(p.dim() > 1 for p in module.parameters()) > 1


def find_backbone_linears(blocks: list[nn.Module], attached: Attached) -> Iterator[tuple[str, nn.Module]]:
    """Linear layers of the backbone within blocks, each with its path inside the block."""
    from transformers.pytorch_utils import Conv1D

    # peft's factors are linear layers too; a trained one shares the storage of its group's theta
    adapter = {g.theta.untyped_storage()._cdata for g in attached.groups if g.name == "adapter"}
    for block in blocks:
        for name, module in block.named_modules():
            if isinstance(module, (nn.Linear, Conv1D)) and module.weight.untyped_storage()._cdata not in adapter:
                yield name, module


class SelectivePolicy:
    """Selects the results that a selective block saves: matrix products computed while a marked layer runs."""

    def __init__(self) -> None:
        self._running = False
        # names of the operators that compute a linear layer, quantized or not
        self._products = {name for _, quantization in QUANTIZATIONS for name in quantization.saved_operations}

    def mark(self, linear: nn.Module, *, written: bool) -> None:
        """Mark a layer. `written`: its result is modified in place later, so the saved product needs its own tensor."""
        forward: Forward = linear.forward

        def marked(*args: Any, **kwargs: Any) -> Any:
            _compute_as_autocast(linear)
            before, self._running = self._running, True
            try:
                out = forward(*args, **kwargs)
            finally:  # torch ends a recomputation by an exception once it has every saved tensor
                self._running = before
            return out.clone() if written else out

        linear.forward = marked

    def choose_policy(self, context: object, op: Any, *args: object, **kwargs: object) -> CheckpointPolicy:
        # the adapter's products run outside of marked layers: they are narrow, and recomputing them costs little
        if self._running and op._schema.name in self._products:
            return CheckpointPolicy.MUST_SAVE
        return CheckpointPolicy.PREFER_RECOMPUTE


def _compute_as_autocast(linear: Any) -> None:
    """Set bitsandbytes' compute precision to autocast's, which does not reach its product under a dispatch mode."""
    device = linear.weight.device.type
    if hasattr(linear, "compute_dtype") and torch.is_autocast_enabled(device):
        linear.compute_dtype = torch.get_autocast_dtype(device)


def _wrap_forward(forward: Forward, contexts: Callable[[], Any]) -> Forward:
    def run(*args: Any, **kwargs: Any) -> Any:
        return forward(*(_copy_cache(a) for a in args), **{k: _copy_cache(v) for k, v in kwargs.items()})

    @functools.wraps(forward)
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        # CounterDropout reads no generator, but some blocks (BART's) call torch's dropout, whose mask must repeat
        return checkpoint(run, *args, use_reentrant=False, preserve_rng_state=True, context_fn=contexts, **kwargs)

    return recomputed


def _copy_cache(value: Any) -> Any:
    """A copy of a key-value cache that shares its tensors; other values unchanged.

    A block runs twice and must append to the cache once.
    """
    from transformers import Cache

    if not isinstance(value, Cache):
        return value
    cache = copy.copy(value)
    for name, field in vars(value).items():
        if isinstance(field, Cache):
            setattr(cache, name, _copy_cache(field))
        elif isinstance(field, list):
            setattr(cache, name, [copy.copy(layer) for layer in field])
        elif isinstance(field, dict):
            setattr(cache, name, dict(field))
    return cache
