"""Repair: objects that are damaged or missing, brought back from where their bytes still are. Spec 0005.

Whatever a source gives is checked against the address, so it may be anything: another store of the Space, an old copy, a
folder of files that have addresses as names. What cannot be brought back is told, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dreamdb_arrow.codec.address import Address, address_of, is_address_text, parse_address
from dreamdb_arrow.codec.outboard import encode_outboard
from dreamdb_arrow.errors import DreamDBError, NotFoundError
from dreamdb_arrow.history.fsck import DAMAGED, MISSING, Finding
from dreamdb_arrow.history.object_kinds import OUTBOARD
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch


def repair(
    store: Store, findings: Sequence[Finding], sources: Sequence[Store]
) -> tuple[list[str], list[Finding]]:
    """Bring back objects; return the paths of those that are whole again, and what is still wrong.

    An outboard is made anew out of its payload, for which no source is needed once the payload is whole.
    """
    lost = [found for found in findings if found.wrong in (DAMAGED, MISSING) and found.address]
    places = _places(sources, {found.address for found in lost if found.kind != OUTBOARD})
    done: dict[tuple[str, str], list[str]] = {}
    for found in sorted(lost, key=lambda found: found.kind == OUTBOARD):
        restored = _make_outboard(store, found) if found.kind == OUTBOARD else _restore(store, found, places)
        if restored:
            done[found.path, found.address] = restored
    left = [found for found in findings if (found.path, found.address) not in done or found not in lost]
    return sorted({path for paths in done.values() for path in paths}), left


def _places(sources: Sequence[Store], wanted: set[str]) -> dict[str, list[tuple[Store, str]]]:
    """Return for each address where a source has a file of its name, whatever its folder and ending."""
    found: dict[str, list[tuple[Store, str]]] = {name: [] for name in wanted}
    for source in sources if wanted else ():
        for path in source.list():
            directory, _, name = path.rpartition("/")
            name = name.partition(".")[0]
            if name in found and not directory.endswith("bao-outboard"):
                found[name].append((source, path))
    return found


def _restore(store: Store, found: Finding, places: dict[str, list[tuple[Store, str]]]) -> list[str]:
    """Put the bytes of an object back at its path, or where the source has them; return these paths."""
    address = parse_address(found.address)
    for source, path in places[found.address]:
        data = _bytes_at(source, path, address)
        if data is not None:
            target = found.path or path
            store.delete(target)  # a put would leave what is there
            store.put(target, data)
            return [target]
    return []


def _bytes_at(source: Store, path: str, address: Address) -> bytes | None:
    try:
        return fetch(source, path, address)
    except DreamDBError:  # the source is damaged, too
        return None


def _make_outboard(store: Store, found: Finding) -> list[str]:
    for path in _payload_paths(store, found.address):
        try:
            data = store.get(path)
        except NotFoundError:
            continue
        if str(address_of(data)) == found.address:
            store.delete(found.path)
            store.put(found.path, encode_outboard(data))
            return [found.path]
    return []


def _payload_paths(store: Store, name: str) -> Iterator[str]:
    return (
        p
        for p in store.list()
        if p.endswith(f"/{name}") and not p.startswith("bao-outboard/") and is_address_text(name)
    )
