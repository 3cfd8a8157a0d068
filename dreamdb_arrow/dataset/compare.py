"""Compare: the same rows in two versions, value by value. Specs 0006 and 0021.

Media are first compared by what stripes say of them, which object at which place: equal bytes that were packed with other
neighbours lie elsewhere, so that bytes are read where these differ.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamdb_arrow.codec.distinct import united
from dreamdb_arrow.columnar.differences import Flags, differing, present
from dreamdb_arrow.columnar.projection import dim_of
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.runs import runs_of
from dreamdb_arrow.columnar.stripe import BLOB_KINDS
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.columns import media_column, vector_column
from dreamdb_arrow.dataset.scan import LATE_BYTES, cut_by_bytes
from dreamdb_arrow.dataset.schema import public_type, row_fields
from dreamdb_arrow.objects.schema import Field

STEP: Final = 61_440  # rows of a row group of ours
GROUPS: Final = 4  # row groups, or as many anchors, of a window


@dataclass(frozen=True, slots=True)
class Pair:
    """Two versions, and the fields that both have, alike, and both can read."""

    ours: RowSet
    theirs: RowSet
    fields: tuple[Field, ...]

    @property
    def stored(self) -> list[Field]:
        """The fields that stripes hold."""
        return [f for f in self.fields if f.kind != "embedding"]

    @property
    def embeddings(self) -> list[Field]:
        """The fields that vector stripes hold."""
        return [f for f in self.fields if f.kind == "embedding"]


def pair_of(ours: RowSet, theirs: RowSet) -> Pair:
    """Return two versions to be compared."""
    others = {f.name: f for f in row_fields(theirs.fields, theirs.unavailable)}
    held = row_fields(ours.fields, ours.unavailable)
    return Pair(ours, theirs, tuple(f for f in held if f.name in others and alike(f, others[f.name])))


def alike(one: Field, other: Field) -> bool:
    """Whether values of two fields can be compared; how they are indexed or packed does not matter."""
    return (one.kind, public_type(one)) == (other.kind, public_type(other))


# --- values -------------------------------------------------------------------------------------------------


def stored_differ(pair: Pair, f: Field, ours: pa.Array, theirs: pa.Array) -> Flags:
    """Return bool (n,): where the values of a field differ, given as stripes hold them."""
    found = differing(ours, theirs)
    if f.kind not in BLOB_KINDS:
        return found
    doubtful = np.flatnonzero(found & present(ours) & present(theirs))
    at = pa.array(doubtful)
    a, b = ours.take(at), theirs.take(at)
    sizes = np.maximum(_sizes(a), _sizes(b))
    for start, stop in cut_by_bytes(sizes):
        media = [
            media_column(rows, f.name, refs.slice(start, stop - start))
            for rows, refs in ((pair.ours, a), (pair.theirs, b))
        ]
        found[doubtful[start:stop]] = differing(*media)
    return found


def _sizes(refs: pa.Array) -> I64:
    return np.asarray(pc.fill_null(pc.struct_field(refs, "size"), 0), dtype=np.int64)


def vectors_differ(pair: Pair, f: Field, anchors: I64) -> tuple[Flags, Flags]:
    """Return bool (n,) twice: where the vectors of these anchors differ, and where both have one."""
    parts: list[tuple[Flags, Flags]] = [(np.empty(0, bool), np.empty(0, bool))]
    step = max(1, LATE_BYTES // (4 * dim_of(f)))
    for start in range(0, len(anchors), step):
        held = [
            vector_column(rows, f.name, anchors[start : start + step]) for rows in (pair.ours, pair.theirs)
        ]
        parts.append((differing(*held), present(held[0]) & present(held[1])))
    return np.concatenate([d for d, _ in parts]), np.concatenate([b for _, b in parts])


def whole_column(table: pa.Table, name: str) -> pa.Array:
    """Return a column of a table as one array."""
    column = table[name]
    return (
        column.chunk(0)
        if column.num_chunks == 1
        else pa.concat_arrays([*column.chunks, pa.array([], column.type)])
    )


# --- windows ------------------------------------------------------------------------------------------------


def windows(starts: Sequence[I64]) -> Iterator[tuple[int, int]]:
    """Cut all anchors into ranges [low, high) that hold a few row groups each, whose first anchors are given."""
    every = united(starts)
    if len(every):
        cuts = [-(2**63), *every[GROUPS::GROUPS].tolist(), 2**63 - 1]
        yield from itertools.pairwise(cuts)


def group_starts(rows: RowSet, stripes: Sequence[Stripe]) -> list[I64]:
    """Return where row groups of some stripes begin."""
    return [
        rows.cache.groups.footer(s.address, lambda s=s: s.local(rows.store, rows.cache)).firsts  # type: ignore[misc]
        for s in stripes
    ]


def without(stripes: Sequence[Stripe], others: Sequence[Stripe]) -> tuple[Stripe, ...]:
    """Return the stripes that are not among others, by address."""
    known = {s.address for s in others}
    return tuple(s for s in stripes if s.address not in known)


def live_rows(rows: RowSet, stripes: Sequence[Stripe], schema: pa.Schema, low: int, high: int) -> pa.Table:
    """Return the live rows of some stripes in [low, high), ascending by anchor."""
    met = [s for s in stripes if s.meets(low, high)]
    runs = runs_of(replace(rows, stripes=tuple(met)), met, schema, low, high)
    batches = [b for run in runs for b in run.batches(schema.names, None, STEP)]
    return pa.Table.from_batches([b.cast(schema) for b in batches], schema=schema)


def vector_anchors(rows: RowSet, name: str, stripes: Sequence[Stripe]) -> list[I64]:
    """Return the anchors of each of some vector stripes of a field."""
    restricted = replace(rows, vectors={name: tuple(stripes)})
    return [s.anchors for s in restricted.vector_stripes(name, -(2**63), 2**63 - 1)]
