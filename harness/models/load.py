"""Load tokenizers and models: without network, warnings or foreign code, and with the same random draws each time.

source (folder or shape) -> config, changed for training -> model -> checked weights -> quantized, on the device
"""

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
from harness.models.depth import set_depth
from harness.models.padding import check_pad_token, check_padding, reconcile_model, reconcile_tokenizer
from harness.models.shapes import build_shape_config
from harness.models.weights_report import DRAWN, check_weights

if TYPE_CHECKING:
    from harness.models.source import ModelSource


@contextlib.contextmanager
def suppress_warnings() -> Iterator[None]:
    """Silence warnings and progress bars within, because a missing head is expected here."""
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
"""Options of every `from_pretrained`: no network, and no code from a model folder."""


def load_tokenizer(source: ModelSource) -> Any:
    """The fast tokenizer of a local folder, with a pad token.

    Raises UserError where it does not load, or where some of its tokens have no embedding.
    """
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
    if getattr(config, "type_vocab_size", 2) < 2:  # RoBERTa has no embedding for a second segment
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    return tokenizer


def load_model_config(tokenizer: Any) -> Any:
    """The configuration of the model that a tokenizer was loaded with."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(tokenizer.name_or_path, **LOCAL)


FULL_PRECISION = ["classifier", "pooler", "pooler.dense", "score", "lm_head"]
"""Names of linear layers that stay in floating point; a path matches that starts or ends with one."""


def load_skeleton(source: ModelSource, outputs: int | None) -> nn.Module:
    """The model of `load_model` without its weights, on the device meta.

    Checks the names and shapes in the weights file; `list_drawn_parameters` returns those that it lacks.
    Raises UserError.
    """
    try:
        with suppress_warnings():
            config = load_config(source, outputs)
            auto = _choose_auto_class(config, outputs)
            # A shape has no file, and the names in a quantized file are not those of the model.
            if source.shape is not None or hasattr(config, "quantization_config"):
                with torch.device("meta"):
                    return auto.from_config(config, trust_remote_code=False)  # type: ignore[no-any-return]
            model, report = auto.from_pretrained(
                str(source.path),
                config=config,
                device_map="meta",
                ignore_mismatched_sizes=True,  # check_weights reports them in one line
                output_loading_info=True,
                **LOCAL,
            )
            setattr(model, DRAWN, check_weights(source, model, report, outputs))
            return model  # type: ignore[no-any-return]
    except UserError:
        raise
    except Exception as error:  # transformers and torch raise many kinds for a wrong config.json
        raise _make_load_error(source, outputs, error) from error


def build_model(source: ModelSource, outputs: int | None, device: str, dtype: torch.dtype) -> nn.Module:
    """The model as `load_model` sets it up for a device, with the random weights of its classes. Raises UserError."""
    try:
        with suppress_warnings():
            config = load_config(source, outputs)
            _disable_dropout(config)
            attention = _choose_attention(config, device)
            model = _choose_auto_class(config, outputs).from_config(
                config, attn_implementation=attention, dtype=dtype, trust_remote_code=False
            )
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise _make_load_error(source, outputs, error) from error
    disable_attention_dropout(model)
    reconcile_model(model)
    return model  # type: ignore[no-any-return]


def _disable_dropout(config: Any) -> None:
    """Turn off dropout of attention probabilities and of whole layers, and the cache of keys and values."""
    for field in ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop", *LAYERDROP):
        if hasattr(config, field):
            setattr(config, field, 0.0)
    if not getattr(config, "is_encoder_decoder", False):
        config.use_cache = False  # only generation reads a cache; elsewhere it takes memory


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
    """A classifier with `outputs` outputs; for None a language model, of the kind that its config names.

    `dtype` is the precision of a frozen backbone; one that trains is float32. Weights that the file lacks (a new head,
    a pooler) are drawn from a fixed seed. Raises UserError.
    """
    if attention_dropout > 0:
        raise UserError(f"attention_dropout={attention_dropout}: allowed: 0 (attention probabilities are not dropped)")
    # A backbone that trains needs float32 weights; bf16 then means autocast (see Method.autocasts).
    kind = torch.bfloat16 if dtype == "bf16" and not trained_backbone else torch.float32
    quantization = QUANTIZATIONS.get(quantize)
    if source.shape is not None and quantization.is_float:
        return _build_random_model(source, outputs, device, kind, quantization).requires_grad_(trained_backbone)
    try:
        # bitsandbytes warns about absent optional kernels and about casts that are intended.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        # The fixed seed gives every cell the same values for weights that the file lacks.
        with suppress_warnings(), torch.random.fork_rng():
            torch.manual_seed(0)
            config = load_config(source, outputs)
            _disable_dropout(config)
            auto = _choose_auto_class(config, outputs)
            options = {"dtype": kind, "attn_implementation": _choose_attention(config, device)}
            with _prepare_weights(source, auto, config, device) as path:
                model, report = auto.from_pretrained(
                    path,
                    config=config,
                    quantization_config=quantization.build_config(FULL_PRECISION, kind),
                    ignore_mismatched_sizes=True,  # check_weights reports them in one line
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
    # bitsandbytes places its layers itself; the padding check is for float32 weights.
    if quantization.is_float:
        model = model.to(device)
        if outputs is not None and kind == torch.float32:
            check_padding(source, model)
    return model.requires_grad_(trained_backbone)  # type: ignore[no-any-return]


def _disable_repacking(model: Any) -> None:
    """Stop bitsandbytes from repacking 4-bit weights at the first pass in evaluation mode.

    After that it would multiply in bf16, so calibration or scoring would change the training that follows.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _build_random_model(
    source: ModelSource, outputs: int | None, device: str, kind: torch.dtype, quantization: Quantization
) -> nn.Module:
    """A model of random weights, created on its device: a large one need not fit into host memory."""
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        model = build_model(source, outputs, device, kind).eval()
    quantization.transform(model, FULL_PRECISION)
    return model


LAYERDROP = ("encoder_layerdrop", "decoder_layerdrop")
"""Rates of dropping whole layers (BART and related models). One draw serves all rows, so replicas would share it."""


def disable_attention_dropout(model: nn.Module) -> None:
    """Set attention dropout to 0 in modules without a field for it: T5 has one rate for all of its dropout."""
    for module in model.modules():
        if "attention" in type(module).__name__.lower() and isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0  # type: ignore[assignment]


@contextlib.contextmanager
def _prepare_weights(source: ModelSource, auto: Any, config: Any, device: str) -> Iterator[str]:
    """The folder to load from; for a shape a temporary one, because bitsandbytes quantizes while it loads a file."""
    if source.shape is None:
        yield str(source.path)
        return
    with tempfile.TemporaryDirectory() as folder:
        with torch.device(device):
            auto.from_config(config, dtype=torch.bfloat16, trust_remote_code=False).save_pretrained(folder)
        yield folder


def load_config(source: ModelSource, outputs: int | None) -> Any:
    """The configuration of a classifier with `outputs` outputs; for None of a language model. Raises UserError."""
    from transformers import AutoConfig

    overrides = {} if outputs is None else {"num_labels": outputs}
    if source.shape is not None:
        return set_depth(build_shape_config(source.shape, overrides), source.layers)
    config = AutoConfig.from_pretrained(str(source.path), **LOCAL, **overrides)
    check_pad_token(source, config)
    return set_depth(config, source.layers)


def _choose_auto_class(config: Any, outputs: int | None) -> Any:
    """The auto class of transformers that loads the model. Raises ValueError for an encoder as a language model."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if outputs is not None:
        return transformers.AutoModelForSequenceClassification
    if config.is_encoder_decoder:
        return transformers.AutoModelForSeq2SeqLM
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.model_type in ENCODERS:
        raise ValueError(f"models of type '{config.model_type}' are encoders, which generate no text")
    return transformers.AutoModelForCausalLM


ENCODERS = frozenset("bert roberta xlm-roberta electra camembert deberta-v2 distilbert".split())
"""Types that transformers also offers as decoders, although their weights were trained with bidirectional attention."""


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
