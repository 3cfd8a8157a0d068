"""Pages of scalar B-trees: every stored one to the byte, order, bounds, and changed bytes."""

from itertools import product

import cbor2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.errors import CorruptDataError
from dreamdb_arrow.objects import btree_page as pages
from dreamdb_arrow.objects.btree_page import WHOLE, BtreeChild, BtreeNode, ScalarEntries
from dreamdb_arrow.objects.scalar_values import value_type_of

TYPES = {"i64": "int", "f64": "float", "str": "string", "ts": "timestamp"}
INT = value_type_of("int")
BUCKET = bytes.fromhex("1e") + bytes(range(32))
T0 = 1_700_000_000_000_000_000


def encode(page, kind):
    if isinstance(page, BtreeNode):
        return pages.encode_node(kind, page)
    rows = pages.encode_entries(page, kind.encode(page.values))
    return pages.encode_leaf(kind, rows.data.tobytes(), len(page))


def leaf(rows, **changes):
    found = {"type": "leaf", "level": 0, "entries": rows, "algorithm": INT.algorithm} | changes
    return cbor2.dumps({key: value for key, value in found.items() if value is not None}, canonical=True)


def row(value, first=T0, stop=T0 + 1, bucket=BUCKET, offset=0, length=31):
    return [cbor2.dumps(value, canonical=True), first, stop, bucket, offset, length]


def node(rows, **changes):
    return leaf(rows, **({"type": "internal", "level": 1} | changes))


def key(number):
    return (number + 2**63).to_bytes(8, "big")


def test_every_stored_page(reference_space, reference_name):
    for path in sorted(reference_space(reference_name).glob("d*/scalar.*/index/*")):
        kind = value_type_of(TYPES[path.parts[-3].split(".")[1]])
        data = path.read_bytes()
        page = pages.decode_btree_page(data, kind)
        assert encode(page, kind) == data
        if isinstance(page, BtreeNode):
            continue
        raw = cbor2.loads(data)["entries"]
        assert len(page) == len(raw)
        values = page.values if isinstance(page.values, list) else page.values.tolist()
        assert [cbor2.dumps(value, canonical=True) for value in values] == [r[0] for r in raw]
        assert page.firsts.tolist() == [r[1] for r in raw]
        assert page.stops.tolist() == [r[2] for r in raw]
        assert [b.tobytes() for b in page.buckets] == [r[3] for r in raw]
        assert page.lengths.tolist() == [r[5] if len(r) > 4 else WHOLE for r in raw]


def test_the_leaf_of_the_wire_document():
    bucket = bytes.fromhex("1e9e4a703f") + bytes(28)
    data = leaf([row(-1, T0 + 1, T0 + 2, bucket, 53), row(5, T0, T0 + 2**33 + 1, bucket, 0, 53)])
    assert data.startswith(
        bytes.fromhex("a4647479706564" + "6c656166656c6576656c0067656e747269657382" + "864120")
    )
    page = pages.decode_btree_page(data, INT)
    assert page.values.tolist() == [-1, 5]
    assert encode(page, INT) == data


@given(
    st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 2), st.booleans(), st.integers(0, 2**40)
        ),
        min_size=1,
        max_size=30,
    ).map(sorted)
)
def test_leaves_and_back(rows):
    entries = ScalarEntries(
        np.array([value for value, *_ in rows], np.int64),
        np.array([first for _, first, *_ in rows], np.uint64),
        np.array([first + 1 for _, first, *_ in rows], np.uint64),
        np.tile(np.frombuffer(BUCKET, np.uint8), (len(rows), 1)),
        np.array([0 if whole else offset for *_, whole, offset in rows], np.int64),
        np.array([WHOLE if whole else 31 for *_, whole, _ in rows], np.int64),
    )
    data = encode(entries, INT)
    raw = [row(v, f, f + 1, BUCKET, o)[: 4 if whole else 6] for v, f, whole, o in rows]
    assert data == leaf(raw)
    found = pages.decode_btree_page(data, INT)
    for name in ("values", "firsts", "stops", "offsets", "lengths", "buckets"):
        assert np.array_equal(getattr(found, name), getattr(entries, name))
    assert pages.leaf_overhead(INT, len(rows)) == len(data) - len(
        pages.encode_entries(found, INT.encode(found.values)).data
    )


@pytest.mark.parametrize(
    ("kind", "values", "ordered"),
    [
        ("int", [-2, -1, 0, 1], True),
        ("int", [0, -1], False),
        ("float", [-1.0, 0.0, -0.0, 1.5], True),
        ("float", [-0.0, 0.0], False),
        ("string", ["", "B", "a", "aa", "b", "é"], True),
        ("string", ["b", "aa"], False),
    ],
)
def test_order_of_values(kind, values, ordered):  # 0011-R9
    kind = value_type_of(kind)
    data = leaf([row(value) for value in values], algorithm=kind.algorithm)
    if ordered:
        assert len(pages.decode_btree_page(data, kind)) == len(values)
        return
    with pytest.raises(CorruptDataError, match="order"):
        pages.decode_btree_page(data, kind)


@pytest.mark.parametrize("kind", ["int", "float", "string"])
def test_order_of_anchors_within_a_value(kind):  # 0011-R9
    value = {"int": 1, "float": 1.5, "string": "x"}[kind]
    kind = value_type_of(kind)
    for first, second in product([T0, T0 + 1], repeat=2):
        data = leaf([row(value, first, T0 + 9), row(value, second, T0 + 9)], algorithm=kind.algorithm)
        if first <= second:
            assert len(pages.decode_btree_page(data, kind)) == 2
        else:
            with pytest.raises(CorruptDataError):
                pages.decode_btree_page(data, kind)


@pytest.mark.parametrize(
    "data",
    [
        leaf([]),
        leaf([row(1)], level=1),
        leaf([row(1)], type="leaves"),
        leaf([row(1)], algorithm="dreamdb.btree-float64"),
        leaf([row(1)], algorithm=None),
        leaf([row(1)], more=1),
        leaf([row(1)]) + b"\0",
        leaf([row(1)[:5]]),
        leaf([row(1)[:3]]),
        leaf([row("1")]),
        leaf([row(1, T0, T0)]),
        leaf([row(1, -1)]),
        leaf([row(1, bucket=b"\x1f" + bytes(32))]),
        leaf([row(1, bucket=bytes(32))]),
        leaf([row(1, offset=2**62)]),
        leaf([row(1, length=2**64 - 1)]),
        leaf([[1, T0, T0 + 1, BUCKET, 0, 31]]),
        leaf([row(i) for i in range(2000)]),  # too large
        node([]),
        node([[key(1), key(2), BUCKET]], level=0),
        node([[key(1), key(2), BUCKET]], level=33),
        node([[key(1), key(2), BUCKET]], level="1"),
        node([[key(2), key(1), BUCKET]]),
        node([[key(1), key(2)]]),
        node([[key(1), 2, BUCKET]]),
        node([[key(1), key(2), b"x"]]),
        node([[key(3), key(4), BUCKET], [key(1), key(2), BUCKET]]),
        node([[key(1), key(1), BUCKET[:-1] + b"\xff"], [key(1), key(1), BUCKET]]),  # one value, by address
        node(1),
        b"",
        b"\xa0",
        b"\x80",
    ],
)
def test_pages_that_are_none(data):  # 0000-R1, 0011-R9
    with pytest.raises(CorruptDataError):
        pages.decode_btree_page(data, INT)


def test_internal_pages():
    children = tuple(BtreeChild(key(n), key(n + 1), Address(BUCKET)) for n in range(300))
    found = pages.decode_btree_page(pages.encode_node(INT, BtreeNode(3, children)), INT)
    assert found == BtreeNode(3, children)
    assert pages.child_size(children[0]) == 1 + 9 + 9 + 35


def rows_of(page):
    return page if isinstance(page, BtreeNode) else encode(page, INT)


def test_many_pages_are_what_each_of_them_is():
    several = [
        leaf([row(5), row(7)]),
        node([[key(1), key(2), BUCKET], [key(3), key(3), BUCKET]]),
        leaf([row(-3)[:4]]),  # in no order with the leaf before it
        leaf([row(n) for n in range(40)]),
        node([[key(-9), key(8), BUCKET]], level=7),
    ]
    found = pages.decode_btree_pages(several, INT)
    assert [rows_of(page) for page in found] == [rows_of(pages.decode_btree_page(d, INT)) for d in several]
    assert pages.decode_btree_pages([], INT) == []


@pytest.mark.parametrize("kind", ["int", "string"])
def test_one_bad_page_among_many(kind):  # 0011-R9
    values = [1, 2] if kind == "int" else ["a", "b"]
    kind = value_type_of(kind)
    good = leaf([row(value) for value in values], algorithm=kind.algorithm)
    bad = leaf([row(value) for value in reversed(values)], algorithm=kind.algorithm)
    assert len(pages.decode_btree_pages([good, good], kind)) == 2
    for several in ([good, bad], [bad, good], [good, good[:-1], good], [good, good + good, good]):
        with pytest.raises(CorruptDataError):
            pages.decode_btree_pages(several, kind)


@given(st.data())
def test_changed_bytes_are_refused_or_canonical(data):
    kind = value_type_of(data.draw(st.sampled_from(["int", "string"])))
    names = [
        row(n if kind is INT else f"n{n}", T0 + n, T0 + n + 1, offset=31 * n)[: 4 if n == 3 else 6]
        for n in range(9)
    ]
    page = bytearray(
        data.draw(st.sampled_from([leaf(names, algorithm=kind.algorithm), node([[key(1), key(2), BUCKET]])]))
    )
    page[data.draw(st.integers(0, len(page) - 1))] ^= data.draw(st.integers(1, 255))
    del page[data.draw(st.integers(1, 2 * len(page))) :]
    try:
        found = pages.decode_btree_page(bytes(page), kind)
    except CorruptDataError:
        return
    assert encode(found, kind) == page


def test_addresses_of_equal_pages_are_equal():
    assert address_of(leaf([row(1)])) == address_of(encode(pages.decode_btree_page(leaf([row(1)]), INT), INT))
