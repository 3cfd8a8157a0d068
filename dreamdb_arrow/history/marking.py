"""Marking: the objects that versions lead to. Spec 0008.

A version leads to its Tracks and those they descend from, with all that these name (`tracks.reach`), to its tombstones, and
to what its registry names. Where that is not known exactly, marking fails: a collector that guesses removes data.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.cbor import decode_cbor
from dreamdb_arrow.codec.modality import check_modality
from dreamdb_arrow.columnar.vendor import track_path
from dreamdb_arrow.errors import ObjectNotFoundError, UnsupportedError
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.objects.manifest import LINEAGE_FORM, LIST_FORM, Manifest
from dreamdb_arrow.objects.tombstones import TOMBSTONES_KEY, PageRef, decode_index, decode_page
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch
from dreamdb_arrow.tracks.reach import Reached, is_address, reach_track
from dreamdb_arrow.tracks.tombstones import DIRECTORY as TOMBSTONES

ENTITY_KEYS: Final = "dreamdb.entity_keys"
GRAPH_INDEXES: Final = "graph-index"
_FORMS: Final = (LINEAGE_FORM, LIST_FORM)
_ADDRESS_HEAD: Final = (
    b"\x58\x21\x1e"  # how an address begins in CBOR; text indexes are not in its canonical form
)


def mark(
    store: Store,
    tips: Collection[Address],
    keep_manifests: int,
    roots: Collection[Address] = (),
    reached: Reached | None = None,
) -> Reached:
    """Return all addresses that versions lead to: the tips, so many ancestors of each, and further roots.

    What was reached before may be given; it is added to.

    Raises:
        NotFoundError, CorruptDataError: something that they lead to is missing or damaged, so that what lies behind it
            is not known.
        UnsupportedError: they lead to something whose objects are not known exactly.
    """
    reached = Reached() if reached is None else reached
    for tip in dict.fromkeys(tips):
        for address, manifest in _line(store, tip, keep_manifests):
            _mark_version(store, address, manifest, reached)
    for root in dict.fromkeys(roots):
        _mark_version(store, root, load_manifest(store, root), reached)
    return reached


def _line(store: Store, tip: Address, depth: int) -> Iterator[tuple[Address, Manifest]]:
    """Yield a version and its ancestors by first parents. Raises ObjectNotFoundError when one of them is missing."""
    address: Address | None = tip
    for behind in range(depth + 1):
        if address is None:
            return
        try:
            manifest = load_manifest(store, address)
        except ObjectNotFoundError as error:
            raise ObjectNotFoundError(
                error.path,
                f"{behind} versions behind a ref; keep_manifests={behind - 1} asks for no more than there are",
            ) from None
        yield address, manifest
        address = manifest.parents[0] if manifest.parents else None


def _mark_version(store: Store, address: Address, manifest: Manifest, reached: Reached) -> None:
    if address in reached.read:
        return
    if manifest.tracks.form not in _FORMS or ENTITY_KEYS in manifest.registry:
        raise UnsupportedError(
            f"version {address} has tracks of form {manifest.tracks.form!r:.40} or entity keys, whose objects are not known "
            "exactly; collect with the SDK that wrote it"
        )
    _see(reached, address)
    reached.live.update(manifest.timelines)
    reached.beyond.update(manifest.parents)
    for entry in (*manifest.tracks.active, *manifest.tracks.lineage):
        reach_track(store, track_path(entry), entry.address, reached)
    tombstones = manifest.registry.get(TOMBSTONES_KEY)
    if isinstance(tombstones, dict) and is_address(tombstones.get("head")):
        _mark_tombstones(store, Address(tombstones["head"]), reached)
    reached.live.update(_addresses_in({**manifest.registry, "": dict(manifest.extra)}))
    for key, entry in manifest.registry.items():
        if isinstance(entry, dict):
            _mark_indexes(store, manifest, key, entry, reached)


def _mark_indexes(
    store: Store, manifest: Manifest, key: str, entry: dict[str, Any], reached: Reached
) -> None:
    """Look into those objects of the registry that name others: graph indexes, and text indexes, whose pages are not known."""
    for graph in _unread(entry.get("graph_index"), reached):
        reached.live.update(_addresses_in(decode_cbor(fetch(store, f"{GRAPH_INDEXES}/{graph}", graph))))
    for text in _unread(entry.get("text_index"), reached):
        path = f"{manifest.timeline}/{check_modality(key)}/text-index/{text}"
        if _ADDRESS_HEAD in fetch(store, path, text):
            raise UnsupportedError(f"the text index {path} has pages; collect with the SDK that wrote it")


def _unread(value: Any, reached: Reached) -> list[Address]:
    """Return the address that a registry entry names, in a list, unless it was seen before."""
    found = [Address(value)] if is_address(value) and Address(value) not in reached.read else []
    reached.read.update(found)
    return found


def _addresses_in(value: Any) -> Iterator[Address]:
    """Yield whatever looks like an address: indexes, compressors, buffers, and what others put into the registry."""
    pending = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, dict):
            pending += found.values()
        elif isinstance(found, list | tuple):
            pending += found
        elif is_address(found):
            yield Address(found)


def _mark_tombstones(store: Store, head: Address, reached: Reached) -> None:
    indexes, pages = [head], list[PageRef]()
    while indexes:
        address = indexes.pop()
        if address in reached.read:
            continue
        index = decode_index(fetch(store, f"{TOMBSTONES}/{address}", address))
        _see(reached, address)
        indexes += index.parents
        pages += [] if index.root is None else [index.root]
    while pages:
        ref = pages.pop()
        if ref.address in reached.read:
            continue
        page = decode_page(fetch(store, f"{TOMBSTONES}/{ref.address}", ref.address))
        _see(reached, ref.address)
        pages += page.children


def _see(reached: Reached, address: Address) -> None:
    reached.live.add(address)
    reached.read.add(address)
