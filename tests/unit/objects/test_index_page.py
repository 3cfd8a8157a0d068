"""Pages of media and spatial indexes, and their entries: every stored one to the byte, splits, changed bytes."""

import cbor2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import CorruptDataError
from dreamdb_arrow.objects import index_page as pages
from dreamdb_arrow.objects.index_entries import (
    CELLS,
    MEDIA,
    IndexEntries,
    entries_of_lists,
    join_index_entries,
    lists_of_entries,
)
from dreamdb_arrow.objects.index_page import IndexChild, IndexLeaf, IndexNode

PNG, EMBEDDING = "image.png", "embedding.f32.dim=2.bucketed"
MODALITIES = {MEDIA: PNG, CELLS: EMBEDDING}
A = bytes.fromhex("1e") + bytes(range(32))
B = bytes.fromhex("1e") + bytes(32)
TIMES = st.one_of(
    st.integers(0, 2**64 - 2), st.integers(1_700_000_000_000_000_000, 1_700_000_000_000_000_099)
)
SPAN = st.tuples(TIMES, st.integers(1, 2**40)).map(lambda p: [p[0], min(p[0] + p[1], 2**64 - 1)])
SIZES = st.integers(0, 2**40)
MEDIA_ROW = st.builds(
    lambda span, size, extra: [*span, size, A, *extra],
    SPAN,
    SIZES,
    st.sampled_from([[], [True], [False], [False, 0], [False, 70_000]]),
)
CELL_ROW = st.builds(
    lambda key, span, size, extra: [key, *span, size, A, *extra],
    st.text("01", min_size=1, max_size=70),
    SPAN,
    SIZES,
    st.sampled_from([[], [0], [3], [0, B]]),
)
ROWS = st.one_of(
    st.tuples(st.just(MEDIA), st.lists(MEDIA_ROW, min_size=1, max_size=20)),
    st.tuples(st.just(CELLS), st.lists(CELL_ROW, min_size=1, max_size=20)),
)


def encode(page):
    return pages.encode_index_leaf(page) if isinstance(page, IndexLeaf) else pages.encode_index_node(page)


def shape_of(modality):
    return CELLS if modality.startswith("embedding") else MEDIA


def test_every_stored_page(reference_space, reference_name):
    for path in sorted(reference_space(reference_name).glob("d*/*/index/*")):
        modality = path.parts[-3]
        if not modality.startswith("scalar"):
            data = path.read_bytes()
            assert encode(pages.decode_index_page(data, shape_of(modality), modality)) == data


def test_every_stored_inline_index(reference_space, reference_name):
    for path in sorted(reference_space(reference_name).glob("d*/*/track/*")):
        track = cbor2.loads(path.read_bytes())
        shape = {"embedding": CELLS, "image": MEDIA, "audio": MEDIA, "video": MEDIA}.get(
            track["modality"].split(".")[0]
        )
        if (
            shape is not None
            and isinstance(track["object_index"], list)
            and ".graph." not in track["modality"]
        ):
            assert lists_of_entries(entries_of_lists(shape, track["object_index"])) == track["object_index"]


@given(ROWS)
def test_lists_and_leaves_and_back(case):
    shape, rows = case
    entries = entries_of_lists(shape, rows)
    assert lists_of_entries(entries) == rows
    data = pages.encode_index_leaf(pages.index_leaf(MODALITIES[shape], entries))
    at, t_min = shape.first, min(row[shape.first] for row in rows)
    relative = [[*row[:at], row[at] - t_min, row[at + 1] - row[at], *row[at + 2 :]] for row in rows]
    times = {"t_min": t_min, "t_max": max(row[at + 1] for row in rows)}
    assert data == cbor2.dumps(
        {"type": "leaf", "entries": relative, "modality": MODALITIES[shape], **times}, canonical=True
    )
    found = pages.decode_index_page(data, shape, MODALITIES[shape])
    assert lists_of_entries(found.entries) == rows
    assert encode(found) == data


@given(ROWS)
def test_take_between_and_join(case):
    shape, rows = case
    entries = entries_of_lists(shape, rows)
    joined = join_index_entries(shape, [entries.take(np.arange(len(rows))[::-1]), entries.between(0, 3)])
    assert lists_of_entries(joined) == rows[::-1] + rows[:3]
    assert lists_of_entries(join_index_entries(shape, [])) == []


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        (MEDIA, None),
        (MEDIA, {}),
        (MEDIA, [1]),
        (MEDIA, [[1, 2, 3]]),
        (MEDIA, [[1, 2, 3, A, False, 1, 1]]),
        (MEDIA, [[1, 2, 3, A, 0]]),
        (MEDIA, [[1, 2, 3, A, False, True]]),
        (MEDIA, [[2, 1, 3, A]]),
        (MEDIA, [[1, 2, 3, A[:32]]]),
        (MEDIA, [[1, 2, 3, b"\x1f" + A[1:]]]),
        (MEDIA, [[1, 2, 3, "a"]]),
        (MEDIA, [[1, 2, -3, A]]),
        (MEDIA, [[1, 2, 2**64, A]]),
        (MEDIA, [[1.0, 2, 3, A]]),
        (CELLS, [[1, 2, 3, A]]),
        (CELLS, [[b"0", 1, 2, 3, A]]),
        (CELLS, [["0", 1, 2, 3, A, 0, 0]]),
    ],
)
def test_lists_that_are_no_entries(shape, rows):  # 0003-R3, 0007-R7
    with pytest.raises(CorruptDataError):
        entries_of_lists(shape, rows)


def page(**changes):
    found = {"type": "leaf", "t_min": 5, "t_max": 9, "entries": [[0, 1, 3, A]], "modality": PNG} | changes
    return cbor2.dumps({key: value for key, value in found.items() if value is not None}, canonical=True)


@pytest.mark.parametrize(
    "data",
    [
        page(entries=[]),
        page(entries=[[0, 1, 3]]),
        page(entries=[[0, 1, 3, A, False, 1, 1]]),
        page(entries=[["0", 0, 1, 3, A]]),
        page(entries=[[2**64 - 1, 1, 3, A]]),
        page(entries=[[0, 2**64 - 1, 3, A]]),
        page(t_max=4),
        page(t_min="5"),
        page(t_min=None),
        page(modality="image.jpeg"),
        page(modality=None),
        page(more=1),
        page(type="page"),
        page() + b"\0",
        page()[:-1],
        page(type="internal", entries=[]),
        page(type="internal", entries=[[1, 2, A]]),
        page(type="internal", entries=[[1, 2, A, 3, "0", "1"]]),
        page(type="internal", entries=[[1, 2, A, "3"]]),
        page(type="internal", entries=[[1, 2, 3, 4]]),
        page(type="internal", entries=1),
        page(type="internal", entries=[[1, 2, A, 3]], t_max=1),
        b"",
        b"\xff",
    ],
)
def test_pages_that_are_none(data):  # 0000-R1, 0003-R3
    with pytest.raises(CorruptDataError):
        pages.decode_index_page(data, MEDIA, PNG)


def test_internal_pages():
    media = pages.index_node(PNG, [IndexChild(5, 9, Address(A), 3), IndexChild(7, 30, Address(B), 4)])
    assert (media.t_min, media.t_max) == (5, 30)
    cells = IndexNode(EMBEDDING, 1, 2, (IndexChild(1, 2, Address(A), 3, ("0", "01")),))
    for node, shape in ((media, MEDIA), (cells, CELLS)):
        assert pages.decode_index_page(encode(node), shape, node.modality) == node
    with pytest.raises(CorruptDataError):
        pages.decode_index_page(encode(cells), MEDIA, EMBEDDING)


@given(ROWS, st.data())
def test_changed_bytes_are_refused_or_canonical(case, data):
    shape, rows = case
    found = bytearray(encode(pages.index_leaf(MODALITIES[shape], entries_of_lists(shape, rows))))
    found[data.draw(st.integers(0, len(found) - 1))] ^= data.draw(st.integers(1, 255))
    del found[data.draw(st.integers(1, 2 * len(found))) :]
    try:
        decoded = pages.decode_index_page(bytes(found), shape, MODALITIES[shape])
    except CorruptDataError:
        return
    assert encode(decoded) == found


def greedy(modality, entries):
    """Fill leaves one entry at a time, measuring the encoded page each time."""
    bounds, start = [], 0
    for stop in range(1, len(entries) + 1):
        part = entries.between(start, stop)
        if stop - start > 1 and len(encode(pages.index_leaf(modality, part))) > pages.LEAF_BYTES:
            bounds.append((start, stop - 1))
            start = stop - 1
    return [*bounds, (start, len(entries))]


@pytest.mark.parametrize("shape", [MEDIA, CELLS], ids=lambda shape: shape.name)
def test_leaves_are_filled_from_the_left(shape, monkeypatch):  # 0007-R6
    monkeypatch.setattr(pages, "LEAF_BYTES", 900)
    rng = np.random.default_rng(7)
    starts = np.sort(rng.integers(0, 2**40, 300)) if shape is MEDIA else rng.integers(0, 2**40, 300)
    rows = [[int(t), int(t) + int(rng.integers(1, 2**33)), int(rng.integers(0, 70_000)), A] for t in starts]
    if shape is CELLS:
        rows = [[f"{n:012b}", *row] for n, row in enumerate(rows)]
    entries = entries_of_lists(shape, rows)
    assert pages.split_into_leaves(MODALITIES[shape], entries) == greedy(MODALITIES[shape], entries)


def test_an_entry_that_is_too_large_for_a_leaf_has_its_own():
    entries = entries_of_lists(CELLS, [["0" * 20_000, 1, 2, 3, A], ["1", 1, 2, 3, A]])
    assert pages.split_into_leaves(EMBEDDING, entries) == [(0, 1), (1, 2)]
    assert isinstance(entries, IndexEntries)


def test_what_is_remembered_of_a_page_is_what_it_decodes_to():
    entries = entries_of_lists(MEDIA, [[t, t + 3, 9, b"\x1e" + bytes([t]) * 32] for t in range(5)])
    leaf = pages.index_leaf("image.png", entries)
    data = pages.encode_index_leaf(leaf)
    pages.remember_index_page(data, MEDIA, leaf)
    assert pages.decode_index_page(data, MEDIA, "image.png") is leaf
    pages._remembered.clear()
    again = pages.decode_index_page(data, MEDIA, "image.png")
    assert again is not leaf
    assert (again.modality, again.t_min, again.t_max) == (leaf.modality, leaf.t_min, leaf.t_max)
    for one, other in zip(again.entries.columns, entries.columns, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(CorruptDataError, match="another modality"):
        pages.decode_index_page(data, MEDIA, "image.gif")
