"""`--tune N`: N trials for each method, scored on a held-out part of the train rows; the run uses the best values.

Trials are cells: they train in packs, and their records under OUT/tuning are reused by a later run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from harness.core.device import check_optimizers
from harness.core.errors import UserError, build_unknown_error
from harness.core.files import escape_path, read_bytes, write_atomically
from harness.core.listener import Listener
from harness.core.record import Record
from harness.core.spec import Spec
from harness.core.store import Store, select_missing_cells
from harness.core.stored_files import read_document, to_json
from harness.core.tuned import Tuned, TunedMethods
from harness.planning.plan import Plan
from harness.planning.planned_cell import first_of_each_task
from harness.runner.budget import Budget, BudgetReached
from harness.runner.executors.base import Executor
from harness.runner.tuning.chosen import apply_best_values, group_arms, has_records, summarize_trials
from harness.runner.tuning.trials import build_arms

FOLDER, FILE = "tuning", "tuned.json"


def tune(
    plan: Plan, spec: Spec, command: str, listen: Callable[[int], Listener], executor: Executor, budget: Budget
) -> Plan:
    """The plan with the best values of each method, after running the missing trials.

    Raises UserError, before any training if the fault is in the flags, and BudgetReached if trials remain.
    """
    check_tunable(plan, spec)
    store = Store(spec.folder / FOLDER)
    store.prepare()
    arms, plans = build_arms(plan, spec.tune or 0, spec.tune_tasks, spec.tune_seeds)
    records = run_trials(plans, spec, store, command, listen, executor, budget)
    groups = group_arms(arms, spec.tune_tasks)
    tuned: dict[str, Tuned] = {}
    for key, group in groups.items():
        if all(has_records(arm, records) for arm in group):
            tuned[key] = summarize_trials(group, records)
    write_atomically(store.out / FILE, to_json(TunedMethods(methods=list(tuned.values()))))
    return apply_best_values(plan, arms, tuned, bool(spec.tune_tasks))


def read_tuned(out: Path) -> list[Tuned]:
    """The results of the last tuning in a run's folder; empty without one. Raises UserError for a damaged file."""
    path = out / FOLDER / FILE
    try:
        if read_bytes(path).lstrip().startswith(b"["):  # written by an earlier version, without a digest
            return TypeAdapter(list[Tuned]).validate_json(read_bytes(path))
        return read_document(path, TunedMethods).methods
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"{escape_path(path)} does not read; run the same command again to write it") from error


def check_tunable(plan: Plan, spec: Spec) -> None:
    """Raise UserError for what cannot be tuned."""
    if spec.tune is None:
        flag = "--tune-tasks" if spec.tune_tasks else "--tune-seeds"
        raise UserError(f"{flag}: how many trials? give --tune N too")
    if spec.protocol == "paper":
        raise UserError("--tune with --protocol paper: the paper's rate is fixed; leave one of them out")
    fixed_cell = next((c.cell for c in plan.cells if c.cell.protocol.lr_source == "given"), None)
    if fixed_cell:
        raise UserError(
            f"--tune with lr={fixed_cell.protocol.lr:g} given for '{fixed_cell.label}': leave the rate or --tune out"
        )
    firsts = first_of_each_task(plan.cells)
    tasks = {task for _, task in firsts}
    for task in spec.tune_tasks:
        if task not in tasks:
            raise build_unknown_error("task in --tune-tasks, of those that run:", task, tasks)
    for (suite, task), first in firsts.items():
        tuned_on = [t for s, t in firsts if s == suite and (not spec.tune_tasks or t in spec.tune_tasks)]
        if not tuned_on:
            raise UserError(f"--tune-tasks names no task of {suite}: give one of each suite")
        if task in tuned_on and first.suite.evaluator(task, first.data):
            raise UserError(
                f"--tune: {suite}/{task} is not scored row by row, so no part of its train rows can score it"
            )


def run_trials(
    plans: Sequence[Plan],
    spec: Spec,
    store: Store,
    command: str,
    listen: Callable[[int], Listener],
    executor: Executor,
    budget: Budget,
) -> dict[str, Record]:
    """All records of trials by key, after training the missing trials in packs."""
    from harness.planning.preflight import drop_unfit_cells
    from harness.runner.execute import execute

    records, set_aside = store.repair()
    cells = [planned.cell for plan in plans for planned in plan.cells]
    store.write_run(
        command, f"trials of tuning: {', '.join(dict.fromkeys(c.task for c in cells))}", [c.key for c in cells], ()
    )
    todo = {index: select_missing_cells(plan.cells, records, retry=spec.retry) for index, plan in enumerate(plans)}
    if any(todo.values()):
        missing_of_all = [planned.cell for missing_cells in todo.values() for planned in missing_cells]
        check_optimizers(missing_of_all, executor.describe().environment.device)
    total = sum(map(len, todo.values()))
    listener = listen(total)
    remaining: set[str] = set()
    trial_spec = spec.model_copy(update={"save_adapters": False, "sharpness": False})  # nobody uses those of trials
    try:
        for line in set_aside:
            listener.note(line)
        listener.note(f"tuning: {len(cells)} trials: {len(cells) - total} done, {total} to run")
        for index, missing_cells in todo.items():
            if missing_cells:
                plan = drop_unfit_cells(plans[index], missing_cells)
                missing = select_missing_cells(plan.cells, records, retry=spec.retry)
                remaining |= execute(plan, missing, trial_spec, store, listener, executor, budget)
    finally:
        listener.close()
    if remaining:
        raise BudgetReached(f"tuning: {budget.describe_remaining(remaining)}")
    return store.read()[0]
