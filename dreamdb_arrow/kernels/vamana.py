"""Walks over a graph of near vectors: from the entry point to the rows nearest to a query. Spec 0013.

A walk keeps the `width` best rows that it has seen. In each step it looks at the neighbours of the best few of them that were
not followed yet, all at once: NumPy pays by the call. It ends when all that it keeps were followed. Following a few at a time
sees a few rows more than following one, so it finds no less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

NOBODY: Final = -1
_STEP: Final = 8  # rows followed at a time; measured: 6 to 16 are alike
_SEEN_BYTES: Final = 32 << 20  # of the marks of a batch
_NOTHING: Final = np.float32(-np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Rows and the edges between them.

    vectors     float32 (n, d)
    inverse     float32 (n,), by which a product with a vector is multiplied to be a cosine; None when all are 1
    neighbours  int32 (n, R), rows; -1 where a row has fewer
    entry       where a walk begins
    """

    vectors: F32
    inverse: F32 | None
    neighbours: I32
    entry: int

    def __len__(self) -> int:
        return len(self.vectors)


def walk(graph: Graph, queries: F32, width: int, counted: Bools | None = None) -> tuple[I64, F32]:
    """Return the best rows that a walk for each query meets, best first.

    Args:
        graph: n rows of d numbers, at least one.
        queries: float32 (q, d), of length one.
        width: how many rows a walk keeps, at least 1.
        counted: which rows may be among the answers, bool (n,); the others are walked over. None for all.

    Returns:
        rows int64 (q, width) and products float32 (q, width); rows of -1 fill up a walk that met fewer.
    """
    assert queries.ndim == 2
    assert queries.shape[1] == graph.vectors.shape[1]
    assert width >= 1
    if len(queries) == 1:
        rows, scores = _walk_one(graph, queries[0], width, counted)
        return rows[None, :], scores[None, :]
    rows = np.full((len(queries), width), NOBODY, np.int64)
    scores = np.full((len(queries), width), _NOTHING, np.float32)
    step = max(1, _SEEN_BYTES // len(graph))
    for at in range(0, len(queries), step):
        rows[at : at + step], scores[at : at + step] = _walk_batch(
            graph, queries[at : at + step], width, counted
        )
    return rows, scores


def _walk_one(graph: Graph, query: F32, width: int, counted: Bools | None) -> tuple[I64, F32]:
    """Return rows int64 (width,) and products float32 (width,) of one walk."""
    neighbours, seen = graph.neighbours, np.zeros(len(graph), bool)
    rows, waiting = np.array([graph.entry]), np.array([True])
    seen[graph.entry] = True
    scores = _products(graph, rows, query)
    met = [(rows, scores)]
    while True:
        ahead = np.flatnonzero(waiting)[:_STEP]
        if not len(ahead):
            break
        waiting[ahead] = False
        near = neighbours[rows[ahead]].reshape(-1)
        near = near[near >= 0]
        near = near[~seen[near]]
        if not len(near):
            continue
        near = np.unique(near)
        seen[near] = True
        products = _products(graph, near, query)
        if counted is not None:
            met.append((near, products))
        rows, scores = np.concatenate([rows, near]), np.concatenate([scores, products])
        waiting = np.concatenate([waiting, np.ones(len(near), bool)])
        best = np.argsort(-scores, kind="stable")[:width]
        rows, scores, waiting = rows[best], scores[best], waiting[best]
    if counted is not None:
        rows, scores = (np.concatenate(column) for column in zip(*met, strict=True))
        kept = counted[rows]
        rows, scores = rows[kept], scores[kept]
        best = np.argsort(-scores, kind="stable")[:width]
        rows, scores = rows[best], scores[best]
    short = (0, width - len(rows))
    return (
        np.pad(rows.astype(np.int64), short, constant_values=NOBODY),
        np.pad(scores, short, constant_values=_NOTHING),
    )


def _products(graph: Graph, rows: NDArray[Any], query: F32) -> F32:
    products: F32 = graph.vectors[rows] @ query
    if graph.inverse is not None:
        products *= graph.inverse[rows]
    return products


def _walk_batch(graph: Graph, queries: F32, width: int, counted: Bools | None) -> tuple[I64, F32]:
    """Do as _walk_one does for each query, a step of all of them at a time."""
    count, size = len(queries), len(graph)
    seen = np.zeros(count * size, bool)
    each = np.arange(count)[:, None]
    seen[each[:, 0] * size + graph.entry] = True
    rows = np.full((count, 1), graph.entry, np.int64)
    scores = _pair_products(graph, rows[:, 0], queries)[:, None]
    waiting = np.ones((count, 1), bool)
    answers = _answers(rows, scores, counted, width)
    while waiting.any():
        ahead = waiting & (np.cumsum(waiting, axis=1) <= _STEP)
        waiting &= ~ahead
        asking, place = np.nonzero(ahead)
        near = graph.neighbours[rows[asking, place]]
        keys = (asking[:, None] * size + near)[near >= 0]
        keys = np.unique(keys[~seen[keys]])
        seen[keys] = True
        asking, met = np.divmod(keys, size)
        new_rows, new_scores = _by_query(asking, met, _pair_products(graph, met, queries[asking]), count)
        if counted is not None:
            answers = _best(answers, _answers(new_rows, new_scores, counted, width), width)
        rows, scores = np.concatenate([rows, new_rows], 1), np.concatenate([scores, new_scores], 1)
        waiting = np.concatenate([waiting, new_rows >= 0], 1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :width]
        rows, scores, waiting = rows[each, order], scores[each, order], waiting[each, order]
    rows, scores = (rows, scores) if counted is None else answers
    short = ((0, 0), (0, width - rows.shape[1]))
    return np.pad(rows, short, constant_values=NOBODY), np.pad(scores, short, constant_values=_NOTHING)


def _pair_products(graph: Graph, rows: I64, queries: F32) -> F32:
    products: F32 = np.einsum("ij,ij->i", graph.vectors[rows], queries)
    if graph.inverse is not None:
        products *= graph.inverse[rows]
    return products


def _by_query(asking: I64, rows: I64, scores: F32, count: int) -> tuple[I64, F32]:
    """Return rows that come by query as a table (q, most of one query), filled up with -1."""
    begins = np.searchsorted(asking, np.arange(count + 1))
    shape = count, int(np.diff(begins).max(initial=0))
    place = np.arange(len(asking)) - begins[asking]
    table, products = np.full(shape, NOBODY, np.int64), np.full(shape, _NOTHING, np.float32)
    table[asking, place], products[asking, place] = rows, scores
    return table, products


def _answers(rows: I64, scores: F32, counted: Bools | None, width: int) -> tuple[I64, F32]:
    if counted is None:
        return rows, scores
    kept = (rows >= 0) & counted[rows]
    found = np.where(kept, rows, NOBODY), np.where(kept, scores, _NOTHING)
    return _best(found, (rows[:, :0], scores[:, :0]), width)


def _best(left: tuple[I64, F32], right: tuple[I64, F32], width: int) -> tuple[I64, F32]:
    rows, scores = np.concatenate([left[0], right[0]], 1), np.concatenate([left[1], right[1]], 1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :width]
    each = np.arange(len(rows))[:, None]
    return rows[each, order], scores[each, order]
