"""The token vectors of a multi-vector Track, laid out in the local cache in the order of their rows. Spec 0015.

The Track has them by cell, under anchors of their own: that of the row times `max_tokens`, plus the token's number.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.vectors import F32, I64
from dreamdb_arrow.errors import CorruptDataError, NotFoundError
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.cells import Origin
from dreamdb_arrow.tracks.vectors import iterate_vectors, read_cell_anchors


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Token vectors by row.

    anchors  of the rows, int64 (n,), ascending
    starts   where the tokens of each row begin, int64 (n + 1,); the last one is how many there are
    vectors  float32 (t, d), mapped: as they were given, in the order of the row's tokens
    """

    anchors: I64
    starts: I64
    vectors: F32


def open_tokens(
    store: Store, cache: LocalCache, track: Track, address: Address, dim: int, max_tokens: int, origin: Origin
) -> Tokens:
    """Return the tokens of a Track, laid out now if they were not. Raises CorruptDataError, UnsupportedError."""
    key = f"tokens/{address}"
    with cache.making:
        try:
            note = cache.read_note(key)
            if note is not None:
                return _map(cache, note, dim)
        except (NotFoundError, CorruptDataError):
            pass  # it has gone bad
        note = _lay_out(store, cache, track, dim, max_tokens, origin)
        cache.write_note(key, note)
        return _map(cache, note, dim)


def _lay_out(
    store: Store, cache: LocalCache, track: Track, dim: int, max_tokens: int, origin: Origin
) -> bytes:
    """Write the tokens of a Track to a file of the cache, a few buckets at a time, and return the note about it."""
    of_tokens = read_cell_anchors(store, track)
    anchors, starts = np.unique(of_tokens // max_tokens, return_index=True)  # 0015-R3
    with cache.work_file() as path:
        views = _views(path, len(of_tokens), len(anchors), dim, "w+")
        views["anchors"][:], views["starts"][:] = anchors, np.append(starts, len(of_tokens))
        for block in iterate_vectors(
            store, track, dim, origin=origin
        ):  # of a token that is there twice the last one
            views["vectors"][np.searchsorted(of_tokens, block.anchors)] = block.vectors
        del views
        return encode_cbor([bytes(cache.adopt(path)), len(of_tokens), len(anchors)])


def _map(cache: LocalCache, note: bytes, dim: int) -> Tokens:
    address, tokens, rows = decode_cbor(note)
    views = _views(cache.local(as_address(address)), tokens, rows, dim, "r")
    return Tokens(views["anchors"], views["starts"], views["vectors"])


def _views(path: Path, tokens: int, rows: int, dim: int, mode: Any) -> dict[str, Any]:
    """Return what a file holds, one after the other."""
    regions = {
        "anchors": ("<i8", (rows,)),
        "starts": ("<i8", (rows + 1,)),
        "vectors": ("<f4", (tokens, dim)),
    }
    data = np.memmap(path, np.uint8, mode, shape=8 * (2 * rows + 1) + 4 * tokens * dim)
    views, at = {}, 0
    for name, (kind, shape) in regions.items():
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        views[name] = data[at : at + size].view(np.ndarray).view(kind).reshape(shape)
        at += size
    return views
