"""Values on their way in: each kind of field has its checks. Spec 0006.

What is wrong is named with its field and its row. Nothing is silently made to fit: no rounding, no truncation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamdb_arrow.columnar.projection import dim_of
from dreamdb_arrow.columnar.stripe import SCALAR_TYPES
from dreamdb_arrow.columnar.vectors import F32
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.schema import Field

STRING_BYTES_MAX: Final = 8192  # 0011: what a B-tree key may have; 0006-R6

Bools = np.ndarray[Any, np.dtype[np.bool_]]


def check_scalar(f: Field, column: pa.Array, first: int = 0) -> pa.Array:
    """Return the values of a scalar field in the stored type.

    `first` is the number of the first row. Raises InvalidInputError, naming field and row.
    """
    value_type = str(f.options["value_type"])
    kind = SCALAR_TYPES[value_type]
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), kind)
    if not _ACCEPTED[value_type](column.type):
        raise InvalidInputError(f"field {f.name!r}: a column of {column.type} is no {value_type}")
    if pa.types.is_timestamp(column.type) and column.type.tz:  # the same instant, told without a zone
        column = cast(column, pa.timestamp("ns", column.type.tz), f"field {f.name!r}", first).cast(pa.int64())
    if _is_text(column.type):
        _check_unicode(f, column, first)
    values = cast(column, kind, f"field {f.name!r}", first)
    if value_type == "float" and not _is_finite(values):
        wrong = pc.invert(pc.is_finite(values))  # 0006-R6, 0011-R2
        _refuse(f, wrong, values, "is not a finite number", first)
    elif value_type == "string":
        too_long = pc.greater(pc.binary_length(values), STRING_BYTES_MAX)
        _refuse(f, too_long, values, f"has over {STRING_BYTES_MAX} bytes", first)
    return values


def _is_finite(values: pa.Array) -> bool:
    return bool(pc.all(pc.is_finite(values), min_count=0).as_py())


def _check_unicode(f: Field, column: pa.Array, first: int) -> None:
    """Refuse text that is no UTF-8: Arrow hands on what another library put there, engines then stumble over it."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        row = next(i for i in range(len(column)) if not _is_valid(column.slice(i, 1)))
        raise InvalidInputError(
            f"field {f.name!r}, row {first + row}: {str(error).splitlines()[0]}"
        ) from None


def _is_valid(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


_ACCEPTED: Final[Mapping[str, Callable[[pa.DataType], bool]]] = {
    "int": _is_number,  # a float column of whole numbers is what pandas makes of integers with gaps
    "float": _is_number,
    "string": _is_text,
    "categorical": _is_text,
    "bool": pa.types.is_boolean,
    "timestamp": lambda k: bool(pa.types.is_timestamp(k) or pa.types.is_date(k) or pa.types.is_integer(k)),
}


def cast(column: pa.Array, kind: pa.DataType, name: str, first: int = 0) -> pa.Array:
    """Return a column in another type. Raises InvalidInputError, naming the first row that does not fit."""
    if column.type == kind:
        return column
    try:
        return column.cast(kind)  # 0006-R6
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row = _first_failing(column, kind)
        where = f"{name}, row {first + row}" if row is not None else name
        raise InvalidInputError(f"{where}: {str(error).splitlines()[0]}") from None


def _first_failing(column: pa.Array, kind: pa.DataType) -> int | None:
    """Find the first row that cannot be cast, by halving."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            column.slice(low, middle - low).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            high = middle
        else:
            low = middle
    return low if high > low else None


def _refuse(f: Field, wrong: pa.Array, values: pa.Array, why: str, first: int) -> None:
    at = pc.index(wrong, True).as_py()
    if at >= 0:
        raise InvalidInputError(f"field {f.name!r}, row {first + at}: {values[at].as_py()!r:.60} {why}")


def check_media(f: Field, column: pa.Array) -> pa.Array:
    """Return the values of a media field as large_binary. Raises InvalidInputError."""
    kind = column.type
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.large_binary())
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)):
        raise InvalidInputError(f"field {f.name!r}: a column of {kind} is no {f.kind}; give bytes")
    return column.cast(pa.large_binary())


def check_vectors(f: Field, column: pa.Array, first: int = 0) -> tuple[Bools, F32]:
    """Return which rows have a vector, and the vectors, float32 (m, d): views of the column where it holds just them.

    `first` is the number of the first row. Raises InvalidInputError, naming the row.
    """
    dim = dim_of(f)
    if pa.types.is_null(column.type):
        return np.zeros(len(column), dtype=bool), np.empty((0, dim), dtype=np.float32)
    kind = column.type
    fixed = pa.types.is_fixed_size_list(kind)
    if not (fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not _is_number(
        kind.value_type
    ):
        raise InvalidInputError(f"field {f.name!r}: a column of {kind} holds no vectors")
    if fixed and kind.list_size != dim:
        raise InvalidInputError(f"field {f.name!r} has {dim} dimensions, the rows have {kind.list_size}")
    if not fixed:
        _refuse_lengths(f, column, dim, first)
    present = np.asarray(column.is_valid())
    held = column.filter(column.is_valid()) if column.null_count else column
    flat = held.flatten()
    if flat.null_count:
        row = first + _row_of(present, first_null(flat) // dim)
        raise InvalidInputError(f"field {f.name!r}, row {row}: a number is missing")
    numbers = flat if flat.type == pa.float32() else flat.cast(pa.float32(), safe=False)
    vectors = np.asarray(numbers).reshape(-1, dim)
    _check_numbers(f, vectors, present, first)
    return present, vectors


def _refuse_lengths(f: Field, column: pa.Array, dim: int, first: int) -> None:
    lengths = pc.list_value_length(column)
    wrong = np.flatnonzero(np.asarray(pc.fill_null(pc.not_equal(lengths, dim), False)))
    if len(wrong):
        row = int(wrong[0])
        raise InvalidInputError(
            f"field {f.name!r}, row {first + row}: {lengths[row].as_py()} dimensions, expected {dim}"
        )


def _check_numbers(f: Field, vectors: F32, present: Bools, first: int) -> None:
    """Refuse NaN, infinities and (for cosine) vectors without a direction."""
    # One pass with BLAS: the squared length is finite and positive for every good vector, or nearly so.
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)
    for at in np.flatnonzero(~(np.isfinite(squares) & (squares > 0))):
        row = first + _row_of(present, int(at))
        if not np.isfinite(vectors[at]).all():  # 0006-R6
            raise InvalidInputError(f"field {f.name!r}, row {row}: the vector holds NaN or an infinity")
        if np.linalg.norm(vectors[at].astype(np.float64)) > np.finfo(np.float32).max:
            raise InvalidInputError(f"field {f.name!r}, row {row}: the vector is too long for 32-bit floats")
        if f.options.get("algorithm") != "dreamdb.lsh-l2" and not vectors[at].any():  # 0004-R3, 0006-R6
            raise InvalidInputError(
                f"field {f.name!r}, row {row}: the vector is all zeros and has no direction"
            )


def _row_of(present: Bools, at: int) -> int:
    return int(np.flatnonzero(present)[at])


def first_null(column: pa.Array) -> int:
    """Return the first row that is null."""
    return int(np.flatnonzero(np.asarray(column.is_null()))[0])
