"""Scalar Tracks: written and read back, against a plain dict; changed trees; what cannot be read."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.codec.cbor import encode_cbor
from dreamdb_arrow.errors import (
    CorruptDataError,
    DigestMismatchError,
    InvalidInputError,
    LayoutError,
    ObjectNotFoundError,
    UnsupportedError,
)
from dreamdb_arrow.objects.btree_page import BtreeChild, BtreeNode, decode_btree_page, encode_node
from dreamdb_arrow.objects.scalar_values import value_type_of
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks import btree, btree_pages, scalars
from dreamdb_arrow.tracks.layout import bucket_directory, index_directory
from dreamdb_arrow.tracks.scalars import (
    ScalarColumn,
    bucket_addresses,
    number_addresses,
    read_scalars,
    write_column,
    write_scalars,
)

TIMELINE = address_of(b"a timeline")
TAGS = {
    "int": "i64",
    "float": "f64",
    "string": "str",
    "timestamp": "ts",
    "categorical": "cat",
    "bool": "bool",
}
T0 = 1_700_000_000_000_000_000
DTYPES = {"int": np.int64, "timestamp": np.int64, "float": np.float64, "bool": np.bool_}
VALUES = {
    "int": st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1)),
    "timestamp": st.integers(-(2**63), 2**63 - 1),
    "float": st.one_of(st.sampled_from([0.0, -0.0, 1.5]), st.floats(allow_nan=False, allow_infinity=False)),
    "string": st.text(max_size=6),
    "categorical": st.text("ab", max_size=3),
    "bool": st.booleans(),
}
ANCHORS = st.one_of(st.integers(T0, T0 + 30), st.integers(0, 2**63 - 2))
BATCHES = st.sampled_from(sorted(VALUES)).flatmap(
    lambda name: st.tuples(
        st.just(name), st.lists(st.lists(st.tuples(ANCHORS, VALUES[name]), max_size=12), max_size=6)
    )
)


def empty_track(value_type="int"):
    return Track((0, 1), f"scalar.{TAGS[value_type]}.field=x", TIMELINE, [])


def column_of(value_type, values):
    return np.array(values, DTYPES[value_type]) if value_type in DTYPES else list(values)


def append(store, track, value_type, rows):
    batch = Batch(store)
    anchors = np.array([anchor for anchor, _ in rows], np.int64)
    values = column_of(value_type, [value for _, value in rows])
    written = write_scalars(store, batch, track, "x", value_type, anchors, values)
    batch.flush()
    return written


def rank(value_type, value):
    """Say which of two values at one anchor is the larger, as the reference does."""
    if value_type == "float":
        return value, encode_cbor(value)
    return encode_cbor(value) if value_type == "categorical" else value


def as_dict(column):
    values = column.values if isinstance(column.values, list) else column.values.tolist()
    return {
        anchor: values[code]
        for anchor, code in zip(column.anchors.tolist(), column.codes.tolist(), strict=True)
    }


def same(left, right):
    return {k: encode_cbor(v) for k, v in left.items()} == {k: encode_cbor(v) for k, v in right.items()}


@given(BATCHES, st.sampled_from([1, 2, 4096]), st.sampled_from([2, 256]))
def test_what_was_written_is_read(case, leaf_entries, children):  # 0001-R17, 0011-R9
    value_type, batches = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(btree_pages, "LEAF_ENTRIES_MAX", leaf_entries)
        patch.setattr(btree_pages, "CHILDREN_MAX", children)
        store, track, model, payloads = MemoryStore(), empty_track(value_type), {}, set()
        for rows in batches:
            written = append(store, track, value_type, rows)
            track = written.track
            payloads |= set(written.payloads)
            for anchor, value in rows:
                values = [model[anchor], value] if anchor in model else [value]
                model[anchor] = max(values, key=lambda v: rank(value_type, v))
    column = read_scalars(store, track, value_type)
    assert same(as_dict(column), model)
    assert np.all(column.anchors[1:] > column.anchors[:-1])
    assert bucket_addresses(store, track, value_type) == payloads
    if model:
        assert track.coverage == (min(model), max(model) + 1)


def test_a_leaf_that_nothing_falls_into_is_kept_unread(monkeypatch):
    monkeypatch.setattr(btree_pages, "LEAF_ENTRIES_MAX", 10)
    store = MemoryStore()
    track = append(store, empty_track(), "int", [(T0 + n, n) for n in range(100)]).track
    before = set(store.list(index_directory(TIMELINE, track.modality)))
    track = append(store, track, "int", [(T0 + 200, 1000), (T0 + 201, 55), (T0 + 202, -5)]).track
    new = set(store.list(index_directory(TIMELINE, track.modality))) - before
    # Three of ten leaves are split; one half of the last is as it was, and there is a new root.
    assert len(new) == 6
    assert track.object_index["total_entries"] == 103
    assert as_dict(read_scalars(store, track, "int")) == (
        {T0 + n: n for n in range(100)} | {T0 + 200: 1000, T0 + 201: 55, T0 + 202: -5}
    )


def test_one_value_in_more_leaves_than_one(monkeypatch):  # 0011-R9
    monkeypatch.setattr(btree_pages, "LEAF_ENTRIES_MAX", 2)
    monkeypatch.setattr(btree_pages, "CHILDREN_MAX", 2)
    store, track = MemoryStore(), empty_track()
    for n in range(30):
        track = append(store, track, "int", [(T0 + (n * 7) % 30, 5), (T0 + 100 + n, n % 7)]).track
    expected = {T0 + n: 5 for n in range(30)} | {T0 + 100 + n: n % 7 for n in range(30)}
    assert as_dict(read_scalars(store, track, "int")) == expected


def test_pages_are_filled_up_to_their_limit():  # 0011-R10
    store = MemoryStore()
    track = append(
        store, empty_track("string"), "string", [(T0 + n, f"{n:05d}" * 20) for n in range(3000)]
    ).track
    paths = list(store.list(index_directory(TIMELINE, track.modality)))
    sizes = sorted(store.size(path) for path in paths)
    assert track.object_index["page_count"] == len(paths) == len(sizes)
    assert 65_536 - 200 < sizes[-2] <= sizes[-1] <= 65_536
    assert len(read_scalars(store, track, "string")) == 3000


def test_long_keys_leave_room_for_few_children():
    store = MemoryStore()
    rows = [(T0 + n, f"{n:04d}" + "x" * 8000) for n in range(60)]
    track = append(store, empty_track("string"), "string", rows).track
    assert track.object_index["tree_height"] > 2
    assert as_dict(read_scalars(store, track, "string")) == dict(rows)


def test_known_buckets_are_not_read():  # 0021-R10
    store = MemoryStore()
    first = append(store, empty_track(), "int", [(T0, 1), (T0 + 1, 2)])
    second = append(store, first.track, "int", [(T0 + 2, 1)])
    store.delete(f"{bucket_directory(TIMELINE, first.track.modality)}/{first.payloads[0]}")
    with pytest.raises(ObjectNotFoundError):
        read_scalars(store, second.track, "int")
    known = frozenset(first.payloads)
    assert as_dict(read_scalars(store, second.track, "int", known=known)) == {T0 + 2: 1}
    assert len(read_scalars(store, second.track, "int", known=known | set(second.payloads))) == 0


def test_the_same_record_under_two_values():
    store = MemoryStore()
    first = append(store, empty_track(), "int", [(T0, 7)])
    second = append(store, first.track, "int", [(T0, -7)])
    assert second.payloads == first.payloads
    assert as_dict(read_scalars(store, second.track, "int")) == {T0: 7}


def test_dictionary_form_in_any_order():
    store, batch = MemoryStore(), None
    batch = Batch(store)
    column = ScalarColumn(np.array([T0 + 3, T0, T0 + 1, T0]), np.array([1, 0, 0, 0]), ["a", "b"])
    track = write_column(store, batch, empty_track("categorical"), "categorical", column).track
    batch.flush()
    assert as_dict(read_scalars(store, track, "categorical")) == {T0: "a", T0 + 1: "a", T0 + 3: "b"}


def test_nothing_to_write():
    track = empty_track("string")
    written = append(MemoryStore(), track, "string", [])
    assert (written.track, written.payloads) == (track, ())
    assert len(read_scalars(MemoryStore(), track, "string")) == 0
    assert bucket_addresses(MemoryStore(), track, "string") == frozenset()


@pytest.mark.parametrize(
    ("value_type", "rows", "message"),
    [
        ("int", [(-1, 1)], "anchors must lie"),
        ("int", [(2**63 - 1, 1)], "anchors must lie"),
        ("float", [(0, float("nan"))], "field 'x': NaN"),
        ("string", [(0, "x" * 8193)], "8192 bytes"),
        ("string", [(0, "é" * 4097)], "8192 bytes"),
    ],
)
def test_rows_that_are_refused(value_type, rows, message):  # 0011-R2
    with pytest.raises(InvalidInputError, match=message):
        append(MemoryStore(), empty_track(value_type), value_type, rows)


def test_anchors_without_a_value():
    with pytest.raises(InvalidInputError, match="2 anchors for 1 values"):
        write_scalars(
            MemoryStore(), Batch(MemoryStore()), empty_track(), "x", "int", np.array([1, 2]), np.array([1])
        )


def test_the_longest_string_is_kept():  # 0011-R2
    store, rows = MemoryStore(), [(T0, "x" * 8192), (T0 + 1, "é" * 4096)]
    track = append(store, empty_track("string"), "string", rows).track
    assert as_dict(read_scalars(store, track, "string")) == dict(rows)


# --- what cannot be read ------------------------------------------------------------------------------------


def stored(value_type="int", rows=200):
    store = MemoryStore()
    values = column_of(value_type, [n % 7 if value_type == "int" else f"c{n % 7}" for n in range(rows)])
    return store, append(
        store, empty_track(value_type), value_type, list(zip(range(T0, T0 + rows), values, strict=True))
    ).track


def with_index(track, **changes):
    return replace(track, object_index=track.object_index | changes)


@pytest.mark.parametrize("key", ["page_count", "total_entries", "tree_height"])
@pytest.mark.parametrize("by", [-1, 1, 40])
def test_counts_that_are_wrong(key, by):  # 0011-R11
    store, track = stored()
    with pytest.raises(LayoutError):
        read_scalars(store, with_index(track, **{key: track.object_index[key] + by}), "int")


def test_forms_that_are_not_known():
    store, track = stored()
    hot = {"form": "hot-overlay-v1", "hot_shard": TIMELINE, "base_track": TIMELINE}
    with pytest.raises(UnsupportedError, match="hot buffer"):
        read_scalars(store, replace(track, object_index=hot), "int")
    with pytest.raises(UnsupportedError, match="hot buffer"):
        append(store, replace(track, object_index=hot), "int", [(T0, 1)])
    for value_type in ("int", "categorical"):
        with pytest.raises(UnsupportedError, match="'scalar-btree-v9'"):
            read_scalars(store, with_index(track, form="scalar-btree-v9"), value_type)
    with pytest.raises(UnsupportedError):
        read_scalars(store, track, "complex")


@pytest.mark.parametrize("index", [[[b"\1", 1, 2, bytes(TIMELINE)]], 7, {"form": "scalar-btree-v1"}, None])
def test_indexes_that_are_none(index):  # 0011-R8
    with pytest.raises(LayoutError):
        read_scalars(MemoryStore(), replace(empty_track(), object_index=index), "int")


@pytest.mark.parametrize(
    "entry",
    [
        7,
        [],
        [b"\x61a", 1, 2],
        ["a", 1, 2, bytes(TIMELINE)],
        [b"\x61a", 1, 2, bytes(TIMELINE), 0],
        [b"\x61a", 2, 2, bytes(TIMELINE)],
        [b"\x61a", 1, 2, b"x"],
        [b"\x61a", 1, "2", bytes(TIMELINE)],
        [b"\x61a", 1, 2, bytes(TIMELINE), -1, 31],
        [b"\x61a", 1, 2, bytes(TIMELINE), 0, 2**62],
        [b"\x62a", 1, 2, bytes(TIMELINE)],
        [b"\1", 1, 2, bytes(TIMELINE)],
    ],
)
def test_categories_that_are_none(entry):  # 0011-R4
    track = replace(empty_track("categorical"), object_index=[entry])
    with pytest.raises(CorruptDataError):
        read_scalars(MemoryStore(), track, "categorical")
    with pytest.raises(CorruptDataError):
        append(MemoryStore(), track, "categorical", [(T0, "a")])


def test_categories_in_another_order_and_with_whole_buckets():  # 0011-R7
    store = MemoryStore()
    first = append(store, empty_track("categorical"), "categorical", [(T0, "b"), (T0 + 1, "aa")])
    rows = first.track.object_index[::-1]
    second = append(store, empty_track("categorical"), "categorical", [(T0 + 2, "zz")])
    track = replace(first.track, object_index=[*rows, second.track.object_index[0][:4]])
    assert as_dict(read_scalars(store, track, "categorical")) == {T0: "b", T0 + 1: "aa", T0 + 2: "zz"}


def test_a_column_of_categories_is_no_tree():  # 0011-R7
    store, track = stored("int")
    with pytest.raises(LayoutError):
        read_scalars(store, track, "categorical")


def test_objects_that_are_not_their_address():  # 0002-R3
    store, track = stored()
    for directory in (index_directory(TIMELINE, track.modality), bucket_directory(TIMELINE, track.modality)):
        (path, *_) = store.list(directory)
        data = bytearray(store.get(path))
        data[-1] ^= 1
        store.delete(path)
        store.put(path, bytes(data))
        with pytest.raises(DigestMismatchError):
            read_scalars(store, track, "int")
        store.delete(path)
        data[-1] ^= 1
        store.put(path, bytes(data))


def test_a_tree_that_folds_back_on_itself():
    """Sixty-four pages that each list one page twice hold no more than there is."""
    store, track = stored()
    kind, directory = value_type_of("int"), index_directory(TIMELINE, track.modality)
    child, count = track.object_index["root"], track.object_index["total_entries"]
    leaf = decode_btree_page(store.get(f"{directory}/{child}"), kind)
    low, high = (btree.encode_key(leaf.values[at]) for at in (0, -1))
    for level in range(1, 20):
        data = encode_node(kind, BtreeNode(level, (BtreeChild(low, high, child),) * 2))
        child = address_of(data)
        store.put(f"{directory}/{child}", data)
    folded = with_index(track, root=child, tree_height=20, page_count=2**20 - 1, total_entries=count << 19)
    assert as_dict(read_scalars(store, folded, "int")) == as_dict(read_scalars(store, track, "int"))
    with pytest.raises(LayoutError, match="twice"):
        append(store, folded, "int", [(T0, 1)])


@pytest.mark.parametrize("wrong", ["bounds", "level", "leaf"])
def test_pages_that_are_not_what_their_parent_says(wrong):  # 0011-R11
    store, track = stored()
    kind, directory = value_type_of("int"), index_directory(TIMELINE, track.modality)
    root = Address(track.object_index["root"])
    keys = [number.to_bytes(8, "big") for number in (2**63, 2**63 + (7 if wrong == "bounds" else 6))]
    level = 2 if wrong == "level" else 1
    data = encode_node(kind, BtreeNode(level, (BtreeChild(keys[0], keys[1], root),)))
    store.put(f"{directory}/{address_of(data)}", data)
    height = 3 if wrong == "leaf" else 2
    broken = with_index(track, root=address_of(data), page_count=2, tree_height=height)
    with pytest.raises(LayoutError):
        read_scalars(store, broken, "int")
    if wrong != "bounds":
        with pytest.raises(LayoutError):
            append(store, broken, "int", [(T0, 1)])


def test_numbering_addresses_that_begin_alike():
    names = [bytes([0x1E]) + bytes(24) + bytes([n]) * 8 for n in (1, 2, 1, 3, 2)]
    found, codes = number_addresses(np.frombuffer(b"".join(names), np.uint8).reshape(-1, 33))
    assert [found[code] for code in codes] == names
    assert sorted(found) == sorted(set(names))


def test_a_bucket_that_two_appends_share_is_fetched_once(monkeypatch):
    store, track = stored()
    fetched = []
    plain = scalars.fetch_many
    monkeypatch.setattr(scalars, "fetch_many", lambda s, wanted: fetched.extend(wanted) or plain(s, wanted))
    read_scalars(store, track, "int")
    assert len(fetched) == 1


def test_a_known_record_that_another_value_names_too_is_read():  # 0021-R10
    store = MemoryStore()
    ours = append(store, empty_track(), "int", [(T0, 1), (T0 + 1, 2)])
    theirs = append(store, ours.track, "int", [(T0, 7)])
    again = append(store, theirs.track, "int", [(T0, 9)])  # the same record, so the same bucket
    assert theirs.payloads == again.payloads
    known = frozenset(ours.payloads + theirs.payloads)
    assert as_dict(read_scalars(store, theirs.track, "int", known=known)) == {}
    assert as_dict(read_scalars(store, again.track, "int", known=known)) == {T0: 9}
