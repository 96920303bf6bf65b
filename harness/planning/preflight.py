"""Before any training: does each method fit its model, and the adapter that it starts from?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.models.adapter_load import load_initial
from harness.planning.fact_cache import describe_method, fact_key, read_fact, write_fact
from harness.planning.plan import Plan, format_not_applicable
from harness.planning.planned_cell import PlannedCell

if TYPE_CHECKING:
    from torch import nn

    from harness.core.method import Method, Task
    from harness.models.source import ModelSource


def drop_unfit_cells(plan: Plan, cells: Sequence[PlannedCell], *, cache: bool = False) -> Plan:
    """The plan without those of `cells` whose model has no place for their method, each with a line that says why.

    `cache`: whether what fitted before, with the same files and versions, is taken to fit, and torch is not imported.
    Raises UserError where the user asked for such a cell by name.
    """
    refused: dict[tuple[object, ...], UserError | None] = {}
    models: Models = {}
    notes: list[str] = []
    cases = [_build_case_key(planned) for planned in cells]
    for planned, case in zip(cells, cases, strict=True):
        if case in refused:
            continue
        refused[case] = None
        found = _check_once(planned, models) if cache else _check(planned, models)
        if isinstance(found, UserError):
            if planned.named:
                raise UserError(f"{planned.cell.title} on {planned.cell.model.name}: {found}") from found
            refused[case] = found
        else:
            notes += found
    plan = dataclasses.replace(plan, notes=(*plan.notes, *dict.fromkeys(notes)))
    keys = {cell.key for cell, case in zip(cells, cases, strict=True) if refused[case]}
    lines = [format_not_applicable(f"{what[1]} on {what[0]}", error) for what, error in refused.items() if error]
    return plan.drop_cells(keys, list(dict.fromkeys(lines))) if keys else plan


Models = dict[tuple[str, int | None], "nn.Module"]


def _check_once(planned: PlannedCell, models: Models) -> list[str] | UserError:
    """`_check`, read from the cache folder where it was done before."""
    key = _fact_key(planned)
    stored = read_fact(key) if key else None
    if stored is not None:
        notes: list[str] = stored["notes"]
        return notes if stored["unfit"] is None else UserError(stored["unfit"])
    found = _check(planned, models)
    if key:
        unfit = isinstance(found, UserError)
        write_fact(key, {"notes": [] if unfit else found, "unfit": str(found) if unfit else None})
    return found


def _check(planned: PlannedCell, models: Models) -> list[str] | UserError:
    """Notes on the model of a cell, or why it has no place for the method or the adapter that this starts from.

    Raises UserError for a model that no method could train.
    """
    from harness.models.load import describe_drawn_parameters

    # the backbone is the same for each task, but its file may have a head that fits some tasks only
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
    """Of what `_check` depends on; None where that is more than can be said in a key."""
    cell, source, task = planned.cell, planned.source, planned.task
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
    """Positions that a method puts before each row."""
    return int(getattr(method, "tokens", 0)) if method.family in ("prompt", "prefix") else 0


def check_length(name: str, length: int, model: nn.Module, added: int = 0) -> None:
    """Raise UserError for rows longer than the table of positions that a model has learned; rotary ones have none.

    `added` is the number of positions that a method puts before each row.
    """
    for path, module in model.named_modules():
        if path.endswith(("position_embeddings", "wpe", "embed_positions")) and hasattr(module, "num_embeddings"):
            # RoBERTa counts positions from behind the padding's, BART and OPT from an offset
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
    """Raise UserError for an encoder-decoder that lacks what it needs to read a text: a first and an end token."""
    config: Any = model.config
    if not config.is_encoder_decoder:
        return
    if config.decoder_start_token_id is None:
        raise UserError(f"model '{source.name}': its config.json has no decoder_start_token_id; add it")
    from harness.models.load import load_tokenizer

    if load_tokenizer(source)("a")["input_ids"][-1] != config.eos_token_id:
        problem = f"model '{source.name}' sorts texts by their end token, which the tokenizer there does not write"
        remedy = (
            "shape:NAME@FOLDER with its own tokenizer" if source.shape else "a folder with the model's own tokenizer"
        )
        raise UserError(f"{problem}; give {remedy}, an encoder, or a suite of texts to write (--suite wmt16)")


def _build_skeleton(source: ModelSource, task: Task) -> nn.Module:
    """The model's shapes. Raises UserError where the task cannot train such a model, or its files do not match."""
    from harness.models.load import load_skeleton, load_tokenizer

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
        raise UserError(f"{str(error).partition('; give')[0]}; {needs}") from error
    config: Any = model.config
    if config.is_encoder_decoder:
        problem = f"models of type '{config.model_type}' are encoder-decoders"
        raise UserError(f"model '{source.name}': {problem}; {needs}")
    return model


def _build_case_key(planned: PlannedCell) -> tuple[object, ...]:
    """What is checked once: the method on a suite's model with a head of the task's width, and the adapter."""
    cell, start = planned.cell, planned.cell.initial
    return (cell.suite, cell.label, planned.task.outputs) + ((start.revision, start.scaling) if start else ())


def _check_initial(planned: PlannedCell, model: nn.Module) -> list[str]:
    """Raises UserError where the cell's adapter does not fit; a line where its head does not."""
    if planned.start is None:
        return []
    cell, outputs = planned.cell, planned.task.outputs
    fresh_layers = planned.method.fits_initial(model, load_initial(planned.start))
    line = (
        f"{cell.suite}/{cell.task}: --init-from has no head of {outputs} outputs: {', '.join(fresh_layers)} "
        "drawn afresh"
    )
    return [line] if fresh_layers else []
