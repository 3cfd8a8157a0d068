import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.columnar import merging
from dreamdb_arrow.columnar.merging import (
    Source,
    Tally,
    encode_stripes,
    living,
    merged_tables,
    merged_vectors,
    row_groups,
)
from dreamdb_arrow.columnar.stripe import anchors_of, decode_stripe, encode_stripe, open_stripe, stripe_schema
from dreamdb_arrow.columnar.vectors import VectorStripe
from dreamdb_arrow.objects.schema import Field

FIELDS = [
    Field("scalar", "n", False, {"value_type": "int"}),
    Field("scalar", "s", False, {"value_type": "string"}),
]
SCHEMA = stripe_schema(FIELDS)
NONE = np.empty(0, np.int64)


def table(rows, fields=FIELDS) -> pa.Table:
    anchors = sorted(rows)
    columns = {"_anchor": anchors, "_time": anchors}
    columns |= {"n": [rows[a][0] for a in anchors], "s": [rows[a][1] for a in anchors]}
    schema = stripe_schema(fields)
    return pa.Table.from_arrays([pa.array(columns[f.name], f.type) for f in schema], schema=schema)


def rows_of(tables) -> dict:
    found = [row for t in tables for row in t.to_pylist()]
    assert [r["_anchor"] for r in found] == sorted({r["_anchor"] for r in found})
    return {r["_anchor"]: (r["n"], r["s"]) for r in found}


@pytest.fixture
def sources(tmp_path):
    numbers = itertools.count()

    def store(tables, dropped=()):
        made = []
        for each in tables:
            data = encode_stripe(each)
            file = tmp_path / f"stripe-{next(numbers)}"
            file.write_bytes(data)
            anchors = anchors_of(each)
            span = (int(anchors[0]), int(anchors[-1]) + 1) if len(anchors) else (0, 0)
            made.append(Source(file, *span, address_of(data), dropped))
        return made

    return store


values = st.tuples(st.none() | st.integers(-3, 3), st.none() | st.sampled_from("ab"))
rows = st.dictionaries(st.integers(0, 60), values, max_size=12)


@given(data=st.data(), size=st.integers(1, 5))
def test_rows_come_in_order_and_each_once(tmp_path_factory, data, size):
    """Of stripes that overlap and share anchors, with what Tracks hold: the larger scalar, or the only one."""
    held, extra = data.draw(st.lists(rows.filter(bool), max_size=6)), data.draw(rows)
    hidden = np.array(sorted(data.draw(st.sets(st.integers(0, 60), max_size=9))), np.int64)
    wanted: dict = {}
    for each in [*held, extra]:
        for anchor, row in each.items():
            pairs = zip(wanted.get(anchor, (None, None)), row, strict=True)
            wanted[anchor] = tuple(max((v for v in pair if v is not None), default=None) for pair in pairs)
    folder = tmp_path_factory.mktemp("stripes")
    made = []
    for nth, each in enumerate(held):
        encoded = encode_stripe(table(each))
        (folder / str(nth)).write_bytes(encoded)
        made.append(Source(folder / str(nth), min(each), max(each) + 1, address_of(encoded)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "BATCH_ROWS", size)
        tally = Tally()
        found = rows_of(living(merged_tables(made, SCHEMA, table(extra)), hidden, tally))
    gone = set(hidden.tolist())
    assert found == {a: row for a, row in wanted.items() if a not in gone}
    assert tally.dropped == len(wanted.keys() & gone)


def test_columns_that_do_not_count_are_null(sources):
    made = sources([table({1: (1, "a")})], dropped=("s",))
    assert rows_of(merged_tables(made, SCHEMA, SCHEMA.empty_table())) == {1: (1, None)}
    other = [FIELDS[0], Field("scalar", "s", False, {"value_type": "int"})]
    wide = stripe_schema(other)
    assert [
        t["s"].to_pylist() for t in merged_tables(sources([table({1: (1, "a")})]), wide, wide.empty_table())
    ] == [[None]]


def test_a_stripe_is_opened_when_its_turn_comes(sources, monkeypatch):
    made = sources([table({i * 10 + j: (j, "a") for j in range(5)}) for i in range(20)])
    opened = []
    monkeypatch.setattr(merging, "open_stripe", lambda file: opened.append(file) or open_stripe(file))
    tables = merged_tables(made, SCHEMA, SCHEMA.empty_table())
    for nth in range(1, 4):
        next(tables)
        assert len(opened) <= nth + 1


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 50), st.integers(1, 30))
def test_row_groups_end_where_stripes_do(sizes, each, group):
    starts = np.cumsum([0, *sizes])
    tables = [table({int(a + i): (i, None) for i in range(n)}) for a, n in zip(starts, sizes, strict=False)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "ROW_GROUP_ROWS", group)
        groups = list(row_groups(tables, each))
        stripes = list(encode_stripes(tables, each))
    total = sum(sizes)
    assert sum(map(len, groups)) == total
    assert all(0 < len(g) <= group for g in groups)
    assert [s.rows for s in stripes] == [each] * (total // each) + ([total % each] if total % each else [])
    assert rows_of(decode_stripe(s.data) for s in stripes) == rows_of(tables)
    for s in stripes:
        anchors = anchors_of(decode_stripe(s.data))
        assert (s.t0, s.t1) == (anchors[0], anchors[-1] + 1)


def test_wide_rows_make_small_row_groups(monkeypatch):
    monkeypatch.setattr(merging, "GROUP_BYTES", 1000)
    wide = table({i: (i, "x" * 300) for i in range(40)})
    parts = [wide.slice(i, 2) for i in range(0, 40, 2)]
    groups = list(row_groups(parts, 1000))
    assert len(groups) > 5
    assert pa.concat_tables(groups).equals(wide)


def test_numbers_that_may_be_nan_are_not_told():
    first, rest = table({1: (1, "a")}), table({2: (2, "b")})
    told = open_stripe(next(encode_stripes([first, rest], 10, ["n"])).data).metadata.row_group(0)
    assert [told.column(i).is_stats_set for i in range(4)] == [True, True, False, True]


@given(
    st.lists(st.sets(st.integers(0, 50), min_size=1, max_size=12), min_size=1, max_size=5), st.integers(1, 4)
)
def test_vectors_of_several_stripes(held, parts):
    stripes, wanted = [], {}
    for nth, anchors in enumerate(held):
        ordered = np.array(sorted(anchors), np.int64)
        vectors = np.stack([ordered, np.full(len(ordered), nth)], axis=1).astype(np.float32)
        stripes.append(VectorStripe(ordered, vectors))
        for anchor in anchors:
            wanted.setdefault(anchor, nth)
    hidden = np.array([a for a in range(51) if a % 7 == 0], np.int64)
    pieces = list(merged_vectors(stripes, hidden, parts))
    anchors = np.concatenate([a for a, _ in pieces] or [NONE])
    assert anchors.tolist() == sorted(a for a in wanted if a % 7)
    assert len(pieces) <= parts
    for at, vectors in pieces:
        assert vectors.tolist() == [[a, wanted[a]] for a in at.tolist()]
