"""Weights stored in 16 bits and loaded in 32, so that shipped files have half the size."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel


def save_half(model: PreTrainedModel, folder: Path) -> None:
    """Write config.json and model.safetensors; the config says float32, so that loading widens the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.dtype = torch.float32
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(str(folder))
    # safetensors refuses tensors that share memory; transformers ties these again when it loads.
    tied = set(model.all_tied_weights_keys)
    state = {name: value.half().contiguous() for name, value in model.state_dict().items() if name not in tied}
    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})
