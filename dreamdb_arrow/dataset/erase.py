"""Versions without some rows: every Manifest of a history written again that leads to bytes of them. Spec 0022.

Oldest first, so that each names its parents by their new addresses. What does not change keeps its address: versions from
before the rows came stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.address import Address, parse_address
from dreamdb_arrow.codec.address_set import AddressSet
from dreamdb_arrow.columnar.erasing import Stripes, see_stripe
from dreamdb_arrow.columnar.projection import GRAPH, hot_shard_address
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.columnar.vendor import COVER, MEDIA, STRIPE, VECTORS, VendorTrack, add_track, read_track
from dreamdb_arrow.dataset.graph import graph_without
from dreamdb_arrow.errors import ObjectNotFoundError
from dreamdb_arrow.history.bundle import bundled
from dreamdb_arrow.history.commit import check_writable
from dreamdb_arrow.history.line import load_version, place_after
from dreamdb_arrow.history.manifests import MANIFESTS, load_manifest
from dreamdb_arrow.history.writer import FIRST, own_operation, writer_tag
from dreamdb_arrow.objects.lineage import LAYER_PREFIX, Edge, EdgeEnd
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry, encode_manifest, order_tracks
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.cuts import Seen
from dreamdb_arrow.tracks.erasing import erase_hot, erase_rows, see_media
from dreamdb_arrow.tracks.hot import overlay_of
from dreamdb_arrow.tracks.kinds import TrackForm, form_of

Progress = Callable[[str, int], None]

HOT_SHARD: Final = "hot_shard"  # in what the registry says of an embedding
_STRIPES: Final = (STRIPE, VECTORS, MEDIA)


def oldest_first(store: Store, tips: Iterable[Address]) -> Iterator[Address]:
    """Yield versions and all their ancestors that are there, each after its parents."""
    pending = [(tip, False) for tip in tips]
    done = AddressSet()
    while pending:
        address, is_open = pending.pop()
        if address in done:
            continue
        if is_open:
            done.add(address)
            yield address
            continue
        try:
            parents = load_manifest(store, address).parents
        except ObjectNotFoundError:  # 0008-R3
            done.add(address)
            continue
        pending.append((address, True))
        pending += [(parent, False) for parent in parents if parent not in done]


def see_versions(store: Store, versions: Iterable[Address], gone: I64) -> Seen:
    """Return which slices of payloads of media the rows of versions name: those to be erased, and others."""
    seen, read = Seen(), AddressSet()
    unsigned = gone.astype(np.uint64)
    for address in versions:
        manifest = load_manifest(store, address)
        for entry in (*manifest.tracks.active, *manifest.tracks.lineage):
            if entry.address in read:
                continue
            read.add(entry.address)
            if entry.field == STRIPE:
                for fragment in VendorTrack(store, manifest, STRIPE).fragments():
                    if fragment.address not in read:
                        read.add(fragment.address)
                        see_stripe(store, manifest.timeline, fragment, gone, seen)
            elif entry.field.partition(":")[0] not in (*_STRIPES, COVER):
                track = _read(store, entry)
                if track is not None and form_of(track) is TrackForm.FRAGMENTS:
                    see_media(store, track, unsigned, seen)
    return seen


def _read(store: Store, entry: TrackEntry) -> Track | None:
    try:
        return read_track(store, entry)
    except ObjectNotFoundError:  # a Track that others descended from, long collected
        return None


@dataclass(slots=True)
class Eraser:
    """Versions without the rows at some anchors; what was done once is known for all versions.

    tracks    Tracks by their old addresses: new ones, and the ranges that these cover
    versions  versions by their old addresses, those that stay as they are among them
    """

    store: Store
    batch: Batch
    gone: I64
    stripes: Stripes
    progress: Progress | None = None
    tracks: dict[Address, tuple[Address, Any]] = field(default_factory=dict)
    versions: dict[Address, Address] = field(default_factory=dict)

    def erase(self, address: Address) -> Address:
        """Return the version that takes the place of one, whose parents were done before; it is written, and durable."""
        manifest = load_manifest(self.store, address)
        parents = tuple(self.versions.get(parent, parent) for parent in manifest.parents)
        new = self._erased(manifest)
        if new is not manifest or parents != manifest.parents:
            check_writable(manifest)
            new = replace(new, parents=parents, writer=self._writer(manifest, parents))
            new = bundled(self.store, self.batch, new)
            self.versions[address] = self.batch.add(MANIFESTS, encode_manifest(new))
            self.batch.flush()
        else:
            self.versions[address] = address  # 0022-R2
        if self.progress is not None:
            self.progress("versions", len(self.versions))
        return self.versions[address]

    def _writer(self, manifest: Manifest, parents: tuple[Address, ...]) -> str:
        """Return the writer tag at the new place; that of others tells no place."""
        operation = own_operation(manifest.writer)
        if operation is None:
            return manifest.writer
        place = FIRST
        if parents and self.store.exists(f"{MANIFESTS}/{parents[0]}"):
            place = place_after(self.store, load_version(self.store, parents[0]), joins=len(parents) > 1)
        return writer_tag(operation, place)

    def _erased(self, manifest: Manifest) -> Manifest:
        registry: dict[str, Any] = {}
        held = (*manifest.tracks.active, *manifest.tracks.lineage)
        last = [e for e in held if e.field == COVER]  # which names the others
        new = {
            id(e): self._entry(manifest, e, registry) for e in [*(e for e in held if e.field != COVER), *last]
        }
        if all(new[id(e)] is e for e in held) and not registry:
            return manifest
        active = [self._placed(new[id(e)]) for e in manifest.tracks.active]
        lineage = [self._placed(new[id(e)]) for e in manifest.tracks.lineage]
        tracks = order_tracks(active, *_descent(active, lineage, self._edges(manifest)))
        return replace(manifest, tracks=tracks, registry={**manifest.registry, **registry}, repeated={})

    def _entry(self, manifest: Manifest, entry: TrackEntry, registry: dict[str, Any]) -> TrackEntry:
        told = (
            GRAPH in entry.modality or hot_shard_address(manifest, entry) is not None
        )  # in the registry, too
        if entry.address in self.tracks and not told and entry.field != COVER:
            address, coverage = self.tracks[entry.address]
            return entry if address == entry.address else replace(entry, address=address, coverage=coverage)
        new = self._anew(manifest, entry, registry)
        self.tracks[entry.address] = new.address, new.coverage
        return new

    def _anew(self, manifest: Manifest, entry: TrackEntry, registry: dict[str, Any]) -> TrackEntry:
        vendor = entry.field.partition(":")[0]
        if vendor in _STRIPES:
            return self.stripes.entry(manifest, entry)
        if vendor == COVER:
            return self.stripes.note(manifest, entry, self._renamed)
        track = _read(self.store, entry)
        if track is None:
            return entry
        unsigned = self.gone.astype(np.uint64)
        if form_of(track) is TrackForm.GRAPH:
            found = (
                graph_without(self.store, self.batch, manifest, entry, unsigned)
                if entry in manifest.tracks.active
                else None
            )
            registry.update({} if found is None else found[1])
            return entry if found is None else found[0]
        erased = erase_rows(self.store, self.batch, track, unsigned, self.stripes.cuts)
        new = entry
        if erased is not track:
            new = replace(entry, address=add_track(self.batch, erased), coverage=erased.coverage)
        if entry in manifest.tracks.active:  # the registry tells nothing of what these descend from
            self._erase_hot(manifest, new, track, erased, registry)
        return new

    def _erase_hot(
        self,
        manifest: Manifest,
        entry: TrackEntry,
        track: Track,
        erased: Track,
        registry: dict[str, Any],
    ) -> None:
        """Let the registry name the new hot shard: that of an overlay, or one beside a Track of vectors."""
        named = hot_shard_address(manifest, entry)
        if named is None:
            return
        if form_of(track) is TrackForm.HOT:
            shard = overlay_of(erased)[0] if form_of(erased) is TrackForm.HOT else None
        else:
            unsigned = self.gone.astype(np.uint64)
            moved = None if erased is track else entry.address
            shard = erase_hot(self.store, self.batch, track, named, unsigned, moved)
        if shard != named:
            said = {k: v for k, v in manifest.registry[entry.modality].items() if k != HOT_SHARD}
            registry[entry.modality] = said if shard is None else {**said, HOT_SHARD: bytes(shard)}

    def _placed(self, entry: TrackEntry) -> TrackEntry:
        """Return an entry whose role names the Track that took the place of the one below it."""
        if not entry.role.startswith(LAYER_PREFIX):
            return entry
        below = parse_address(entry.role.removeprefix(LAYER_PREFIX))
        return replace(entry, role=f"{LAYER_PREFIX}{self._renamed(below)}")

    def _edges(self, manifest: Manifest) -> list[Edge]:
        return [Edge(self._end(edge.child), self._end(edge.exact_parent)) for edge in manifest.tracks.edges]

    def _end(self, end: EdgeEnd) -> EdgeEnd:
        return replace(end, address=self._renamed(end.address))

    def _renamed(self, address: Address) -> Address:
        """Return the Track that took the place of one."""
        return self.tracks[address][0] if address in self.tracks else address


def _descent(
    active: list[TrackEntry], lineage: list[TrackEntry], edges: list[Edge]
) -> tuple[list[TrackEntry], list[Edge]]:
    """Return lineage and edges where Tracks have become one: those that differed in erased rows alone."""
    named = {entry.address for entry in active}
    kept = {entry.address: entry for entry in lineage if entry.address not in named}
    first: dict[Address, Edge] = {}
    for edge in edges:
        if edge.child.address != edge.exact_parent.address:
            first.setdefault(edge.child.address, edge)
    return list(kept.values()), list(first.values())
