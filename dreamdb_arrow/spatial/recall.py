"""Recall: how many cells find how much of what is nearest, measured on the vectors that are there. Spec 0004.

A sample of rows ask for their nearest others, once exactly and then with more and more cells. Held-out queries of the same
kind find as much, as none of the sample counts as its own neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.spatial.partitioners import Prober
from dreamdb_arrow.spatial.scan import CellRuns, Segment, scan_cells
from dreamdb_arrow.spatial.search import nearest

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

SAMPLE: Final = 256
MARGIN: Final = 0.005  # above what is wanted: a sample tells the share of all no better
_ENOUGH: Final = 0.9995
_STEPS: Final = (2, 3)  # the counts that are tried: 1, 2, 3, 4, 6, 8, 12, ...


@dataclass(frozen=True, slots=True)
class Curve:
    """What was found with how many cells: two tuples of one length, ascending."""

    counts: tuple[int, ...]
    recalls: tuple[float, ...]
    cells: int

    def __bytes__(self) -> bytes:
        """Return the curve as a note of the cache holds it."""
        return encode_cbor([self.cells, list(self.counts), [float(r) for r in self.recalls]])

    @classmethod
    def of(cls, note: bytes) -> Curve:
        """Return the curve that a note holds."""
        cells, counts, recalls = decode_cbor(note)
        return cls(tuple(counts), tuple(recalls), cells)

    def nprobe(self, recall: float) -> int:
        """Return the fewest cells that were enough; all of them when none were."""
        wanted = min(recall + MARGIN, _ENOUGH)
        return next((n for n, r in zip(self.counts, self.recalls, strict=True) if r >= wanted), self.cells)


def measure_recall(
    segments: Sequence[Segment],
    runs: CellRuns,
    k: int,
    metric: str,
    probe: Prober,
) -> Curve:
    """Return which share of the k nearest rows is found with how many cells.

    Args:
        segments: the rows.
        runs: where their cells lie.
        k: how many rows are asked for.
        metric: "cosine" or "l2".
        probe: which cells to read.
    """
    masks, cells = [None] * len(segments), len(runs)
    anchors, queries = _sample(segments)
    if not len(anchors):
        return Curve((), (), max(1, cells))
    truth, _ = nearest(((s.anchors, s.vectors) for s in segments), queries, k + 1, metric)
    true = [_others(row, own) for row, own in zip(truth, anchors, strict=True)]
    counts, recalls, unit = [], [], probe.prepared(queries)
    for count in _counts(cells):
        wanted = probe(unit, count)
        found = scan_cells(segments, masks, runs, wanted, queries, k + 1, metric, unit).anchors
        shares = [
            len(wanted & _others(row, own)) / max(1, len(wanted))
            for row, own, wanted in zip(found, anchors, true, strict=True)
        ]
        counts.append(count)
        recalls.append(float(np.mean(shares)))
        if recalls[-1] >= _ENOUGH:
            break
    return Curve(tuple(counts), tuple(recalls), max(1, cells))


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


def _others(row: I64, own: int) -> set[int]:
    """Return the anchors of an answer without the one that asked; of those that are left the last may be one too many."""
    found = [a for a in row.tolist() if a != own and a >= 0]
    return set(found[: len(row) - 1])


def _counts(cells: int) -> Iterator[int]:
    """Yield 1, 2, 3, 4, 6, 8, 12, ... and the number of cells."""
    count = 1
    while count < cells:
        yield count
        if count > 1 and count * _STEPS[1] // _STEPS[0] < cells:
            yield count * _STEPS[1] // _STEPS[0]
        count *= 2
    yield max(1, cells)
