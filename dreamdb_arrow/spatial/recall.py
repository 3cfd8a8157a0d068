"""Recall: how many cells find how much of what is nearest, measured on the vectors that are there. Spec 0004.

A sample of rows ask for their nearest others. For each of these neighbours it is worked out what would have found it: how many
cells, and, where cells have centroids, how far a query must reach (`Prober.within`). The share of neighbours that need no more
is the recall. Held-out queries of the same kind find as much, as none of the sample counts as its own neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.kernels.blocks import row_blocks
from dreamdb_arrow.spatial.partitioners import MAX_NPROBE, Prober
from dreamdb_arrow.spatial.scan import CellRuns, Segment
from dreamdb_arrow.spatial.search import nearest

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

SAMPLE: Final = 512
MARGIN: Final = 0.005  # above what is wanted: a sample tells the share of all no better
_BLOCK_BYTES: Final = 32 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """What the neighbours of a sample need to be found, ascending.

    ranks    how many cells, float32 (n,); infinity for one that no probing finds
    reaches  how far a query must reach, float32 (n,); empty where cells have no centroids
    cells    how many cells there are
    """

    ranks: F32
    reaches: F32
    cells: int

    def __bytes__(self) -> bytes:
        """Return the curve as a note of the cache holds it."""
        return encode_cbor(
            [self.cells, self.ranks.astype("<f4").tobytes(), self.reaches.astype("<f4").tobytes()]
        )

    @classmethod
    def of(cls, note: bytes) -> Curve:
        """Return the curve that a note holds."""
        cells, ranks, reaches = decode_cbor(note)
        return cls(np.frombuffer(ranks, "<f4"), np.frombuffer(reaches, "<f4"), cells)

    def nprobe(self, recall: float) -> int:
        """Return the fewest cells that were enough; all of them when none were."""
        if not len(self.ranks):
            return self.cells
        needed = float(self.ranks[_place(recall, len(self.ranks))])
        return min(self.cells, int(needed)) if np.isfinite(needed) else self.cells

    def reach(self, recall: float) -> float | None:
        """Return how far was enough, or None where it is not known, or all is wanted."""
        if not len(self.reaches) or recall + MARGIN >= 1:
            return None
        return float(self.reaches[_place(recall, len(self.reaches))])


def _place(recall: float, count: int) -> int:
    return min(count - 1, int(np.ceil((recall + MARGIN) * count)) - 1)


def measure_recall(segments: Sequence[Segment], runs: CellRuns, k: int, metric: str, probe: Prober) -> Curve:
    """Return what it takes to find the k nearest rows.

    Args:
        segments: the rows.
        runs: where their cells lie.
        k: how many rows are asked for.
        metric: "cosine" or "l2".
        probe: which cells to read.
    """
    anchors, queries = _sample(segments)
    if not len(anchors):
        return Curve(np.empty(0, np.float32), np.empty(0, np.float32), max(1, len(runs)))
    found, _ = nearest(((s.anchors, s.vectors) for s in segments), queries, k + 1, metric)
    others = _others(found, anchors, k)
    places = _places_of(segments, runs, others)
    unit = probe.prepared(queries)
    ranks, reaches = [], []
    for part in row_blocks(len(unit), 16 * max(1, len(runs)), _BLOCK_BYTES):
        known = places[part] >= 0
        ranks.append(_ranks(probe(unit[part], min(max(1, len(runs)), MAX_NPROBE)), places[part])[known])
        if probe.numbers is not None:
            reaches.append(probe.reach_of(unit[part], places[part])[known])
    return Curve(_ascending(ranks), _ascending(reaches), max(1, len(runs)))


def _ascending(parts: Sequence[NDArray[Any]]) -> F32:
    return np.sort(np.concatenate([np.empty(0, np.float32), *parts]).astype(np.float32))


def _ranks(probed: I64, places: I64) -> F32:
    """Return how many of the probed cells (q, p) it takes to read the cells at places (q, k), float32 (q, k)."""
    size = int(max(probed.max(initial=-1), places.max(initial=-1))) + 2  # the last one is nobody's
    ranks = np.full((len(probed), size), np.inf, np.float32)
    np.put_along_axis(ranks, probed, np.arange(1, probed.shape[1] + 1, dtype=np.float32)[None, :], axis=1)
    taken: F32 = np.take_along_axis(ranks, places, axis=1)
    return taken


def _sample(segments: Sequence[Segment]) -> tuple[I64, F32]:
    total = sum(map(len, segments))
    wanted = np.unique(np.linspace(0, max(0, total - 1), min(SAMPLE, total)).astype(np.int64))
    parts: list[tuple[Any, Any]] = []
    base = 0
    for segment in segments:
        rows = wanted[(wanted >= base) & (wanted < base + len(segment))] - base
        rows = rows if segment.inverse is None else rows[segment.inverse[rows] > 0]
        parts.append((segment.anchors[rows], segment.vectors[rows]))
        base += len(segment)
    if not parts:
        return np.empty(0, np.int64), np.empty((0, 0), np.float32)
    anchors, vectors = zip(*parts, strict=True)
    return np.concatenate(anchors), np.concatenate(vectors)


def _others(found: I64, own: I64, k: int) -> I64:
    """Return the k nearest others of each row, int64 (q, j): answers (q, j + 1) without the row that asked."""
    found = found.copy()
    again = found == own[:, None]
    again[~again.any(axis=1), -1:] = True  # equals have pushed it out
    others: I64 = found[~again].reshape(len(found), -1)[:, :k]
    return others


def _places_of(segments: Sequence[Segment], runs: CellRuns, anchors: I64) -> I64:
    """Return the places of the cells that hold rows, int64 of the shape of `anchors`; -1 for a row that none holds."""
    wanted, back = np.unique(anchors, return_inverse=True)
    places = np.full(len(wanted), -1, np.int64)
    for segment in segments:
        held = np.isin(wanted, segment.ordered, assume_unique=True)
        rows = segment.rows_of(wanted[held])
        cells = np.searchsorted(segment.starts, rows, side="right") - 1
        places[held] = runs.places(segment.keys[cells])
    return places[back].reshape(anchors.shape)
