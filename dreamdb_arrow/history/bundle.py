"""Bundles: copies of the small objects that a version is read by, in one object, for stores that are far away. Spec 0005.

Reading a version begins with its vendor Tracks, cover notes and tombstones: half a dozen small
objects, some of which are known only when others were read. A commit to a bucket writes them once more as one object, which the
writer tag of the Manifest names. Each is checked against its own address, so a bundle is a hint: without it the same is read
one by one. Local Spaces have none. A newest cover note that is too large for it is named beside it, to be fetched with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.columnar.vendor import COVER, VENDOR_MODALITIES, fragment_path, track_path
from dreamdb_arrow.errors import DreamDBError, ObjectNotFoundError
from dreamdb_arrow.history.writer import bundle_of, with_bundle
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.shape import expect_list
from dreamdb_arrow.objects.tombstones import TOMBSTONES_KEY, decode_index
from dreamdb_arrow.objects.track import decode_track
from dreamdb_arrow.store.ahead import fetch_ahead, folder_of
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch
from dreamdb_arrow.tracks.reach import is_address
from dreamdb_arrow.tracks.tombstones import DIRECTORY as TOMBSTONES

BUNDLES: Final = "bundle"
OBJECT_BYTES_MAX: Final = 16 << 10  # of one; a larger one is fetched by itself
BUNDLE_BYTES_MAX: Final = 96 << 10
NOTES_MAX: Final = 16
_EMBEDDING: Final = "embedding."
_INDEXES: Final = "spatial-index"

Named = tuple[str, Address]


def bundled(store: Store, batch: Batch, manifest: Manifest) -> Manifest:
    """Return a Manifest that names a bundle, which is put into the batch; the same one for a store that is near."""
    if folder_of(store) is None:
        return manifest
    held: dict[Address, bytes] = {}
    notes = list(_notes(store, batch, manifest))
    for path, address in (*_named(manifest), *_first_page(store, batch, manifest), *notes):
        data = _small(store, batch, path, address)
        if data is not None and sum(map(len, held.values())) + len(data) <= BUNDLE_BYTES_MAX:
            held[address] = data
    if not held:
        return manifest
    address = batch.add(BUNDLES, encode_cbor([*held.values()]))
    large = notes[0][1] if notes and notes[0][1] not in held else None
    return replace(manifest, writer=with_bundle(manifest.writer, address, large))


def unpack(store: Store, manifest: Manifest, *, for_search: bool = False) -> None:
    """Have in the folder what a version is read by: its bundle's objects, and what else its Manifest names.

    `for_search`: also Tracks and spatial indexes of its embeddings.
    """
    cached = folder_of(store)
    if cached is None or cached.offline:
        return
    bundle, note = bundle_of(manifest.writer)
    others = [*_embeddings(manifest)] if for_search else []
    others += [] if note is None else [fragment_path(manifest.timeline, COVER, note)]
    path = "" if bundle is None else f"{BUNDLES}/{bundle}"
    fetch_ahead(store, others if bundle is None else [path, *others])
    if bundle is not None:
        with suppress(DreamDBError):  # 0008-R22: what it copies is read by itself
            cached.admit(_objects_in(fetch(store, path, bundle)))
    fetch_ahead(store, [named for named, _ in _named(manifest)])


def bundle_path(manifest: Manifest) -> str | None:
    """Return where the bundle of a version lies, if it names one."""
    bundle, _ = bundle_of(manifest.writer)
    return None if bundle is None else f"{BUNDLES}/{bundle}"


def _objects_in(data: bytes) -> list[bytes]:
    return [part for part in expect_list(decode_cbor(data), "bundle") if isinstance(part, bytes)]


def _named(manifest: Manifest) -> Iterator[Named]:
    """Yield what the Manifest names that every reader needs: Tracks of the columnar layer, and tombstones."""
    for entry in manifest.tracks.active:
        if entry.modality in VENDOR_MODALITIES:
            yield track_path(entry), entry.address
    head = _tombstones(manifest)
    if head is not None:
        yield f"{TOMBSTONES}/{head}", head


def _embeddings(manifest: Manifest) -> Iterator[str]:
    """Yield the paths of the Tracks and of the spatial indexes of embeddings, which may be large."""
    yield from (track_path(e) for e in manifest.tracks.active if e.modality.startswith(_EMBEDDING))
    for key, entry in manifest.registry.items():
        listed: Any = (
            entry.get("spatial_index") if isinstance(entry, dict) and key.startswith(_EMBEDDING) else None
        )
        for address in listed[-1:] if isinstance(listed, list) else ():
            if is_address(address):
                yield f"{_INDEXES}/{Address(address)}"


def _notes(store: Store, batch: Batch, manifest: Manifest) -> Iterator[Named]:
    """Yield the cover notes, newest first."""
    cover = next((e for e in manifest.tracks.active if e.modality == COVER), None)
    data = None if cover is None else _small(store, batch, track_path(cover), cover.address)
    index = None if data is None else decode_track(data).object_index
    rows: Iterable[Any] = index if isinstance(index, list) else ()
    for row in [*rows][: -NOTES_MAX - 1 : -1]:
        yield fragment_path(manifest.timeline, COVER, Address(row[3])), Address(row[3])


def _first_page(store: Store, batch: Batch, manifest: Manifest) -> Iterator[Named]:
    """Yield the first page of tombstones."""
    head = _tombstones(manifest)
    data = None if head is None else _small(store, batch, f"{TOMBSTONES}/{head}", head)
    root = None if data is None else decode_index(data).root
    if root is not None:
        yield f"{TOMBSTONES}/{root.address}", root.address


def _tombstones(manifest: Manifest) -> Address | None:
    entry = manifest.registry.get(TOMBSTONES_KEY)
    head: Any = entry.get("head") if isinstance(entry, dict) else None
    return Address(head) if is_address(head) else None


def _small(store: Store, batch: Batch, path: str, address: Address) -> bytes | None:
    """Return an object that is small, out of the batch or out of the store; None for any other."""
    data = batch.find(path)
    if data is None:
        try:
            data = fetch(store, path, address)
        except ObjectNotFoundError:
            return None
    return data if len(data) <= OBJECT_BYTES_MAX else None
