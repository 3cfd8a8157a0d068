import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.engines.plans import files_sql, identifier, intervals, literal

NASTY = [
    "a'b",
    'a"b',
    "'; DROP TABLE t; --",
    '"; DROP TABLE t; --',
    "\\",
    "$1",
    "?",
    "%s",
    "{x}",
    "ü\0"[:1],
    "''",
    '""',
    ":x",
]


@pytest.mark.parametrize("text", NASTY)
def test_quoting(text):
    con = duckdb.connect()
    found = con.sql(f"SELECT {literal(text)} AS {identifier(text)}")
    assert found.columns == [text]
    assert found.fetchall() == [(text,)]
    con.close()


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")))
def test_any_text_is_one_literal(text):
    assert literal(text)[1:-1].replace("''", "").count("'") == 0
    assert identifier(text)[1:-1].replace('""', "").count('"') == 0


def test_patterns_in_paths_are_names():
    assert files_sql(["/a/b", "/it's/x"]) == "['/a/b', '/it''s/x']"
    assert files_sql(["/a*/b[1]/c?"]) == "['/a[*]/b[[]1]/c[?]']"


ANCHORS = st.lists(st.integers(0, 2**63 - 2) | st.integers(0, 50), min_size=1, unique=True).map(sorted)


@given(ANCHORS, st.integers(1, 20))
def test_intervals_cover_all_and_are_few_and_apart(values, most):
    found = intervals(np.array(values, "i8"), most)
    assert len(found) <= most
    flat = [bound for pair in found for bound in pair]
    assert flat == sorted(flat)
    assert {low for low, _ in found} | {high for _, high in found} <= set(values)
    assert all(any(low <= v <= high for low, high in found) for v in values)


def test_intervals_leave_out_the_widest_gaps():
    values = np.array([1, 2, 3, 10, 11, 500, 501, 520])
    assert intervals(values, 1) == [(1, 520)]
    assert intervals(values, 2) == [(1, 11), (500, 520)]
    assert intervals(values, 3) == [(1, 11), (500, 501), (520, 520)]
    assert intervals(values, 100) == [(1, 3), (10, 11), (500, 501), (520, 520)]
