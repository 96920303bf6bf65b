"""A run packed for git and unpacked again."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.core.record import Predictions, Record
from harness.core.store import Store
from scripts.pack_reference import main, shrink_svg
from tests.reports.records import cell, profile, record, store_of


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two methods with kept predictions and logits, a failed cell, a profile, and a trial of tuning."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 60).astype(float)
    records: list[Record] = [record(None, cell("cola", "full"))]
    (tmp_path / "run" / "cells").mkdir(parents=True)
    for method in ("lora", "lorasp"):
        for seed in range(3):
            logits = rng.normal(size=(60, 2)).astype(np.float32)
            made = cell("cola", method, seed)
            side = tmp_path / "run" / "cells" / f"{made.key}.parquet"
            ids = [f"validation/{i}" for i in range(60)]
            said = logits.argmax(axis=1)
            columns = {"id": ids, "split": "validation", "target": targets, "prediction": said}
            pd.DataFrame(columns | {"logits": list(logits)}).to_parquet(side, index=False)
            kept = Predictions(path=side.name, sha256=hashlib.sha256(side.read_bytes()).hexdigest(), rows=60)
            records.append(record(100.0 * float(np.mean(said == targets)), made, predictions=kept))
    folder = store_of(tmp_path / "run", records, [profile("lora")])
    store_of(folder / "tuning", [record(61.0, cell(protocol={"name": "tuned"}))])
    return folder


def files(folder: Path) -> dict[str, bytes]:
    found = [p for p in folder.rglob("*") if p.is_file() and "report" not in p.parts]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def test_what_comes_back_is_what_went_in(run: Path, tmp_path: Path) -> None:
    before = files(run)
    assert main([str(run), str(tmp_path / "out")]) == 0
    assert main(["--unpack", str(tmp_path / "out"), str(tmp_path / "back")]) == 0
    assert files(tmp_path / "back") == before == files(run) and not (run / "report").exists()
    with tarfile.open(tmp_path / "out" / "cells.tar.xz") as archive:
        members = archive.getmembers()
    assert [m.name for m in members] == sorted(before)
    assert all((m.mtime, m.uid, m.gid, m.uname) == (0, 0, 0, "") for m in members)


def test_the_same_bytes_whenever_it_is_packed(run: Path, tmp_path: Path) -> None:
    main([str(run), str(tmp_path / "a")])
    for path in run.rglob("*.json"):
        os.utime(path, (1, 1))
    main([str(run), str(tmp_path / "b")])
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert (tmp_path / "a" / "report" / "report.md").read_text().count("(figures/") >= 3


def test_report_has_no_page_and_scores_are_those_of_the_records(run: Path, tmp_path: Path) -> None:
    main([str(run), str(tmp_path / "out")])
    names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert {"cells.tar.xz", "scores.csv", "report/report.md", "report/figures/glue-scores.svg"} <= names
    assert all(name.endswith((".xz", ".csv", ".md", ".svg")) for name in names)
    scores = pd.read_csv(tmp_path / "out" / "scores.csv").set_index("key")
    stored = Store(run).read()[0]
    assert {k: scores.value[k] for k, r in stored.items() if r.status == "ok"} == {
        k: r.scores["accuracy"] for k, r in stored.items() if r.status == "ok"
    }


def test_without_logits_all_else_stays_and_records_are_true_of_their_files(run: Path, tmp_path: Path) -> None:
    """Each value as pandas reads it; the hash of the run's own file is kept."""
    assert main([str(run), str(tmp_path / "out"), "--without-logits"]) == 0
    main(["--unpack", str(tmp_path / "out"), str(tmp_path / "back")])
    kept, lines = Store(tmp_path / "back").read()  # checks each sha256
    before = Store(run).read()[0]
    assert lines == [] and set(kept) == set(before)
    note = (tmp_path / "back" / "packed.json").read_text()
    for key, own in before.items():
        assert kept[key].model_copy(update={"predictions": own.predictions}) == own
        if own.predictions is not None:
            old, new = (pd.read_parquet(f / "cells" / f"{key}.parquet") for f in (run, tmp_path / "back"))
            pd.testing.assert_frame_equal(new, old.drop(columns="logits"))
            assert own.predictions.sha256 in note
    main([str(run), str(tmp_path / "whole")])
    sizes = [(tmp_path / f / "cells.tar.xz").stat().st_size for f in ("out", "whole")]
    assert sizes[0] < 0.7 * sizes[1]
    texts = [(tmp_path / f / "report" / "report.md").read_text() for f in ("out", "whole")]
    assert texts[0] == texts[1]


def test_predictions_of_the_named_methods_only(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The other cells keep all else; what was left out is noted, also of a run that was unpacked and packed again."""
    before = Store(run).read()[0]
    labels = sorted({record.cell.label for record in before.values()})
    assert len(labels) > 1 and all(record.predictions for record in before.values() if record.status == "ok")
    main([str(run), str(tmp_path / "first"), "--without-logits"])
    main(["--unpack", str(tmp_path / "first"), str(tmp_path / "repacked")])
    assert main([str(tmp_path / "repacked"), str(tmp_path / "out"), "--predictions", labels[0]]) == 0
    main(["--unpack", str(tmp_path / "out"), str(tmp_path / "back")])
    kept, lines = Store(tmp_path / "back").read()
    assert lines == [] and set(kept) == set(before)
    note = json.loads((tmp_path / "back" / "packed.json").read_text())
    left_out = note["predictions left out"]
    for key, own in before.items():
        assert kept[key].model_copy(update={"predictions": own.predictions}) == own
        assert (tmp_path / "back" / "cells" / f"{key}.parquet").exists() == (kept[key].predictions is not None)
        if own.predictions is not None:
            assert (kept[key].predictions is None) == (own.cell.label != labels[0])
            assert (f"cells/{key}.parquet" in left_out) == (own.cell.label != labels[0])
    assert note["left out"] == "logits"
    assert main([str(run), str(tmp_path / "none"), "--predictions", "lor"]) == 2
    assert "no cell" in capsys.readouterr().err


def test_a_run_that_is_packed_again_keeps_its_note(run: Path, tmp_path: Path) -> None:
    """Also where more is left out later: the note names all of it, with the hashes of the run's own files."""
    labels = sorted({record.cell.label for record in Store(run).read()[0].values() if record.status == "ok"})
    folder, notes = run, []
    some, none = (["--without-logits", "--predictions", name] for name in (labels[0], "none"))
    for number, words in enumerate((["--without-logits"], some, none, [])):
        packed, back = tmp_path / f"packed{number}", tmp_path / f"back{number}"
        assert main([str(folder), str(packed), "--without-figures", *words]) == 0
        assert main(["--unpack", str(packed), str(back)]) == 0
        notes.append(json.loads((back / "packed.json").read_text()))
        folder = back
    own = {f"cells/{p.name}": hashlib.sha256(p.read_bytes()).hexdigest() for p in (run / "cells").glob("*.parquet")}
    assert all(note["sha256 of the run's predictions"] == own for note in notes)
    assert set(notes[1]["predictions left out"]) < set(notes[2]["predictions left out"]) == set(own)
    assert notes[3] == notes[2]


def test_a_report_without_figures_links_none(run: Path, tmp_path: Path) -> None:
    main([str(run), str(tmp_path / "with")])
    assert main([str(run), str(tmp_path / "without"), "--without-figures"]) == 0
    assert not (tmp_path / "without" / "report" / "figures").exists()
    texts = [(tmp_path / name / "report" / "report.md").read_text() for name in ("with", "without")]
    kept = [line for line in texts[0].splitlines() if line and "(figures/" not in line]
    assert kept == [line for line in texts[1].splitlines() if line] and len(texts[1]) < len(texts[0])


def test_mistakes_are_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    main([str(run), str(out)])
    capsys.readouterr()
    assert main(["--unpack", str(out), str(run)]) == 2 and "is not empty" in capsys.readouterr().err
    packed = (out / "cells.tar.xz").read_bytes()
    for damaged in (packed[:2000], packed[:900] + b"xxxxx" + packed[905:], b"no archive"):
        (out / "cells.tar.xz").write_bytes(damaged)
        assert main(["--unpack", str(out), str(tmp_path / "x")]) == 2 and "cannot be read" in capsys.readouterr().err
        shutil.rmtree(tmp_path / "x", ignore_errors=True)
    assert main([str(tmp_path / "nowhere"), str(out)]) == 2 and "holds no run" in capsys.readouterr().err


def test_a_changed_file_in_the_archive_is_seen(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(run), str(tmp_path / "out")])
    whole = lzma.decompress((tmp_path / "out" / "cells.tar.xz").read_bytes())
    at = whole.index(b"PAR1") + 40
    (tmp_path / "out" / "cells.tar.xz").write_bytes(
        lzma.compress(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    )
    capsys.readouterr()
    assert main(["--unpack", str(tmp_path / "out"), str(tmp_path / "back")]) == 2
    assert "absent or changed" in capsys.readouterr().err


def test_rounding_touches_numbers_only() -> None:
    before = '<path id="ab1.23456" x="10.5" d="M 10.123456 -3.98765 L 7 8.5"/><text>lr=0.0005, v1.2.345</text>'
    assert (
        shrink_svg(before)
        == '<path id="ab1.23456" x="10.5" d="M 10.12 -3.98 L 7 8.5"/><text>lr=0.0005, v1.2.345</text>'
    )
