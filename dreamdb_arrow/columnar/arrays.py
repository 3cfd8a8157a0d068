"""Arrays in Arrow: items as nested lists and structs, and back. Spec 0021, ADR 0010.

    dense []          number
    dense [a, b]      list<list<number>>
    ragged            list<list<cell>>, a row being a list of cells
    sparse            struct<row_offsets list<uint64>, column_indices list<uint64>, values list<number>>

A list has no fixed size: DuckDB has no arrays of none or of over 100,000 numbers, and Parquet keeps no sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.errors import DreamDBError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.array_item import CsrItems, DenseItems, Items, Numbers, RaggedItems, check_columns
from dreamdb_arrow.objects.array_type import CSR, DENSE, NUMBERS_MAX, RAGGED, ItemType
from dreamdb_arrow.objects.schema import Field, is_constant, item_type_of

ROW_OFFSETS: Final = "row_offsets"
COLUMN_INDICES: Final = "column_indices"
VALUES: Final = "values"
_INDICES: Final = pa.list_(pa.uint64())


def column_type(f: Field) -> pa.DataType | None:
    """Return the type of an array field's column, None for a constant and for items that are not supported."""
    try:
        return None if is_constant(f) else arrow_type(item_type_of(f))
    except DreamDBError:
        return None


def arrow_type(of: ItemType) -> pa.DataType:
    """Return the Arrow type of items."""
    number = pa.from_numpy_dtype(of.native)
    if of.family == CSR:
        return pa.struct([(ROW_OFFSETS, _INDICES), (COLUMN_INDICES, _INDICES), (VALUES, pa.list_(number))])
    return _nested(number, len(of.shape) + (2 if of.family == RAGGED else 0))


def _nested(kind: pa.DataType, depth: int) -> pa.DataType:
    for _ in range(depth):
        kind = pa.list_(kind)
    return kind


def arrow_of_items(of: ItemType, items: Items) -> pa.Array:
    """Return items as an Arrow array of `arrow_type(of)`.

    Raises UnsupportedError for more numbers than the offsets of an Arrow list can count.
    """
    return _TO_ARROW[of.family](of, items).cast(arrow_type(of))


def items_of_arrow(of: ItemType, column: pa.Array) -> Any:
    """Return an Arrow array of `arrow_type(of)`, without nulls, as items.

    Raises LayoutError when one is not of the type's shape, lacks a number, or is not canonical.
    """
    return _FROM_ARROW[of.family](of, column)


# --- to Arrow -----------------------------------------------------------------------------------------------


def _dense_to_arrow(of: ItemType, items: DenseItems) -> pa.Array:
    return nested_lists(items.values, of.shape, len(items))


def _ragged_to_arrow(of: ItemType, items: RaggedItems) -> pa.Array:
    cells = nested_lists(items.values, of.shape, len(items.values))
    return _lists(items.counts, _lists(items.lengths, cells))


def _csr_to_arrow(of: ItemType, items: CsrItems) -> pa.Array:
    n, width = items.row_offsets.shape
    parts = [
        _lists(np.full(n, width), pa.array(items.row_offsets.reshape(-1))),
        _lists(items.counts, pa.array(items.column_indices)),
        _lists(items.counts, pa.array(items.values)),
    ]
    return pa.StructArray.from_arrays(parts, fields=list(arrow_type(of)))


def nested_lists(values: Numbers, shape: tuple[int, ...], n: int) -> pa.Array:
    """Return n arrays of one shape as nested lists; of shape [] as numbers.

    Raises UnsupportedError for more numbers than the offsets of an Arrow list can count.
    """
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    for depth in range(len(shape) - 1, -1, -1):
        count = n * prod(shape[:depth])
        _refuse_many(max(count, len(flat)))
        offsets = np.arange(count + 1, dtype=np.int32) * np.int32(shape[depth])
        flat = pa.ListArray.from_arrays(pa.array(offsets), flat)
    return flat


def _lists(lengths: Any, values: pa.Array) -> pa.Array:
    _refuse_many(len(values))
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _refuse_many(count: int) -> None:
    if count > NUMBERS_MAX:
        raise UnsupportedError(
            f"{count} numbers are too many for one column: a list counts up to {NUMBERS_MAX}"
        )


# --- from Arrow ---------------------------------------------------------------------------------------------


def _dense_from_arrow(of: ItemType, column: pa.Array) -> DenseItems:
    return DenseItems(_unshaped(of, column))


def _ragged_from_arrow(of: ItemType, column: pa.Array) -> RaggedItems:
    counts, rows = _unlisted(column)
    lengths, cells = _unlisted(rows)
    return RaggedItems(counts, lengths, _unshaped(of, cells))


def _csr_from_arrow(of: ItemType, column: pa.Array) -> CsrItems:
    rows, columns = of.shape
    (widths, offsets), (counts, indices), (held, values) = (_unlisted(column.field(i)) for i in range(3))
    if np.any(widths != rows + 1):
        raise LayoutError(f"a matrix of {rows} rows has {rows + 1} row offsets")
    if np.any(counts != held):
        raise LayoutError("a sparse matrix has as many columns as numbers")
    starts = _numbers(offsets, np.uint64).reshape(-1, rows + 1)
    ends_well = np.all(starts[:, 0] == 0) and np.all(starts[:, -1] == counts.astype(np.uint64))
    if not ends_well or np.any(starts[:, 1:] < starts[:, :-1]):
        raise LayoutError("row offsets rise from 0 to the count of numbers")
    made = CsrItems(starts, counts, _numbers(indices, np.uint64), _numbers(values, of.native))
    check_columns(made, columns, (starts[:, 1:] - starts[:, :-1]).astype(np.int64).reshape(-1))
    return made


def _unshaped(of: ItemType, column: pa.Array) -> Numbers:
    """Return n nested lists as (n, *shape)."""
    n = len(column)
    for depth, size in enumerate(of.shape):
        lengths, column = _unlisted(column)
        wrong = lengths[lengths != size]
        if len(wrong):
            raise LayoutError(
                f"shape {list(of.shape)} has {size} values in dimension {depth}, not {wrong[0]}"
            )
    return _numbers(column, of.native).reshape(n, *of.shape)


def _unlisted(column: pa.Array) -> tuple[np.ndarray[Any, np.dtype[np.int64]], pa.Array]:
    """Return the lengths of lists, none of which may be missing, and what is in them."""
    if column.null_count:
        raise LayoutError("a list is missing")
    offsets = np.asarray(column.offsets, np.int64)
    return np.diff(offsets), column.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))


def _numbers(column: pa.Array, dtype: Any) -> Numbers:
    if column.null_count:
        raise LayoutError("a number is missing")
    return np.asarray(column).astype(dtype, copy=False)


_TO_ARROW: Final[Mapping[str, Callable[[ItemType, Any], pa.Array]]] = {
    DENSE: _dense_to_arrow,
    RAGGED: _ragged_to_arrow,
    CSR: _csr_to_arrow,
}
_FROM_ARROW: Final[Mapping[str, Callable[[ItemType, pa.Array], Any]]] = {
    DENSE: _dense_from_arrow,
    RAGGED: _ragged_from_arrow,
    CSR: _csr_from_arrow,
}
