"""Append: new rows as one commit. Spec 0006.

Rows that fit into one buffer are checked, and only then written. Of more rows, each chunk is checked and written as stripes
while the next is read; until the Manifest at the end names them all, nobody sees them, and after an error nobody ever does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.apart import remember_new
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.rows import resolve_rows
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.tiers import absorb_rows, absorb_vectors
from dreamdb_arrow.columnar.vectors import F32, I64
from dreamdb_arrow.columnar.vendor import (
    MEDIA,
    STRIPE,
    VECTORS,
    Fragment,
    VendorTrack,
    flush_mode,
    has_columnar_layer,
)
from dreamdb_arrow.dataset.anchors import Earlier, check_free, settle_anchors
from dreamdb_arrow.dataset.chunks import Source
from dreamdb_arrow.dataset.flush import flush_rows, flush_stripes
from dreamdb_arrow.dataset.incoming import Incoming, check_rows, refuse_bare_rows
from dreamdb_arrow.dataset.outgoing import Key, Made, Rows, store_rows, write_stripes
from dreamdb_arrow.dataset.writable import check_appendable
from dreamdb_arrow.errors import ConflictError
from dreamdb_arrow.history.commit import Change, Clock, apply_change, commit
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.objects.schema import Field, decode_schema
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.layout import payload_directory


def append_rows(
    store: Store, cache: LocalCache, name: str, source: Source, time: str | None, clock: Clock
) -> tuple[int, Address, Manifest]:
    """Append rows to a Ref as one commit; return their number, the new version and its Manifest.

    Args:
        store: where the Space lives.
        cache: for what has to be looked at.
        name: the Ref.
        source: the rows.
        time: a column whose times become the anchors.
        clock: nanoseconds since 1970.

    Raises InvalidInputError or AnchorConflict before anything is published. A race that is lost to another commit
    is run again on the new tip; of rows in many chunks, only what they have to fit to is looked at again.
    """
    append = Append(store, cache, source, time, clock)
    address, manifest = commit(store, name, append.build, clock=clock)
    return append.rows, address, manifest


@dataclass(frozen=True, slots=True)
class _Target:
    """The version that rows are appended to, and where new objects go."""

    store: Store
    cache: LocalCache
    parent: Manifest
    address: Address
    batch: Batch
    fields: tuple[Field, ...]
    tracks: dict[Key, VendorTrack] = field(default_factory=dict)

    def resolve(self) -> RowSet:
        return resolve_rows(self.store, self.cache, self.parent, self.address)

    def track(self, key: Key) -> VendorTrack:
        """Return a vendor Track of the version, read once."""
        if key not in self.tracks:
            self.tracks[key] = VendorTrack(self.store, self.parent, *key)
        return self.tracks[key]

    def read_ahead(self, keys: Iterable[Key]) -> None:
        """Read what is needed to name new fragments in vendor Tracks."""
        for key in keys:
            self.track(key).read_ahead()

    def name(self, key: Key, new: Sequence[Fragment], gone: Sequence[Fragment] = ()) -> TrackEntry:
        """Return the entry of a vendor Track that names new fragments, and some old ones no more."""
        return self.track(key).swap(self.batch, new, gone)


class Append:
    """What is known of one append, from one try to the next: how many rows it has, and the chunks that lie in the store."""

    def __init__(
        self, store: Store, cache: LocalCache, source: Source, time: str | None, clock: Clock
    ) -> None:
        self._store, self._cache, self._source, self._time, self._clock = store, cache, source, time, clock
        self._fields: tuple[Field, ...] = ()
        self._given: frozenset[str] = frozenset()
        self._written: Made = {}
        self._earlier: Earlier | None = None
        self.rows = 0

    def build(self, parent: Manifest, address: Address, batch: Batch) -> Change:
        """Return the change that appends all rows to a version."""
        to = _Target(self._store, self._cache, parent, address, batch, decode_schema(parent.registry))
        if self._written:
            return self._try_again(to)
        self.rows = 0
        # Tracks alone, without stripes, are written in one go: 0006-R10, 0021-R3
        chunks = self._source.chunks(to.fields, whole=not has_columnar_layer(to.parent))
        first, second = next(chunks), next(chunks, None)
        if second is None:
            return self._append_whole(to, first)
        return self._append_chunks(to, _one_by_one(first, second, chunks))

    # ------------------------------------------------------------ one chunk

    def _append_whole(self, to: _Target, table: pa.Table) -> Change:
        rows = self._check(to, table)
        if rows.n == 0:
            return Change("commit")
        stored = self._stored(to, rows, None)
        if not has_columnar_layer(to.parent):
            return replace(flush_rows(to.store, to.parent, to.batch, stored), operation="commit")
        gone: Made = {}  # small stripes that these take in
        vectors = {name: _absorb_vectors(to, gone, name, *held) for name, held in stored.vectors.items()}
        stripes, unite = replace(stored, vectors=vectors), partial(_absorb_rows, to, gone)
        meanwhile = partial(to.read_ahead, [(STRIPE, ""), *((VECTORS, name) for name in vectors)])
        entries, named = [], []
        for key, new in write_stripes(stripes, to.parent.timeline, to.batch, unite, meanwhile):
            taken_in = gone.get(key, [])
            entries.append(to.name(key, new, taken_in))
            named += new
            if key[0] != MEDIA and not taken_in:
                remember_new(to.cache, to.track(key), new[0])
        if flush_mode(to.parent) != "commit":
            return Change("commit", tuple(entries))
        flushed = flush_rows(to.store, to.parent, to.batch, stored, frozenset(f.address for f in named))
        return Change("commit", (*entries, *flushed.entries), flushed.registry)

    def _check(self, to: _Target, table: pa.Table) -> Incoming:
        rows = check_rows(table, to.fields, self._time, self.rows)  # 0006-R1
        self.rows += rows.n
        if rows.n and not has_columnar_layer(to.parent):
            refuse_bare_rows(rows)
        given = rows.given()
        check_appendable(to.store, to.parent, [f for f in to.fields if f.name in given])
        self._given |= given
        return rows

    def _stored(self, to: _Target, rows: Incoming, earlier: Earlier | None) -> Rows:
        now = max(self._clock(), to.parent.ts)
        anchors = settle_anchors(rows, to.store, to.parent, to.resolve, now, earlier)
        return store_rows(rows, anchors, to.fields, to.parent.timeline, to.batch)

    # ------------------------------------------------------------ many chunks

    def _append_chunks(self, to: _Target, chunks: Iterator[pa.Table]) -> Change:
        """Write each chunk while the next is read."""
        self._fields, self._earlier = to.fields, Earlier(to.store)
        written: Made = {}
        with ThreadPoolExecutor(1) as writer:
            pending = writer.submit(self._write_chunk, to, next(chunks), written)
            for chunk in chunks:
                pending.result()
                pending = writer.submit(self._write_chunk, to, chunk, written)
                del chunk
            pending.result()
        self._written = written
        return self._publish(to)

    def _write_chunk(self, to: _Target, table: pa.Table, written: Made) -> None:
        assert self._earlier is not None
        rows = self._check(to, table)
        if rows.n == 0:
            return
        stored = self._stored(to, rows, self._earlier)
        for key, new in write_stripes(stored, to.parent.timeline, to.batch):
            written.setdefault(key, []).extend(new)
        to.batch.flush()
        self._earlier.add(written[STRIPE, ""][-1], payload_directory(to.parent.timeline, STRIPE))

    def _try_again(self, to: _Target) -> Change:
        """Publish chunks that were written when somebody else moved the Ref, if they still fit."""
        assert self._earlier is not None
        gone = [f.name for f in self._fields if f not in to.fields]
        wanted = [f.name for f in to.fields if f.required and f not in self._fields]
        if gone or wanted:
            raise ConflictError(
                f"field {(gone + wanted)[0]!r} was changed while the rows were read; append them again"
            )
        check_appendable(to.store, to.parent, [f for f in to.fields if f.name in self._given])
        check_free(self._earlier, to.store, to.parent, to.resolve)
        return self._publish(to)

    def _publish(self, to: _Target) -> Change:
        change = Change("commit", tuple(to.name(*made) for made in self._written.items()))
        if flush_mode(to.parent) == "commit":
            return _flush_chunks(to, change, self._earlier.stripes if self._earlier else ())
        return change


def _absorb_rows(to: _Target, gone: Made, table: pa.Table) -> pa.Table:
    united, gone[STRIPE, ""] = absorb_rows(to.store, to.parent, to.track((STRIPE, "")), table)
    return united


def _absorb_vectors(to: _Target, gone: Made, name: str, anchors: I64, vectors: F32) -> tuple[I64, F32]:
    key = (VECTORS, name)
    anchors, vectors, gone[key] = absorb_vectors(to.store, to.parent, to.track(key), anchors, vectors)
    return anchors, vectors


def _one_by_one(first: pa.Table, second: pa.Table, rest: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables, and let go of each."""
    held = [second, first]
    del first, second
    while held:
        yield held.pop()
    yield from rest


def _flush_chunks(to: _Target, change: Change, stripes: Sequence[Stripe]) -> Change:
    """Return a change that also has the rows of its stripes in the Tracks, one stripe in memory at a time."""
    entries = {e.field: e for e in change.entries}
    registry: dict[str, object] = {}
    for nth, stripe in enumerate(stripes):
        to.batch.flush()  # what is read next
        so_far = replace(change, entries=tuple(entries.values()), registry=registry)
        parent = apply_change(to.parent, to.address, so_far, to.parent.ts)
        flushed = flush_stripes(to.store, to.cache, parent, to.batch, [stripe], stripes[nth + 1 :])
        entries |= {e.field: e for e in flushed.entries}
        registry |= flushed.registry or {}
    return replace(change, entries=tuple(entries.values()), registry=registry)
