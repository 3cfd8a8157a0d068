import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import InvalidInputError, LayoutError
from dreamdb_arrow.objects.tombstone_tree import build_pages
from dreamdb_arrow.objects.tombstones import (
    PAGE_ITEMS_MAX,
    PageRef,
    Tombstone,
    TombstoneIndex,
    check_page,
    decode_index,
    decode_page,
    encode_index,
    encode_page,
)

TIMELINE = address_of(b"timeline")


def tombstones(count):
    return [
        Tombstone(3 * anchor, 1_700_000_000_000 + anchor, None if anchor % 3 else "gdpr")
        for anchor in range(count)
    ]


def test_example_of_the_wire_document():
    entries = [Tombstone(0x17979CFE362A0001, 0x1A2033461A8, "gdpr")]
    root, (page,) = build_pages(entries)
    assert str(address_of(page)) == "d2hvg3gf7dm57kblbp27t2lmscmtyswquscii2hwf64oyuqeq3pes"
    assert root == PageRef(address_of(page), 0, 1, 0x17979CFE362A0001, 0x17979CFE362A0001)
    assert page.hex().startswith("a3646b696e64781964726561")


def leaves(root, pages):
    by_address = {address_of(data): decode_page(data) for data in pages}
    assert len(by_address) == len(pages)

    def descend(ref):
        page = by_address.pop(ref.address)
        check_page(page, ref)
        if page.level == 0:
            return [page]
        return [leaf for child in page.children for leaf in descend(child)]

    found = descend(root)
    assert not by_address
    return found


@pytest.mark.parametrize(
    ("count", "sizes", "level"),
    [
        (1, [1], 0),
        (128, [128], 0),
        (129, [65, 64], 1),
        (257, [86, 86, 85], 1),
        (128 * 128, [128] * 128, 1),
        (128 * 128 + 1, [128] * 128 + [1], 2),
    ],
)
def test_even_pages_on_as_many_levels_as_needed(count, sizes, level):  # 0020-R5
    entries = tombstones(count)
    root, pages = build_pages(entries)
    assert (root.level, root.count, root.min_anchor, root.max_anchor) == (level, count, 0, 3 * (count - 1))
    found = leaves(root, pages)
    assert [entry for leaf in found for entry in leaf.entries] == entries
    if level < 2:
        assert [len(leaf.entries) for leaf in found] == sizes
    else:
        assert {len(leaf.entries) for leaf in found} == {127, 128}
    assert [encode_page(decode_page(page)) for page in pages] == pages


def test_nothing_deleted():
    assert build_pages([]) == (None, [])


@pytest.mark.parametrize("anchors", [[2, 1], [1, 1], [1, 3, 2]])
def test_entries_must_be_in_order(anchors):
    with pytest.raises(InvalidInputError, match="order"):
        build_pages([Tombstone(anchor, 0) for anchor in anchors])


@pytest.mark.parametrize(
    "index",
    [
        TombstoneIndex(TIMELINE, 5),
        TombstoneIndex(TIMELINE, 5, build_pages(tombstones(300))[0]),
        TombstoneIndex(TIMELINE, 5, None, (address_of(b"a"), address_of(b"b"))),
    ],
)
def test_index_there_and_back(index):
    assert decode_index(encode_index(index)) == index


INDEX = decode_cbor(encode_index(TombstoneIndex(TIMELINE, 5, build_pages(tombstones(3))[0])))
ROOT = INDEX["root"]


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "dreamdb.tombstone-index.v2"},
        {"kind": None},
        {"extra": 1},
        {"parents": None},
        {"timeline": b""},
        {"issued_at": -1},
        {"root": []},
        {"root": ROOT | {"extra": 1}},
        {"root": ROOT | {"hash": b""}},
        {"root": ROOT | {"level": 10}},
        {"root": ROOT | {"level": 2**64 - 1}},
        {"root": ROOT | {"count": 0}},
        {"root": ROOT | {"count": 8}},
        {"root": ROOT | {"min": ROOT["max"] + 1}},
        {"root": ROOT | {"max": None}},
    ],
)
def test_not_an_index(changes):
    with pytest.raises(LayoutError):
        decode_index(encode_cbor(INDEX | changes))


PAGES = build_pages(tombstones(300))
LEAF, INNER = decode_cbor(PAGES[1][0]), decode_cbor(PAGES[1][-1])
ENTRY, CHILD = LEAF["entries"][0], INNER["children"][0]


@pytest.mark.parametrize(
    "value",
    [
        None,
        LEAF | {"kind": "dreamdb.tombstone-index.v1"},
        LEAF | {"level": -1},
        LEAF | {"level": 1},
        LEAF | {"extra": 1},
        LEAF | {"children": []},
        LEAF | {"entries": []},
        LEAF | {"entries": {}},
        LEAF | {"entries": [ENTRY, ENTRY]},
        LEAF | {"entries": LEAF["entries"][::-1]},
        LEAF | {"entries": [ENTRY | {"reason": None}]},
        LEAF | {"entries": [ENTRY | {"anchor": -1}]},
        LEAF | {"entries": [ENTRY | {"extra": 1}]},
        LEAF | {"entries": [{"anchor": 1}]},
        LEAF | {"entries": [{"anchor": i, "deleted_at": 0} for i in range(PAGE_ITEMS_MAX + 1)]},
        INNER | {"children": []},
        INNER | {"children": INNER["children"][::-1]},
        INNER | {"children": [CHILD, CHILD]},
        INNER | {"children": [CHILD | {"level": 1}]},
        INNER | {"level": 2},
        INNER | {"level": 0},
        INNER | {"level": 10},
    ],
)
def test_not_a_page(value):  # 0020-R2, 0020-R4
    with pytest.raises(LayoutError):
        decode_page(encode_cbor(value))


@pytest.mark.parametrize("change", ["level", "count", "min_anchor", "max_anchor"])
def test_a_page_must_be_what_its_parent_says(change):  # 0020-R3
    page = decode_page(PAGES[1][0])
    true = {"address": address_of(PAGES[1][0]), "level": 0, "count": 100, "min_anchor": 0, "max_anchor": 297}
    check_page(page, PageRef(**true))
    with pytest.raises(LayoutError, match="not what its parent says"):
        check_page(page, PageRef(**(true | {change: true[change] + 1})))
