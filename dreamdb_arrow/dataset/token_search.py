"""Fields with a vector a token: the rows that answer a query best by MaxSim, and the vectors of rows. Spec 0015."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.modality import modality_param, parse_modality
from dreamdb_arrow.columnar.projection import bucket_origin, dim_of, row_entry
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.stripe import ANCHOR
from dreamdb_arrow.columnar.token_layout import Tokens, open_tokens
from dreamdb_arrow.columnar.vectors import F32, I64
from dreamdb_arrow.columnar.vendor import read_track
from dreamdb_arrow.errors import InvalidInputError, LayoutError
from dreamdb_arrow.objects.lineage import TrackEntry
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.spatial.token_scores import best_rows, gather_tokens

F64 = np.ndarray[Any, np.dtype[np.float64]]

MULTIVEC: Final = ".multivec"  # in the modality of such a field


def search_tokens(
    rows: RowSet, name: str, queries: F32, k: int, *, allowed: I64 | None = None
) -> tuple[I64, F64]:
    """Return the k live rows with the largest MaxSim, best first; equal ones by anchor. Every token is compared.

    Args:
        rows: the version.
        name: a multi-vector field.
        queries: the vectors of the query's tokens, float32 (q, d).
        k: how many rows, at least 1.
        allowed: the anchors that count, int64 ascending; None for all.

    Returns anchors int64 (j,) and scores float64 (j,), j = min(k, rows with tokens that count).

    Raises InvalidInputError for another field, and for queries that do not fit; CorruptDataError.
    """
    f, entry = token_field(rows, name)
    _check_queries(f, queries)
    tokens = _tokens(rows, f, entry)
    counted = np.flatnonzero(~np.isin(tokens.anchors, rows.hidden))  # 0020-R8
    if allowed is not None:
        counted = counted[np.isin(tokens.anchors[counted], allowed)]
    best, scores = best_rows(tokens.vectors, tokens.starts, counted, queries, k)
    return tokens.anchors[best], scores


def read_tokens(rows: RowSet, name: str, anchors: I64) -> pa.Table:
    """Return `_anchor` and the field's vectors, list<fixed_size_list<float32>>, of these rows, in their order.

    Anchors that have none, or that are deleted, are left out. Raises InvalidInputError for another field.
    """
    f, entry = token_field(rows, name)
    tokens = _tokens(rows, f, entry)
    at = np.minimum(np.searchsorted(tokens.anchors, anchors), max(0, len(tokens.anchors) - 1))
    there = ~np.isin(anchors, rows.hidden) & np.isin(anchors, tokens.anchors)
    vectors, starts = gather_tokens(tokens.vectors, tokens.starts, at[there])
    inner = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), dim_of(f))
    offsets = pa.array(np.append(starts, len(vectors)).astype(np.int32))
    return pa.table({ANCHOR: anchors[there], name: pa.ListArray.from_arrays(offsets, inner)})


def token_field(rows: RowSet, name: str) -> tuple[Field, TrackEntry]:
    """Return a multi-vector field and its entry. Raises InvalidInputError with those there are."""
    found = {
        f.name: (f, entry)
        for f in rows.fields
        if (entry := row_entry(rows.manifest, f.name)) is not None and MULTIVEC in entry.modality
    }
    if name not in found:
        raise InvalidInputError(
            f"no field {name!r} with a vector a token; there is: {', '.join(found) or 'none'}"
        )
    return found[name]


def _tokens(rows: RowSet, f: Field, entry: TrackEntry) -> Tokens:
    told = modality_param(parse_modality(entry.modality), "maxtokens") or ""
    if not told.isdigit() or not int(told):
        raise LayoutError(f"{entry.modality} does not say how many tokens a row may have")
    origin, dim = bucket_origin(rows.manifest, entry.modality), dim_of(f)

    def make() -> Tokens:
        track = read_track(rows.store, entry)
        return open_tokens(rows.store, rows.cache, track, entry.address, dim, int(told), origin)

    return rows.once(("tokens", f.name), make)


def _check_queries(f: Field, queries: F32) -> None:
    if queries.ndim != 2 or not len(queries) or queries.shape[1] != dim_of(f):
        raise InvalidInputError(
            f"field {f.name!r} takes the vectors of a query's tokens, (q, {dim_of(f)}), q at least 1; "
            f"found shape {queries.shape}"
        )
    if not np.isfinite(queries).all() or not queries.any(axis=1).all():
        raise InvalidInputError("a vector of the query holds NaN or an infinity, or is zero")
