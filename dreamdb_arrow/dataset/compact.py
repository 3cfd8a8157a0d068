"""Compact Tracks: the buckets that many appends have left of each become one again. Specs 0006 and 0021.

Scalar columns and cells of vectors; media lie well as they are. A cover note says of the new Tracks what was known of the
old ones. Stripes are another matter: see `dataset.compact_stripes`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cover_note import CoverNote, merge_notes
from dreamdb_arrow.columnar.notes import held_stripes, read_notes, still_covered, write_note
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.vendor import add_track, has_columnar_layer, read_track
from dreamdb_arrow.dataset.compact_stripes import Progress, Rewritten, compact_stripes
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import InvalidInputError, UnsupportedError
from dreamdb_arrow.history.commit import Change, Clock, commit
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.objects.schema import Field, decode_schema
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.compaction import Compacted, compact_cells, compact_scalars
from dreamdb_arrow.tracks.kinds import TrackForm, form_of, scalar_type_of
from dreamdb_arrow.tracks.vectors import BUCKET_MAX_BYTES

OPERATION: Final = "compact"
_KINDS: Final = ("scalar", "embedding")
_FORMS: Final = (TrackForm.BTREE, TrackForm.LIST, TrackForm.CELLS)


@dataclass(frozen=True, slots=True)
class Report:
    """What a compaction did; `manifest` is the new version, None when there was nothing to do."""

    manifest: str | None
    cells_examined: int
    cells_compacted: int
    fragments_collapsed: int


def compact_tracks(
    store: Store, name: str, modality: str | None = None, threshold: int = 1, clock: Clock = time.time_ns
) -> Report:
    """Bring columns and cells with more than `threshold` buckets down to as few as they need, as one commit.

    Args:
        store: where the Space lives.
        name: the Ref.
        modality: of the Track wanted; None for all that can be compacted.
        threshold: at least 1. A scalar column is written anew as a whole.
        clock: nanoseconds since 1970.

    Raises InvalidInputError for a modality that no such field has, AnchorConflict for two vectors at one anchor,
    UnsupportedError while a field has rows in a hot buffer. Nothing is written then.
    """
    if threshold < 1:
        raise InvalidInputError(f"threshold must be at least 1, not {threshold!r:.40}")
    done: list[Compacted] = []

    def build(parent: Manifest, _: Address, batch: Batch) -> Change:
        fields = _fields_of(parent, modality)
        found = {f.name: _compact_field(store, batch, parent, f, threshold) for f in fields}
        done[:] = found.values()
        changed = {field: each for field, each in found.items() if each.track is not None}
        return compact_change(store, batch, parent, changed) if changed else Change(OPERATION)

    address, _ = commit(store, name, build, clock=clock)
    sums = (sum(getattr(each, part) for each in done) for part in ("examined", "compacted", "collapsed"))
    return Report(str(address) if any(each.track for each in done) else None, *sums)


def _fields_of(parent: Manifest, modality: str | None) -> list[Field]:
    """Return the fields to look at."""
    held = [(f, row_entry(parent, f.name)) for f in decode_schema(parent.registry)]
    fields = [(f, entry) for f, entry in held if entry is not None and f.kind in _KINDS]
    if modality is None:
        return [f for f, entry in fields if ".graph." not in entry.modality]
    wanted = [f for f, entry in fields if entry.modality == modality]
    if not wanted:
        known = ", ".join(sorted({entry.modality for _, entry in fields})) or "none"
        raise InvalidInputError(
            f"no Track of modality {modality!r:.200} can be compacted; those that can: {known}"
        )
    return wanted


def _compact_field(store: Store, batch: Batch, parent: Manifest, f: Field, threshold: int) -> Compacted:
    entry = row_entry(parent, f.name)
    assert entry is not None
    track = read_track(store, entry)
    form = form_of(track)
    registered = parent.registry.get(entry.modality, {})
    if form is TrackForm.HOT or (isinstance(registered, Mapping) and "hot_shard" in registered):
        raise UnsupportedError(
            f"field {f.name!r} has rows in a hot buffer; call flush_hot() with the SDK that wrote them, then compact"
        )
    if form not in _FORMS:
        raise UnsupportedError(f"field {f.name!r}: Tracks of {entry.modality} cannot be compacted")
    if form is TrackForm.CELLS:
        most = int(f.options.get("bucket_max_bytes") or BUCKET_MAX_BYTES)
        return compact_cells(store, batch, track, threshold, most)
    return compact_scalars(store, batch, track, scalar_type_of(entry.modality), threshold)


def compact_change(store: Store, batch: Batch, parent: Manifest, changed: Mapping[str, Compacted]) -> Change:
    """Return the change that puts compacted Tracks in the place of the old ones."""
    entries = [_new_entry(batch, parent, field, each) for field, each in changed.items()]
    if has_columnar_layer(parent):
        entries.append(_note(store, batch, parent, entries, changed))
    return Change(OPERATION, tuple(entries))


def _new_entry(batch: Batch, parent: Manifest, field: str, done: Compacted) -> TrackEntry:
    entry = row_entry(parent, field)
    assert entry is not None
    assert done.track is not None
    return replace(entry, address=add_track(batch, done.track), coverage=done.track.coverage)


def _note(
    store: Store, batch: Batch, parent: Manifest, entries: list[TrackEntry], changed: Mapping[str, Compacted]
) -> TrackEntry:
    """Write what stripes hold of the new Tracks: what they held of the old ones, bucket by bucket."""
    merged = merge_notes(read_notes(store, parent))
    covered = still_covered(parent, merged)
    fresh = {e.field: e.address for e in entries if e.field in covered}
    payloads = {
        field: _known(done, covers=field in covered, known=merged.payloads.get(field, frozenset()))
        for field, done in changed.items()
    }
    gone = {field: _replaced(done) for field, done in changed.items()}
    kept = {field: held - gone.get(field, frozenset()) for field, held in merged.payloads.items()}
    stripes = merged.stripes & held_stripes(store, parent)
    before = replace(merged, payloads=kept, stripes=stripes)
    note = merge_notes([before, CoverNote({**covered, **fresh}, payloads)])
    return write_note(batch, parent.timeline, note, [], parent.ts)


def _replaced(done: Compacted) -> frozenset[Address]:
    """Return the buckets that the Track does not name any more."""
    return frozenset[Address]().union(*(before for _, before in done.replaced))


def _known(done: Compacted, *, covers: bool, known: frozenset[Address]) -> frozenset[Address]:
    """Return the new buckets whose rows are all in stripes."""
    return frozenset(bucket for bucket, before in done.replaced if covers or before <= known)


def compact_ref(
    space: Space,
    name: str,
    modality: str | None,
    threshold: int,
    *,
    stripes: bool,
    tracks: bool,
    progress: Progress | None,
    clock: Clock,
) -> dict[str, Any]:
    """Compact the Tracks and the stripes of a Ref, as `Dataset.compact` says, and return its report."""
    of_tracks, of_stripes = Report(None, 0, 0, 0), Rewritten()
    if tracks:
        of_tracks = compact_tracks(space.store, name, modality, threshold, clock)
    if stripes and modality is None:
        of_stripes = compact_stripes(space.store, space.cache, name, progress, clock)
    manifest = of_stripes.manifest or of_tracks.manifest
    return {**asdict(of_tracks), **asdict(of_stripes), "manifest": manifest}
