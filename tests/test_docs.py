"""The pages: links and anchors lead somewhere, files that they name exist, commands are ones that the program takes."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer

from harness.cli.main import build_commands, main
from harness.core.spec import Spec

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for folder in (ROOT, DOCS, ROOT / "examples") for path in folder.glob("*.md"))
REPORTS = sorted(ROOT.glob("results/reference/*/report/report.md"))
FENCE = re.compile(r"^```.*?^```", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:^    |`)((?:python -m harness|lorasp-harness) [^`\n]*)", re.M)
DATED = {"lab-log.md"}
"""What was true on a day stays as it was written."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read_prose(path: Path) -> str:
    """The page without its fenced blocks and the code in its lines."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", path.read_text()))


def list_anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs make them of plain words."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text()), re.M)
    words = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    return {re.sub(r"\s+", "-", each.strip()) for each in words}


@pytest.mark.parametrize("path", [*PAGES, *REPORTS], ids=name_of)
def test_links_and_anchors_lead_somewhere(path: Path) -> None:
    broken = []
    for link in LINK.findall(read_prose(path)):
        if re.match(r"[a-z]+:", link):
            continue  # another site: no network here
        target, _, anchor = unquote(link).partition("#")
        file = (path.parent / target).resolve() if target else path
        # in a page, as the fence of a site made of docs/ alone
        outside = path.parent == DOCS and not file.is_relative_to(DOCS)
        if outside or not file.exists() or (anchor and anchor not in list_anchors(file)):
            broken.append(link)
    assert not broken


def test_the_check_of_links_finds_a_broken_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One heading\n[a](#one-heading) [b](#another) [c](none.md) `[d](code.md)`\n")
    assert list_anchors(page) == {"one-heading"}
    assert LINK.findall(read_prose(page)) == ["#one-heading", "#another", "none.md"]


def test_every_page_is_in_the_navigation_and_the_index() -> None:
    navigation = set(re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert navigation == {path.name for path in DOCS.glob("*.md")}
    index = (DOCS / "index.md").read_text()
    assert all(f"]({name})" in index for name in navigation - {"index.md"})


@pytest.mark.parametrize("path", [p for p in PAGES if p.name not in DATED], ids=name_of)
def test_files_that_a_page_names_exist(path: Path) -> None:
    code = re.findall(r"`([^`\n]+)`", FENCE.sub("", path.read_text()))
    places = re.compile(r"(?:harness|methods|suites|reports|results|studies|scripts|tests|docs|examples)/[\w./-]*")
    # capital letters stand for a name of the reader's
    named = [text for text in code if places.fullmatch(text) and not re.search(r"results/runs|\b[A-Z]{3,}\b", text)]
    missing = [text for text in named if "." not in text.strip("/") and not (ROOT / text).is_dir()]
    missing += [text for text in named if "." in text and not (ROOT / text).is_file()]
    assert not missing


def list_commands() -> list[str]:
    texts = [FENCE.sub("", path.read_text()) for path in PAGES if path.name not in DATED]
    return sorted({command.strip() for text in texts for command in COMMAND.findall(text)})


def find_command(words: list[str]) -> tuple[typer.core.TyperCommand, list[str]]:
    """The command that the words call, and what is left for it to parse."""
    command = build_commands()
    while words and (inner := getattr(command, "commands", {}).get(words[0])):
        command, words = inner, words[1:]
    return command, words


@pytest.mark.parametrize("command", list_commands())
def test_commands_of_the_pages_are_parsed(command: str) -> None:
    """Names, flags and types; the README's commands are run as well (test_readme.py)."""
    words = shlex.split(command.removeprefix("python -m harness").removeprefix("lorasp-harness"))
    found, rest = find_command(words)
    if not getattr(found, "commands", {}):
        if "--plugin" in rest:  # the file is the reader's
            place = rest.index("--plugin")
            rest = rest[:place] + rest[place + 2 :]
        context = found.make_context(found.name, list(rest))
        fields = {k: v for k, v in context.params.items() if k in Spec.model_fields and v}
        if found.name in ("run", "plan", "profile"):
            Spec.model_validate(fields)
    else:
        assert set(words) <= {"--version", "--install-completion", "--show-completion", "--debug"}


def test_commands_are_found() -> None:
    commands = list_commands()
    assert len(commands) > 40 and any(command.startswith("python -m harness study") for command in commands)


def test_declared_study_of_the_page_is_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", (DOCS / "studies.md").read_text(), re.S)
    declaration = tomllib.loads(block)
    assert declaration["rule"] in {path.stem for path in (ROOT / "studies" / "rules").glob("*.py")}
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(block)
    words = ["study", "mine.toml", "--seeds", "2", "--max-steps", "1", "--train-rows", "32", "--eval-rows", "20"]
    assert main([*words, "--out", "out", "--formats", "md", "--figures", ""]) == 0
    assert json.loads(Path("out/study.json").read_text())


def test_every_declared_study_is_on_the_page() -> None:
    named = set(re.findall(r"^\| `([\w-]+)` \|", (DOCS / "studies.md").read_text(), re.M))
    assert named == {path.stem for path in (ROOT / "studies" / "declared").glob("*.toml")}


def test_every_method_and_strategy_is_on_the_page() -> None:
    from harness.core.method import METHODS, STRATEGIES, SUITES

    methods = (DOCS / "methods-and-strategies.md").read_text()
    assert all(f"`{name}`" in methods for registry in (METHODS, STRATEGIES) for name in registry.names())
    assert all(f"`{name}`" in (DOCS / "suites-and-your-own-data.md").read_text() for name in SUITES.names())


def test_every_picture_is_shown() -> None:
    shown = {Path(link).name for page in PAGES for link in LINK.findall(read_prose(page)) if "images/" in link}
    assert shown == {path.name for path in (DOCS / "images").iterdir()}
