"""Activations that the backward pass computes again instead of keeping them (arXiv 1604.06174, 2205.05198)."""

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

INPLACE_LAYERS = ("base_layer", "in_proj", "pos_q_proj")
"""Layers whose result is written over in place: under peft's AdaLoRA, and in DeBERTa's first version."""


def apply_checkpointing(model: nn.Module, how: Recompute, attached: Attached) -> None:
    """Make each block of a model that a method is attached to compute its activations again.

    `full` keeps a block's input only. `selective` also keeps what the backbone's linear layers give, so the backward
    pass repeats norms, activations, dropout, the attention's core and the adapter. Raises UserError.
    """
    if how == "none":
        return
    model_blocks = find_blocks(model)
    if not model_blocks:
        raise UserError(f"recompute={how}: this model has no list of blocks; allowed: none")
    contexts: Callable[[], Any] = noop_context_fn
    if how == "selective":
        selective = SelectivePolicy()
        for name, linear in find_backbone_linears(model_blocks, attached):
            selective.mark(linear, written=name.endswith(INPLACE_LAYERS))
        contexts = functools.partial(create_selective_checkpoint_contexts, selective.choose_policy)
    for block in model_blocks:
        # the module stays in place: paths name the dropout sites, so a wrapper around it would draw other masks
        block.forward = _wrap_forward(block.forward, contexts)


def find_blocks(model: nn.Module) -> list[nn.Module]:
    """The entries of the outermost lists of layers, encoder's and decoder's."""
    lists = (c for c in model.children() if isinstance(c, nn.ModuleList) and all(_is_block(b) for b in c))
    block_lists = {id(c): list(c) for c in lists}
    nested_blocks = (find_blocks(c) for c in model.children() if id(c) not in block_lists)
    return [block for entries in (*block_lists.values(), *nested_blocks) for block in entries]


def _is_block(module: nn.Module) -> bool:
    """Two matrices at least, and a forward pass of its own."""
    if isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        return False
    return sum(p.dim() > 1 for p in module.parameters()) > 1


def find_backbone_linears(found: list[nn.Module], attached: Attached) -> Iterator[tuple[str, nn.Module]]:
    """The linear layers in blocks, by path, less those that the adapter trains: peft's factors are such too."""
    from transformers.pytorch_utils import Conv1D

    adapter = {g.theta.untyped_storage()._cdata for g in attached.groups if g.name == "adapter"}
    for block in found:
        for name, module in block.named_modules():
            if isinstance(module, (nn.Linear, Conv1D)) and module.weight.untyped_storage()._cdata not in adapter:
                yield name, module


class SelectivePolicy:
    """Which results a selective block keeps: the products made while one of the marked layers runs."""

    def __init__(self) -> None:
        self._running = False
        # what a linear layer's matrix product is, quantized or not
        self._products = {name for _, quantization in QUANTIZATIONS for name in quantization.saved_operations}

    def mark(self, linear: nn.Module, *, written: bool) -> None:
        """`written`: what the layer gives is written over later, so the kept product must be another tensor."""
        forward: Forward = linear.forward

        def marked(*args: Any, **kwargs: Any) -> Any:
            _compute_as_autocast(linear)
            before, self._running = self._running, True
            try:
                out = forward(*args, **kwargs)
            finally:  # a recomputation ends by an exception as soon as it has all that is needed
                self._running = before
            return out.clone() if written else out

        linear.forward = marked

    def choose_policy(self, context: object, op: Any, *args: object, **kwargs: object) -> CheckpointPolicy:
        if self._running and op._schema.name in self._products:
            return CheckpointPolicy.MUST_SAVE
        return CheckpointPolicy.PREFER_RECOMPUTE


def _compute_as_autocast(linear: Any) -> None:
    """Autocast does not reach into bitsandbytes' product while its result is kept: give it the precision directly."""
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
        # CounterDropout needs no generator's state put back, but some blocks (BART's) call torch's own dropout
        return checkpoint(run, *args, use_reentrant=False, preserve_rng_state=True, context_fn=contexts, **kwargs)

    return recomputed


def _copy_cache(value: Any) -> Any:
    """A copy of a cache of keys and values, sharing its tensors: a block that runs twice must not add to it twice."""
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
