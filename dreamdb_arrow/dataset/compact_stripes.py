"""Compact the columnar layer: many small stripes become few, of the version's columns and live rows. Specs 0006 and 0021.

Work is planned on one version and done unit by unit; what is written has no name until a commit swaps it in. Another commit
may come between. Then units all of whose stripes are still there go in, and the others are planned anew. Who is interrupted
loses what was not committed, and the next compaction goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.cover_note import CoverNote, merge_notes
from dreamdb_arrow.columnar.dropped import dropped_from
from dreamdb_arrow.columnar.merging import (
    Source,
    Tally,
    encode_stripes,
    living,
    merged_tables,
    merged_vectors,
)
from dreamdb_arrow.columnar.notes import held_stripes, write_note
from dreamdb_arrow.columnar.overlaps import widest_first
from dreamdb_arrow.columnar.projection import dim_of, row_entry
from dreamdb_arrow.columnar.rowset import Stripe
from dreamdb_arrow.columnar.stripe import anchors_of, open_stripe
from dreamdb_arrow.columnar.vectors import VectorStripe, decode_vectors, vector_parts
from dreamdb_arrow.columnar.vendor import (
    MARK,
    MARK_ADDRESS,
    STRIPE,
    VECTORS,
    Fragment,
    VendorTrack,
    has_columnar_layer,
)
from dreamdb_arrow.dataset.compact_plan import NO_NOTE, VECTORS_BYTES, Job, Work, find_work
from dreamdb_arrow.dataset.pending import read_known
from dreamdb_arrow.history.commit import Change, Clock, commit
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.history.refs import resolve_ref
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.objects.schema import SCHEMA_KEY
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many
from dreamdb_arrow.tracks.layout import payload_directory

OPERATION: Final = "compact"
COMMIT_BYTES: Final = 512 << 20  # written between two commits: what an interrupted compaction may lose
PASSES_MAX: Final = 8  # merged stripes may be smaller than was thought, and others may write meanwhile

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Rewritten:
    """What a compaction of stripes did; stripes of vectors are counted with the others."""

    manifest: str | None = None
    stripes_before: int = 0
    stripes_after: int = 0
    rows_dropped: int = 0
    bytes_written: int = 0


@dataclass(frozen=True, slots=True)
class Swap:
    """Stripes that take the place of others in one vendor Track."""

    job: Job
    made: tuple[Fragment, ...]
    rows_dropped: int

    @property
    def gone(self) -> frozenset[Address]:
        """The addresses of the stripes that go."""
        return frozenset(s.address for s in self.job.unit.stripes)

    @property
    def size(self) -> int:
        """The bytes that were written."""
        return sum(f.size for f in self.made)


def compact_stripes(
    store: Store,
    cache: LocalCache,
    name: str,
    progress: Progress | None = None,
    clock: Clock = time.time_ns,
) -> Rewritten:
    """Write the stripes of a Ref anew where they are many, overlap, lack columns or hold deleted rows.

    Args:
        store: where the Space lives.
        cache: for what has to be looked at.
        name: the Ref.
        progress: is told how many stripes of how many have been written anew.
        clock: nanoseconds since 1970.

    Raises CorruptDataError when an object on the way is damaged; what was committed before stays.
    """
    report = Rewritten()
    for nth in range(PASSES_MAX):
        address = resolve_ref(store, name)
        manifest = load_manifest(store, address)
        if not has_columnar_layer(manifest):
            return report
        work = find_work(store, cache, manifest, address)
        report.stripes_after = len(work.rows.stripes) + sum(map(len, work.rows.vectors.values()))
        report.stripes_before = report.stripes_after if nth == 0 else report.stripes_before
        if not work.jobs and work.claims == NO_NOTE:
            break
        _Pass(store, name, work, clock, report, [], work.listed).run(progress)
    return report


@dataclass(slots=True)
class _Pass:
    """One plan that is being carried out.

    waiting   swaps that have been written, but not committed
    dropped   what notes say of dropped columns, as far as this pass knows
    whole     whether no unit has been given up so far
    """

    store: Store
    name: str
    work: Work
    clock: Clock
    report: Rewritten
    waiting: list[Swap]
    dropped: Mapping[str, frozenset[Address]]
    whole: bool = True

    def run(self, progress: Progress | None) -> None:
        """Do the jobs, with a commit now and then, and one at the end that also says what Tracks are covered."""
        total = sum(len(job.unit.stripes) for job in self.work.jobs)
        done, batch = 0, Batch(self.store)
        for job in self.work.jobs:
            if sum(swap.size for swap in self.waiting) >= COMMIT_BYTES:
                self.publish(batch, last=False)
            self.waiting.append(_carry_out(self.work, job, batch))
            done += len(job.unit.stripes)
            if progress is not None:
                progress(done, total)
        self.publish(batch, last=True)

    def publish(self, batch: Batch, *, last: bool) -> None:
        """Commit what has been written."""
        batch.flush()
        found: list[_Swapped] = []
        held = batch.take_written()

        def build(parent: Manifest, _: Address, batch: Batch) -> Change:
            batch.hold(held)
            found[:] = [_swap_in(self, batch, parent, last and self.whole)]
            return Change(OPERATION, found[0].entries)

        address, _ = commit(self.store, self.name, build, clock=self.clock)
        swapped = found[0]
        self.report.manifest = str(address) if swapped.entries else self.report.manifest
        self.report.rows_dropped += sum(swap.rows_dropped for swap in swapped.applied)
        self.report.bytes_written += sum(swap.size for swap in swapped.applied)
        self.whole &= len(swapped.applied) == len(self.waiting)
        self.waiting, self.dropped = [], swapped.note.dropped


# --- writing ------------------------------------------------------------------------------------------------


def _carry_out(work: Work, job: Job, batch: Batch) -> Swap:
    """Write the stripes of one unit anew."""
    if job.home is not None:
        return _leave_to_cells(work, job, batch)
    return _rewrite_rows(work, job, batch) if job.modality == STRIPE else _rewrite_vectors(work, job, batch)


def _rewrite_rows(work: Work, job: Job, batch: Batch) -> Swap:
    rows, unit = work.rows, job.unit
    sources = [_source(work, stripe) for stripe in unit.stripes]
    extra = _between(work.extra[job.flushed], unit.low, unit.high)
    most = sum(open_stripe(s.file).metadata.num_rows for s in sources) + len(extra)
    tally = Tally()
    tables = living(merged_tables(sources, work.schema, extra), rows.hidden, tally)
    untold = [f.name for f in rows.fields if f.kind == "array"]
    each = max(1, -(-most // unit.parts))
    made = tuple(
        _put(batch, rows.timeline, STRIPE, (encoded.t0, encoded.t1), encoded.data)
        for encoded in encode_stripes(tables, each, untold)
    )
    return Swap(job, made, tally.dropped)


def _source(work: Work, stripe: Stripe) -> Source:
    file = stripe.local(work.rows.store, work.rows.cache)
    dropped = tuple(dropped_from(stripe.address, work.note.dropped))
    return Source(file, stripe.t0, stripe.t1, stripe.address, dropped)


def _between(table: pa.Table, low: int, high: int) -> pa.Table:
    start, stop = np.searchsorted(anchors_of(table), [low, high])
    return table.slice(start, stop - start)


def _leave_to_cells(work: Work, job: Job, batch: Batch) -> Swap:
    """Put a mark in the place of vector stripes, unless there is one already."""
    span = job.unit.low, job.unit.high
    marks = () if job.field in work.marked else (_put(batch, work.rows.timeline, VECTORS, span, MARK),)
    return Swap(job, marks, 0)


def _rewrite_vectors(work: Work, job: Job, batch: Batch) -> Swap:
    rows, unit = work.rows, job.unit
    held = _vector_stripes(work, job)
    if job.flushed and job.field in work.vectors:
        anchors, vectors = work.vectors[job.field]
        start, stop = np.searchsorted(anchors, [unit.low, unit.high])
        held.append(VectorStripe(anchors[start:stop], vectors[start:stop]))
    made = []
    for anchors, vectors in merged_vectors(held, rows.hidden, unit.parts) if held else ():
        span = int(anchors[0]), int(anchors[-1]) + 1
        made.append(_put(batch, rows.timeline, VECTORS, span, *vector_parts(anchors, vectors)))
    return Swap(job, tuple(made), 0)


def _vector_stripes(work: Work, job: Job) -> list[VectorStripe]:
    """Return the vector stripes of a unit, that which counts most first: few in memory, many mapped."""
    rows, dropped = work.rows, work.note.dropped.get(job.field, frozenset())
    stripes = [s for s in job.unit.stripes if s.address not in dropped]
    ordered = [stripes[i] for i in widest_first(stripes)]
    dim = next(dim_of(f) for f in rows.fields if f.name == job.field)
    if sum(s.size for s in ordered) <= 2 * VECTORS_BYTES:
        data = fetch_many(rows.store, [(s.path, s.address) for s in ordered])
        return [decode_vectors(each, dim) for each in data]
    return [rows.cache.vectors(rows.store, s.path, s.address, dim) for s in ordered]


def _put(batch: Batch, timeline: Address, modality: str, span: tuple[int, int], *parts: Any) -> Fragment:
    address = batch.add(payload_directory(timeline, modality), *parts)
    return Fragment(*span, sum(memoryview(part).nbytes for part in parts), address)


# --- committing ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Swapped:
    """What a commit changes, which swaps are in it, and what notes say afterwards."""

    entries: tuple[TrackEntry, ...]
    applied: tuple[Swap, ...]
    note: CoverNote


def _swap_in(now: _Pass, batch: Batch, parent: Manifest, complete: bool) -> _Swapped:
    """Put new stripes in the place of old ones, as far as a version still has these.

    `complete` says that nothing was given up before: if nothing is now, the note also says which Tracks are covered.
    """
    known = read_known(now.store, parent).note
    planned = now.work.rows.manifest
    if parent.registry[SCHEMA_KEY] != planned.registry[SCHEMA_KEY] or known.dropped != now.dropped:
        return _Swapped((), (), known)
    tracks = {key: VendorTrack(now.store, parent, *key) for key in map(_track_of, now.waiting)}
    fits = [swap for swap in now.waiting if _fits(swap, tracks[_track_of(swap)], known.stripes)]
    whole = complete and len(fits) == len(now.waiting)
    applied = [
        swap
        for swap in fits
        if swap.job.home is None or (whole and _is_still_in_cells(now, parent, swap, tracks[_track_of(swap)]))
    ]
    entries = [
        _change_track(track, batch, [swap for swap in applied if _track_of(swap) == key])
        for key, track in tracks.items()
        if any(_track_of(swap) == key for swap in applied)
    ]
    claims = now.work.claims if complete and len(applied) == len(now.waiting) else NO_NOTE
    note = _note_after(now, parent, known, applied, claims)
    if note != known:
        entries.append(write_note(batch, parent.timeline, note, [], parent.ts))
    return _Swapped(tuple(entries), tuple(applied), note)


def _change_track(track: VendorTrack, batch: Batch, swaps: Sequence[Swap]) -> TrackEntry:
    """Return the entry of a vendor Track after swaps; what comes out as it went in stays."""
    made = {f.address: f for swap in swaps for f in swap.made}
    gone = frozenset(address for swap in swaps for address in swap.gone)
    added = [f for address, f in made.items() if address not in gone]
    return track.swap(batch, added, [f for f in track.fragments() if f.address in gone - made.keys()])


def _track_of(swap: Swap) -> tuple[str, str]:
    return swap.job.modality, swap.job.field


def _is_still_in_cells(now: _Pass, parent: Manifest, swap: Swap, track: VendorTrack) -> bool:
    """Whether a version shows what it did when it was planned to leave vectors to their cells.

    What came since, from a branch, may have other vectors at the same anchors: then it is looked at again.
    """
    entry = row_entry(parent, swap.job.field)
    if entry is None or entry.address != swap.job.home:
        return False
    planned = {MARK_ADDRESS, *(s.address for s in now.work.rows.vectors[swap.job.field])}
    new = [fragment for fragment in track.fragments() if fragment.address not in planned]
    return not any(each.t0 < swap.job.unit.high and swap.job.unit.low < each.t1 for each in new)


def _fits(swap: Swap, track: VendorTrack, flushed: frozenset[Address]) -> bool:
    """Whether all stripes that a swap takes away are there, and all or none of them are flushed."""
    there = frozenset(f.address for f in track.fragments())
    count = len(swap.gone & flushed)
    return swap.gone <= there and (count == len(swap.gone) or (count == 0 and not swap.job.flushed))


def _is_flushed(swap: Swap, flushed: frozenset[Address]) -> bool:
    return swap.job.flushed or (bool(swap.gone) and swap.gone <= flushed)


def _note_after(
    now: _Pass, parent: Manifest, known: CoverNote, applied: Sequence[Swap], claims: CoverNote
) -> CoverNote:
    """Return what notes are to say, united: new flushed stripes in the place of old ones, and what is claimed."""
    gone = frozenset(address for swap in applied for address in swap.gone)
    flushed = {f.address for swap in applied if _is_flushed(swap, known.stripes) for f in swap.made}
    flushed.discard(MARK_ADDRESS)
    dropped = _dropped_after(now.work, known, frozenset(f.address for swap in applied for f in swap.made))
    if not flushed and not gone & known.stripes and claims == NO_NOTE and dropped == known.dropped:
        return known
    stripes = ((known.stripes & held_stripes(now.store, parent)) - gone) | flushed
    active = {entry.field: entry.address for entry in parent.tracks.active}
    tracks = {name: address for name, address in claims.tracks.items() if active.get(name) == address}
    before = replace(known, stripes=stripes, dropped=dropped)
    return merge_notes([before, replace(claims, tracks=tracks)])


def _dropped_after(work: Work, known: CoverNote, made: frozenset[Address]) -> dict[str, frozenset[Address]]:
    """Return what is said of dropped columns: also those of another type, which readers no longer look for.

    A stripe that was made may have the very bytes of one whose column was dropped: the new one's counts.
    """
    more = {name: listed - work.listed.get(name, frozenset()) for name, listed in work.note.dropped.items()}
    names = known.dropped.keys() | more.keys()
    after = {
        name: (known.dropped.get(name, frozenset()) | more.get(name, frozenset())) - made for name in names
    }
    return {name: listed for name, listed in after.items() if listed}
