"""Array items and their types: each family, dtype, byte order, layout and codec; and all that is refused. Spec 0007."""

import itertools
import struct

import numpy as np
import pytest

from dreamdb_arrow.errors import DreamDBError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.array_item import (
    CsrItems,
    DenseItems,
    RaggedItems,
    decode_items_of,
    encode_items_of,
    join_items_of,
    npy_header,
)
from dreamdb_arrow.objects.array_type import (
    CSR,
    DENSE,
    DTYPES,
    NPY,
    NUMBERS_MAX,
    OFFSETS,
    RAGGED,
    ItemType,
    check_item_type,
    decode_item_type,
    encode_item_type,
)


def bits(of: ItemType, rng: np.random.Generator, count: int) -> np.ndarray:
    """Any bits whatever: of floats also NaN with a payload."""
    return np.frombuffer(rng.bytes(count * of.native.itemsize), of.native)


def dense(of: ItemType, n: int = 3) -> DenseItems:
    rng = np.random.default_rng(1)
    return DenseItems(bits(of, rng, n * int(np.prod(of.shape))).reshape(n, *of.shape))


def ragged(of: ItemType) -> RaggedItems:
    lengths = np.array([2, 0, 1, 3, 0])
    values = bits(of, np.random.default_rng(2), 6 * int(np.prod(of.shape))).reshape(6, *of.shape)
    return RaggedItems(np.array([2, 0, 3]), lengths, values)


def sparse(of: ItemType) -> CsrItems:
    offsets = np.array([[0, 2, 2, 3], [0, 0, 0, 0], [0, 1, 2, 5]], np.uint64)
    columns = np.array([0, 3, 1, 2, 0, 1, 2, 3], np.uint64)
    return CsrItems(offsets, np.array([3, 0, 5]), columns, bits(of, np.random.default_rng(3), 8))


MAKE = {DENSE: dense, RAGGED: ragged, CSR: sparse}
TYPES = [
    *(
        ItemType(DENSE, d, s, e, layout, c)
        for (d, e, layout, c), s in zip(
            itertools.product(DTYPES, ("little", "big"), "cf", ("raw", NPY)),
            itertools.cycle([(), (2, 3), (4,), (2, 0), (2, 1, 3)]),
            strict=False,
        )
    ),
    *(
        ItemType(RAGGED, d, s, e, codec=OFFSETS)
        for d in DTYPES
        for e in ("little", "big")
        for s in ((), (2,))
    ),
    *(ItemType(CSR, d, (3, 4), e) for d in DTYPES for e in ("little", "big")),
]


def same(a, b) -> bool:
    return type(a) is type(b) and all(
        getattr(a, name).tobytes() == getattr(b, name).tobytes()
        and getattr(a, name).shape == getattr(b, name).shape
        for name in type(a).__slots__
    )


@pytest.mark.parametrize("of", TYPES, ids=str)
def test_items_come_back_bit_for_bit(of):  # 0007-R2
    items = MAKE[of.family](of)
    payloads = encode_items_of(of, items)
    assert len(payloads) == len(items)
    assert same(decode_items_of(of, payloads), items)
    parts = [decode_items_of(of, payloads[:1]), decode_items_of(of, []), decode_items_of(of, payloads[1:])]
    assert same(join_items_of(of, parts), items)
    assert len(join_items_of(of, [])) == 0


@pytest.mark.parametrize("of", TYPES, ids=str)
def test_types_come_back(of):
    assert decode_item_type(encode_item_type(of)) == of


@pytest.mark.parametrize(
    ("of", "items", "payload"),
    [
        (ItemType(DENSE, "u16", (2, 2)), DenseItems(np.array([[[1, 2], [3, 4]]], "u2")), "0100020003000400"),
        (
            ItemType(DENSE, "u16", (2, 2), "big"),
            DenseItems(np.array([[[1, 2], [3, 4]]], "u2")),
            "0001000200030004",
        ),
        (
            ItemType(DENSE, "u16", (2, 2), "big", "f"),
            DenseItems(np.array([[[1, 2], [3, 4]]], "u2")),
            "0001000300020004",
        ),
        (
            ItemType(RAGGED, "u8", codec=OFFSETS),
            RaggedItems(np.array([2]), np.array([0, 2]), np.array([7, 8], "u1")),
            (
                "52414731 00000001 0000000000000002 0000000000000002 "
                "0000000000000000 0000000000000000 0000000000000002 0708"
            ),
        ),
        (
            ItemType(CSR, "i8", (2, 3)),
            CsrItems(np.array([[0, 0, 1]], "u8"), np.array([1]), np.array([2], "u8"), np.array([-1], "i1")),
            (
                "43535231 00000001 0000000000000002 0000000000000003 0000000000000001 "
                "0000000000000000 0000000000000000 0000000000000001 0000000000000002 ff"
            ),
        ),
    ],
    ids=["dense", "big", "columns first", "ragged", "sparse"],
)
def test_bytes(of, items, payload):
    assert encode_items_of(of, items)[0].hex() == payload.replace(" ", "")


def test_npy_items_are_what_numpy_saves(tmp_path):
    values = np.arange(6, dtype=">i4").reshape(2, 3)
    np.save(tmp_path / "c.npy", values)
    np.save(tmp_path / "f.npy", np.asfortranarray(values))
    for layout in "cf":
        of = ItemType(DENSE, "i32", (2, 3), "big", layout, NPY)
        data = (tmp_path / f"{layout}.npy").read_bytes()
        assert encode_items_of(of, DenseItems(values[None].astype("i4"))) == [data]
        assert decode_items_of(of, [data]).values.tolist() == [values.tolist()]
    assert b"'|u1'" in npy_header(ItemType(DENSE, "u8", (1,), "big", codec=NPY))


@pytest.mark.parametrize("form", [(1, 2, 16), (2, 4, 64), (3, 4, 64)])
def test_npy_headers_of_other_numpy_versions_are_read(form):
    of = ItemType(DENSE, "f32", (2,), codec=NPY)
    assert decode_items_of(of, [npy_header(of, form) + bytes(8)]).values.tolist() == [[0, 0]]


def test_npy_headers_that_numpy_does_not_write_are_not_supported():
    of = ItemType(DENSE, "f32", (2,), codec=NPY)
    head = npy_header(of).replace(b"False", b"True ")
    with pytest.raises(UnsupportedError, match="another type"):
        decode_items_of(of, [head + bytes(8)])
    with pytest.raises(LayoutError, match="no NPY file"):
        decode_items_of(of, [bytes(136)])


SMALL = [
    ItemType(DENSE, "u16", (2,)),
    ItemType(DENSE, "i64", (2, 1), "big", "f", NPY),
    ItemType(RAGGED, "u16", (2,), codec=OFFSETS),
    ItemType(CSR, "f32", (3, 4)),
]


@pytest.mark.parametrize("of", SMALL, ids=str)
def test_every_flipped_bit_is_refused_or_canonical(of):  # 0000-R2
    for payload in encode_items_of(of, MAKE[of.family](of)):
        for at, bit in itertools.product(range(len(payload)), range(8)):
            changed = payload[:at] + bytes([payload[at] ^ 1 << bit]) + payload[at + 1 :]
            try:
                found = decode_items_of(of, [changed])
            except DreamDBError:
                continue
            assert encode_items_of(of, found) == [changed]


@pytest.mark.parametrize("of", SMALL, ids=str)
def test_every_cut_and_every_longer_payload_is_refused(of):
    for payload in encode_items_of(of, MAKE[of.family](of)):
        for size in range(len(payload)):
            with pytest.raises(DreamDBError):
                decode_items_of(of, [payload[:size]])
        with pytest.raises(LayoutError):
            decode_items_of(of, [payload + b"\0"])


def rag(version, rows, cells, *offsets, magic=b"RAG1"):
    return struct.pack(f">4sIQQ{len(offsets)}Q", magic, version, rows, cells, *offsets) + bytes(2)


@pytest.mark.parametrize(
    "payload",
    [
        rag(1, 2, 2, 0, 1, 2, magic=b"RAG2"),
        rag(2, 2, 2, 0, 1, 2),
        rag(1, 2, 2, 1, 1, 2),
        rag(1, 2, 2, 0, 1, 1),
        rag(1, 2, 2, 0, 3, 2),
        rag(1, 2**63, 2, 0, 1, 2),
        rag(1, 2, 2**63, 0, 1, 2**63),
        rag(1, 2**64 - 1, 2**64 - 1, 0),
    ],
)
def test_ragged_items_that_are_refused(payload):
    of = ItemType(RAGGED, "u8", codec=OFFSETS)
    assert decode_items_of(of, [rag(1, 2, 2, 0, 1, 2)]).counts.tolist() == [2]
    with pytest.raises(LayoutError):
        decode_items_of(of, [payload])


def csr(version, rows, columns, count, *rest):
    return struct.pack(f">4sIQQQ{len(rest)}Q", b"CSR1", version, rows, columns, count, *rest) + bytes(
        count % 100
    )


@pytest.mark.parametrize(
    "payload",
    [
        csr(2, 2, 3, 2, 0, 1, 2, 2, 0),
        csr(1, 1, 3, 2, 0, 2, 0, 1),
        csr(1, 2, 4, 2, 0, 1, 2, 2, 0),
        csr(1, 2, 3, 2, 0, 2, 2, 2, 0),
        csr(1, 2, 3, 2, 0, 2, 2, 2, 2),
        csr(1, 2, 3, 2, 0, 1, 2, 2, 3),
        csr(1, 2, 3, 2, 0, 1, 2, 2**64 - 1, 0),
        csr(1, 2, 3, 2, 1, 1, 2, 2, 0),
        csr(1, 2, 3, 2, 0, 1, 1, 2, 0),
        csr(1, 2, 3, 2**64 - 1, 0, 1, 2, 2, 0),
    ],
)
def test_sparse_items_that_are_refused(payload):
    of = ItemType(CSR, "u8", (2, 3))
    assert decode_items_of(of, [csr(1, 2, 3, 2, 0, 1, 2, 2, 0)]).column_indices.tolist() == [2, 0]
    with pytest.raises(LayoutError):
        decode_items_of(of, [payload])


def test_columns_may_be_many():
    of = ItemType(CSR, "u8", (1, 2**63))
    items = CsrItems(
        np.array([[0, 1]], "u8"), np.array([1]), np.array([2**63 - 1], "u8"), np.array([9], "u1")
    )
    assert same(decode_items_of(of, encode_items_of(of, items)), items)


@pytest.mark.parametrize(
    ("of", "match"),
    [
        (ItemType(DENSE, "f16"), "dtype 'f16'"),
        (ItemType(DENSE, "f32", endianness="middle"), "endianness"),
        (ItemType(DENSE, "f32", codec="zstd"), "codec 'zstd'"),
        (ItemType(RAGGED, "f32", layout="f", codec=OFFSETS), "layout 'f' of ragged-array"),
        (ItemType(RAGGED, "f32", codec="raw"), "codec 'raw' of ragged-array"),
        (ItemType(DENSE, "f32", (NUMBERS_MAX, 2)), "more than"),
        (ItemType(DENSE, "f32", (1 << 20, 0)), "too many rows"),
        (ItemType(DENSE, "f32", (1,) * 33), "33 dimensions"),
        (ItemType(RAGGED, "f32", (2, 0), codec=OFFSETS), "no numbers"),
        (ItemType(CSR, "f32", (1 << 31, 1)), "rows"),
    ],
    ids=str,
)
def test_types_that_are_not_supported(of, match):
    with pytest.raises(UnsupportedError, match=match):
        check_item_type(of)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"family": "blob"}, UnsupportedError),
        ({"family": 1}, LayoutError),
        ({"version": 2}, UnsupportedError),
        ({"codec_version": 2}, UnsupportedError),
        ({"index_dtype": "u64"}, UnsupportedError),
        ({"shape": 3}, LayoutError),
        ({"shape": [-1]}, LayoutError),
        ({"shape": [1 << 70]}, LayoutError),
        ({"units": None}, LayoutError),
        ({"family": CSR, "shape": [3], "index_dtype": "u64"}, LayoutError),
        ({"family": CSR, "index_dtype": "u32"}, UnsupportedError),
    ],
)
def test_maps_that_are_no_type(change, error):
    value = encode_item_type(ItemType(DENSE, "f32", (2, 3)))
    with pytest.raises(error):
        decode_item_type(value | change)
    with pytest.raises(LayoutError):
        decode_item_type([value])
