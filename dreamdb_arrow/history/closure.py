"""Closure: copying versions with all that they lead to. Specs 0008 and 0012.

What versions lead to is found as collectors find it (`marking`), only that each object is told with the directory that it lies
in. Payloads go first, then what names them, then Manifests, oldest first: a version that is there is there with all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from dreamdb_arrow.codec.address import Address, is_address_text, parse_address
from dreamdb_arrow.codec.address_set import AddressSet
from dreamdb_arrow.columnar.vendor import MEDIA, has_columnar_layer, track_path
from dreamdb_arrow.errors import NotFoundError, ObjectNotFoundError, UnsupportedError
from dreamdb_arrow.history.manifests import MANIFESTS, load_manifest
from dreamdb_arrow.history.marking import GRAPH_INDEXES, mark
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import MEDIA_KINDS, decode_schema, modality_of
from dreamdb_arrow.store.batch import OUTBOARDS
from dreamdb_arrow.store.copying import Copier
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import call_each, fetch_many
from dreamdb_arrow.tracks.layout import items_directory, payload_directory
from dreamdb_arrow.tracks.reach import Reached, addresses_of
from dreamdb_arrow.tracks.tombstones import DIRECTORY as TOMBSTONES
from dreamdb_arrow.tracks.vectors import COMPRESSORS

_TOGETHER: Final = 64  # versions
_INNER: Final = frozenset({"track", "index", "items"})  # directories of what names payloads
_PAYLOADS: Final = "geometry-data"
# Where objects lie that a registry names; the reference has a few more than we write.
_NAMED: Final = (
    "scalar-index",
    TOMBSTONES,
    "genesis",
    "spatial-index",
    COMPRESSORS,
    GRAPH_INDEXES,
    "entity-key-index",
    "geometry-item",
    _PAYLOADS,
)
Send = Callable[..., None]


@dataclass(slots=True)
class Sent(Reached):
    """What was reached, sent on at once: payloads to `send`, what names them kept in `inner` until these are there."""

    send: Send = field(default=lambda *_, **__: None)
    send_media: Send = field(default=lambda *_: None)
    media: list[str] = field(default_factory=list)  # where media of this version lie
    inner: list[tuple[str, Address]] = field(default_factory=list)
    placed: set[Address] = field(default_factory=set)

    def add(self, directory: str, addresses: Iterable[Address], *, outboards: bool = False) -> None:
        """Send objects of one directory on."""
        if directory.rpartition("/")[2] in _INNER:
            self.inner += [(directory, address) for address in addresses]
        elif f"/{MEDIA}/" in directory:  # the vendor Track names what lies with its fields; 0021-R6
            self.send_media(self.media or [directory], addresses)
        else:
            self.send(directory, addresses, outboards=outboards)

    def add_rows(self, directory: str | Iterable[str], rows: Any, *, outboards: bool = False) -> None:
        """Send objects on by their addresses, uint8 (n, 33)."""
        addresses = addresses_of(rows)
        if isinstance(directory, str):
            self.add(directory, addresses, outboards=outboards)
            return
        for place, address in zip(directory, addresses, strict=True):
            self.add(place, [address], outboards=outboards)


def skip_versions(store: Store, versions: Iterable[Address], copier: Copier) -> Sent:
    """Take for copied what these versions lead to, which the target has."""
    sent = Sent(
        send=lambda directory, addresses, **_: copier.skip(directory, addresses),
        send_media=lambda directories, addresses: copier.skip(directories[0], addresses),
    )
    for address in versions:
        try:
            sent.media = _media_directories(load_manifest(store, address))
            mark(store, (), 0, [address], reached=sent)
        except (NotFoundError, UnsupportedError):  # then more is asked about than need be
            continue
        for directory, inner in sent.inner:
            copier.skip(directory, [inner])
        sent.inner.clear()
    sent.placed.update(sent.live)
    sent.live = AddressSet()
    return sent


def copy_versions(
    store: Store,
    versions: Sequence[Address],
    copier: Copier,
    known: Sent,
) -> None:
    """Copy versions, oldest first, with all that they lead to.

    Args:
        store: where they are.
        versions: their addresses.
        copier: what copies objects.
        known: what the target has, as `skip_versions` found; it is added to.

    Raises ObjectNotFoundError, CorruptDataError when something is missing or damaged; what was copied stays.
    """
    sent = Sent(read=known.read, placed=known.placed, send=copier.add, send_media=copier.add_found)
    for at in range(0, len(versions), _TOGETHER):
        part = versions[at : at + _TOGETHER]
        manifests = [load_manifest(store, address) for address in part]
        _fetch_ahead(store, manifests, sent)
        for address, manifest in zip(part, manifests, strict=True):
            _send_version(store, address, manifest, sent, copier)
        copier.settle()
        _send_lost(store, copier)
        for directory, inner in reversed(sent.inner):
            copier.add(directory, [inner], near=True)
        sent.inner.clear()
        copier.settle()
        copier.add(MANIFESTS, part, near=True)  # 0012-R8
        copier.settle()


def _fetch_ahead(store: Store, manifests: Iterable[Manifest], sent: Sent) -> None:
    """Have a folder nearby fetch Tracks together, which are read one by one later."""
    if store.concurrency == 1:
        return
    tracks = {
        entry.address: track_path(entry)
        for manifest in manifests
        for entry in (*manifest.tracks.active, *manifest.tracks.lineage)
        if entry.address not in sent.read
    }
    fetch_many(store, [(path, address) for address, path in tracks.items()])


def _send_version(store: Store, address: Address, manifest: Manifest, sent: Sent, copier: Copier) -> None:
    sent.media = _media_directories(manifest)
    try:
        mark(store, (), 0, [address], reached=sent)
    except UnsupportedError:  # nobody knows exactly what it names, so all that is there goes along
        _send_all(store, copier)
    except ObjectNotFoundError as error:
        raise ObjectNotFoundError(
            error.path,
            f"version {address} leads to it; with a smaller depth, versions as old as that are left out",
        ) from None
    named = {one for one in sent.live if one not in sent.placed and one != address}
    sent.placed |= named
    sent.live = AddressSet()
    _send_named(store, manifest, sorted(named), copier)


def _media_directories(manifest: Manifest) -> list[str]:
    """Return where the media fields of a version have their payloads, and lists of chunks."""
    found: dict[str, None] = {}
    for f in decode_schema(manifest.registry) if has_columnar_layer(manifest) else ():
        if f.kind in MEDIA_KINDS:
            found[payload_directory(manifest.timeline, modality_of(f))] = None
            if f.options.get("chunk_size"):
                found[items_directory(manifest.timeline, modality_of(f))] = None
    return list(found)


def _send_lost(store: Store, copier: Copier) -> None:
    """Send payloads of fields that were dropped since, wherever they are. Raises ObjectNotFoundError when they are nowhere."""
    lost = set(copier.lost)
    copier.lost.clear()
    if not lost:
        return
    found = [(directory, address) for directory, address in _objects(store) if address in lost]
    if missing := lost - {address for _, address in found}:
        raise ObjectNotFoundError(str(min(missing)), "a stripe names it")
    for directory, address in found:
        copier.add(directory, [address], outboards=True)
    copier.settle()


def _send_named(store: Store, manifest: Manifest, named: Sequence[Address], copier: Copier) -> None:
    """Send objects whose directory nobody told: it is one of a few, or else the source is listed."""
    texts = [
        f"{manifest.timeline}/{key}/text-index"
        for key, entry in manifest.registry.items()
        if isinstance(entry, dict) and "text_index" in entry
    ]
    places = call_each(partial(_directory_of, store, (*_NAMED, *texts)), named, together=store.concurrency)
    unknown = set()
    for address, directory in zip(named, places, strict=True):
        if directory is None:
            unknown.add(address)
        else:
            copier.add(directory, [address], outboards=directory == _PAYLOADS, near=True)
    if unknown:  # keys of others may hold what is the address of no object
        for directory, address in _objects(store):
            if address in unknown:
                copier.add(directory, [address], outboards=True)


def _directory_of(store: Store, directories: Iterable[str], address: Address) -> str | None:
    return next((d for d in directories if store.exists(f"{d}/{address}")), None)


def _send_all(store: Store, copier: Copier) -> None:
    for directory, address in _objects(store):
        if directory != MANIFESTS:
            copier.add(directory, [address], outboards="/" in directory or directory == _PAYLOADS)


def _objects(store: Store) -> Iterator[tuple[str, Address]]:
    for path in store.list():
        directory, _, name = path.rpartition("/")
        if directory != OUTBOARDS and is_address_text(name):
            yield directory, parse_address(name)
