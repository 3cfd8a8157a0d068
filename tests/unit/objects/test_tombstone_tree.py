"""Pages of tombstones as columns: what is read and written at once is what is read and written one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.errors import CorruptDataError
from dreamdb_arrow.objects.tombstone_tree import build_leaves, decode_leaf, encode_leaf, tombstones_of
from dreamdb_arrow.objects.tombstones import Tombstone, TombstonePage, decode_page, encode_page

LIMITS = [limit + step for limit in (0, 24, 1 << 8, 1 << 16, 1 << 32, 1 << 63) for step in (-1, 0, 1)]
NUMBERS = st.sampled_from([n for n in LIMITS if n >= 0]) | st.integers(0, 2**64 - 1)
NEAR = st.integers(1000, 1300)


def pages(anchors):
    entries = st.builds(Tombstone, anchors, NUMBERS | st.just(5), st.sampled_from([None, None, "gdpr", "ü"]))
    alike = st.builds(Tombstone, anchors, st.just(1 << 40), st.just("why"))
    many = st.lists(entries, min_size=1, max_size=60) | st.lists(alike, min_size=1, max_size=128)
    return many.map(lambda found: [*{entry.anchor: entry for entry in found}.values()])


def sorted_by_anchor(entries):
    return sorted(entries, key=lambda entry: entry.anchor)


@given(st.one_of(pages(NUMBERS), pages(NEAR)).map(sorted_by_anchor))
def test_both_ways_give_the_same_bytes(entries):
    data = encode_page(TombstonePage(0, entries=tuple(entries)))
    assert encode_leaf(tombstones_of(entries)) == data
    held = decode_leaf(data)
    assert [*zip(held.anchors.tolist(), held.deleted_at.tolist(), held.reasons, strict=True)] == entries


def read(decode, data):
    try:
        return decode(data)
    except CorruptDataError as error:
        return str(error)


@given(pages(NEAR).map(sorted_by_anchor), st.data())
def test_damaged_pages_are_read_as_one_by_one(entries, data):
    page = bytearray(encode_leaf(tombstones_of(entries)))
    for _ in range(data.draw(st.integers(1, 3))):
        page[data.draw(st.integers(0, len(page) - 1))] = data.draw(st.integers(0, 255))
    found, wanted = read(decode_leaf, bytes(page)), read(decode_page, bytes(page))
    if isinstance(wanted, TombstonePage) and wanted.level == 0:
        assert [*zip(found.anchors.tolist(), found.deleted_at.tolist(), found.reasons, strict=True)] == [
            *wanted.entries
        ]
    else:
        assert found == (None if isinstance(wanted, TombstonePage) else wanted)


def test_a_page_above_is_no_leaf():
    (ref,), _ = build_leaves(tombstones_of([Tombstone(1, 2)]))
    assert decode_leaf(encode_page(TombstonePage(1, children=(ref,)))) is None


def test_a_page_that_counts_no_entries_and_has_some_is_refused():
    page = encode_leaf(tombstones_of([Tombstone(5, 7, None)]))
    entry = page[page.index(b"\xa2\x66anchor") :]
    with pytest.raises(CorruptDataError, match="after the end"):
        decode_leaf(page[: -len(entry) - 1] + b"\x80" + entry)
