"""Search: the k rows whose vectors are nearest to a query. Spec 0004.

    nothing said    exact: every vector that counts is compared
    nprobe          the cells that the spatial index ranks first, out of the layout in the local cache
    recall          so many cells as the Space's own vectors needed for it
    pool            of a field with codes: the rows with the best codes, and of these the nearest by their exact vectors

Rows that no flush has brought into cells, and those of a hot shard, are compared beside them. A condition is applied before:
when it leaves few rows, these are compared and no cells are read; otherwise cells are read until there are k rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dreamdb_arrow.columnar.cell_layout import CellLayout, live_mask, open_layout
from dreamdb_arrow.columnar.cover_note import merge_notes
from dreamdb_arrow.columnar.notes import read_notes
from dreamdb_arrow.columnar.projection import (
    EVERYTHING,
    GRAPH,
    bucket_origin,
    dim_of,
    hot_shard_address,
    row_entry,
)
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.vectors import F32, I64, gather_vectors
from dreamdb_arrow.columnar.vendor import has_columnar_layer, read_track
from dreamdb_arrow.dataset.columns import find_field
from dreamdb_arrow.dataset.graph_search import search_graph
from dreamdb_arrow.dataset.scan import TIME_MAX
from dreamdb_arrow.dataset.spatial import load_spatial_index
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.objects.spatial_index import SpatialIndex
from dreamdb_arrow.objects.vector_compressor import VectorCompressor
from dreamdb_arrow.spatial.code_scan import prepare_codes
from dreamdb_arrow.spatial.partitioners import check_count, probe_keys
from dreamdb_arrow.spatial.pool import scan_pool
from dreamdb_arrow.spatial.recall import Curve, measure_recall
from dreamdb_arrow.spatial.scan import Found, Segment, scan_cells
from dreamdb_arrow.spatial.search import merge_found, nearest
from dreamdb_arrow.tracks.cells import Origin
from dreamdb_arrow.tracks.hot import read_hot_shard
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX
from dreamdb_arrow.tracks.vectors import load_compressor

K_MAX: Final = 1_000_000
FEW_ROWS: Final = 20_000  # of so many, or of as many as the cells would have, each is compared
_GATHERED: Final = 1 << 16  # rows that are brought together at a time
_WIDER: Final = 4  # times as many cells, when there are fewer than k rows in those read
Block = tuple[I64, F32]


@dataclass(slots=True)
class Report:
    """What a search did.

    strategy     how it went about it
    nprobe       how many cells a query was allowed
    cells        how many the index named for one
    segments     in how many pieces the cells lie
    rows_scored  how many rows were compared, of all queries together
    seconds      the time it took
    """

    strategy: str = "exact"
    nprobe: int = 0
    cells: int = 0
    segments: int = 0
    rows_scored: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Counted:
    """Which rows count: those of a time range, and of these the allowed ones, int64 ascending; None for all."""

    rows: RowSet
    t0: int
    t1: int
    allowed: I64 | None

    @property
    def anchors(self) -> I64 | None:
        """The allowed anchors of the range that are not deleted, or None when nothing but the range is said."""
        if self.allowed is None:
            return None
        low, high = np.searchsorted(self.allowed, [self.t0, min(self.t1, VISIBLE_ANCHOR_MAX + 1)])
        return self.keep(self.allowed[low:high])

    def keep(self, anchors: I64) -> I64:
        """Return ascending anchors without the deleted ones."""
        if not len(anchors):
            return anchors
        hidden = self.rows.hidden_between(int(anchors[0]), int(anchors[-1]) + 1)
        return anchors[~np.isin(anchors, hidden)] if len(hidden) else anchors  # 0020-R8

    def of(self, block: Block) -> Block:
        """Return the rows of a block that count."""
        anchors, vectors = block
        if len(anchors) == 0:
            return block
        low, high = int(anchors.min()), int(anchors.max()) + 1
        keep = np.ones(len(anchors), dtype=bool)
        if low < self.t0 or high > self.t1:
            keep &= (anchors >= self.t0) & (anchors < self.t1)
        hidden = self.rows.hidden_between(low, high)
        if len(hidden):
            keep &= ~np.isin(anchors, hidden)  # 0020-R8
        if self.allowed is not None:
            keep &= np.isin(anchors, self.allowed)
        return block if keep.all() else (anchors[keep], vectors[keep])


@dataclass(frozen=True, slots=True)
class _Cells:
    """What a version's searches share: the index, its cells laid out, how many, and which of their rows are alive."""

    index: SpatialIndex
    origin: Origin
    layout: CellLayout
    count: int
    alive: tuple[Any, ...]
    compressor: VectorCompressor | None


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
    recall: float | None = None,
    pool: int | None = None,
    t0: int = 0,
    t1: int = TIME_MAX,
    allowed: I64 | None = None,
    report: Report | None = None,
) -> tuple[I64, Any]:
    """Return the k nearest live rows of each query, nearest first.

    Args:
        rows: the version.
        name: the embedding field.
        queries: float32 (q, d).
        k: how many.
        nprobe: how many cells to read, or, of a graph, how many nodes a walk keeps; None, without `recall`, compares every
            vector, and the answer is exact.
        recall: read as many cells as find this share of the nearest rows, by a measurement on the version's vectors; a
            graph is walked as it says itself.
        pool: how many rows of a field with codes are chosen by these, to be compared by their exact vectors; None compares
            every row of the cells by its exact vector.
        t0: the first anchor that counts.
        t1: the first anchor after those that count.
        allowed: the anchors that count, int64 ascending; None for all.
        report: takes what was done.

    Returns:
        anchors int64 (q, j) and distances float64 (q, j), j = min(k, rows); rows of -1 and infinity fill up a query
        whose cells hold fewer, which happens with `nprobe` and without any condition.

    Raises InvalidInputError for a wrong field, k, nprobe, recall or pool, and for queries that do not fit.
    """
    f = find_field(rows, name, ("embedding",))
    check_query(f, queries)
    if check_count("k", k) > K_MAX:
        raise InvalidInputError(f"k must be a whole number of 1 to {K_MAX}, not {k}")
    counted, report = _Counted(rows, t0, t1, allowed), report or Report()
    if nprobe is None and recall is None:  # 0006-R13
        return nearest(_tallied(_flat_blocks(counted, f), report), queries, k, metric_of(f))
    if is_graph(rows, name):
        report.strategy = "a walk over the graph"
        width = None if nprobe is None else max(check_count("nprobe", nprobe), k)
        return search_graph(rows, name, queries, k, l_search=width, t0=t0, t1=t1, allowed=allowed)
    cells = rows.once(("cells", name), lambda: _open_cells(rows, f))
    nprobe = _enough_cells(rows, f, cells, recall, k) if nprobe is None else check_count("nprobe", nprobe)
    few = _few_rows(counted, cells, nprobe)
    if few:
        report.strategy = "exact over the rows that the condition leaves"
        return nearest(_tallied(_flat_blocks(counted, f), report), queries, k, metric_of(f))
    pool = None if pool is None else _check_pool(f, cells, pool, k)
    found = _probe(counted, f, cells, queries, k, nprobe, pool, report)
    beside = [counted.of(b) for b in (*_unflushed_blocks(rows, f), _hot_block(rows, f))]  # 0006-R13
    if not any(len(anchors) for anchors, _ in beside):
        return found.anchors, found.distances
    return merge_found(
        (found.anchors, found.distances), nearest(_tallied(beside, report), queries, k, metric_of(f)), k
    )


def is_graph(rows: RowSet, name: str) -> bool:
    """Whether the vectors of a field are the nodes of a graph."""
    entry = row_entry(rows.manifest, name)
    return entry is not None and GRAPH in entry.modality


def check_query(f: Field, queries: F32) -> None:
    """Refuse queries that do not fit a field. Raises InvalidInputError."""
    if queries.ndim != 2 or queries.shape[1] != dim_of(f):
        found = queries.shape[1] if queries.ndim == 2 else f"shape {queries.shape}"
        raise InvalidInputError(f"field {f.name!r} has {dim_of(f)} dimensions, the query has {found}")
    if not np.isfinite(queries).all():
        raise InvalidInputError("the query holds NaN or an infinity")


# --- every vector that counts -------------------------------------------------------------------------------


def _tallied(blocks: Iterator[Block] | Sequence[Block], report: Report) -> Iterator[Block]:
    for block in blocks:
        report.rows_scored += len(block[0])
        yield block


def _flat_blocks(counted: _Counted, f: Field) -> Iterator[Block]:
    wanted = counted.anchors
    if wanted is not None:
        yield from _gathered_blocks(counted.rows, f, wanted)
        return
    for stripe in counted.rows.vector_stripes(f.name, counted.t0, counted.t1):
        low, high = np.searchsorted(
            stripe.anchors, [counted.t0, min(counted.t1, VISIBLE_ANCHOR_MAX + 1)]
        ).tolist()
        yield counted.of((stripe.anchors[low:high], stripe.vectors[low:high]))


def _gathered_blocks(rows: RowSet, f: Field, wanted: I64) -> Iterator[Block]:
    """Yield the vectors of these anchors, ascending, that have one."""
    for start in range(0, len(wanted), _GATHERED):
        part = wanted[start : start + _GATHERED]
        for stripe, low, high in rows.holders(part, f.name):
            held = rows.cache.vectors(rows.store, stripe.path, stripe.address, dim_of(f))
            vectors, found = gather_vectors([held], part[low:high], dim_of(f))
            yield part[low:high][found], vectors[found]


# --- cells --------------------------------------------------------------------------------------------------


def _open_cells(rows: RowSet, f: Field) -> _Cells:
    entry = row_entry(rows.manifest, f.name)
    assert entry is not None
    origin = bucket_origin(rows.manifest, entry.modality)
    track = read_track(rows.store, entry)
    layout = open_layout(rows.store, rows.cache, track, entry.address, dim_of(f), origin)
    hot = _hot_block(rows, f)[0]
    alive = tuple(
        live_mask(
            segment, dead, (rows.hidden, hot)
        )  # a hot row takes the place of the one in its cell: 0016-R1
        for segment, dead in zip(layout.segments, layout.dead, strict=True)
    )
    index, count = load_spatial_index(rows.store, origin.index), len(layout.cells()[0])
    coder = None if origin.compressor is None else load_compressor(rows.store, origin.compressor)
    return _Cells(index, origin, layout, count, alive, coder)


def _few_rows(counted: _Counted, cells: _Cells, nprobe: int) -> bool:
    """Whether to compare all rows that count, since reading cells would cost more."""
    layout = cells.layout
    probed = layout.rows * min(1.0, nprobe / max(1, cells.count))
    if counted.allowed is not None:
        low, high = np.searchsorted(counted.allowed, [counted.t0, min(counted.t1, VISIBLE_ANCHOR_MAX + 1)])
        return bool(high - low <= max(FEW_ROWS, probed))
    if counted.t0 <= 0 and counted.t1 > VISIBLE_ANCHOR_MAX:
        return False
    return sum(_span(s, counted) for s in layout.segments) <= max(FEW_ROWS, 4 * probed)


def _span(segment: Segment, counted: _Counted) -> int:
    low, high = np.searchsorted(segment.ordered, [counted.t0, min(counted.t1, VISIBLE_ANCHOR_MAX + 1)])
    return int(high - low)


def _masks(counted: _Counted, cells: _Cells) -> list[Any]:
    """Return for each segment which of its rows count, bool (n,), or None when all do."""
    if counted.allowed is None and counted.t0 <= 0 and counted.t1 > VISIBLE_ANCHOR_MAX:
        return list(cells.alive)
    masks = []
    for segment, alive in zip(cells.layout.segments, cells.alive, strict=True):
        mask = np.zeros(len(segment), bool)
        if counted.allowed is None:
            low, high = np.searchsorted(
                segment.ordered, [counted.t0, min(counted.t1, VISIBLE_ANCHOR_MAX + 1)]
            )
            mask[segment.order[low:high]] = True
        else:
            wanted = counted.anchors
            assert wanted is not None
            mask[segment.rows_of(wanted)] = True
        masks.append(mask if alive is None else mask & alive)
    return masks


def _probe(
    counted: _Counted,
    f: Field,
    cells: _Cells,
    queries: F32,
    k: int,
    nprobe: int,
    pool: int | None,
    report: Report,
) -> Found:
    """Read the best cells of each query: with a condition, more and more of them until there are k rows."""
    masks, restricted = _masks(counted, cells), counted.allowed is not None or counted.t0 > 0
    restricted = restricted or counted.t1 <= VISIBLE_ANCHOR_MAX
    segments = cells.layout.segments
    report.strategy, report.segments = "cells" if pool is None else f"codes, a pool of {pool}", len(segments)
    while True:
        wanted = probe_keys(cells.index, queries, nprobe)
        if pool is None or cells.compressor is None:
            found = scan_cells(segments, masks, wanted, queries, k, metric_of(f))
        else:
            prepared = _prepared(counted.rows, f, cells)
            found = scan_pool(segments, prepared, cells.compressor, masks, wanted, queries, k, pool)
        report.nprobe, report.cells = nprobe, max(len(keys) for keys in wanted)
        report.rows_scored += found.scored
        short = found.anchors.shape[1] < k or bool((found.anchors[:, k - 1] < 0).any())
        if not (short and restricted and nprobe < cells.count):
            return found
        nprobe *= _WIDER


def _check_pool(f: Field, cells: _Cells, pool: int, k: int) -> int:
    if cells.compressor is None:
        raise InvalidInputError(f"field {f.name!r} has no codes to choose a pool by; leave pool away")
    if check_count("pool", pool) < k:
        raise InvalidInputError(f"a pool of {pool} rows cannot give {k}; make it larger")
    return min(pool, max(k, cells.layout.rows))


def _prepared(rows: RowSet, f: Field, cells: _Cells) -> list[Any]:
    """Return what is worked out once of the codes of each segment."""
    coder = cells.compressor
    assert coder is not None

    def make() -> list[Any]:
        return [prepare_codes(coder, s.codes) for s in cells.layout.segments if s.codes is not None]

    return rows.once(("prepared", f.name), make)


def _enough_cells(rows: RowSet, f: Field, cells: _Cells, recall: float | None, k: int) -> int:
    """Return how many cells find this share of the nearest rows. Raises InvalidInputError for a share that is none."""
    if not isinstance(recall, (int, float)) or not 0 < recall <= 1:
        raise InvalidInputError(f"recall must be above 0 and at most 1, not {recall!r}")
    layout, index = cells.layout, cells.index

    def make() -> Curve:
        key = f"recall/{cells.origin.index}/{metric_of(f)}/{k}/{layout.rows.bit_length()}"
        note = rows.cache.read_note(key)
        if note is not None:
            return Curve.of(note)
        curve = measure_recall(
            layout.segments, cells.count, k, metric_of(f), lambda q, n: probe_keys(index, q, n)
        )
        rows.cache.write_note(key, bytes(curve))
        return curve

    return rows.once(("recall", f.name, k), make).nprobe(float(recall))


# --- rows outside of cells ----------------------------------------------------------------------------------


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


def _unflushed_blocks(rows: RowSet, f: Field) -> Iterator[Block]:
    if not has_columnar_layer(rows.manifest):
        return
    flushed = rows.once("flushed", lambda: merge_notes(read_notes(rows.store, rows.manifest))).stripes
    for stripe in rows.vectors.get(f.name, ()):
        if stripe.path and stripe.address not in flushed:
            held = rows.cache.vectors(rows.store, stripe.path, stripe.address, dim_of(f))
            yield held.anchors, held.vectors
