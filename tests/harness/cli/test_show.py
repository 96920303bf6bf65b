"""`show`: a key's first characters are enough, and each stored number is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.cli.show import find_record
from harness.core.errors import UserError
from harness.core.record import PackInfo, Predictions
from tests.reports.records import cell, record, store_of


def stored(folder: Path) -> list[str]:
    side = Predictions(path="x.parquet", sha256="c" * 64, rows=7)
    made = [record(60.0 + s, cell(seed=s)) for s in range(3)]
    pack = PackInfo(keys=[r.key for r in made], slot=1, size=3, threads=2)
    made[1] = made[1].model_copy(update={"predictions": side, "pack": pack})
    made.append(record(None, cell("rte"), traceback="Traceback\n  line 3"))
    store_of(folder, made)
    return [r.key for r in made]


def test_all_that_is_stored_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = stored(tmp_path)
    assert main(["show", keys[1][:10], str(tmp_path)]) == 0
    text = capsys.readouterr().out
    for word in (
        f"{keys[1]}: glue cola, lora, ok",
        "accuracy           61.0000",
        "init               1",
        "slot               1",
        "torch              2.13",
        f"{tmp_path / 'cells' / keys[1]}.json",
        "x.parquet (7 rows, sha256 cccccccccccc)",
        "adapter trained    1024",
        "0.7000 at step 1, 0.5000 at step 2",
        *keys[:3],
    ):
        assert word in text, word
    assert "truncation" not in text and "None" not in text
    assert main(["show", keys[3], str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "reason             ValueError: on purpose" in text and "  line 3" in text


def test_json_is_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = stored(tmp_path)
    assert main(["show", keys[0], str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "cells" / f"{keys[0]}.json").read_text())


def test_a_run_need_not_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = stored(tmp_path / "results" / "runs" / "one")
    folder, found = find_record(keys[0], None)
    assert folder == Path("results/runs/one") and found.key == keys[0]


def test_a_prefix_of_none_or_of_many_is_refused(tmp_path: Path) -> None:
    keys = stored(tmp_path)
    with pytest.raises(UserError, match=f"matches 4 keys: {min(keys)}.*give more"):
        find_record("", tmp_path)
    with pytest.raises(UserError, match="unknown key"):
        find_record("zz", tmp_path)
    with pytest.raises(UserError, match=r"no stored cells in .*nowhere; give the folder"):
        find_record("a", tmp_path / "nowhere")
    (tmp_path / "cells" / f"{keys[0]}.json").write_text("{}")
    with pytest.raises(UserError, match="is not a readable record"):
        find_record(keys[0], tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("scores", "accuracy"), "high", "scores.accuracy: .*'high'"),
        (("cell", "seeds"), 5, "cell.seeds: .*5"),
        (("status",), "x" * 10_000, "status: .*'xxx"),
        (("steps",), [1, "\x1b[31m"], r"steps: .*\\x1b"),
    ],
)
def test_of_a_damaged_record_the_field_and_what_it_holds_are_named(
    place: tuple[str, ...], value: object, says: str, tmp_path: Path
) -> None:
    key = stored(tmp_path)[0]
    path = tmp_path / "cells" / f"{key}.json"
    content = json.loads(path.read_text())
    inner = content
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=says) as caught:
        find_record(key, tmp_path)
    assert len(str(caught.value)) < 600 and str(caught.value).isprintable()
    del content["status"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"status: field required|status: Field required"):
        find_record(key, tmp_path)
