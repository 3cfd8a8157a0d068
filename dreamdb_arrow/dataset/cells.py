"""The cells of a field, as the searches of one version share them. Spec 0004.

Rows that no flush has brought into cells, and those of a hot shard, lie beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.distinct import distinct
from dreamdb_arrow.columnar.cell_layout import CellLayout, live_mask, open_layout
from dreamdb_arrow.columnar.cover_note import merge_notes
from dreamdb_arrow.columnar.notes import read_notes
from dreamdb_arrow.columnar.projection import EVERYTHING, bucket_origin, dim_of, hot_shard_address, row_entry
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.vectors import gather_vectors
from dreamdb_arrow.columnar.vendor import has_columnar_layer, read_track
from dreamdb_arrow.dataset.counted import Block, Counted
from dreamdb_arrow.dataset.spatial import load_spatial_index
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.objects.vector_compressor import VectorCompressor
from dreamdb_arrow.spatial.code_field import prepare_codes
from dreamdb_arrow.spatial.partitioners import Prober
from dreamdb_arrow.spatial.recall import Curve, measure_recall
from dreamdb_arrow.spatial.scan import CellRuns, cell_runs
from dreamdb_arrow.store.ahead import fetch_ahead
from dreamdb_arrow.tracks.cells import Origin
from dreamdb_arrow.tracks.hot import read_hot_shard
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX
from dreamdb_arrow.tracks.vectors import load_compressor

FEW_ROWS: Final = 20_000  # of so many, or of as many as the cells would have, each is compared


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """What a version's searches of a field share.

    layout      its cells, laid out in the local cache
    runs        where they lie
    probe       which of them to read for a query
    alive       for each segment which of its rows count, bool (n,), or None for all
    beside      anchors and vectors of the rows that are in no cell
    origin      what the cells were written with
    metric      "cosine" or "l2"
    compressor  of a field with codes
    """

    layout: CellLayout
    runs: CellRuns
    probe: Prober
    alive: tuple[Any, ...]
    beside: tuple[Block, ...]
    origin: Origin
    metric: str
    compressor: VectorCompressor | None

    def few_rows(self, counted: Counted, nprobe: int) -> bool:
        """Whether to compare all rows that count, since reading cells would cost more."""
        if counted.all:
            return False
        probed = self.layout.rows * min(1.0, nprobe / max(1, len(self.runs)))
        if counted.allowed is not None:
            return _length(counted.within(counted.allowed)) <= max(FEW_ROWS, probed)
        left = sum(_length(counted.within(segment.ordered)) for segment in self.layout.segments)
        return left <= max(FEW_ROWS, 4 * probed)


def _length(part: slice) -> int:
    return int(part.stop - part.start)


def metric_of(f: Field) -> str:
    """Return `l2` or `cosine`."""
    return "l2" if f.options.get("algorithm") == "dreamdb.lsh-l2" else "cosine"


def open_cells(rows: RowSet, f: Field) -> Cells:
    """Return the cells of a field, laid out now if they were not. Raises CorruptDataError, UnsupportedError."""
    return rows.once(("cells", f.name), lambda: _open(rows, f))


def _open(rows: RowSet, f: Field) -> Cells:
    entry = row_entry(rows.manifest, f.name)
    assert entry is not None
    origin = bucket_origin(rows.manifest, entry.modality)
    track = read_track(rows.store, entry)
    layout = open_layout(rows.store, rows.cache, track, entry.address, dim_of(f), origin)
    hot = hot_block(rows, f)
    alive = tuple(
        live_mask(
            segment, dead, (rows.hidden, hot[0])
        )  # a hot row takes the place of the one in its cell: 0016-R1
        for segment, dead in zip(layout.segments, layout.dead, strict=True)
    )
    runs = cell_runs(layout.segments)
    probe = Prober.of(load_spatial_index(rows.store, origin.index), runs.places)
    beside = tuple(block for block in (hot, *unflushed_blocks(rows, f)) if len(block[0]))
    coder = None if origin.compressor is None else load_compressor(rows.store, origin.compressor)
    return Cells(layout, runs, probe, alive, beside, origin, metric_of(f), coder)


def check_pool(f: Field, cells: Cells, pool: int, k: int) -> int:
    """Return how many rows a pool has. Raises InvalidInputError for a field without codes, and for one that is too small."""
    if cells.compressor is None:
        raise InvalidInputError(f"field {f.name!r} has no codes to choose a pool by; leave pool away")
    if pool < k:
        raise InvalidInputError(f"a pool of {pool} rows cannot give {k}; make it larger")
    return min(pool, max(k, cells.layout.rows))


def prepared_codes(rows: RowSet, f: Field, cells: Cells) -> list[Mapping[str, Any]]:
    """Return what is worked out once of the codes of each segment."""
    coder = cells.compressor
    assert coder is not None
    held = [segment.codes for segment in cells.layout.segments]
    return rows.once(
        ("prepared", f.name), lambda: [prepare_codes(coder, codes) for codes in held if codes is not None]
    )


def recall_curve(rows: RowSet, f: Field, cells: Cells, k: int) -> Curve:
    """Return what it takes to find the k nearest rows, measured now if it was not."""

    def make() -> Curve:
        key = f"recall/2/{cells.origin.index}/{cells.metric}/{k}/{cells.layout.rows.bit_length()}"
        note = rows.cache.read_note(key)
        if note is not None:
            return Curve.of(note)
        curve = measure_recall(cells.layout.segments, cells.runs, k, cells.metric, cells.probe)
        rows.cache.write_note(key, bytes(curve))
        return curve

    return rows.once(("recall", f.name, k), make)


def check_recall(recall: float | None) -> float:
    """Return a recall. Raises InvalidInputError for a share that is none."""
    if not isinstance(recall, (int, float)) or not 0 < recall <= 1:
        raise InvalidInputError(f"recall must be above 0 and at most 1, not {recall!r}")
    return float(recall)


# --- rows outside of cells ----------------------------------------------------------------------------------


def hot_block(rows: RowSet, f: Field) -> Block:
    """Return the rows of the hot shard beside a field's Track, with the vectors that a scan shows."""
    entry = row_entry(rows.manifest, f.name)
    assert entry is not None
    address = hot_shard_address(rows.manifest, entry)
    if address is None:
        return np.empty(0, np.int64), np.empty((0, dim_of(f)), np.float32)
    shard = read_hot_shard(rows.store, read_track(rows.store, entry), address)
    anchors = distinct([a for a in shard.anchors if a <= VISIBLE_ANCHOR_MAX])
    vectors, found = gather_vectors(rows.vector_stripes(f.name, *EVERYTHING), anchors, dim_of(f))
    return anchors[found], vectors[found]  # 0016-R1


def unflushed_blocks(rows: RowSet, f: Field) -> list[Block]:
    """Return anchors and vectors of the rows that no flush has brought into cells."""
    held = unflushed_stripes(rows, f)
    fetch_ahead(rows.store, [s.path for s in held])
    stripes = (rows.cache.vectors(rows.store, s.path, s.address, dim_of(f)) for s in held)
    return [(stripe.anchors, stripe.vectors) for stripe in stripes]


def unflushed_stripes(rows: RowSet, f: Field) -> list[Stripe]:
    """Return the vector stripes of a field that no flush has brought into cells."""
    if not has_columnar_layer(rows.manifest):
        return []
    flushed = rows.once("flushed", lambda: merge_notes(read_notes(rows.store, rows.manifest))).stripes
    return [s for s in rows.stored_vectors(f.name) if s.address not in flushed]
