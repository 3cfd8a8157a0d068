"""The documents of spec/: which there are, their parts, and that each requirement is held by a test or a vector."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from dreamdb_arrow import errors

ROOT = Path(__file__).parents[2]
PARTS = [
    "Purpose",
    "Definitions",
    ("Layout", "Rules", "How these documents are written"),
    "Requirements",
    "Errors",
    "Limits",
    "Rationale",
    "Where the reference differs",
    "Open",
]
KNOWN_WHOSE = {"format", "ours"}


@pytest.fixture(scope="session")
def coverage():
    """Return conformance/coverage.py, which is a script."""
    spec = importlib.util.spec_from_file_location("dreamdb_coverage", ROOT / "conformance/coverage.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_there_are_25_documents(documents):
    assert list(documents) == [f"{number:04}" for number in range(25)]


def test_a_document_has_its_parts_in_order(document):
    assert len(document.headings) == len(PARTS)
    for heading, part in zip(document.headings, PARTS, strict=True):
        assert heading == part or (isinstance(part, tuple) and heading in part)


def test_no_part_is_empty(document):
    below = re.split(r"^## .+$", document.text, flags=re.MULTILINE)
    assert [text for text in below[1:] if not text.strip()] == []


def test_what_is_not_built_is_said_at_the_head(document):
    head = document.text.partition("## Purpose")[0]
    said = [line for line in document.text.splitlines() if line.startswith("Not built yet")]
    inside = document.number == "0005"  # of one kind of store
    assert inside or said == [line for line in said if line in head]
    index = (ROOT / "spec/README.md").read_text("utf-8")
    (row,) = [line for line in index.splitlines() if line.startswith(f"| [{document.number} ")]
    assert ("Not built yet" in head) == (".md) * |" in row)


def test_errors_that_a_document_names_exist(document):
    named = re.findall(r"`([A-Z]\w+)`", document.under("Errors"))
    assert [name for name in named if not issubclass(getattr(errors, name, int), errors.DreamDBError)] == []


def test_limits_say_whose_they_are(document):
    rows = [row for table in document.with_head("limit") for row in table.rows]
    assert {row[2] for row in rows} <= KNOWN_WHOSE
    assert rows or document.under("Limits").strip()


@pytest.fixture(scope="session")
def proof(coverage):
    """Return the ids that a test or a vector names."""
    return set(coverage.find_mentions(ROOT, coverage.PROOF))


def test_every_requirement_is_held_by_a_test_or_a_vector(document, coverage, proof):  # 0009-R1
    requirements = {each.id for each in coverage.read_requirements(document.text)}
    assert requirements
    assert sorted(requirements - proof) == []
