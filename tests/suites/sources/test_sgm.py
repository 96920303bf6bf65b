"""WMT's SGML and XML files give the sentences that the same files have as plain text."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
import pytest
import sacrebleu

from harness.core.errors import UserError
from harness.core.method import SourceRequest
from suites.sources.parallel import read_pairs
from suites.wmt16 import Wmt16

SOURCE = ['I saw "two" dogs & a cat.', "x < y > z", "AT&T's", "a\u2028b", "Fine."]
TARGET = ["Am văzut „doi” câini & o pisică.", "x < y", "La AT&T", "a b c d", "Bine, mulțumesc foarte mult."]


def sgm(kind: str, texts: list[str], documents: int = 2, sysid: str = "ref", raw: bool = False) -> str:
    """A set of documents whose segments are numbered anew in each."""
    lines = [f'<{kind} setid="t" srclang="any" trglang="ro">']
    for d in range(documents):
        own = texts[d::documents]
        lines += [f'<doc sysid="{sysid}" docid="doc.{d}" genre="news">', "<p>"]
        lines += [
            f'<seg id="{n}">{text if raw else html.escape(text, quote=False)}</seg>' for n, text in enumerate(own, 1)
        ]
        lines += ["</p>", "</doc>"]
    return "\n".join([*lines, f"</{kind}>", ""])


def save(folder: Path, **texts: str) -> list[Path]:
    paths = []
    for name, text in texts.items():
        paths.append(folder / name.replace("_", "."))
        paths[-1].write_text(text, encoding="utf-8")
    return paths


def test_segments_are_the_sentences_and_score_as_plain_text_does(tmp_path: Path) -> None:
    marked = save(tmp_path, s_en_sgm=sgm("srcset", SOURCE, 1), r_ro_sgm=sgm("refset", TARGET, 1))
    plain = save(tmp_path, s_en="\n".join(SOURCE) + "\n", r_ro="\n".join(TARGET) + "\n")
    suite = Wmt16()
    data = {}
    for name, paths in (("sgm", marked), ("plain", plain)):
        files = {("wmt16", split): tuple(paths) for split in ("train", "test")}
        data[name] = suite.load("en-ro", SourceRequest("data-dir", tmp_path, files))
    assert data["sgm"].splits == data["plain"].splits and data["sgm"].fingerprint == data["plain"].fingerprint
    rows = data["sgm"].splits["test"]
    assert [row.texts[0] for row in rows] == SOURCE
    guess = [*TARGET[:-1], "Bine, mersi foarte mult."]
    scores = suite.score(
        "en-ro", "test", np.array(guess, dtype=object), np.array([r.label for r in rows], dtype=object)
    )
    assert scores["bleu"] == pytest.approx(sacrebleu.corpus_bleu(guess, [TARGET]).score)


def test_segments_are_matched_by_document_and_number(tmp_path: Path) -> None:
    target = sgm("refset", TARGET)
    first, second = target.index("<doc"), target.index("<doc", target.index("<doc") + 1)
    end = target.index("</refset>")
    swapped = target[:first] + target[second:end] + target[first:second] + target[end:]
    one, two, other = save(tmp_path, s_en_sgm=sgm("srcset", SOURCE), r_ro_sgm=target, o_ro_sgm=swapped)
    pairs = [(row.texts[0], row.label) for row in read_pairs(one, other, "train")[0]]
    assert pairs == [(row.texts[0], row.label) for row in read_pairs(one, two, "train")[0]]
    assert dict(pairs) == dict(zip(SOURCE, TARGET, strict=True))


def test_other_segments_on_the_other_side_are_refused(tmp_path: Path) -> None:
    one, two = save(
        tmp_path, s_en_sgm=sgm("srcset", SOURCE), r_ro_sgm=sgm("refset", TARGET).replace('seg id="2"', 'seg id="9"')
    )
    with pytest.raises(UserError, match=r"no segment 2 of document 'doc\.0'"):
        read_pairs(one, two, "train")
    one.write_text(sgm("srcset", SOURCE).replace('seg id="2"', 'seg id="1"'), encoding="utf-8")
    with pytest.raises(UserError, match=r"s\.en\.sgm line 5: segment 1 .* twice"):
        read_pairs(one, two, "train")
    one.write_text(sgm("srcset", SOURCE).replace("</seg>", "", 1), encoding="utf-8")
    with pytest.raises(UserError, match="not closed"):
        read_pairs(one, two, "train")
    one.write_text("<srcset>\n</srcset>\n")
    with pytest.raises(UserError, match="no <seg>"):
        read_pairs(one, two, "train")


def test_of_several_references_the_first_is_used_and_a_note_says_so(tmp_path: Path) -> None:
    several = sgm("refset", TARGET, sysid="refA") + sgm("refset", SOURCE, sysid="refB")
    one, two = save(tmp_path, s_en_sgm=sgm("srcset", SOURCE), r_ro_sgm=several)
    rows, notes = read_pairs(one, two, "train")
    assert {row.label for row in rows} == set(TARGET)
    assert len(notes) == 1 and "2 references" in notes[0] and "refA" in notes[0]


def test_a_lone_ampersand_and_a_segment_over_lines_are_text(tmp_path: Path) -> None:
    one, two = save(
        tmp_path,
        s_en_sgm='<srcset><doc docid="a"><seg id="1">AT&T &amp;lt; &#233;\n  b</seg></doc></srcset>',
        r_ro_sgm="<REFSET><DOC docid='a'><SEG ID=1> x </SEG></DOC></REFSET>",
    )
    rows, _ = read_pairs(one, two, "train")
    assert (rows[0].texts[0], rows[0].label) == ("AT&T &lt; é b", "x")


def test_official_sgm_files_of_a_folder(tmp_path: Path) -> None:
    for stem in ("newsdev2016", "newstest2016"):
        (tmp_path / f"{stem}-enro-src.en.sgm").write_text(sgm("srcset", SOURCE), encoding="utf-8")
        (tmp_path / f"{stem}-enro-ref.ro.sgm").write_text(sgm("refset", TARGET), encoding="utf-8")
    for task, texts in (("en-ro", SOURCE), ("ro-en", TARGET)):
        data = Wmt16().load(task, SourceRequest("data-dir", tmp_path))
        assert {row.texts[0] for row in data.splits["test"]} == set(texts)


def test_xml_has_both_languages(tmp_path: Path) -> None:
    body = "".join(
        f'<doc id="{n}"><src lang="en"><p><seg id="1">{html.escape(s)}</seg></p></src>'
        f'<ref lang="ro" translator="A"><p><seg id="1">{html.escape(t)}</seg></p></ref>'
        f'<ref lang="ro" translator="B"><p><seg id="1">other</seg></p></ref></doc>'
        for n, (s, t) in enumerate(zip(SOURCE, TARGET, strict=True))
    )
    (path,) = save(tmp_path, wmt_xml=f"<?xml version='1.0' encoding='utf-8'?><dataset id='t'>{body}</dataset>")
    files = {("wmt16", split): (path,) for split in ("train", "test")}
    data = Wmt16().load("en-ro", SourceRequest("hub", None, files))
    assert [(r.texts[0], r.label) for r in data.splits["test"]] == list(zip(SOURCE, TARGET, strict=True))
    assert any("2 references" in note for note in data.notes)
    with pytest.raises(UserError, match=r"wmt\.xml"):
        read_pairs(path, path, "train")
    path.write_text("<dataset><doc")
    with pytest.raises(UserError, match=r"wmt\.xml"):
        Wmt16().load("en-ro", SourceRequest("hub", None, files))
