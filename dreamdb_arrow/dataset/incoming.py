"""Rows on their way in: anything tabular to checked columns, before a byte is written. Spec 0006.

A batch is checked as a whole: names, types, dimensions, NaN, missing required values, anchors. The first thing that
is wrong is named with its field and its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from dreamdb_arrow.columnar.arrays import column_type
from dreamdb_arrow.columnar.stripe import ANCHOR, MEDIA_KINDS, TIME
from dreamdb_arrow.columnar.vectors import F32, I64
from dreamdb_arrow.dataset.array_values import check_array
from dreamdb_arrow.dataset.values import Bools, cast, check_media, check_scalar, check_vectors, first_null
from dreamdb_arrow.errors import AnchorConflict, InvalidInputError
from dreamdb_arrow.objects.schema import Field, is_constant
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX


@dataclass(slots=True)
class Incoming:
    """Checked rows, column by column, in the order they were given.

    anchors   (n,) int64, or None when they are to be assigned
    spread    whether anchors are ticks that may repeat, to be spread by one nanosecond each
    first     the number of the first row, as errors count them: from the start of a stream
    scalars   name -> Arrow array of the stored type
    media     name -> Arrow binary array
    vectors   name -> (present (n,) bool, vectors (m, d) float32 of the rows that are present)
    arrays    name -> Arrow array of the stored type
    """

    n: int
    anchors: I64 | None
    spread: bool = False
    first: int = 0
    scalars: dict[str, pa.Array] = field(default_factory=dict)
    media: dict[str, pa.Array] = field(default_factory=dict)
    vectors: dict[str, tuple[Bools, F32]] = field(default_factory=dict)
    arrays: dict[str, pa.Array] = field(default_factory=dict)

    def given(self) -> set[str]:
        """Return the fields that at least one row has a value of."""
        columns = {**self.scalars, **self.media, **self.arrays}
        found = {name for name, column in columns.items() if column.null_count < self.n}
        return found | {name for name, (present, _) in self.vectors.items() if present.any()}


def check_rows(table: pa.Table, fields: Sequence[Field], time: str | None = None, first: int = 0) -> Incoming:
    """Check a table against a schema and return its columns in the stored types.

    Args:
        table: the rows.
        fields: the schema.
        time: a column whose times become the anchors, spread where they coincide.
        first: the number of the first row, for errors.

    Raises InvalidInputError that names the field and the row; AnchorConflict for an anchor given twice.
    """
    _check_names(table, fields, time)
    rows = Incoming(len(table), *_anchors(table, time, first), first)
    for f in fields:
        column = _column(table, f, rows.n)
        if column is None:
            continue
        _check_required(f, column, first)
        if f.kind == "scalar":
            rows.scalars[f.name] = check_scalar(f, column, first)
            _check_required(f, rows.scalars[f.name], first)  # a dictionary may hold a null
        elif f.kind in MEDIA_KINDS:
            rows.media[f.name] = check_media(f, column)
        elif f.kind == "array":
            rows.arrays[f.name] = check_array(f, column, first)
        else:
            rows.vectors[f.name] = check_vectors(f, column, first)
    return rows


def refuse_bare_rows(rows: Incoming) -> None:
    """Refuse rows without any value: Tracks alone, without stripes, could not tell that they are there (0006-R5)."""
    held = np.zeros(rows.n, dtype=bool)
    for column in (*rows.scalars.values(), *rows.media.values(), *rows.arrays.values()):
        held |= np.asarray(column.is_valid())
    for present, _ in rows.vectors.values():
        held |= present
    if not held.all():
        raise InvalidInputError(
            f"row {rows.first + int(np.argmin(held))} has no value in any field, and would be lost"
        )


def _check_names(table: pa.Table, fields: Sequence[Field], time: str | None) -> None:
    names = [f.name for f in fields]
    if len(set(table.column_names)) != len(table.column_names):
        raise InvalidInputError("the rows have two columns of one name")
    unknown = [c for c in table.column_names if c not in names and c not in (ANCHOR, TIME, time)]
    if unknown:
        raise InvalidInputError(f"unknown field {unknown[0]!r}; fields: {', '.join(names) or 'none'}")
    if time is not None and time not in table.column_names:
        raise InvalidInputError(
            f"no column {time!r} to take the time from; columns: {', '.join(table.column_names)}"
        )


def _column(table: pa.Table, f: Field, n: int) -> pa.Array | None:
    if is_constant(f):
        return None
    if f.kind not in (*MEDIA_KINDS, "scalar", "embedding") and column_type(f) is None:
        if f.required or (f.name in table.column_names and table[f.name].null_count < n):
            raise InvalidInputError(
                f"field {f.name!r} of kind {f.kind!r} cannot be written yet; write it with the reference SDK"
            )
        return None
    if f.name not in table.column_names:
        return pa.nulls(n)
    return _as_one(table[f.name])


def _as_one(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece; one that is, as it lies."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _check_required(f: Field, column: pa.Array, first: int) -> None:
    if f.required and column.null_count:  # 0001-R16, 0006-R1
        raise InvalidInputError(f"field {f.name!r} is required, row {first + first_null(column)} has none")


# ---------------------------------------------------------------- anchors


def _anchors(table: pa.Table, time: str | None, first: int) -> tuple[I64 | None, bool]:
    given = [name for name in (ANCHOR, TIME) if name in table.column_names]
    if time is not None:
        if rival := next((name for name in given if name != time), None):
            raise InvalidInputError(
                f"anchors come from time={time!r} or from {rival!r}, not from both: drop one"
            )
        return _ticks(_as_one(table[time]), time, first), True
    if not given:
        return None, False
    ticks = [_ticks(_as_one(table[name]), name, first) for name in given]
    differ = np.flatnonzero(ticks[0] != ticks[-1])
    if len(differ):
        raise InvalidInputError(
            f"row {first + differ[0]}: {ANCHOR!r} and {TIME!r} are different times; drop one of them"
        )
    _check_distinct(ticks[0], first)
    return ticks[0], False


def _ticks(column: pa.Array, name: str, first: int) -> I64:
    """Return times as int64 nanoseconds since 1970."""
    kind = column.type
    if column.null_count:  # 0003-R7
        raise InvalidInputError(f"{name!r} gives the anchors: row {first + first_null(column)} has none")
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        instants = pa.timestamp("ns", getattr(kind, "tz", None))
        column = cast(column, instants, repr(name), first).cast(pa.int64())
    elif not pa.types.is_integer(kind):
        raise InvalidInputError(
            f"{name!r} gives the anchors: it must be int64 nanoseconds or a timestamp, not {kind}"
        )
    ticks = np.asarray(cast(column, pa.int64(), repr(name), first))
    bad = np.flatnonzero((ticks < 0) | (ticks > VISIBLE_ANCHOR_MAX))  # 0003-R2
    if len(bad):
        raise InvalidInputError(
            f"{name!r}, row {first + bad[0]}: {ticks[bad[0]]} is outside 0 .. {VISIBLE_ANCHOR_MAX}"
        )
    return ticks


def _check_distinct(anchors: I64, first: int) -> None:
    if len(anchors) < 2 or bool((anchors[1:] > anchors[:-1]).all()):
        return
    order = np.argsort(anchors, kind="stable")
    twice = np.flatnonzero(anchors[order][1:] == anchors[order][:-1])  # 0003-R5
    if len(twice):
        one, other = int(order[twice[0]]), int(order[twice[0] + 1])
        anchor = int(anchors[one])
        raise AnchorConflict(
            anchor, f"anchor {anchor} is given twice, in rows {first + one} and {first + other}"
        )
