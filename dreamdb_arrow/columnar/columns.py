"""Columns: which of them each stripe of a scan has. Spec 0021.

They stand in footers, and a footer takes 0.1 ms to open. A process that scans many stripes for the first time has them
from a note in the local cache, which cannot be stale: a stripe's address fixes its columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.columnar.cache import Files, LocalCache

VERSION: Final = 1
NOTED_MIN: Final = 8  # stripes for which a note is quicker than their footers


def columns_of(cache: LocalCache, files: Files, addresses: Sequence[Address]) -> tuple[frozenset[str], ...]:
    """Return the columns of stripes, given as verified files and their addresses, in order."""
    if len(addresses) < NOTED_MIN or cache.knows_columns(addresses):
        return _read(cache, files, addresses)
    key = f"columns/{address_of(*addresses)}"
    noted = _decode(cache.read_note(key), len(addresses))
    if noted is None:
        noted = _read(cache, files, addresses)
        cache.write_note(key, _encode(noted))
    cache.learn_columns(addresses, noted)
    return noted


def _read(cache: LocalCache, files: Files, addresses: Sequence[Address]) -> tuple[frozenset[str], ...]:
    return tuple(cache.columns(Path(f), a) for f, a in zip(files.paths, addresses, strict=True))


def _encode(columns: Sequence[frozenset[str]]) -> bytes:
    kinds = list(dict.fromkeys(columns))
    return encode_cbor([VERSION, [sorted(kind) for kind in kinds], [kinds.index(c) for c in columns]])


def _decode(note: bytes | None, count: int) -> tuple[frozenset[str], ...] | None:
    raw: Any = None if note is None else decode_cbor(note)
    if not isinstance(raw, list) or raw[:1] != [VERSION] or len(raw[2]) != count:
        return None
    kinds = [frozenset(names) for names in raw[1]]
    return tuple(kinds[at] for at in raw[2])
