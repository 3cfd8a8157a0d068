"""Search: the k rows whose vectors are nearest to a query. Spec 0004.

    nothing said    exact: every vector that counts is compared
    nprobe          the cells that the spatial index ranks first, out of the layout in the local cache
    recall          those cells that the Space's own vectors needed for it
    pool            of a field with codes: the rows with the best codes, and of these the nearest by their exact vectors

Rows that no flush has brought into cells, and those of a hot shard, are compared beside them. A condition is applied before:
when it leaves few rows, these are compared and no cells are read; otherwise cells are read until there are k rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dreamdb_arrow.columnar.projection import GRAPH, dim_of, row_entry
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.vectors import F32, I64
from dreamdb_arrow.dataset.cells import (
    Cells,
    check_pool,
    check_recall,
    metric_of,
    open_cells,
    prepared_codes,
    recall_curve,
)
from dreamdb_arrow.dataset.columns import find_field
from dreamdb_arrow.dataset.counted import Block, Counted, vector_blocks
from dreamdb_arrow.dataset.graph_search import search_graph
from dreamdb_arrow.dataset.probed_cells import open_probed
from dreamdb_arrow.dataset.scan import TIME_MAX
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.spatial.partitioners import check_count
from dreamdb_arrow.spatial.pool import scan_pool
from dreamdb_arrow.spatial.scan import Found, scan_cells
from dreamdb_arrow.spatial.search import merge_found, nearest

K_MAX: Final = 1_000_000
_WIDER: Final = 4  # times as many cells, when there are fewer than k rows in those read


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
    counted, report = Counted(rows, t0, t1, allowed), report or Report()
    if nprobe is None and recall is None:  # 0006-R13
        if pool is not None:
            raise InvalidInputError("a pool is chosen out of cells: say nprobe or recall, too")
        return _compared(vector_blocks(counted, f), queries, k, metric_of(f), report)
    if is_graph(rows, name):
        report.strategy = "a walk over the graph"
        width = None if nprobe is None else max(check_count("nprobe", nprobe), k)
        return search_graph(rows, name, queries, k, l_search=width, t0=t0, t1=t1, allowed=allowed)
    cells = (
        None
        if nprobe is None or pool is not None or not counted.all
        else open_probed(rows, f, queries, nprobe)
    )
    cells = cells or open_cells(rows, f)
    reach = None
    if nprobe is None:
        curve, recall = recall_curve(rows, f, cells, k), check_recall(recall)
        nprobe, reach = curve.nprobe(recall), curve.reach(recall)
    nprobe = check_count("nprobe", nprobe)
    if cells.few_rows(counted, nprobe):
        report.strategy = "exact over the rows that the condition leaves"
        return _compared(vector_blocks(counted, f), queries, k, cells.metric, report)
    pool = None if pool is None else check_pool(f, cells, check_count("pool", pool), k)
    found = _probe(counted, f, cells, queries, k, nprobe, reach, pool, report)
    if not cells.beside:
        return found.anchors, found.distances
    beside = _compared(map(counted.of, cells.beside), queries, k, cells.metric, report)  # 0006-R13
    return merge_found((found.anchors, found.distances), beside, k)


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


def _compared(blocks: Iterable[Block], queries: F32, k: int, metric: str, report: Report) -> tuple[I64, Any]:
    """Return the k nearest of all rows of some blocks."""
    return nearest(_tallied(blocks, report), queries, k, metric)


def _tallied(blocks: Iterable[Block], report: Report) -> Iterator[Block]:
    for block in blocks:
        report.rows_scored += len(block[0])
        yield block


def _probe(
    counted: Counted,
    f: Field,
    cells: Cells,
    queries: F32,
    k: int,
    nprobe: int,
    reach: float | None,
    pool: int | None,
    report: Report,
) -> Found:
    """Read the best cells of each query: with a condition, more and more of them until there are k rows."""
    segments, runs = cells.layout.segments, cells.runs
    masks = [counted.mask(segment, alive) for segment, alive in zip(segments, cells.alive, strict=True)]
    report.strategy, report.segments = "cells" if pool is None else f"codes, a pool of {pool}", len(segments)
    unit = cells.probe.prepared(queries)
    while True:
        wanted = cells.probe(unit, nprobe) if reach is None else cells.probe.within(unit, reach)
        if pool is None or cells.compressor is None:
            found = scan_cells(segments, masks, runs, wanted, queries, k, cells.metric, unit)
        else:
            prepared = prepared_codes(counted.rows, f, cells)
            found = scan_pool(segments, prepared, cells.compressor, masks, runs, wanted, queries, k, pool)
        report.nprobe, report.cells = nprobe, wanted.shape[1]
        report.rows_scored += found.scored
        short = found.anchors.shape[1] < k or bool((found.anchors[:, k - 1] < 0).any())
        if counted.all or not short or nprobe >= len(runs):
            return found
        nprobe, reach = nprobe * _WIDER, None
