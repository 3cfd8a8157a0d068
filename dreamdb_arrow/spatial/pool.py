"""Pools: the best rows of some cells by their codes, and of these the nearest by their exact vectors. Spec 0010."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.kernels.distance import unit_rows
from dreamdb_arrow.objects.vector_compressor import VectorCompressor
from dreamdb_arrow.spatial.code_field import code_field
from dreamdb_arrow.spatial.code_scan import scan_codes
from dreamdb_arrow.spatial.rerank import narrow
from dreamdb_arrow.spatial.scan import Bools, CellRuns, Found, Segment, compare_again, rows_of_segments
from dreamdb_arrow.spatial.search import SPARE

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


def scan_pool(
    segments: Sequence[Segment],
    prepared: Sequence[Mapping[str, Any]],
    compressor: VectorCompressor,
    masks: Sequence[Bools | None],
    runs: CellRuns,
    wanted: I64,
    queries: F32,
    k: int,
    pool: int,
    unit: F32 | None = None,
) -> Found:
    """Return the k nearest, by cosine, of the `pool` rows that have the best codes in the cells that each query wants.

    Args:
        segments: the rows, with codes.
        prepared: for each segment what `prepare_codes` gave.
        compressor: whose codes they are.
        masks: for each segment which rows count, bool (n,); None for all.
        runs: where the cells of the segments lie.
        wanted: for each query the places of its cells, best first, int64 (q, p).
        queries: float32 (q, d).
        k: how many, at least 1 and at most `pool`.
        pool: how many rows are compared by their exact vectors.
        unit: the queries scaled to length one, if they are known.
    """
    fields = [
        code_field(compressor, segment.codes, held, mask)
        for segment, held, mask in zip(segments, prepared, masks, strict=True)
        if segment.codes is not None
    ]
    assert len(fields) == len(segments)
    unit = unit_rows(queries) if unit is None else unit
    rows, _ = scan_codes(fields, runs.begins, runs.ends, wanted, unit, pool)
    plain = all(segment.inverse is None for segment in segments)
    rows = narrow(
        rows,
        lambda some: rows_of_segments(segments, some, queries.shape[1])[1],
        unit,
        k + SPARE,
        "cosine",
        unit=plain,
    )
    return compare_again(segments, rows, queries, k, "cosine", int(runs.sizes[wanted].sum()))
