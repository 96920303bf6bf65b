"""WMT's files: SGML with one language, XML with both.

    <srcset|refset> <doc docid=..> <seg id=..> text </seg>   one file a language   -> read_sgml
    <dataset> <doc> <src lang=..> <seg> · <ref lang=..> <seg>   one file           -> read_xml

A segment is known by its document and number, since the two sides may have other orders.
"""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Sequence
from xml.etree import ElementTree

from harness.core.errors import UserError

SGML = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!DOCTYPE[^>]*>\s*)?(?:<mteval>\s*)?<(srcset|refset|tstset|doc)\b", re.I)
XML = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!DOCTYPE[^>]*>\s*)?<(dataset|collection|OLI)\b")
DOCUMENT = re.compile(r"<(/?)doc\b([^>]*)>", re.I)
SEGMENT = re.compile(r"<seg\b([^>]*)>(.*?)</seg\s*>", re.I | re.S)
ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);")

Key = tuple[str, str]
"""Document and segment."""


@dataclasses.dataclass(frozen=True)
class Side:
    """The segments of one language in order, and notes; `keys` is None for plain text, whose lines have no numbers."""

    texts: Sequence[str]
    keys: Sequence[Key] | None = None
    notes: tuple[str, ...] = ()


def read_sgml(name: str, text: str) -> Side:
    """The segments of an .sgm file, entities unescaped. Of several references the first is used, with a note.

    Raises UserError for a duplicate segment, or a file without segments.
    """
    sets: dict[str, dict[Key, str]] = {}
    # Regular expressions, because lone & and unquoted attributes make an XML parser refuse the files.
    marks = [(m.start(), m) for m in DOCUMENT.finditer(text)]
    marks += [(m.start(), m) for m in SEGMENT.finditer(text)]
    document = reference = ""
    for place, match in sorted(marks, key=lambda mark: mark[0]):
        if match.re is DOCUMENT:
            attributes = _parse_attributes(match[2])
            document, reference = attributes.get("docid", ""), attributes.get("sysid", "")
            continue
        segments = sets.setdefault(reference, {})
        key = document, _parse_attributes(match[1]).get("id", str(len(segments) + 1))
        if key in segments:
            line = text.count("\n", 0, place) + 1
            raise UserError(f"{name} line {line}: segment {key[1]} of document '{document}' is given twice; keep one")
        segments[key] = _clean_segment(match[2])
    if not sets:
        raise UserError(f"{name}: no <seg> in it, expected segments of WMT's SGML format or a sentence a line")
    if len(re.findall(r"<seg\b", text, re.I)) != sum(map(len, sets.values())):
        raise UserError(f"{name}: a <seg> is not closed by </seg>; repair the file")
    first, segments = next(iter(sets.items()))
    if len(sets) > 1 and (short := next((n for n, s in sets.items() if set(s) != set(segments)), None)) is not None:
        raise UserError(
            f"{name}: references '{first}' and '{short}' have other segments; give a file with one reference of each"
        )
    note = f"derived: {_strip_folders(name)} has {len(sets)} references of each segment, the first ('{first}') is used"
    return Side(list(segments.values()), list(segments), (note,) if len(sets) > 1 else ())


def _parse_attributes(text: str) -> dict[str, str]:
    """Attributes of a tag by their lower-case names; a value may have double, single or no quotes."""
    attributes = {}
    for match in ATTRIBUTE.finditer(text):
        attributes[match[1].lower()] = next(value for value in match.groups()[1:] if value is not None)
    return attributes


def _clean_segment(text: str) -> str:
    """The text of a segment on one line."""
    # A lone & stays, since WMT's files have some; html.unescape alone would also read &copy without a semicolon.
    return ENTITY.sub(lambda m: html.unescape(m[0]), re.sub(r"[ \t]*\r?\n[ \t]*", " ", text)).strip()


def read_xml(name: str, data: bytes, source: str, target: str) -> tuple[Side, Side]:
    """Both sides of WMT's XML format. Of several references the first of each document is used, with a note.

    Raises UserError if a document lacks one side, or has it in another language.
    """
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{name}: expected WMT's XML format: {error}") from error
    sides: tuple[dict[Key, str], dict[Key, str]] = {}, {}
    several = 0
    for document in root.iter("doc"):
        label = document.get("id", "")
        for segments, tag, language in ((sides[0], "src", source), (sides[1], "ref", target)):
            parts = [part for part in document.findall(tag) if part.get("lang", language) == language]
            if not parts:
                raise UserError(f"{name}: document '{label}' has no <{tag} lang=\"{language}\">, expected both sides")
            several = max(several, len(parts) if tag == "ref" else 0)
            for segment in parts[0].iter("seg"):
                key = label, segment.get("id", str(len(segments) + 1))
                if key in segments:
                    raise UserError(f"{name}: segment {key[1]} of document '{label}' is given twice; keep one")
                segments[key] = " ".join("".join(segment.itertext()).split("\n")).strip()
    if not sides[0]:
        raise UserError(f"{name}: no <seg> in it, expected WMT's XML format")
    note = (f"derived: {_strip_folders(name)} has {several} references, the first one is used",) if several > 1 else ()
    return Side(list(sides[0].values()), list(sides[0])), Side(list(sides[1].values()), list(sides[1]), note)


def _strip_folders(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]
