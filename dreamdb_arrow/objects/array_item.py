"""Array items: many payloads of one item type to columns of numbers, and back. Spec 0007.

    dense     the numbers, or an NPY file of them
    ragged    "RAG1"  u32 1  u64 rows  u64 cells   u64 offset x (rows + 1)   the numbers, cell by cell
    sparse    "CSR1"  u32 1  u64 rows  u64 columns  u64 count
              u64 offset x (rows + 1)   u64 column x count   number x count

Counts, offsets and columns are big-endian; the numbers have the byte order, dense ones also the layout, of the type.
Numbers keep their bits, those of NaN too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.ragged import Ints
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.array_type import CSR, DENSE, NPY, RAGGED, ItemType

Numbers: TypeAlias = NDArray[Any]

NPY_MAGIC: Final = b"\x93NUMPY"
NPY_ALIGNMENT: Final = 64
RAGGED_HEAD: Final = struct.Struct(">4sIQQ")
CSR_HEAD: Final = struct.Struct(">4sIQQQ")
_RAGGED_START: Final = (b"RAG1", 1)
_CSR_START: Final = (b"CSR1", 1)
# What NumPy has written in its time: version, length of the count, alignment.
_NPY_FORMS: Final = ((1, 2, NPY_ALIGNMENT), (1, 2, 16), (2, 4, NPY_ALIGNMENT), (3, 4, NPY_ALIGNMENT))


@dataclass(frozen=True, slots=True)
class DenseItems:
    """n arrays of one shape: `values` is (n, *shape), in native byte order."""

    values: Numbers

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class RaggedItems:
    """n lists of rows of cells.

    counts    int64 (n,), how many rows each item has
    lengths   int64 (sum of counts,), how many cells each row has
    values    (sum of lengths, *inner shape)
    """

    counts: Ints
    lengths: Ints
    values: Numbers

    def __len__(self) -> int:
        return len(self.counts)


@dataclass(frozen=True, slots=True)
class CsrItems:
    """n sparse matrices of one shape.

    row_offsets     uint64 (n, rows + 1), where each row begins within its item
    counts          int64 (n,), how many numbers each item has
    column_indices  uint64 (sum of counts,), ascending within a row
    values          (sum of counts,)
    """

    row_offsets: NDArray[np.uint64]
    counts: Ints
    column_indices: NDArray[np.uint64]
    values: Numbers

    def __len__(self) -> int:
        return len(self.counts)


Items: TypeAlias = DenseItems | RaggedItems | CsrItems


def decode_items_of(of: ItemType, payloads: Sequence[bytes]) -> Items:
    """Return the items of these payloads. Raises LayoutError for one that is none of this type.

    UnsupportedError for an NPY file whose header has a form that NumPy does not write.
    """
    return _DECODE[of.family](of, payloads)


def encode_items_of(of: ItemType, items: Any) -> list[bytes]:
    """Return the payload of each item. `items` are of the type's family, and as its class says."""
    return _ENCODE[of.family](of, items)


def join_items_of(of: ItemType, parts: Sequence[Any]) -> Items:
    """Return the items of all parts, one after another."""
    if not parts:
        return decode_items_of(of, [])
    kind = type(parts[0])
    return kind(*(np.concatenate([getattr(p, name) for p in parts]) for name in kind.__slots__))  # type: ignore[no-any-return]


# --- dense --------------------------------------------------------------------------------------------------


def _decode_dense(of: ItemType, payloads: Sequence[bytes]) -> DenseItems:
    size = prod(of.shape) * of.stored.itemsize
    bodies = payloads if of.codec != NPY else [_npy_body(of, data) for data in payloads]
    for data in bodies:
        if len(data) != size:  # 0007-R2
            raise LayoutError(f"an array of shape {list(of.shape)} has {size} bytes, not {len(data)}")
    reverse = of.layout == "f"
    shape = (len(bodies), *(reversed(of.shape) if reverse else of.shape))
    values = _native(of, b"".join(bodies)).reshape(shape)
    return DenseItems(_turned(values) if reverse else values)


def _encode_dense(of: ItemType, items: DenseItems) -> list[bytes]:
    values = _turned(items.values) if of.layout == "f" else items.values
    head = npy_header(of) if of.codec == NPY else b""
    return [head + body for body in _cut(_stored(of, values), np.full(len(items), prod(of.shape)))]


def _turned(values: Numbers) -> Numbers:
    """Reverse the dimensions of each item."""
    return np.ascontiguousarray(values.transpose(0, *range(values.ndim - 1, 0, -1)))


def npy_header(of: ItemType, form: tuple[int, int, int] = _NPY_FORMS[0]) -> bytes:
    """Return what an NPY file begins with: magic, version, and the type as the text of a Python dict."""
    version, width, alignment = form
    descr = of.stored.str if of.stored.itemsize > 1 else f"|{of.stored.str[1:]}"
    text = f"{{'descr': '{descr}', 'fortran_order': {of.layout == 'f'}, 'shape': {of.shape}, }}"
    used = len(NPY_MAGIC) + 2 + width + len(text) + 1
    text += " " * (-used % alignment) + "\n"
    return NPY_MAGIC + bytes([version, 0]) + len(text).to_bytes(width, "little") + text.encode()


def _npy_body(of: ItemType, data: bytes) -> bytes:
    for form in _NPY_FORMS:
        head = npy_header(of, form)
        if data.startswith(head):
            return data[len(head) :]
    if not data.startswith(NPY_MAGIC):
        raise LayoutError("an array item is no NPY file, though its type says so")
    raise UnsupportedError(
        "an array item is an NPY file of another type, or with a header that NumPy does not write"
    )


# --- ragged -------------------------------------------------------------------------------------------------


def _decode_ragged(of: ItemType, payloads: Sequence[bytes]) -> RaggedItems:
    cell = prod(of.shape) * of.stored.itemsize
    lengths, bodies, counts = [], [], []
    for data in payloads:
        rows, cells = _head(RAGGED_HEAD, _RAGGED_START, data)
        start = RAGGED_HEAD.size + 8 * (rows + 1)
        _check_size(data, start + cells * cell)
        lengths.append(_row_lengths(data, RAGGED_HEAD.size, rows, cells))
        bodies.append(data[start:])
        counts.append(rows)
    values = _native(of, b"".join(bodies)).reshape(-1, *of.shape)
    return RaggedItems(np.array(counts, np.int64), _joined(lengths, np.int64), values)


def _encode_ragged(of: ItemType, items: RaggedItems) -> list[bytes]:
    stops = np.cumsum(items.counts)
    starts = stops - items.counts
    ends = np.r_[0, np.cumsum(items.lengths)]
    cells = ends[stops] - ends[starts]
    bodies = _cut(_stored(of, items.values), cells * prod(of.shape))
    payloads = []
    for row, stop, body in zip(starts.tolist(), stops.tolist(), bodies, strict=True):
        offsets = ends[row : stop + 1] - ends[row]
        head = RAGGED_HEAD.pack(*_RAGGED_START, stop - row, int(offsets[-1]))
        payloads.append(head + offsets.astype(">u8").tobytes() + body)
    return payloads


# --- sparse -------------------------------------------------------------------------------------------------


def _decode_csr(of: ItemType, payloads: Sequence[bytes]) -> CsrItems:
    rows, columns = of.shape
    width = of.stored.itemsize
    lengths, indices, bodies, counts = [], [], [], []
    for data in payloads:
        has_rows, has_columns, count = _head(CSR_HEAD, _CSR_START, data)
        if (has_rows, has_columns) != (rows, columns):
            raise LayoutError(f"a matrix of {has_rows} x {has_columns}, its type says {rows} x {columns}")
        first = CSR_HEAD.size + 8 * (rows + 1)
        start = first + 8 * count
        _check_size(data, start + count * width)
        lengths.append(_row_lengths(data, CSR_HEAD.size, rows, count))
        indices.append(np.frombuffer(data, ">u8", count, first))
        bodies.append(data[start:])
        counts.append(count)
    offsets = np.zeros((len(payloads), rows + 1), np.uint64)
    if payloads:
        np.cumsum(np.stack(lengths), axis=1, out=offsets[:, 1:])
    held = CsrItems(
        offsets,
        np.array(counts, np.int64),
        _joined(indices, np.uint64),
        _native(of, b"".join(bodies)),
    )
    check_columns(held, columns, _joined(lengths, np.int64))
    return held


def check_columns(items: CsrItems, columns: int, lengths: Ints) -> None:
    """Refuse column indices beyond the matrix, and such as do not ascend within a row of so many numbers each."""
    indices = items.column_indices
    if len(indices) and int(indices.max()) >= columns:
        raise LayoutError(f"column {indices.max()} of a matrix that has {columns}")
    ascends = indices[1:] > indices[:-1]
    firsts = np.cumsum(lengths)[:-1]
    begins = np.zeros(len(indices) + 1, np.bool_)
    begins[firsts] = True
    if not np.all(ascends | begins[1:-1]):
        raise LayoutError("the columns of a row of a sparse matrix do not ascend")


def _encode_csr(of: ItemType, items: CsrItems) -> list[bytes]:
    rows, columns = of.shape
    bodies = _cut(_stored(of, items.values), items.counts)
    indices = _cut(items.column_indices.astype(">u8"), items.counts)
    offsets = items.row_offsets.astype(">u8")
    return [
        b"".join((CSR_HEAD.pack(*_CSR_START, rows, columns, count), offsets[nth].tobytes(), index, body))
        for nth, (count, index, body) in enumerate(zip(items.counts.tolist(), indices, bodies, strict=True))
    ]


# --- parts --------------------------------------------------------------------------------------------------


def _head(form: struct.Struct, start: tuple[bytes, int], data: bytes) -> list[int]:
    """Return the counts in the head of a payload, which the caller compares with its size before use."""
    if len(data) < form.size:
        raise LayoutError(f"an array item of {len(data)} bytes is cut off")
    magic, version, *counts = form.unpack_from(data)
    if (magic, version) != start:
        raise LayoutError(f"an array item begins with {magic!r}, version {version}")
    return counts


def _check_size(data: bytes, size: int) -> None:
    if len(data) != size:  # 0007-R2
        raise LayoutError(f"an array item has {len(data)} bytes, its counts say {size}")


def _row_lengths(data: bytes, at: int, rows: int, total: int) -> Ints:
    """Return the lengths between rows + 1 offsets, which begin at 0, end at `total` and never fall."""
    offsets = np.frombuffer(data, ">u8", rows + 1, at)
    if offsets[0] != 0 or offsets[-1] != total or np.any(offsets[1:] < offsets[:-1]):
        raise LayoutError("the row offsets of an array item do not rise from 0 to its count")
    signed = offsets.astype(np.int64)
    return signed[1:] - signed[:-1]


def _joined(parts: Sequence[Numbers], dtype: Any) -> Numbers:
    return np.concatenate(parts).astype(dtype) if parts else np.empty(0, dtype)


def _native(of: ItemType, data: bytes) -> Numbers:
    """Return stored numbers in native byte order; bytes are swapped as integers, which have no NaN to be quieted."""
    stored = np.frombuffer(data, of.stored)
    return _as_unsigned(stored).astype(f"=u{stored.itemsize}").view(of.native)


def _stored(of: ItemType, values: Numbers) -> Numbers:
    """Return numbers, whatever their shape, as a flat array in the byte order of the type."""
    flat = np.ascontiguousarray(values, of.native).reshape(-1)
    return _as_unsigned(flat).astype(f"{of.stored.byteorder}u{of.stored.itemsize}".replace("|", ""))


def _as_unsigned(values: Numbers) -> Numbers:
    return values.view(np.dtype(f"u{values.itemsize}").newbyteorder(values.dtype.byteorder))


def _cut(values: Numbers, counts: NDArray[Any]) -> list[bytes]:
    """Return a flat array as the bytes of so many numbers each."""
    data, stops = values.tobytes(), (np.cumsum(counts) * values.itemsize).tolist()
    return [data[a:b] for a, b in zip([0, *stops[:-1]], stops, strict=True)] if stops else []


_DECODE: Final[Mapping[str, Callable[[ItemType, Sequence[bytes]], Items]]] = {
    DENSE: _decode_dense,
    RAGGED: _decode_ragged,
    CSR: _decode_csr,
}
_ENCODE: Final[Mapping[str, Callable[[ItemType, Any], list[bytes]]]] = {
    DENSE: _encode_dense,
    RAGGED: _encode_ragged,
    CSR: _encode_csr,
}
