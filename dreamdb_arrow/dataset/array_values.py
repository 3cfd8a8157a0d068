"""Arrays on their way in: Arrow columns, and NumPy arrays, nested lists or sparse matrices row by row. Spec 0006.

What is wrong is named with its field and its row. Numbers must fit the declared type exactly, but that floats are rounded
to the precision that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.columnar.arrays import (
    COLUMN_INDICES,
    ROW_OFFSETS,
    VALUES,
    arrow_of_items,
    arrow_type,
    items_of_arrow,
)
from dreamdb_arrow.dataset.values import cast
from dreamdb_arrow.errors import InvalidInputError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.array_item import CsrItems, DenseItems, Items, Numbers, RaggedItems
from dreamdb_arrow.objects.array_type import CSR, DENSE, RAGGED, ItemType
from dreamdb_arrow.objects.schema import Field, item_type_of

PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    ROW_OFFSETS: (ROW_OFFSETS, "indptr"),
    COLUMN_INDICES: (COLUMN_INDICES, "indices"),
    VALUES: (VALUES, "data"),
}


# --- columns ------------------------------------------------------------------------------------------------


def check_array(f: Field, column: pa.Array, first: int = 0) -> pa.Array:
    """Return the values of an array field in the stored type.

    `first` is the number of the first row. Raises InvalidInputError, naming field and row.
    """
    of = item_type_of(f)
    kind = arrow_type(of)
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), kind)
    column = _plain(f, column)
    if not _fits_type(column.type, kind):
        raise InvalidInputError(f"field {f.name!r}: a column of {column.type} holds no {kind}")
    present = np.asarray(column.is_valid())
    held = column.filter(column.is_valid()) if column.null_count else column
    name = f"field {f.name!r}"
    values = _cast_struct(f, held, kind) if of.family == CSR else cast(held, kind, name, first)
    _check_items(f, of, held, values, first + np.flatnonzero(present))
    return values if present.all() else values.take(pa.array(np.cumsum(present) - 1, mask=~present))


def _plain(f: Field, column: pa.Array) -> pa.Array:
    """Return what an Arrow tensor column holds as nested lists; other columns as they are."""
    if not isinstance(column, pa.ExtensionArray):
        return column
    tensor = isinstance(column.type, pa.FixedShapeTensorType)
    if not tensor or list(column.type.permutation or ()) != sorted(column.type.permutation or ()):
        raise InvalidInputError(f"field {f.name!r}: a column of {column.type} is no column of arrays")
    lists = column.storage
    for size in reversed(column.type.shape[1:]):
        inner = pa.FixedSizeListArray.from_arrays(lists.values, size)
        lists = pa.FixedSizeListArray.from_arrays(
            inner, lists.type.list_size // size, mask=lists.is_null() if lists.null_count else None
        )
    return lists


def _fits_type(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a type has the lists and structs of another, over numbers of whatever kind."""
    if pa.types.is_struct(wanted):
        names = {given.field(i).name: given.field(i).type for i in range(given.num_fields)}
        held = [next((names[n] for n in PARTS[part.name] if n in names), None) for part in wanted]
        return pa.types.is_struct(given) and all(
            h is not None and _fits_type(h, part.type) for h, part in zip(held, wanted, strict=True)
        )
    if pa.types.is_list(wanted):
        return _is_list(given) and _fits_type(given.value_type, wanted.value_type)
    return bool(pa.types.is_integer(given) or pa.types.is_floating(given) or pa.types.is_null(given))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _cast_struct(f: Field, column: pa.Array, kind: pa.DataType) -> pa.Array:
    names = [column.type.field(i).name for i in range(column.type.num_fields)]
    parts = [
        cast(column.field(next(n for n in PARTS[part.name] if n in names)), part.type, f"field {f.name!r}")
        for part in kind
    ]
    return pa.StructArray.from_arrays(parts, fields=list(kind))


def _check_items(f: Field, of: ItemType, held: pa.Array, values: pa.Array, rows: Any) -> None:
    """Refuse items that are not of the type, and numbers that became infinite in it."""

    def wrong(start: int, stop: int) -> str:
        try:
            made = items_of_arrow(of, values.slice(start, stop - start))
        except (LayoutError, UnsupportedError) as error:
            return str(error)
        if of.native.kind == "f" and np.isinf(made.values).any():
            given = _flat(held.slice(start, stop - start))
            if np.isinf(made.values).sum() != np.isinf(given).sum():
                return f"a number is too large for {of.dtype}"
        return ""

    if len(values) and wrong(0, len(values)):
        low, high = 0, len(values)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if wrong(low, middle) else (middle, high)
        raise InvalidInputError(f"field {f.name!r}, row {rows[low]}: {wrong(low, high)}")


def _flat(column: pa.Array) -> Numbers:
    """Return the numbers of nested lists, or of a struct's values."""
    if pa.types.is_struct(column.type):
        names = [column.type.field(i).name for i in range(column.type.num_fields)]
        column = column.field(next(n for n in PARTS[VALUES] if n in names))
    while _is_list(column.type):
        column = column.flatten()
    return np.asarray(column, np.float64)


# --- rows ---------------------------------------------------------------------------------------------------


def sample_arrays(f: Field, values: Sequence[Any]) -> pa.Array:
    """Return one value a row, None where there is none, in the stored type.

    Dense arrays are anything that NumPy takes. Ragged ones are lists of rows, or maps of row_offsets and values. Sparse ones
    are maps or objects with row_offsets or indptr, column_indices or indices, values or data. Raises InvalidInputError.
    """
    of = item_type_of(f)
    present = np.array([v is not None for v in values], dtype=bool)
    held = [_Row(f, row, of, values[row]) for row in np.flatnonzero(present).tolist()]
    column = arrow_of_items(of, _GATHER[of.family](of, held))
    return column if present.all() else column.take(pa.array(np.cumsum(present) - 1, mask=~present))


class _Row:
    """One value, and what to say when it is wrong."""

    __slots__ = ("f", "of", "row", "value")

    def __init__(self, f: Field, row: int, of: ItemType, value: Any) -> None:
        self.f, self.row, self.of, self.value = f, row, of, value

    def refuse(self, why: str) -> InvalidInputError:
        return InvalidInputError(f"field {self.f.name!r}, row {self.row}: {why}")

    def numbers(self, value: Any, dtype: np.dtype[Any]) -> Numbers:
        """Return a value as an array of this type."""
        try:
            found = np.asarray(value)
        except (TypeError, ValueError, OverflowError):
            raise self.refuse(f"not an array of {dtype} numbers: {value!r:.60}") from None
        if found.dtype.kind not in "iuf":
            raise self.refuse(f"not an array of {dtype} numbers: {value!r:.60}")
        if found.dtype == dtype:
            return found
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                # NumPy makes floats of a list with both small integers and such beyond int64
                mixed = found.dtype.kind == "f" and dtype.kind in "iu" and not isinstance(value, np.ndarray)
                made = np.asarray(value, dtype) if mixed else found.astype(dtype)
        except (TypeError, ValueError, OverflowError):
            made = np.zeros(0, dtype)
        if not _same(found, made):
            raise self.refuse(f"numbers that {self.of.dtype} does not have: {value!r:.60}")
        return made

    def part(self, name: str) -> Any:
        """Return a part of a value that has parts, by any of its names."""
        for known in PARTS[name]:
            if isinstance(self.value, Mapping) and known in self.value:
                return self.value[known]
            if not isinstance(self.value, Mapping | np.ndarray) and hasattr(self.value, known):
                return getattr(self.value, known)
        raise self.refuse(f"has no {' or '.join(PARTS[name])}: {self.value!r:.60}")

    def offsets(self, total: int) -> Any:
        """Return the row offsets of a value with so many numbers or cells."""
        found = self.numbers(self.part(ROW_OFFSETS), np.dtype(np.int64))
        rises = found.ndim == 1 and len(found) and found[0] == 0 and found[-1] == total
        if not rises or np.any(found[1:] < found[:-1]):
            raise self.refuse(f"row offsets rise from 0 to {total}, the count of values")
        return found


def _same(given: Numbers, made: Numbers) -> bool:
    """Whether numbers are the same in another type, but for what floats lose in precision."""
    if given.dtype.kind == "f" and made.dtype.kind == "f":
        return bool(np.array_equal(np.isinf(given), np.isinf(made)))
    with np.errstate(invalid="ignore"):
        back = made.astype(given.dtype)
    # 2**63 as a float comes back from int64 as it was, though the integer is another
    return bool(np.array_equal(back, given) and np.array_equal(made < 0, given < 0))


def _gather_dense(of: ItemType, rows: Sequence[_Row]) -> Items:
    out = np.empty((len(rows), *of.shape), of.native)
    for nth, row in enumerate(rows):
        found = row.numbers(row.value, of.native)
        if found.shape != of.shape:
            raise row.refuse(f"shape {found.shape}, expected {of.shape}")
        out[nth] = found
    return DenseItems(out)


def _gather_ragged(of: ItemType, rows: Sequence[_Row]) -> Items:
    counts, lengths, values = [], [], [np.empty((0, *of.shape), of.native)]
    for row in rows:
        sizes, cells = _ragged_parts(of, row)
        counts.append(len(sizes))
        lengths += sizes
        values += cells
    return RaggedItems(np.array(counts, np.int64), np.array(lengths, np.int64), np.concatenate(values))


def _ragged_parts(of: ItemType, row: _Row) -> tuple[list[int], list[Numbers]]:
    """Return the lengths of an item's rows, and their cells."""
    if isinstance(row.value, Mapping):
        cells = _cells(of, row, row.part(VALUES))
        return np.diff(row.offsets(len(cells))).tolist(), [cells]
    if isinstance(row.value, str | bytes) or not isinstance(row.value, Sequence | np.ndarray):
        raise row.refuse(f"a ragged array is a list of rows, not {row.value!r:.60}")
    parts = [_cells(of, row, part) for part in row.value]
    return [len(part) for part in parts], parts


def _cells(of: ItemType, row: _Row, value: Any) -> Numbers:
    found = row.numbers(value, of.native)
    if found.size == 0 and found.shape[:1] == (0,):
        return found.reshape(0, *of.shape)
    if found.ndim == 0 or found.shape[1:] != of.shape:
        raise row.refuse(f"cells of shape {found.shape[1:]}, expected {of.shape}")
    return found


def _gather_csr(of: ItemType, rows: Sequence[_Row]) -> Items:
    offsets = np.zeros((len(rows), of.shape[0] + 1), np.uint64)
    indices, values = [np.empty(0, np.uint64)], [np.empty(0, of.native)]
    for nth, row in enumerate(rows):
        shape = getattr(row.value, "shape", of.shape)
        if tuple(shape) != of.shape:
            raise row.refuse(f"shape {tuple(shape)}, expected {of.shape}")
        values.append(row.numbers(row.part(VALUES), of.native))
        indices.append(row.numbers(row.part(COLUMN_INDICES), np.dtype(np.uint64)))
        found = row.offsets(len(values[-1]))
        _check_csr(of, row, found, indices[-1], values[-1])
        offsets[nth] = found
    counts = np.array([len(part) for part in values[1:]], np.int64)
    return CsrItems(offsets, counts, np.concatenate(indices), np.concatenate(values))


def _check_csr(of: ItemType, row: _Row, offsets: Any, indices: Numbers, values: Numbers) -> None:
    if len(offsets) != of.shape[0] + 1 or indices.shape != values.shape or values.ndim != 1:
        raise row.refuse(
            f"a matrix of {of.shape[0]} rows has {of.shape[0] + 1} offsets, and a column for each value"
        )
    begins = np.zeros(len(indices) + 1, bool)
    begins[offsets] = True
    if not np.all((indices[1:] > indices[:-1]) | begins[1:-1]):
        raise row.refuse("columns must ascend within a row, each once (sort_indices, sum_duplicates)")
    if len(indices) and int(indices.max()) >= of.shape[1]:
        raise row.refuse(f"column {indices.max()} of a matrix that has {of.shape[1]}")


_GATHER: Final[Mapping[str, Callable[[ItemType, Sequence[_Row]], Items]]] = {
    DENSE: _gather_dense,
    RAGGED: _gather_ragged,
    CSR: _gather_csr,
}
