"""docs/coverage.md: each requirement of spec/, which vectors try it, and where code and tests name its id.

python conformance/coverage.py           says whether the page is up to date (exit 1 when not)
python conformance/coverage.py --write   writes it
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = "docs/coverage.md"
CODE: Final = ("dreamdb_arrow/**/*.py", "sql/*.sql")
TESTS: Final = ("tests/**/*.py", "conformance/stores/*.py")
VECTORS: Final = ("conformance/vectors/*/*.json",)
PROOF: Final = (*TESTS, *VECTORS)

_ID: Final = re.compile(r"\b\d{4}-R\d+\b")
_REQUIREMENT: Final = re.compile(r"^- \[(\d{4}-R\d+)\] (.*(?:\n  .*)*)", re.MULTILINE)
_NUMBER: Final = re.compile(r"\b\d{4}\b")
_SENTENCE: Final = re.compile(r"(?<=[.!?:]) (?=[A-Z(])")
_SUMMARY_CHARACTERS: Final = 110


@dataclass(frozen=True, slots=True)
class Requirement:
    """One list item of a spec document that begins with an id."""

    id: str
    text: str

    @property
    def summary(self) -> str:
        """Return the first sentence, cut at a word when it is long."""
        first = _SENTENCE.split(self.text)[0]
        if len(first) <= _SUMMARY_CHARACTERS:
            return first
        return f"{first[:_SUMMARY_CHARACTERS].rsplit(' ', 1)[0]} ..."


def read_requirements(text: str) -> list[Requirement]:
    """Return the requirements of one document, in its order."""
    return [Requirement(m[1], " ".join(m[2].split())) for m in _REQUIREMENT.finditer(text)]


def find_mentions(root: Path, patterns: Iterable[str]) -> dict[str, list[str]]:
    """Return for each id the files that name it, sorted."""
    found: dict[str, set[str]] = {}
    for pattern in patterns:
        for path in root.glob(pattern):
            for name in _ID.findall(path.read_text(encoding="utf-8")):
                found.setdefault(name, set()).add(path.relative_to(root).as_posix())
    return {name: sorted(paths) for name, paths in found.items()}


def count_cases(root: Path) -> dict[str, list[tuple[str, int]]]:
    """Return for each id the files of vectors that try it, and in how many cases."""
    found: dict[str, list[tuple[str, int]]] = {}
    for path in sorted(path for pattern in VECTORS for path in root.glob(pattern)):
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        for name, count in Counter(each for case in cases for each in case["requirement"]).items():
            found.setdefault(name, []).append((path.relative_to(root).as_posix(), count))
    return found


def find_modules(root: Path) -> dict[str, list[str]]:
    """Return for each document the modules whose first line says that they carry it out."""
    found: dict[str, list[str]] = {}
    for path in sorted(root.glob("dreamdb_arrow/**/*.py")):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        for number in _NUMBER.findall(first.rpartition("pec")[2]):
            found.setdefault(number, []).append(path.relative_to(root).as_posix())
    return found


@dataclass(frozen=True, slots=True)
class Mentions:
    """Where ids are named: in code, in tests, and in how many cases of which vectors."""

    code: Mapping[str, list[str]]
    tests: Mapping[str, list[str]]
    vectors: Mapping[str, list[tuple[str, int]]]


def render_page(root: Path) -> str:
    """Return the whole page."""
    mentions = Mentions(find_mentions(root, CODE), find_mentions(root, TESTS), count_cases(root))
    modules = find_modules(root)
    documents = [path for path in sorted(root.glob("spec/*.md")) if path.name != "README.md"]
    parts = [_render_document(path, mentions, modules.get(path.name[:4], [])) for path in documents]
    return "\n".join([_render_head(documents, mentions), *parts])


def _render_head(documents: Iterable[Path], mentions: Mentions) -> str:
    ids = [each.id for path in documents for each in read_requirements(path.read_text(encoding="utf-8"))]
    in_code, in_tests, in_vectors = (
        sum(name in named for name in ids) for named in (mentions.code, mentions.tests, mentions.vectors)
    )
    proved = sum(name in mentions.tests or name in mentions.vectors for name in ids)
    return (
        "# Coverage\n\nMade by `make docs` from the ids in `spec/`, in the code, in the vectors and in the tests; not "
        "written by hand.\n\n"
        f"{len(ids)} requirements: {in_code} are named in the code, {in_vectors} in a vector, {in_tests} in a test, "
        f"{proved} in one of the two.\n"
    )


def _render_document(path: Path, mentions: Mentions, modules: Iterable[str]) -> str:
    text = path.read_text(encoding="utf-8")
    title = text.splitlines()[0].removeprefix("# ")
    rows = [_render_row(each, mentions) for each in read_requirements(text)]
    head = [f"## [{title}](../spec/{path.name})", "", f"Modules: {_links(modules) or 'none'}.", ""]
    columns = ["| id | requirement | code | vectors | tests |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*head, *columns, *rows, ""])


def _render_row(of: Requirement, mentions: Mentions) -> str:
    vectors = ", ".join(
        f"[{Path(path).stem}](../{path}) {count}" for path, count in mentions.vectors.get(of.id, ())
    )
    code, tests = (_links(named.get(of.id, ())) for named in (mentions.code, mentions.tests))
    return f"| {of.id} | {_cell(of.summary)} | {code} | {vectors} | {tests} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _links(paths: Iterable[str]) -> str:
    return ", ".join(f"[{path.removeprefix('dreamdb_arrow/')}](../{path})" for path in paths)


def main(arguments: list[str]) -> int:
    """Write the page, or compare it; return the exit code."""
    page, wanted = ROOT / PAGE, render_page(ROOT)
    if "--write" in arguments:
        page.write_text(wanted, encoding="utf-8")
        return 0
    if page.exists() and page.read_text(encoding="utf-8") == wanted:
        return 0
    print(f"{PAGE} is out of date; run: make docs", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
