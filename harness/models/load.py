"""Loading tokenizers and models, quietly and the same each time."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.core.cell import Precision
from harness.core.errors import UserError
from harness.core.failure import is_out_of_memory
from harness.core.quantization import QUANTIZATIONS, Quantization
from harness.models.padding import check_pad_token, check_padding, reconcile_model, reconcile_tokenizer
from harness.models.shapes import build_shape_config
from harness.models.weights_report import check_weights

if TYPE_CHECKING:
    from harness.models.source import ModelSource


@contextlib.contextmanager
def suppress_warnings() -> Iterator[None]:
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


LOCAL: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Options of every `from_pretrained`: no network, and no code from a model folder, which transformers asks about."""


def load_tokenizer(source: ModelSource) -> Any:
    """The fast tokenizer of a local folder, with a pad token. Raises UserError, also if tokens have no embedding."""
    from transformers import AutoTokenizer

    try:
        with suppress_warnings():
            tokenizer: Any = AutoTokenizer.from_pretrained(str(source.path), use_fast=True, **LOCAL)
            config = load_config(source, None)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"model '{source.name}': its tokenizer does not load: {_format_error(error)}") from error
    reconcile_tokenizer(source, tokenizer, config)
    if getattr(config, "type_vocab_size", 2) < 2:  # RoBERTa tells no second text from the first
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    return tokenizer


def load_model_config(tokenizer: Any) -> Any:
    """The configuration of the model that a tokenizer was loaded with."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(tokenizer.name_or_path, **LOCAL)


FULL_PRECISION = ["classifier", "pooler", "pooler.dense", "score", "lm_head"]
"""Linear layers that no type quantizes: a path that starts or ends so."""


def load_skeleton(source: ModelSource, outputs: int | None) -> nn.Module:
    """The model's shapes without its weights, on the device meta; see `load_model`.

    The names and shapes of the weights file are checked, and `newly_drawn` tells what it lacks. Raises UserError.
    """
    try:
        with suppress_warnings():
            config = load_config(source, outputs)
            auto = _choose_auto_class(config, outputs)
            if source.shape is not None or hasattr(config, "quantization_config"):  # its names are not the model's
                with torch.device("meta"):
                    return auto.from_config(config, trust_remote_code=False)  # type: ignore[no-any-return]
            model, report = auto.from_pretrained(
                str(source.path),
                config=config,
                device_map="meta",
                ignore_mismatched_sizes=True,  # the report names them
                output_loading_info=True,
                **LOCAL,
            )
            setattr(model, DRAWN, check_weights(source, model, report, outputs))
            return model  # type: ignore[no-any-return]
    except UserError:
        raise
    except Exception as error:  # whatever transformers and torch make of the fields of config.json
        raise _make_load_error(source, outputs, error) from error


def build_model(source: ModelSource, outputs: int | None, device: str, dtype: torch.dtype) -> nn.Module:
    """The model with whatever weights its classes start from, as `load_model` would set it up for a device."""
    try:
        with suppress_warnings():
            config = load_config(source, outputs)
            _disable_dropout(config, outputs)
            attention = _choose_attention(config, device)
            model = _choose_auto_class(config, outputs).from_config(
                config, attn_implementation=attention, dtype=dtype, trust_remote_code=False
            )
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise _make_load_error(source, outputs, error) from error
    disable_attention_dropout(model)
    reconcile_model(model)
    return model  # type: ignore[no-any-return]


def _disable_dropout(config: Any, outputs: int | None) -> None:
    """Attention probabilities and layers are not dropped, and training keeps no keys and values."""
    for field in ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop", *LAYERDROP):
        if hasattr(config, field):
            setattr(config, field, 0.0)
    if outputs is None and not config.is_encoder_decoder:
        config.use_cache = False  # training and scoring go on from no kept keys and values


def load_model(
    source: ModelSource,
    outputs: int | None,
    *,
    dtype: Precision = "fp32",
    quantize: str = "none",
    device: str = "cpu",
    attention_dropout: float = 0.0,
    trained_backbone: bool = False,
) -> nn.Module:
    """A classifier with `outputs` outputs; for None a language model, encoder-decoder or causal as its config says.

    float32 where the backbone itself trains. Weights that the file lacks (a fresh head, a pooler) are drawn from a
    fixed seed. Raises UserError.
    """
    if attention_dropout > 0:
        raise UserError(f"attention_dropout={attention_dropout}: allowed: 0 (attention probabilities are not dropped)")
    kind = torch.bfloat16 if dtype == "bf16" and not trained_backbone else torch.float32
    quantization = QUANTIZATIONS.get(quantize)
    if source.shape is not None and quantization.is_float:
        return _build_random_model(source, outputs, device, kind, quantization).requires_grad_(trained_backbone)
    try:
        # it tells of optional kernels that are absent, and of casts that are meant
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        with suppress_warnings(), torch.random.fork_rng():
            torch.manual_seed(0)
            config = load_config(source, outputs)
            _disable_dropout(config, outputs)
            auto = _choose_auto_class(config, outputs)
            options = {"dtype": kind, "attn_implementation": _choose_attention(config, device)}
            with _prepare_weights(source, auto, config, device) as path:
                model, report = auto.from_pretrained(
                    path,
                    config=config,
                    quantization_config=quantization.build_config(FULL_PRECISION, kind),
                    ignore_mismatched_sizes=True,  # the report names them
                    output_loading_info=True,
                    **options,
                    **LOCAL,
                )
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise _make_load_error(source, outputs, error) from error
    setattr(model, DRAWN, check_weights(source, model, report, outputs))
    disable_attention_dropout(model)
    reconcile_model(model)
    _disable_repacking(model)
    quantization.transform(model, FULL_PRECISION)
    if quantization.is_float:  # bitsandbytes places its own layers, and quantized ones have no exact padding check
        model = model.to(device)
        if outputs is not None and kind == torch.float32:
            check_padding(source, model)
    return model.requires_grad_(trained_backbone)  # type: ignore[no-any-return]


DRAWN = "newly_drawn_parameters"
"""The attribute of a loaded model that `newly_drawn` reads."""


def list_drawn_parameters(model: nn.Module) -> tuple[str, ...]:
    """Names of the backbone's parameters that the weights file lacks and that are drawn at random, sorted.

    The task head is not among them. Whoever loads the untouched base draws other values, so an adapter must hold these.
    """
    return getattr(model, DRAWN, ())


def describe_drawn_parameters(model: nn.Module) -> tuple[str, ...]:
    """A line that names what was drawn at random, where anything was."""
    names = list_drawn_parameters(model)
    if not names:
        return ()
    description = f"the weights file has no {' and no '.join(names)}"
    return (f"model: {description}: drawn at random from a fixed seed, and not trained unless the backbone is",)


def _disable_repacking(model: Any) -> None:
    """bitsandbytes would repack 4-bit weights at the first pass in evaluation mode and multiply in bf16 from then on.

    A neighbour's calibration or scoring would so change a replica's training.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _build_random_model(
    source: ModelSource, outputs: int | None, device: str, kind: torch.dtype, quantization: Quantization
) -> nn.Module:
    """Random weights of a shape, made where they are used."""
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        model = build_model(source, outputs, device, kind).eval()
    quantization.transform(model, FULL_PRECISION)
    return model


LAYERDROP = ("encoder_layerdrop", "decoder_layerdrop")
"""Rates of BART's kin at which whole layers are left out, for all rows of a batch at once: always 0 here."""


def disable_attention_dropout(model: nn.Module) -> None:
    """No dropout of attention probabilities where T5's attention takes its rate from the model's one rate."""
    for module in model.modules():
        if "attention" in type(module).__name__.lower() and isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0  # type: ignore[assignment]


@contextlib.contextmanager
def _prepare_weights(source: ModelSource, auto: Any, config: Any, device: str) -> Iterator[str]:
    """The folder to load from; random weights of a shape, to be quantized, are in one that is gone afterwards."""
    if source.shape is None:
        yield str(source.path)
        return
    with tempfile.TemporaryDirectory() as folder:
        with torch.device(device):
            auto.from_config(config, dtype=torch.bfloat16, trust_remote_code=False).save_pretrained(folder)
        yield folder


def load_config(source: ModelSource, outputs: int | None) -> Any:
    """The configuration of a classifier with so many outputs; for None of a language model."""
    from transformers import AutoConfig

    overrides = {} if outputs is None else {"num_labels": outputs}
    if source.shape is not None:
        return build_shape_config(source.shape, overrides)
    config = AutoConfig.from_pretrained(str(source.path), **LOCAL, **overrides)
    check_pad_token(source, config)
    return config


def _choose_auto_class(config: Any, outputs: int | None) -> Any:
    """The class of transformers that loads the model. Raises ValueError where the model is no language model."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if outputs is not None:
        return transformers.AutoModelForSequenceClassification
    if config.is_encoder_decoder:
        return transformers.AutoModelForSeq2SeqLM
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.model_type in ENCODERS:
        raise ValueError(f"models of type '{config.model_type}' are encoders, and write no text")
    return transformers.AutoModelForCausalLM


ENCODERS = frozenset("bert roberta xlm-roberta electra camembert deberta-v2 distilbert".split())
"""Types that transformers also offers as decoders, though their weights were trained to look both ways."""


def _make_load_error(source: ModelSource, outputs: int | None, error: Exception) -> UserError:
    if outputs is not None:
        return UserError(f"model '{source.name}' does not load as a classifier: {_format_error(error)}")
    allowed = "give an encoder-decoder (t5, mbart, marian) or a causal model (llama, gpt) with --model SUITE=PATH"
    return UserError(f"model '{source.name}' does not load as a language model: {_format_error(error)}; {allowed}")


def _choose_attention(config: Any, device: str) -> str | None:
    """Eager on the CPU for a tiny model, where it is faster than sdpa; else transformers' choice."""
    return "eager" if device == "cpu" and getattr(config, "hidden_size", 0) <= 128 else None


def _format_error(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
