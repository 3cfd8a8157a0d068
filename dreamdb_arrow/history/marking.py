"""Marking: the objects that versions lead to. Spec 0008.

A version leads to its Tracks and those they descend from, with all that these name (`tracks.reach`), to its tombstones, and
to what its registry names. Where that is not known exactly, marking fails: a collector that guesses removes data.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from dreamdb_arrow.codec.address import Address, parse_address
from dreamdb_arrow.codec.address_set import AddressSet
from dreamdb_arrow.codec.cbor import decode_cbor
from dreamdb_arrow.codec.modality import check_modality
from dreamdb_arrow.columnar.vendor import track_path
from dreamdb_arrow.errors import CorruptDataError, NotFoundError, ObjectNotFoundError, UnsupportedError
from dreamdb_arrow.history.bundle import bundle_path
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.objects.manifest import LINEAGE_FORM, LIST_FORM, Manifest
from dreamdb_arrow.objects.tombstones import TOMBSTONES_KEY, PageRef, decode_index, decode_page
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch
from dreamdb_arrow.tracks.reach import Reached, is_address, reach_track
from dreamdb_arrow.tracks.tombstones import DIRECTORY as TOMBSTONES

NEVER: Final = 1 << 63
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
    since_ns: int = NEVER,
    reached: Reached | None = None,
) -> Reached:
    """Return all addresses that versions lead to.

    Args:
        store: where the Space lives.
        tips: versions.
        keep_manifests: how many ancestors of each tip by first parents count too.
        roots: further versions, without ancestors.
        since_ns: beyond these ancestors, those count too that were still tips at this time, by the `ts` of Manifests, as
            far as they are there.
        reached: what was marked before, which is added to; of no more use after an error.

    Raises:
        NotFoundError, CorruptDataError: something that they lead to is missing or damaged, so that what lies behind it
            is not known.
        UnsupportedError: they lead to something whose objects are not known exactly.
    """
    reached = Reached() if reached is None else reached
    for tip in dict.fromkeys(tips):
        for address, manifest in _line(store, tip, keep_manifests, since_ns):
            _mark_version(store, address, manifest, reached)
    for root in dict.fromkeys(roots):
        _mark_version(store, root, load_manifest(store, root), reached)
    return reached


def mark_also(store: Store, versions: Iterable[Address], reached: Reached) -> None:
    """Add what versions lead to that nothing promises to be whole: one may be on its way still, or be collected elsewhere.

    Raises UnsupportedError as mark does.
    """
    for address in versions:
        with suppress(NotFoundError, CorruptDataError):
            mark_one(store, address, load_manifest(store, address), reached)


def mark_one(store: Store, address: Address, manifest: Manifest, reached: Reached) -> None:
    """Add what a version leads to; after an error, what lies behind it is looked at again by the next. Raises as mark does."""
    read = AddressSet(base=reached.read)
    _mark_version(store, address, manifest, Reached(reached.live, read, reached.beyond))
    reached.read.update(read)


def _line(store: Store, tip: Address, depth: int, since_ns: int) -> Iterator[tuple[Address, Manifest]]:
    """Yield a version and its ancestors by first parents. Raises ObjectNotFoundError when one that must be there is not."""
    address: Address | None = tip
    behind, child_ts = 0, since_ns
    while address is not None and (behind <= depth or child_ts > since_ns):
        try:
            manifest = load_manifest(store, address)
        except ObjectNotFoundError as error:
            if behind > depth:
                return  # 0008-R3
            raise ObjectNotFoundError(
                error.path,
                f"{behind} versions behind a ref; keep_manifests={behind - 1} asks for no more than there are",
            ) from None
        yield address, manifest
        address = manifest.parents[0] if manifest.parents else None
        behind, child_ts = behind + 1, manifest.ts


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
    bundle = bundle_path(manifest)
    if bundle is not None and store.exists(bundle):  # 0008-R22; other collectors know nothing of it
        reached.live.add(parse_address(bundle.rpartition("/")[2]))
    reached.live.update(addresses_in({**manifest.registry, "": dict(manifest.extra)}))
    for key, entry in manifest.registry.items():
        if isinstance(entry, dict):
            _mark_indexes(store, manifest, key, entry, reached)


def _mark_indexes(
    store: Store, manifest: Manifest, key: str, entry: dict[str, Any], reached: Reached
) -> None:
    """Look into those objects of the registry that name others: graph indexes, and text indexes, whose pages are not known."""
    for graph in _unread(entry.get("graph_index"), reached):
        reached.live.update(addresses_in(decode_cbor(fetch(store, f"{GRAPH_INDEXES}/{graph}", graph))))
    for text in _unread(entry.get("text_index"), reached):
        path = f"{manifest.timeline}/{check_modality(key)}/text-index/{text}"
        if _ADDRESS_HEAD in fetch(store, path, text):
            raise UnsupportedError(f"the text index {path} has pages; collect with the SDK that wrote it")


def _unread(value: Any, reached: Reached) -> list[Address]:
    """Return the address that a registry entry names, in a list, unless it was seen before."""
    found = [Address(value)] if is_address(value) and Address(value) not in reached.read else []
    reached.read.update(found)
    return found


def addresses_in(value: Any) -> Iterator[Address]:
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
