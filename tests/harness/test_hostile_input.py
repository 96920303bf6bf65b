"""Input of any kind ends in a result or in one UserError: no other exception, no long wait, no large memory."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main
from harness.core.errors import UserError
from harness.core.method import METHODS, STRATEGIES
from harness.core.protocol import Protocol
from harness.core.registry import Registry, load_all
from harness.core.seeds import STREAMS, equal
from harness.core.spec import Spec
from harness.core.spec_reading import make_spec
from harness.planning.grammar import (
    OVERRIDE_TYPES,
    SHORT_NAMES,
    parse_data_files,
    parse_methods,
    parse_models,
)
from harness.planning.seed_grammar import parse_seeds
from harness.profiling.capacity import parse_memory
from studies import stored
from studies.study import list_studies, read_study as read_study

CASES = 500
ODD = [
    "\x00", "\n", "\r", "\u2028", "\u202e", "\ufeff", "²", "٣", "\U0001d7d9", "①", "\uff15", "😀", "\ud800", "<script>",
    "\x1b[31m",
    "nan", "inf", "-inf", "1e999", "1_000", "0x10", " ", "\t", "%s", "{}", "{0}", "../", "\\", "'", '"', "None", "-1",
    "0", "1e-400", "True", "[" * 3000, "9" * 400, "9" * 5000, "x" * 5000, "~nobody", "~", "=", ",", ":", "|", "+", "..",
]  # fmt: skip


def outcome(action: Callable[[], Any]) -> Any:
    """What the action gives, or the UserError that it raises; anything else fails the test, and so do 5 s."""
    began = time.process_time()
    try:
        return action()
    except UserError as error:
        return error
    finally:
        assert time.process_time() - began < 5


def glue(rng: random.Random, *pieces: list[str]) -> str:
    return "".join(rng.choice(rng.choice(pieces)) for _ in range(rng.randrange(12)))


# ---------------------------------------------------------------- grammars


def test_methods_of_any_text() -> None:
    load_all()
    rng = random.Random(1)
    called = [*METHODS.names(), *SHORT_NAMES, "all", *(f"lorasp-{name}" for name in STRATEGIES.names())]
    options = [*OVERRIDE_TYPES, "rank", "alpha", "ratio", "select", "dropout", "targets", "scope", "layers", "init"]
    values = [*ODD, "4", "8|16", "0.5", "random", "query+value", "1e-3", "none", "bf16", "nf4"]
    for _ in range(CASES):
        if rng.random() < 0.6:
            given = ",".join(f"{rng.choice(options)}={rng.choice(values)}" for _ in range(rng.randrange(4)))
            text = f"{rng.choice(called)}:{given}"
        else:
            text = glue(rng, called, options, values, list(",:=|+ "))
        found = outcome(lambda text=text: parse_methods(text))
        assert isinstance(found, UserError) or len(found) <= 1000


@pytest.mark.parametrize(
    "text",
    [
        "lora:"
        + ",".join(f"{option}={'|'.join(map(str, range(1, 100)))}" for option in ("rank", "alpha", "max_steps")),
        "lora:rank=" + "|".join(map(str, range(1, 200_000))),
        "lora," * 200_000 + "lora",
        ",".join(["lora:rank=1|2|3"] * 400),
        "all," * 400 + "all",
    ],
    ids=["product", "alternatives", "commas", "pieces", "all"],
)
def test_a_product_of_methods_is_bounded(text: str) -> None:
    load_all()
    assert isinstance(outcome(lambda: parse_methods(text)), UserError)
    assert len(parse_methods("lora:rank=1|2|4,alpha=8|16")) == 6


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "9" * 400, "9" * 5000, "²", "٣", "-1", str(10**18)])
@pytest.mark.parametrize("option", ["rank", "alpha", "dropout", *OVERRIDE_TYPES])
def test_a_number_that_no_option_takes_is_refused(option: str, value: str) -> None:
    load_all()
    numeric = OVERRIDE_TYPES.get(option, float) not in (str, bool)
    found = outcome(lambda: parse_methods(f"lora:{option}={value}"))
    if isinstance(found, UserError) or not numeric:
        return
    (call,) = found
    number = call.overrides[option] if option in call.overrides else getattr(call.method, option)
    assert math.isfinite(number) and number >= 0 and (isinstance(number, float) or number <= 10**9)


def test_seeds_of_any_text() -> None:
    rng = random.Random(2)
    numbers = ["0", "1", "5", "40", "00", "+1", *ODD, "9" * 20, "20261126"]
    for _ in range(CASES):
        text = glue(rng, [*STREAMS, "foo", "İnit"], numbers, list(",=. "), ["init=0..3", "mask=2"])
        found = outcome(lambda text=text: parse_seeds(text))
        assert isinstance(found, UserError) or all(set(seeds) == set(STREAMS) for seeds in found)
        assert isinstance(found, UserError) or len(found) <= 10_000


@pytest.mark.parametrize(
    "text",
    ["²", "٣", "\uff15", "\U0001d7d9", "9" * 4300, "9" * 4301, "9" * 5000, "20261126", "10001", "0", "-1", "init=²"]  # noqa: RUF005
    + [
        "init=0..10000",
        "init=0..999999999999",
        "init=0..99,mask=0..99,order=0..99",
        f"init={'9' * 5000}",
        f"init={2**63}",
        "1_0",
    ],
)
def test_seeds_that_are_no_count_are_refused(text: str) -> None:
    assert isinstance(outcome(lambda: parse_seeds(text)), UserError)
    assert main(["plan", "--seeds", text]) == 2


def test_a_seed_typed_as_a_count_is_answered_with_how_to_ask_for_it() -> None:
    error = outcome(lambda: parse_seeds("20261126"))
    assert isinstance(error, UserError) and "init=20261126" in str(error) and "10,000" in str(error)
    whole = ",".join(f"{stream}=20261126" for stream in STREAMS)
    assert whole in str(error) and parse_seeds(whole) == [equal(20261126)]
    assert len(parse_seeds("10000")) == 10_000 and len(parse_seeds("init=0..99,mask=0..99")) == 10_000


def test_files_models_and_memory_of_any_text() -> None:
    rng = random.Random(3)
    pieces = ["a/train=", "glue=", "wmt16/dev=", "~nobody/", "x" * 300, "/", ".", "24", "GiB", "."]
    for _ in range(CASES):
        text = glue(rng, pieces, ODD)
        for action in (
            lambda text=text: parse_data_files([text]),
            lambda text=text: parse_models([text], ["glue"]),
            lambda text=text: parse_memory(text),
        ):
            outcome(action)


# ---------------------------------------------------------------- flags and files


def test_specs_of_any_value() -> None:
    rng = random.Random(4)
    values: list[Any] = [
        *ODD,
        10**30,
        10**5000,
        -1,
        0,
        math.nan,
        math.inf,
        True,
        None,
        [],
        {},
        [[]],
        ["\x00"],
        "5",
        1e300,
    ]
    values += [Path("x" * 300), Path("a\x00b"), Path("/dev/null"), ("glue",), "a/" * 3000, {"a": {}}]
    for _ in range(CASES):
        flags = {rng.choice(list(Spec.model_fields)): rng.choice(values) for _ in range(rng.randrange(1, 4))}
        found = outcome(lambda flags=flags: make_spec(flags).folder)
        assert isinstance(found, (UserError, Path))


def test_toml_of_any_bytes(tmp_path: Path) -> None:
    rng = random.Random(5)
    path = tmp_path / "s.toml"
    keys = [*Spec.model_fields, "max-steps", "data-dir", "a.b", '""', *ODD]
    values = ['"glue"', "5", "[1,2]", "1e3", "inf", "nan", "{a=1}", "1979-05-27", "0xFF", "[" * 200, "0x" + "F" * 6000]
    for _ in range(CASES):
        lines = [f"{rng.choice(keys)} = {rng.choice([*values, *ODD])}" for _ in range(rng.randrange(4))]
        content = "\n".join(lines).encode("utf-8", "surrogatepass") if rng.random() < 0.8 else rng.randbytes(40)
        path.write_bytes(content)
        outcome(lambda: make_spec({}, path).folder)
        outcome(lambda: read_study(path))


@pytest.mark.parametrize(
    "content",
    [b"methods = '\xff'", b"seeds = " + b"[" * 5000, b"a = {b=" * 3000, b"seeds = " + b"9" * 5000, b"\xff\xfe"]  # noqa: RUF005
    + [b"max-steps = 1\nmax_steps = 2", b'out = "a\\u0000b"', b'suite = "' + b"x" * 10**6 + b'"'],
)
def test_a_toml_file_that_is_none_is_one_line(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.toml"
    path.write_bytes(content)
    for words in (["plan", "--spec", str(path)], ["study", str(path)]):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and len(error) < 3000


NUMBERS = ["nan", "inf", "-inf", "-1", "1e999", "9" * 5000, "²", "", "x", "9" * 40]
NUMERIC = [name for name, field in Spec.model_fields.items() if {int, float} & set(getattr(field.annotation, "__args__", [field.annotation]))]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("flag", NUMERIC)
def test_numbers_of_no_use_are_refused_for_each_flag(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    for value in NUMBERS:
        assert main(["plan", f"--{flag.replace('_', '-')}={value}"]) == 2, value
        assert capsys.readouterr().err.count("\n") == 1


def test_flags_and_the_protocol_have_the_same_bounds() -> None:
    for name in NUMERIC:
        if name in Protocol.model_fields:
            bounds = [
                sorted(str(m) for m in model.model_fields[name].metadata if "Gt" in str(m) or "Le" in str(m))
                for model in (Spec, Protocol)
            ]
            assert bounds[0] == bounds[1], name


@pytest.mark.parametrize("word", ["a\x00b", "\udcff", "x" * 300, "/dev/null/x"])
def test_paths_that_no_file_system_takes_are_one_line(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        *([verb, word] for verb in ("report", "watch", "study")),
        ["show", "0", word],
        ["compare", word, word],
        *(["plan", flag, word] for flag in ("--model", "--data-dir", "--plugin", "--data-file", "--spec")),
        ["plan", "--out", word, "--seeds", "0"],
        ["plan", "--model", f"glue={word}", "--seeds", "0"],
        ["merge", word, "--model", word, "--out", word],
        ["new", "strategy", word, "--out", word],
        ["methods", "--plugin", word],
    ):
        assert main(words) == 2, words
        assert capsys.readouterr().err.count("\n") == 1


def test_seconds_between_looks_are_bounded(tmp_path: Path) -> None:
    for value in ("nan", "inf", "0", "-1", "1e308"):
        assert main(["watch", str(tmp_path), "--seconds", value]) == 2


def test_names_that_the_grammar_cannot_write_are_not_registered() -> None:
    for name in ("", "a,b", "a:b", "a=b", "a|b", " a", "a\n", "\x1b[31m", "a\x00", "x" * 101, "\u202ea"):
        with pytest.raises(UserError):
            Registry[int]("method").register(name)(1)
    registry = Registry[int]("method")
    for name in ("mine", "mine-[/x]", "é", "a/b", "a.b_c"):
        registry.register(name)(1)
    assert len(registry.names()) == 5


# ---------------------------------------------------------------- study files


def test_study_files_of_any_content(tmp_path: Path) -> None:
    rng = random.Random(6)
    path = tmp_path / stored.FILE
    good = {"study": "parity", "kind": "confirmed", "sentence": "s", "parts": {}, "evidence": [{"a": 1}], "notes": []}
    values: list[Any] = [None, 1, [], {}, "x", [[]], {"a": 1}, [1], [{"a": 1}, {"b": 2}], math.nan, "\x00"]
    odd = [b"[" * 5000, b'{"study": ' * 3000, b"", b"null", b"\xff", b"1" * 5000, b"[]"]
    for _ in range(CASES):
        content = dict(good)
        for _ in range(rng.randrange(3)):
            content[rng.choice([*good, "declared", "preset", "command", "lacks"])] = rng.choice(values)
        path.write_bytes(json.dumps(content).encode() if rng.random() < 0.9 else rng.choice(odd))
        found = outcome(lambda: stored.read_content(tmp_path))
        if not isinstance(found, UserError):
            outcome(lambda found=found: stored.load_declared(found))
            outcome(lambda found=found: stored.load_answer(found))
    path.write_text(json.dumps(good))
    assert stored.load_answer(stored.read_content(tmp_path)).kind == "confirmed"


def test_options_of_a_study_have_the_types_that_its_rule_reads(tmp_path: Path) -> None:
    from studies.rulebook import RULE_OPTIONS, check_study
    from studies.study import load_study

    for name in list_studies():
        study = load_study(name)
        check_study(study)
        for option in RULE_OPTIONS[study.rule].split():
            wrong = study.model_copy(update={"options": study.options | {option: {"x": object()}}})
            with pytest.raises(UserError):
                check_study(wrong)
