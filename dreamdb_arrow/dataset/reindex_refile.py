"""The third stage of index maintenance: each row into the cell that the new index gives it. Specs 0004, 0007 and 0021.

Rows go through a spill in the local cache and come out cell by cell. Cells are written a group at a time; a group that
is written is not written again after a kill. Of a row in two buckets the later one stays, as for every reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.columnar.cell_spill import Spill, SpillWriter
from dreamdb_arrow.columnar.cover_note import merge_notes
from dreamdb_arrow.columnar.notes import read_notes, still_covered
from dreamdb_arrow.columnar.vendor import has_columnar_layer
from dreamdb_arrow.dataset.reindex_job import FILED, PLAN, Desk, Job, Target, base_of
from dreamdb_arrow.dataset.reindex_plan import count_cells, measure, told
from dreamdb_arrow.dataset.spatial import load_spatial_index
from dreamdb_arrow.errors import InvalidInputError, LayoutError, UnsupportedError
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.objects.index_entries import IndexEntries
from dreamdb_arrow.objects.spatial_index import SpatialIndex
from dreamdb_arrow.spatial.rebalance import GONE, Plan, file_again
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.tracks.cell_rows import CellRows
from dreamdb_arrow.tracks.cells import SIDECAR
from dreamdb_arrow.tracks.refiling import add_cell, cell_numbers, iterate_rows, rows_like, vectors_of
from dreamdb_arrow.tracks.vectors import BUCKET_MAX_BYTES

I64 = NDArray[np.int64]

SPILL: Final = "spill"
_SPILLED: Final = "spilled"
_GROUP_BYTES: Final = 32 << 20
KINDS: Final = 2  # of buckets: those whose rows a cover note finds in stripes, and the others


@dataclass(frozen=True, slots=True)
class Filing:
    """Where rows go: the new index and its address, and for each old cell the number it has now, or GONE."""

    index: SpatialIndex
    address: Address
    kept: I64
    fresh: I64

    def key(self, number: int) -> str:
        """Return the spatial key of a cell."""
        return f"{number:0{self.index.bits}b}"

    def places(self, target: Target, rows: CellRows, held: I64) -> tuple[I64, int]:
        """Return the new cell of each row, whose old one is given; and how many were compared with all cells."""
        try:
            numbers, compared = file_again(
                self.index, vectors_of(target.form, rows), self.kept[held], self.fresh
            )
        except InvalidInputError as error:
            raise LayoutError(f"field {target.field.name!r} holds a row that has no cell: {error}") from error
        return numbers, len(compared)


def filing_of(desk: Desk, target: Target, plan: Mapping[str, Any]) -> Filing:
    """Return where a plan sends the rows of the cells that a field has."""
    address = as_address(plan["index"])
    index = load_spatial_index(desk.store, address)
    origin = np.array(plan["origin"] or [GONE] * plan["cells"], np.int64)
    kept = Plan(np.empty((0, 0), np.float32), origin).kept(count_cells(target.index))
    return Filing(index, address, kept, np.flatnonzero(origin == GONE))


def refile(desk: Desk, job: Job) -> dict[str, Any]:
    """Write all rows into buckets of the new index; the third stage. They are in the store when this returns.

    `groups` is how many values `cells-N` hold their entries; `sources` the buckets that they were made of, by kind.
    """
    found: dict[str, Any] | None = desk.folder.read(FILED)
    plan = desk.folder.read(PLAN)
    if found is None and plan["index"] is None:
        found = {"groups": 0, "compared": 0, "sources": [[], []]}
        desk.folder.write(FILED, found)
    if found is None:
        target = base_of(desk, job)
        filing = filing_of(desk, target, plan)
        spilled = desk.folder.read(_SPILLED) or _spill(desk, job, target, filing)
        groups = _write_groups(desk, target, filing, spilled)
        sizes = np.array(spilled["sizes"]).reshape(-1, KINDS).sum(axis=1)
        of_rows = {"compared": spilled["compared"], "sources": spilled["sources"]}
        found = {**told(sizes), "groups": groups, **of_rows}
        desk.folder.write(FILED, found)
        desk.folder.drop(SPILL)
    return found


# --- into the spill -----------------------------------------------------------------------------------------


def _spill(desk: Desk, job: Job, target: Target, filing: Filing) -> dict[str, Any]:
    """Write all rows into the spill, in the order of their new cells."""
    entries, rows_all = target.entries(desk.store), measure(desk, job)["rows"]
    unknown, numbers, beside = _unknown(desk, job, entries), cell_numbers(entries), has_sidecars(entries)
    compared = done = 0
    with SpillWriter(desk.folder.fresh(SPILL)) as spill:
        for at, held in iterate_rows(desk.store, target.track, target.form, entries):
            rows = with_exact(target, held, beside=beside)
            cells, again = filing.places(target, rows, numbers[at])
            spill.add((rows.anchors, rows.payload, rows.exact), cells * KINDS + unknown[at])
            compared, done = compared + again, done + len(at)
            _tell(desk, done, 2 * rows_all)
    written = _open_spill(desk, target, beside=beside)
    sizes = written.arrange(KINDS * count_cells(filing.index), written.repeated())
    names = [[bytes(row) for row in entries.addresses[unknown == kind]] for kind in range(KINDS)]
    made = {"sizes": sizes.tolist(), "compared": compared, "sources": names, "beside": beside}
    desk.folder.write(_SPILLED, made)
    return made


def _unknown(desk: Desk, job: Job, entries: IndexEntries) -> I64:
    """Return for each bucket whether it may hold rows that no stripe has, as 0 or 1: int64 (n,)."""
    manifest = load_manifest(desk.store, job.version)
    if not has_columnar_layer(manifest):
        return np.zeros(len(entries), np.int64)
    note = merge_notes(read_notes(desk.store, manifest))
    if desk.field in still_covered(manifest, note):
        return np.zeros(len(entries), np.int64)
    known = note.payloads.get(desk.field, frozenset())
    return np.array([Address(row.tobytes()) not in known for row in entries.addresses], np.int64)


def has_sidecars(entries: IndexEntries) -> bool:
    """Whether exact vectors lie beside some buckets."""
    return bool((entries.members > SIDECAR).any())


def with_exact(target: Target, rows: CellRows, *, beside: bool) -> CellRows:
    """Return rows with their exact vectors if others of the field have them `beside`.

    Raises UnsupportedError where only codes are left of them.
    """
    if not beside or rows.exact is not None:
        return rows
    if target.form.compressor is not None:
        raise UnsupportedError(f"field {target.field.name!r} has exact vectors of some rows only")
    return CellRows(rows.like, rows.anchors, rows.payload, rows.payload)


def _open_spill(desk: Desk, target: Target, *, beside: bool) -> Spill:
    dim, compressor = target.form.dim, target.form.compressor
    payload = ("<f4", dim) if compressor is None else ("u1", compressor.code_bytes)
    return Spill(desk.folder.path / SPILL, payload, dim if beside else 0)


def _tell(desk: Desk, done: int, total: int) -> None:
    if desk.progress is not None:
        desk.progress(done, total)


# --- out of the spill ---------------------------------------------------------------------------------------


def _write_groups(desk: Desk, target: Target, filing: Filing, spilled: Mapping[str, Any]) -> int:
    """Write the cells, a group at a time; return how many groups there are."""
    sizes = np.array(spilled["sizes"], np.int64)
    stops = np.cumsum(sizes)
    spill = _open_spill(desk, target, beside=spilled["beside"])
    count = 0
    for count, places in enumerate(_groups(sizes, _GROUP_BYTES // spill.row_bytes), 1):
        if desk.folder.read(f"cells-{count}") is None:
            made, paths = _write_group(desk, target, filing, spill, places, stops)
            desk.folder.write(f"paths-{count}", paths)
            desk.folder.write(f"cells-{count}", made)
        _tell(desk, int(stops[-1] + stops[places[-1]]), int(2 * stops[-1]))
    return count


def _groups(sizes: I64, most: int) -> Iterator[I64]:
    """Cut those places that have rows into groups of about so many rows."""
    filled = np.flatnonzero(sizes)
    group = (np.cumsum(sizes[filled]) - sizes[filled]) // max(1, most)
    yield from np.split(filled, np.flatnonzero(np.diff(group)) + 1)


def _write_group(
    desk: Desk, target: Target, filing: Filing, spill: Spill, places: I64, stops: I64
) -> tuple[list[list[Any]], list[str]]:
    """Write the cells of some places; return the kind and the index entry of each bucket, and the paths of all objects."""
    batch = Batch(desk.store)
    most = int(target.field.options.get("bucket_max_bytes") or BUCKET_MAX_BYTES)
    made = []
    for place in places.tolist():
        start = int(stops[place - 1]) if place else 0
        rows = rows_like(target.form, filing.address, target.track, spill.rows(start, int(stops[place])))
        lists = add_cell(batch, target.track, filing.key(place // KINDS), rows, most)
        made += [[place % KINDS, *entry] for entry in lists]
    batch.flush()  # 0005-R11
    return made, batch.take_written()


def read_paths(desk: Desk, filed: Mapping[str, Any]) -> list[str]:
    """Return the paths of all objects that were written."""
    return [path for nth in range(1, filed["groups"] + 1) for path in desk.folder.read(f"paths-{nth}") or ()]


def read_groups(desk: Desk, filed: Mapping[str, Any]) -> list[list[Any]]:
    """Return the kind and the index entry of each bucket that was written."""
    found: list[list[Any]] = []
    for nth in range(1, filed["groups"] + 1):
        found += desk.folder.read(f"cells-{nth}")
    return found


def file_added(
    desk: Desk, batch: Batch, target: Target, filing: Filing, entries: IndexEntries
) -> list[list[Any]]:
    """Add the rows of buckets that came after the job began to the new cells; return the entries."""
    most = int(target.field.options.get("bucket_max_bytes") or BUCKET_MAX_BYTES)
    numbers, made = cell_numbers(entries), []
    for at, held in iterate_rows(desk.store, target.track, target.form, entries):
        cells, _ = filing.places(target, held, numbers[at])
        for cell in np.unique(cells).tolist():
            part = held.take(cells == cell)
            rows = rows_like(
                target.form, filing.address, target.track, (part.anchors, part.payload, part.exact)
            )
            made += add_cell(batch, target.track, filing.key(cell), rows, most)
    return made
