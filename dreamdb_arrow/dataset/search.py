"""Search: the k rows whose vectors are nearest to a query. Spec 0004.

Without `nprobe` the answer is exact: every vector is compared. With it, the cells that the spatial index ranks first
are read, as the reference does, and rows that no flush has brought into cells are searched beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dreamdb_arrow.columnar.cover_note import merge_notes
from dreamdb_arrow.columnar.notes import read_notes
from dreamdb_arrow.columnar.projection import EVERYTHING, bucket_origin, dim_of, hot_shard_address, row_entry
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.vectors import F32, I64, gather_vectors
from dreamdb_arrow.columnar.vendor import has_columnar_layer, read_track
from dreamdb_arrow.dataset.columns import find_field
from dreamdb_arrow.dataset.scan import TIME_MAX
from dreamdb_arrow.dataset.spatial import load_spatial_index
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.spatial.partitioners import check_count, probe_cells
from dreamdb_arrow.spatial.search import nearest
from dreamdb_arrow.tracks.hot import read_hot_shard
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX
from dreamdb_arrow.tracks.vectors import read_cells

K_MAX = 1_000_000
Block = tuple[I64, F32]


def metric_of(f: Field) -> str:
    """Return `l2` or `cosine`."""
    return "l2" if f.options.get("algorithm") == "dreamdb.lsh-l2" else "cosine"


def search(
    rows: RowSet,
    name: str,
    queries: F32,
    k: int,
    *,
    nprobe: int | None = None,
    t0: int = 0,
    t1: int = TIME_MAX,
    allowed: I64 | None = None,
) -> tuple[I64, Any]:
    """Return the k nearest live rows of each query, nearest first.

    Args:
        rows: the version.
        name: the embedding field.
        queries: float32 (q, d).
        k: how many.
        nprobe: how many cells to read; None compares every vector, and the answer is exact.
        t0: the first anchor that counts.
        t1: the first anchor after those that count.
        allowed: the anchors that count, int64 ascending; None for all.

    Returns:
        anchors int64 (q, j) and distances float64 (q, j), j = min(k, rows); with `nprobe`, rows of -1 and infinity
        fill up a query whose cells hold fewer.

    Raises InvalidInputError for a wrong field, k or nprobe, and for queries that do not fit.
    """
    f = find_field(rows, name, ("embedding",))
    check_query(f, queries)
    if check_count("k", k) > K_MAX:
        raise InvalidInputError(f"k must be a whole number of 1 to {K_MAX}, not {k}")
    keep = (rows, t0, t1, allowed)
    if nprobe is None:
        # 0006-R13
        return nearest((_kept(*keep, b) for b in _flat_blocks(rows, name, t0, t1)), queries, k, metric_of(f))
    probe = _open_cells(rows, f)
    unflushed = [_kept(*keep, b) for b in _unflushed_blocks(rows, f)]  # 0006-R13
    hot = _kept(*keep, _hot_block(rows, f))
    cells = (_kept(*keep, probe(query, nprobe)) for query in queries)
    found = [
        nearest([block, _besides(hot, block), *unflushed], query[None, :], k, metric_of(f))
        for query, block in zip(queries, cells, strict=True)
    ]
    return _pad([a[0] for a, _ in found], -1), _pad([d[0] for _, d in found], np.inf)


def check_query(f: Field, queries: F32) -> None:
    """Refuse queries that do not fit a field. Raises InvalidInputError."""
    if queries.ndim != 2 or queries.shape[1] != dim_of(f):
        found = queries.shape[1] if queries.ndim == 2 else f"shape {queries.shape}"
        raise InvalidInputError(f"field {f.name!r} has {dim_of(f)} dimensions, the query has {found}")
    if not np.isfinite(queries).all():
        raise InvalidInputError("the query holds NaN or an infinity")


def _flat_blocks(rows: RowSet, name: str, t0: int, t1: int) -> Iterator[Block]:
    for stripe in rows.vector_stripes(name, t0, t1):
        yield stripe.anchors, stripe.vectors


def _kept(rows: RowSet, t0: int, t1: int, allowed: I64 | None, block: Block) -> Block:
    """Drop the rows of a block that are deleted, outside the range, or not allowed."""
    anchors, vectors = block
    if len(anchors) == 0:
        return block
    low, high = int(anchors.min()), int(anchors.max()) + 1
    keep = np.ones(len(anchors), dtype=bool)
    if low < t0 or high > t1:
        keep &= (anchors >= t0) & (anchors < t1)
    hidden = rows.hidden_between(low, high)
    if len(hidden):
        keep &= ~np.isin(anchors, hidden)  # 0020-R8
    if allowed is not None:
        keep &= np.isin(anchors, allowed)
    return block if keep.all() else (anchors[keep], vectors[keep])


def _open_cells(rows: RowSet, f: Field) -> Callable[[F32, int], Block]:
    """Return a function from a query and nprobe to the rows of the cells to read; what all queries share is read once."""
    entry = row_entry(rows.manifest, f.name)
    assert entry is not None
    origin = bucket_origin(rows.manifest, entry.modality)
    index, track = load_spatial_index(rows.store, origin.index), read_track(rows.store, entry)

    def probe(query: F32, nprobe: int) -> Block:
        cells = read_cells(rows.store, track, dim_of(f), probe_cells(index, query, nprobe), origin=origin)
        return cells.anchors, cells.vectors

    return probe


def _hot_block(rows: RowSet, f: Field) -> Block:
    """Return the rows of the hot shard beside a field's Track, with the vectors that a scan shows."""
    entry = row_entry(rows.manifest, f.name)
    assert entry is not None
    address = hot_shard_address(rows.manifest, entry)
    if address is None:
        return np.empty(0, np.int64), np.empty((0, dim_of(f)), np.float32)
    shard = read_hot_shard(rows.store, read_track(rows.store, entry), address)
    anchors = np.unique(np.array([a for a in shard.anchors if a <= VISIBLE_ANCHOR_MAX], np.int64))
    vectors, found = gather_vectors(rows.vector_stripes(f.name, *EVERYTHING), anchors, dim_of(f))
    return anchors[found], vectors[found]  # 0016-R1


def _besides(block: Block, other: Block) -> Block:
    """Return a block without the anchors that another has."""
    keep = ~np.isin(block[0], other[0])
    return block[0][keep], block[1][keep]


def _unflushed_blocks(rows: RowSet, f: Field) -> Iterator[Block]:
    if not has_columnar_layer(rows.manifest):
        return
    flushed = merge_notes(read_notes(rows.store, rows.manifest)).stripes
    for stripe in rows.vectors.get(f.name, ()):
        if stripe.path and stripe.address not in flushed:
            held = rows.cache.vectors(rows.store, stripe.path, stripe.address, dim_of(f))
            yield held.anchors, held.vectors


def _pad(parts: list[Any], fill: float) -> Any:
    width = max((len(p) for p in parts), default=0)
    return np.stack([np.pad(p, (0, width - len(p)), constant_values=fill) for p in parts])
