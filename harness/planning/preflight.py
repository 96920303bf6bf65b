"""Checks before any training: does each method fit its model, and the adapter that it starts from?

    cells ── one check per (suite model, method, head width, adapter) ──> fits | a note | UserError
                                                  named by the user: the error ends the command
                                                  from a product or `all`: its cells are dropped with a note

Models are built as shapes only (device meta), so a check loads no weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.garbage import import_uncollected
from harness.models.adapter_load import load_initial
from harness.planning.fact_cache import describe_method, fact_key, read_fact, write_fact
from harness.planning.plan import Plan, format_not_applicable
from harness.planning.planned_cell import PlannedCell

if TYPE_CHECKING:
    from torch import nn

    from harness.core.method import Method, Task
    from harness.models.source import ModelSource


def drop_unfit_cells(plan: Plan, cells: Sequence[PlannedCell], *, cache: bool = False) -> Plan:
    """The plan without those of `cells` whose method does not fit their model, with a line for each that says why.

    With `cache`, the answer of an earlier check of the same files and versions is used, so that torch is not imported.
    Raises UserError if the user named such a cell.
    """
    refused: dict[tuple[object, ...], UserError | None] = {}
    models: Models = {}
    notes: list[str] = []
    cases = [_build_case_key(planned) for planned in cells]
    for planned, case in zip(cells, cases, strict=True):
        # seeds and tasks repeat the same case many times
        if case in refused:
            continue
        refused[case] = None
        answer = _check_once(planned, models) if cache else _check(planned, models)
        if isinstance(answer, UserError):
            if planned.named:
                raise UserError(f"{planned.cell.title} on {planned.cell.model.name}: {answer}") from answer
            refused[case] = answer
        else:
            notes += answer
    plan = dataclasses.replace(plan, notes=(*plan.notes, *dict.fromkeys(notes)))
    keys = {cell.key for cell, case in zip(cells, cases, strict=True) if refused[case]}
    lines = [format_not_applicable(f"{what[1]} on {what[0]}", error) for what, error in refused.items() if error]
    return plan.drop_cells(keys, list(dict.fromkeys(lines))) if keys else plan


Models = dict[tuple[str, int | None], "nn.Module"]
"""(suite, width of the head) -> the model's shapes, built once per command."""


def _check_once(planned: PlannedCell, models: Models) -> list[str] | UserError:
    """The answer of `_check`, read from the cache folder if it is there and stored otherwise."""
    key = _fact_key(planned)
    stored = read_fact(key) if key else None
    if stored is not None:
        notes: list[str] = stored["notes"]
        return notes if stored["unfit"] is None else UserError(stored["unfit"])
    answer = _check(planned, models)
    if key:
        unfit = isinstance(answer, UserError)
        write_fact(key, {"notes": [] if unfit else answer, "unfit": str(answer) if unfit else None})
    return answer


def _check(planned: PlannedCell, models: Models) -> list[str] | UserError:
    """Notes on the model of a cell, or the error if the method, or the adapter that it starts from, does not fit.

    Raises UserError for a model that no method can train on the task.
    """
    import_uncollected(("harness.models.load", "transformers.modeling_utils"))
    from harness.models.weights_report import describe_drawn_parameters

    # the backbone is the same for all tasks of a suite, but its file may have a head that fits some tasks only
    cell, method = planned.cell, planned.method
    shape = (cell.suite, planned.task.outputs)
    if shape not in models:
        models[shape] = _build_skeleton(planned.source, planned.task)
    notes = [f"{cell.model.name}: {note}" for note in describe_drawn_parameters(models[shape])]
    check_length(cell.model.name, cell.protocol.max_length, models[shape], count_virtual_tokens(method))
    try:
        method.fits(models[shape])
        return notes + _check_initial(planned, models[shape])
    except UserError as error:
        return error


def _fact_key(planned: PlannedCell) -> str | None:
    """The cache key of a check; None if the answer depends on more than a key can cover."""
    cell, source, task = planned.cell, planned.source, planned.task
    # adapters differ from seed to seed, and comparing their tensors needs torch anyway
    if cell.initial is not None:
        return None
    try:
        method = describe_method(planned.method)
    except (OSError, TypeError):
        return None
    content = {
        "model": [source.ref.content, source.ref.name, source.shape],
        "task": [task.kind, task.outputs],
        "method": [method, cell.parts],
        "length": cell.protocol.max_length,
    }
    return fact_key("fits", content)


def count_virtual_tokens(method: Method) -> int:
    """The number of virtual tokens that a method prepends to each row."""
    return int(getattr(method, "tokens", 0)) if method.family in ("prompt", "prefix") else 0


def check_length(name: str, length: int, model: nn.Module, added: int = 0) -> None:
    """Raise UserError if rows of `length` tokens are longer than the model's table of learned positions.

    `added` is the number of virtual tokens before each row. Models with rotary positions have no such table.
    """
    for path, module in model.named_modules():
        if path.endswith(("position_embeddings", "wpe", "embed_positions")) and hasattr(module, "num_embeddings"):
            # RoBERTa counts positions from the one after the padding index, BART and OPT from an offset
            padding = getattr(module, "padding_idx", None)
            first_position = (
                getattr(module, "offset", 0) if padding is None or "embed_positions" in path else padding + 1
            )
            positions = int(module.num_embeddings) - first_position
            if length + added > positions:
                virtual_note = f" and {added} virtual tokens" if added else ""
                raise UserError(
                    f"max-length={length}{virtual_note}: model '{name}' has {positions} positions;"
                    f" give --max-length {positions - added} or less"
                )


def check_end_token(source: ModelSource, model: nn.Module) -> None:
    """Raise UserError for an encoder-decoder without the start or end token that classification needs."""
    config: Any = model.config
    if not config.is_encoder_decoder:
        return
    if config.decoder_start_token_id is None:
        raise UserError(f"model '{source.name}': its config.json has no decoder_start_token_id; add it")
    from harness.models.load import load_tokenizer

    # the head reads the hidden state of the end token, so the tokenizer must append one
    if load_tokenizer(source)("a")["input_ids"][-1] != config.eos_token_id:
        problem = f"model '{source.name}' classifies texts at their end token, which its tokenizer does not append"
        remedy = (
            "shape:NAME@FOLDER with its own tokenizer" if source.shape else "a folder with the model's own tokenizer"
        )
        raise UserError(f"{problem}; give {remedy}, an encoder, or a generation suite (--suite wmt16)")


def _build_skeleton(source: ModelSource, task: Task) -> nn.Module:
    """The model's shapes. Raises UserError if the task cannot use such a model, or if its files do not match."""
    from harness.models.load import load_skeleton, load_tokenizer

    # raises for a missing or damaged tokenizer, which would fail only after the model is loaded
    load_tokenizer(source)
    if task.kind != "instruction":
        model = load_skeleton(source, task.outputs)
        if task.outputs is not None:
            check_end_token(source, model)
        return model
    needs = f"{task.name} needs a causal model (llama, gpt): --model PATH"
    try:
        model = load_skeleton(source, task.outputs)
    except UserError as error:
        # the loader's message ends with advice that does not fit a task that needs a causal model
        raise UserError(f"{str(error).partition('; give')[0]}; {needs}") from error
    config: Any = model.config
    if config.is_encoder_decoder:
        problem = f"models of type '{config.model_type}' are encoder-decoders"
        raise UserError(f"model '{source.name}': {problem}; {needs}")
    return model


def _build_case_key(planned: PlannedCell) -> tuple[object, ...]:
    """A key that is equal for cells that need one check: suite (and so model), method, head width and adapter."""
    cell, start = planned.cell, planned.cell.initial
    return (cell.suite, cell.label, planned.task.outputs) + ((start.revision, start.scaling) if start else ())


def _check_initial(planned: PlannedCell, model: nn.Module) -> list[str]:
    """A line if the adapter has no head for the task. Raises UserError if the adapter does not fit the model."""
    if planned.start is None:
        return []
    cell, outputs = planned.cell, planned.task.outputs
    fresh_layers = planned.method.fits_initial(model, load_initial(planned.start))
    line = (
        f"{cell.suite}/{cell.task}: --init-from has no head of {outputs} outputs: {', '.join(fresh_layers)} "
        "initialized at random"
    )
    return [line] if fresh_layers else []
