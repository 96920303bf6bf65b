"""Loading tokenizers and encoders, quietly and the same each time."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.cell import SIMULATED, Precision, Quantize
from harness.errors import UserError
from harness.simulated import simulate

if TYPE_CHECKING:
    from harness.model_source import ModelSource


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A missing head is expected here: no warnings, no progress bars, and the levels are put back."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def load_tokenizer(source: ModelSource) -> Any:
    """The fast tokenizer of a local folder. Raises UserError."""
    from transformers import AutoTokenizer

    try:
        with _quiet():
            return AutoTokenizer.from_pretrained(str(source.path), use_fast=True, local_files_only=True)
    except Exception as error:
        raise UserError(f"model '{source.name}': its tokenizer does not load: {_first_line(error)}") from error


FULL_PRECISION = ["classifier", "pooler", "pooler.dense", "score", "lm_head"]
"""Linear layers that no level quantizes: a path that starts or ends so."""


def quantization(quantize: Quantize, heads: list[str]) -> Any:
    """The bitsandbytes configuration of a level; None where it has none. Raises UserError where it is not installed."""
    if quantize == "none" or quantize in SIMULATED:
        return None
    import importlib.util

    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"--quantize {quantize} needs bitsandbytes: pip install 'lorasp-harness[quant]'")
    from transformers import BitsAndBytesConfig

    if quantize == "int8":
        # outlier columns are found over the whole batch, so with a threshold neighbours in a pack would matter
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0, llm_int8_skip_modules=heads)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="fp4" if quantize == "fp4" else "nf4",
        bnb_4bit_use_double_quant=quantize == "nf4-dq",
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=heads,
    )


def skeleton(source: ModelSource, outputs: int) -> nn.Module:
    """The classifier's shapes without its weights, on the device meta. Raises UserError."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        with _quiet(), torch.device("meta"):
            config = AutoConfig.from_pretrained(str(source.path), num_labels=outputs, local_files_only=True)
            return AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-any-return]
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise UserError(f"model '{source.name}' is no classifier: {_first_line(error)}") from error


def load_encoder(
    source: ModelSource,
    outputs: int,
    *,
    dtype: Precision = "fp32",
    quantize: Quantize = "none",
    device: str = "cpu",
    attention_dropout: float = 0.0,
    trained_backbone: bool = False,
) -> nn.Module:
    """AutoModelForSequenceClassification with `outputs` outputs; float32 where the backbone itself trains.

    Weights that the file lacks (a fresh head, a pooler) are drawn from a fixed seed. Raises UserError.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    if attention_dropout > 0:
        raise UserError(f"attention_dropout={attention_dropout}: allowed: 0 (attention probabilities are not dropped)")
    kind = torch.bfloat16 if dtype == "bf16" and not trained_backbone else torch.float32
    try:
        with _quiet(), torch.random.fork_rng():
            torch.manual_seed(0)
            config = AutoConfig.from_pretrained(str(source.path), num_labels=outputs, local_files_only=True)
            for field in ("attention_probs_dropout_prob", "attention_dropout"):
                if hasattr(config, field):
                    setattr(config, field, 0.0)
            model = AutoModelForSequenceClassification.from_pretrained(
                str(source.path),
                config=config,
                dtype=kind,
                local_files_only=True,
                attn_implementation=_attention(config, device),
                quantization_config=quantization(quantize, FULL_PRECISION),
            )
    except UserError:
        raise
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise UserError(f"model '{source.name}' does not load as a classifier: {_first_line(error)}") from error
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # bitsandbytes would repack 4-bit weights at the first pass in evaluation mode and multiply in bf16 from
            # then on, so a neighbour's calibration or scoring would change a replica's training
            module.support_avx512bf16_for_cpu = False
    if quantize in SIMULATED:
        simulate(model, SIMULATED[quantize], FULL_PRECISION)
    if quantize == "none" or quantize in SIMULATED:
        model = model.to(device)
    return model.requires_grad_(trained_backbone)  # type: ignore[no-any-return]


def _attention(config: Any, device: str) -> str | None:
    """Eager on the CPU for a tiny model, where it is faster than sdpa; else transformers' choice."""
    return "eager" if device == "cpu" and getattr(config, "hidden_size", 0) <= 128 else None


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
