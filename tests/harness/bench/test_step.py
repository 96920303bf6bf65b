"""`bench step`: what it counts, whom it compares with whom, and ratios that follow from the samples."""

from __future__ import annotations

import json
import statistics
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.bench import trainer_step
from harness.bench.step import knee
from harness.bench.subjects import Case, CaseTimer, build_cases, build_requests
from harness.bench.trainer_step import Rounds, add_adapter, load_baseline, time_baseline
from harness.cli.main import main
from harness.core.spec_reading import make_spec
from harness.profiling.clocks import disable_gc
from harness.profiling.request import ProfileRequest

SMALL = ["--batch-size", "2", "--length", "8", "--repeats", "3", "--threads", "1"]


def questions(methods: str) -> list[ProfileRequest]:
    spec = make_spec({"methods": methods, "batch_size": 2, "max_length": 8, "threads": 1})
    return build_requests(spec, "cpu")[0]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("step") / "step.json"
    words = ["bench", "step", "--methods", "lora,full,ia3", "--strategies", "column", "--packs", "1,3", *SMALL]
    assert main([*words, "--out", str(out)]) == 0
    return json.loads(out.read_text()), out


def of(made: dict[str, Any], what: str, k: int = 1, packed: bool = False) -> dict[str, Any]:
    (found,) = (r for r in made["results"] if r["rival"] and (r["what"], r["k"], r["packed"]) == (what, k, packed))
    return dict(found)


@pytest.mark.slow
def test_each_meets_its_counterpart(ran: tuple[dict[str, Any], Path]) -> None:
    made, _ = ran
    baselines = {r["what"]: r["rival"] for r in made["results"] if r["rival"]}
    assert baselines == {"lora": "lora", "lorasp:select=column": "lora", "ia3": "ia3", "full": "full"}
    assert all(len(r["step_seconds"]) == 3 and min(r["step_seconds"]) > 0 for r in made["results"])


def test_ratios_are_those_of_one_round(ran: tuple[dict[str, Any], Path]) -> None:
    made, _ = ran
    (baseline,) = (r["step_seconds"] for r in made["results"] if r["rival"] is None and r["what"] == "lora")
    rows = {(row["what"], row["K"]): row for row in made["rows"]}
    lora = of(made, "lora")["step_seconds"]
    for what, k, packed in (("lora", 1, False), ("lorasp:select=column", 1, False), ("lora", 3, True)):
        own = of(made, what, k, packed)["step_seconds"]
        row = rows[f"pack of {what}" if packed else what, str(k)]
        speed = statistics.median(u / (s / k) for u, s in zip(baseline, own, strict=True))
        against = statistics.median(s / k / b for s, b in zip(own, lora, strict=True))
        assert row["Trainer's / ours (10 % to 90 %)"].startswith(f"{speed:.2f} ")
        assert row["time / lora's"].startswith(f"{against:.2f} ")
        assert row["a replica"] == f"{1000 * statistics.median(own) / k:.2f} ms"


def test_operations_are_torchs_count(ran: tuple[dict[str, Any], Path]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    # products that are added in place, which torch's table lacks
    lacking = {torch.ops.aten.addmm_: lambda _, a, b, **__: 2 * a[0] * a[1] * b[1]}
    lacking[torch.ops.aten.baddbmm_] = lambda _, a, b, **__: 2 * a[0] * a[1] * a[2] * b[2]
    made, _ = ran
    for what in ("lora", "full"):
        (question,) = questions(what)
        trainer = CaseTimer(Case(question, 1, False, what), 2).trainer
        with FlopCounterMode(display=False, custom_mapping=lacking) as counter:
            trainer.train_step(0)
        assert of(made, what)["flops"] == counter.get_total_flops()
    assert of(made, "lora", 3, True)["flops"] == 3 * of(made, "lora", 1, True)["flops"] > 0


def test_share_of_the_ceiling_follows_from_count_and_time(ran: tuple[dict[str, Any], Path]) -> None:
    made, _ = ran
    found = of(made, "full")
    share = found["flops"] / statistics.median(found["step_seconds"]) / found["ceiling_flops"]
    (row,) = (r for r in made["rows"] if r["what"] == "full")
    assert row["of ceiling"] == f"{100 * share:.1f} %" and 0 < share < 1


def test_a_picture_lies_beside_the_json(ran: tuple[dict[str, Any], Path]) -> None:
    _, out = ran
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "Trainer's step / ours" in out.with_suffix(".svg").read_text()


def test_the_knee_is_the_smallest_within_five_percent() -> None:
    def of_each(per_replica: dict[int, float]) -> int:
        return knee({k: k * seconds for k, seconds in per_replica.items()})

    assert of_each({1: 10.0, 2: 6.0, 4: 4.1, 8: 4.0, 16: 4.3}) == 4
    assert of_each({1: 10.0, 2: 6.0, 4: 4.3, 8: 4.0, 16: 3.9}) == 8
    assert of_each({1: 1.0, 2: 2.0}) == 1


@pytest.mark.parametrize("name", ["lora", "full", "dora", "adalora", "vera", "prompt"])
def test_trainer_trains_as_many_numbers_of_the_same_model(name: str, tmp_path: Path) -> None:
    (question,) = questions(name)
    subject = CaseTimer(Case(question, 1, False, name), 8)
    baseline = subject.build_counterpart()
    model = add_adapter(load_baseline(baseline, question), baseline, question)
    theirs = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in theirs.values()) == sum(g.counts[0] for g in subject.trainer.attached.groups)
    rounds: list[int] = []
    seconds = time_baseline(baseline, question, Rounds(3, 2, 2), str(tmp_path), rounds.append)
    assert len(seconds) == 3 and min(seconds) > 0 and rounds == [0, 1, 2]


def test_packs_are_of_the_first_method_that_packs() -> None:
    spec = make_spec({"methods": "full,lorasp:ratio=0.25", "batch_size": 2, "max_length": 8})
    found, _ = build_cases(spec, (), (2, 4), "cpu")
    assert [(c.question.cell.label, c.k) for c in found if c.packed] == [
        ("lorasp:ratio=0.25", 2),
        ("lorasp:ratio=0.25", 4),
    ]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--methods", "full", "--packs", "2"], "none of them packs"),
        (["--methods", "lora:quantize=nf4"], "leave dtype, quantize and recompute out"),
        (["--packs", "2,x"], "--packs 2,x: allowed: whole numbers"),
        (["--strategies", "rwo"], "did you mean 'row'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(more: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "step", *SMALL, *more]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert says in line


@pytest.mark.gpu
def test_steps_are_captured_on_a_gpu(tmp_path: Path) -> None:
    assert torch.cuda.is_available()
    out = tmp_path / "step.json"
    words = ["bench", "step", "--methods", "lora,full,dora", "--strategies", "row", "--packs", "2", "--device", "cuda"]
    assert main([*words, "--dtype", "bf16", "--repeats", "3", "--out", str(out)]) == 0
    ours = [r for r in json.loads(out.read_text())["results"] if r["rival"]]
    assert len(ours) == 5 and all(r["not_captured"] is None for r in ours)


@pytest.mark.slow
def test_a_race_leaves_nothing_of_its_baseline_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """AdaLoRA's Trainer refers to itself; on a GPU it would take the memory of the packs that follow."""
    models: list[weakref.ref[torch.nn.Module]] = []
    alive: list[bool] = []
    load = trainer_step.load_baseline

    def watched(*words: Any) -> torch.nn.Module:
        alive.append(any(model() is not None for model in models))
        models.append(weakref.ref(made := load(*words)))
        return made

    monkeypatch.setattr(trainer_step, "load_baseline", watched)
    with disable_gc():
        assert main(["bench", "step", "--methods", "adalora,ia3", "--strategies", "", "--packs", "", *SMALL]) == 0
    assert alive == [False] * 3
