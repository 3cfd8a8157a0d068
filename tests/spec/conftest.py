"""The documents of spec/, taken apart: headings, tables and examples."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

SPEC = Path(__file__).parents[2] / "spec"
HEADING = re.compile(r"(#+) (.+)")


@dataclass(frozen=True)
class Table:
    """A table: the heading that it stands under, its first row, and the others; cells without backticks around them."""

    section: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Document:
    """A document of the specification."""

    number: str
    text: str

    @cached_property
    def headings(self) -> list[str]:
        """The headings of the second level."""
        return [text for level, text, _ in self._parts() if level == 2]

    @cached_property
    def tables(self) -> list[Table]:
        """All tables, in order."""
        return [table for _, section, lines in self._parts() for table in _tables(section, lines)]

    @cached_property
    def examples(self) -> dict[str, bytes]:
        """The bytes of each block of the language `hex`, by the name after it."""
        blocks = re.findall(r"^```hex (\S+)\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)
        assert len({name for name, _ in blocks}) == len(blocks)
        return {name: bytes_of(body) for name, body in blocks}

    def under(self, section: str) -> str:
        """Return the text below a heading, up to the next one of any level."""
        return next("\n".join(lines) for _, text, lines in self._parts() if text == section)

    def with_head(self, *head: str) -> Iterator[Table]:
        """Yield the tables whose first row begins with these cells."""
        return (table for table in self.tables if table.head[: len(head)] == head)

    def _parts(self) -> Iterator[tuple[int, str, list[str]]]:
        """Yield the level and the text of each heading, and the lines below it that are in no block."""
        level, text, lines, fenced = 1, "", list[str](), False
        for line in self.text.splitlines():
            fence = line.startswith("```")
            fenced ^= fence
            found = None if fenced else HEADING.fullmatch(line)
            if found is None:
                lines += [] if fenced or fence else [line]
                continue
            yield level, text, lines
            level, text, lines = len(found[1]), found[2], []
        yield level, text, lines


def bytes_of(body: str) -> bytes:
    """Return the bytes that a block of hexadecimal digits, quoted ASCII and repetitions stands for."""
    out = bytearray()
    for line in body.splitlines():
        for token in re.findall(r'"[^"]*"|[^\s"]+', line.partition(";")[0]):
            digits, _, times = token.partition("*")
            out += token[1:-1].encode("ascii") if token[0] == '"' else bytes.fromhex(digits) * int(times or 1)
    return bytes(out)


def _tables(section: str, lines: list[str]) -> Iterator[Table]:
    block: list[tuple[str, ...]] = []
    for line in [*lines, ""]:
        if line.startswith("|"):
            block.append(tuple(_bare(cell) for cell in line.strip()[1:-1].split("|")))
        elif block:
            yield Table(section, block[0], tuple(block[2:]))
            block = []


def _bare(cell: str) -> str:
    text = cell.strip()
    return text[1:-1] if re.fullmatch(r"`[^`]*`", text) else text


def _documents() -> Mapping[str, Document]:
    paths = sorted(path for path in SPEC.glob("*.md") if path.name != "README.md")
    return {path.name[:4]: Document(path.name[:4], path.read_text("utf-8")) for path in paths}


@pytest.fixture(scope="session")
def documents() -> Mapping[str, Document]:
    """All documents, by number."""
    return _documents()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for a `document` once for each."""
    if "document" in metafunc.fixturenames:
        found = _documents()
        metafunc.parametrize("document", found.values(), ids=list(found))
