"""The grammar of methods and seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.core.seeds import STREAMS
from harness.planning.grammar import parse_data_files, parse_methods, parse_models
from harness.planning.seed_grammar import parse_seeds


def test_a_comma_piece_with_an_equals_sign_belongs_to_the_method_before_it() -> None:
    calls = parse_methods("lora,lorasp:ratio=0.25,rank=8,head")
    assert [(c.method.name, c.method.options()) for c in calls] == [
        ("lora", {}),
        ("lorasp", {"ratio": 0.25, "rank": 8}),
        ("head", {}),
    ]
    assert all(c.named for c in calls)


def test_alternatives_make_a_product_and_lists_join_with_plus() -> None:
    calls = parse_methods("lora:rank=4|8,target=query+key|value")
    assert [(c.method.options()["rank"], c.method.options()["target"]) for c in calls] == [
        (4, ("query", "key")),
        (4, ("value",)),
        (8, ("query", "key")),
        (8, ("value",)),
    ]
    assert not any(c.named for c in calls)


def test_a_method_may_set_its_own_protocol_and_precision() -> None:
    (call,) = parse_methods("lora:lr=1e-3,max_steps=7,quantize=nf4")
    assert call.overrides == {"lr": 1e-3, "max_steps": 7, "quantize": "nf4"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lorra", "did you mean 'lora'"),
        ("lorasp:ratio=1.5", "ratio=1.5: allowed"),
        ("lora:rank=0", "rank=0"),
        ("lora:rank=four", "rank='four'.*allowed: int"),
        ("lora:quantize=nf5", "'nf5': did you mean 'nf4'.*allowed: fp4, int8, nf4, nf4-dq, none, sim2, sim3, sim6$"),
        ("lora:rnk=4", "did you mean 'rank'"),
        ("lora:lr=-1", "greater than 0"),
        ("lora:quantize=int3", "'int3': did you mean 'int8'"),
        ("lorasp:select=randon", "did you mean 'random'"),
        ("rank=4", "before any method"),
        ("lora,,head", "empty piece"),
        ("lora:rank=", "needs a value"),
        ("lora:alpha=inf", "alpha='inf'.*finite"),
        ("lora:epsilon=inf", "epsilon='inf'.*finite"),
        ("lora:rank=4,rank=8", "'rank' of 'lora' is given twice; several: rank=A|B"),
    ],
)
def test_mistakes_get_one_line(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        parse_methods(text)
    assert "\n" not in str(caught.value)


def test_seeds() -> None:
    assert parse_seeds("2") == [dict.fromkeys(STREAMS, 0), dict.fromkeys(STREAMS, 1)]
    held = parse_seeds("2,length=7")
    assert held == [dict.fromkeys(STREAMS, i) | {"length": 7} for i in (0, 1)]
    named = parse_seeds("init=3,mask=0..2,order=5..6")
    assert len(named) == 6 and {s["init"] for s in named} == {3} and {s["dropout"] for s in named} == {0}
    assert [(s["mask"], s["order"]) for s in named] == [(m, o) for m in range(3) for o in (5, 6)]


@pytest.mark.parametrize("text", ["0", "-1", "five", "mask=2..1", "masq=1", "mask=0.5"])
def test_wrong_seeds(text: str) -> None:
    with pytest.raises(UserError):
        parse_seeds(text)


def test_files_and_models(tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "rows.tsv"
    file.write_text("x")
    assert parse_data_files([f"qnli/train={file}", f"mnli/dev_matched={file}"]) == {
        ("qnli", "train"): (file,),
        ("mnli", "validation_matched"): (file,),
    }
    with pytest.raises(UserError, match="no such file"):
        parse_data_files(["qnli/train=/nowhere/x.tsv"])
    assert parse_models(["a/b", "wmt16=c"], ["glue", "wmt16"]) == {"": "a/b", "wmt16": "c"}
    named = file.with_name("a=b")
    named.mkdir()
    assert parse_models([str(named)], ["glue"]) == {"": str(named)}


@pytest.mark.parametrize(
    ("text", "says"), [("gleu=c", "did you mean 'glue'"), ("", "SUITE=PATH"), ("glue=", "SUITE=PATH")]
)
def test_a_model_of_no_suite_is_not_passed_over(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse_models([text], ["glue", "wmt16"])


def test_a_file_alone_is_a_task_of_its_name(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("my rows-2.csv", "dev.tsv")]
    for path in paths:
        path.write_text("")
    found = parse_data_files([str(paths[0]), f"table/dev={paths[1]}"])
    assert found == {("my_rows_2", "train"): (paths[0],), ("table", "validation"): (paths[1],)}
    with pytest.raises(UserError, match="or a file"):
        parse_data_files([str(tmp_path / "none.csv")])
