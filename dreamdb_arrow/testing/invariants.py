"""What must hold of any Space at any time, whatever was interrupted: an fsck in a few lines. Spec 0002."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address, address_of, is_address_text
from dreamdb_arrow.codec.cbor import decode_cbor
from dreamdb_arrow.columnar.vendor import COVER
from dreamdb_arrow.errors import CorruptDataError
from dreamdb_arrow.history.manifests import MANIFESTS
from dreamdb_arrow.objects.manifest import decode_manifest
from dreamdb_arrow.store.interface import Ref, Store

_PREFIX = 0x1E
_NOTES = f"/{COVER}/0"


def check_objects(store: Store, *, past: bool = True) -> int:
    """Check that every object hashes to its name, and that all are there that a ref leads to; return how many.

    An object that nothing names is garbage, not damage; a damaged one is damage wherever it lies. Outboards carry
    the address of what they belong to, and are left out; cover notes name Tracks to tell them, not to keep them. A
    version behind another may have been collected, and ends the way then; `past=False` leaves them all out.

    Raises CorruptDataError.
    """
    contents, versions, notes = _read_all(store)
    names = [store.read_ref(name) for name in store.list_refs()]
    pending = [found.address for found in names if isinstance(found, Ref)]
    reached: set[Address] = set()
    while pending:
        address = pending.pop()
        if address in reached:
            continue
        if address not in contents:
            raise CorruptDataError(f"no object has the address {address}, which a ref leads to")
        reached.add(address)
        named = set() if address in notes else set(_addresses_in(contents[address]))
        if address in versions:
            parents = set(decode_manifest(contents[address]).parents)
            named = named - parents | (parents & contents.keys() if past else set())
        pending += named
    return len(reached)


def naive_live(store: Store, versions: Iterable[Address]) -> set[str]:
    """Return the texts of all addresses that versions lead to, without their ancestors, found with no idea of any kind of object.

    For a collector to be compared with: slow, and all in memory. Raises KeyError where something is missing.
    """
    where = {path.rpartition("/")[2]: path for path in store.list() if not path.startswith("bao-outboard/")}
    pending, live = [str(version) for version in versions], set[str]()
    while pending:
        name = pending.pop()
        if name in live:
            continue
        live.add(name)
        if f"/{0:016x}/" in where[name]:  # a payload; cover notes among them name objects that may be gone
            continue
        if where[name].startswith("bundle/"):  # copies of what the version names
            continue
        data, is_version = store.get(where[name]), where[name].startswith("manifests/")
        pending += map(str, _addresses_in(data, but="parents" * is_version))
        if is_version:  # its bundle is named in text
            pending += [b for b, path in where.items() if path.startswith("bundle/") and b.encode() in data]
    return live


def _read_all(store: Store) -> tuple[dict[Address, bytes], set[Address], set[Address]]:
    """Return what objects hold by address, and which of them are versions and cover notes. Raises CorruptDataError."""
    contents: dict[Address, bytes] = {}
    versions, notes = set(), set()
    for path in store.list():
        directory, _, name = path.rpartition("/")
        if not is_address_text(name) or directory == "bao-outboard":
            continue
        data = store.get(path)
        found = address_of(data)
        if str(found) != name:
            raise CorruptDataError(f"{path} does not hash to its name")
        contents[found] = data
        if directory == MANIFESTS:
            versions.add(found)
        if _NOTES in directory:
            notes.add(found)
    return contents, versions, notes


def _addresses_in(data: bytes, but: str = "") -> Iterator[Address]:
    """Yield what an object names: all byte strings in CBOR that look like an address. A payload names nothing.

    `but` is a key of the outermost map that is left out.
    """
    try:
        outermost = decode_cbor(data)
    except CorruptDataError:
        return
    if isinstance(outermost, dict):
        outermost.pop(but, None)
    pending: list[Any] = [outermost]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, bytes) and len(value) == ADDRESS_BYTES and value[0] == _PREFIX:
            yield Address(value)
