"""The cells of one Track, laid out in the local cache in the order in which searches read them. Spec 0021.

    segment    a file: vectors, anchors, the rows' order by anchor, lengths, codes; each cell's rows lie side by side
    note       by Track: which segments, and where in them cells and buckets begin

A bucket never changes, so a commit that adds some adds a segment with them; the small segments before it are taken in, so
that there are as many as the logarithm of the rows. A segment is of use as long as the Track names all of its buckets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address, address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.distinct import united
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.errors import CorruptDataError, NotFoundError
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.spatial.scan import Segment, are_unit, inverse_lengths
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.cells import CellEntry, Origin, iterate_cells
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX
from dreamdb_arrow.tracks.vectors import iterate_buckets

I64 = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

ABSORBED: Final = 2  # a new segment takes in those that have at most so many times its rows


@dataclass(frozen=True, slots=True)
class CellLayout:
    """The rows of a Track by cell.

    segments  the rows
    dead      for each segment the rows that another row of the same anchor has taken the place of, int64
    """

    segments: tuple[Segment, ...]
    dead: tuple[I64, ...]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(map(len, self.segments))


@dataclass(frozen=True, slots=True)
class _Part:
    """What the note says of one segment; another note, found by `listed`, lists its buckets."""

    address: Address
    listed: Address
    dim: int
    code_bytes: int
    unit: bool
    keys: Any
    starts: I64


@dataclass(frozen=True, slots=True)
class _Buckets:
    """The buckets of a segment in the order of their rows, which begin at `begins`, int64 (b,)."""

    names: tuple[Address, ...]
    begins: I64


def open_layout(
    store: Store, cache: LocalCache, track: Track, address: Address, dim: int, origin: Origin
) -> CellLayout:
    """Return the cells of a Track, laid out now if they were not.

    Args:
        store: where the Space is.
        cache: keeps the files.
        track: one of an embedding field of `dim` numbers that has cells.
        address: the Track's.
        dim: the field's.
        origin: what the field's buckets were written with.

    Raises CorruptDataError, UnsupportedError as tracks.vectors.read_vectors does.
    """
    key = _note_key(address, origin)
    with cache.making:
        try:
            return _open(cache, _read_note(cache, key))
        except (NotFoundError, CorruptDataError):
            pass  # never made, or gone bad
        entries = sorted(iterate_cells(store, track), key=lambda e: e.key)
        latest = f"cells/latest/{track.timeline}/{track.modality}/{origin.index}/{origin.compressor}"
        old, rest = _reusable(cache, latest, entries)
        new = [_lay_out(store, cache, track, rest, dim, origin)] if rest else []
        parts = [*old, *new]
        note = encode_cbor([[_told(part) for part in parts], _dead_rows(cache, parts, entries)])
        cache.write_note(key, note)
        cache.write_note(latest, note)
        return _open(cache, note)


def is_laid_out(cache: LocalCache, address: Address, origin: Origin) -> bool:
    """Whether the cells of the Track at an address were laid out before."""
    return cache.read_note(_note_key(address, origin)) is not None


def _note_key(address: Address, origin: Origin) -> str:
    return f"cells/{address}/{origin.index}/{origin.compressor}"


# --- what there is ------------------------------------------------------------------------------------------


def _reusable(
    cache: LocalCache, latest: str, entries: Sequence[CellEntry]
) -> tuple[list[_Part], list[CellEntry]]:
    """Return the segments that serve this Track too, largest first, and the entries that are in none of them."""
    try:
        told, _ = decode_cbor(_read_note(cache, latest))
    except (NotFoundError, CorruptDataError):
        return [], list(entries)
    sizes = {entry.bucket: entry.size_bytes for entry in entries}
    found = [
        (part, held)
        for part in map(_part, told)
        if cache.has_whole(part.address)
        and (held := _buckets(cache, part)) is not None
        and sizes.keys() >= set(held.names)
    ]
    found.sort(key=lambda f: -int(f[0].starts[-1]))
    old = {bucket for _, held in found for bucket in held.names}
    rest = sum(size for bucket, size in sizes.items() if bucket not in old)
    while found and (size := sum(sizes[bucket] for bucket in found[-1][1].names)) <= ABSORBED * rest:
        rest += size
        old.difference_update(found.pop()[1].names)
    return [p for p, _ in found], [entry for entry in entries if entry.bucket not in old]


def _read_note(cache: LocalCache, key: str) -> bytes:
    note = cache.read_note(key)
    if note is None:
        raise NotFoundError(f"the cache has no note {key}")
    return note


def _open(cache: LocalCache, note: bytes) -> CellLayout:
    told, dead = decode_cbor(note)
    segments = tuple(_map(cache.local(part.address), part) for part in map(_part, told))
    return CellLayout(segments, tuple(np.frombuffer(rows, "<i8") for rows in dead))


def _told(part: _Part) -> list[Any]:
    names = [bytes(part.address), bytes(part.listed)]
    cells = [part.keys.dtype.itemsize, part.keys.tobytes(), part.starts.tobytes()]
    return [*names, part.dim, part.code_bytes, part.unit, *cells]


def _part(told: list[Any]) -> _Part:
    address, listed, dim, code_bytes, unit, width, keys, starts = told
    cells = np.frombuffer(keys, f"S{width}"), np.frombuffer(starts, "<i8")
    return _Part(Address(address), Address(listed), dim, code_bytes, unit, *cells)


def _list_buckets(cache: LocalCache, held: _Buckets) -> Address:
    """Keep a list of buckets, and return by what it is found."""
    names = b"".join(held.names)
    listed = address_of(names)
    cache.write_note(f"buckets/{listed}", encode_cbor([names, held.begins.tobytes()]))
    return listed


def _buckets(cache: LocalCache, part: _Part) -> _Buckets | None:
    note = cache.read_note(f"buckets/{part.listed}")
    if note is None:
        return None
    names, begins = decode_cbor(note)
    cut = (names[at : at + ADDRESS_BYTES] for at in range(0, len(names), ADDRESS_BYTES))
    return _Buckets(tuple(map(Address, cut)), np.frombuffer(begins, "<i8"))


# --- a segment ----------------------------------------------------------------------------------------------


def _regions(rows: int, dim: int, code_bytes: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return name, dtype and shape of what a file holds, one after the other."""
    return [
        ("vectors", "<f4", (rows, dim)),
        ("anchors", "<i8", (rows,)),
        ("order", "<i8", (rows,)),
        ("ordered", "<i8", (rows,)),
        ("inverse", "<f4", (rows,)),
        ("codes", "u1", (rows, code_bytes)),
    ]


def _map(path: Path, part: _Part) -> Segment:
    data, at = np.memmap(path, np.uint8, "r"), 0
    found: dict[str, Any] = {}
    for name, kind, shape in _regions(int(part.starts[-1]), part.dim, part.code_bytes):
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        found[name] = data[at : at + size].view(np.ndarray).view(kind).reshape(shape)
        at += -(-size // 8) * 8
    return Segment(
        keys=part.keys,
        starts=part.starts,
        anchors=found["anchors"],
        vectors=found["vectors"],
        inverse=None if part.unit else found["inverse"],
        order=found["order"],
        ordered=found["ordered"],
        codes=found["codes"] if part.code_bytes else None,
    )


def _lay_out(
    store: Store, cache: LocalCache, track: Track, entries: Sequence[CellEntry], dim: int, origin: Origin
) -> _Part:
    """Write the rows of some buckets, which come by key, to a file of the cache."""
    lists: dict[str, list[Any]] = {"anchors": [], "inverse": [], "codes": []}
    with cache.work_file() as path:
        with path.open("wb") as file:
            for _, rows in iterate_buckets(store, track, dim, entries, origin):
                file.write(np.ascontiguousarray(rows.vectors, "<f4").data)
                lists["anchors"].append(rows.anchors)
                lists["inverse"].append(inverse_lengths(rows.vectors))
                lists["codes"].append(
                    np.empty((len(rows), 0), np.uint8) if rows.codes is None else rows.codes
                )
            counts = [len(anchors) for anchors in lists["anchors"]]
            columns = {name: np.concatenate(parts) for name, parts in lists.items()}
            columns["order"] = np.argsort(columns["anchors"], kind="stable")
            columns["ordered"] = columns["anchors"][columns["order"]]
            code_bytes = columns["codes"].shape[1]
            file.seek(-(-file.tell() // 8) * 8)
            for name, kind, _ in _regions(sum(counts), dim, code_bytes)[1:]:
                file.write(np.ascontiguousarray(columns[name], kind).data)
                file.seek(-(-file.tell() // 8) * 8)
            file.write(bytes(8))  # nothing can be mapped that has no bytes
        address = cache.adopt(path)
    keys, starts = _runs([entry.key for entry in entries], counts)
    unit = are_unit(columns["inverse"])
    held = _Buckets(tuple(entry.bucket for entry in entries), np.cumsum([0, *counts])[:-1])
    return _Part(address, _list_buckets(cache, held), dim, code_bytes, unit, keys, starts)


def _runs(names: Sequence[str], counts: Sequence[int]) -> tuple[Any, I64]:
    """Return the distinct keys of buckets in order, and where the rows of each begin, and the last ones end."""
    keys, first = np.unique(np.array(names, "S"), return_index=True)
    return keys, np.cumsum([0, *counts])[np.append(first, len(counts))]


# --- rows that do not count ---------------------------------------------------------------------------------


def _dead_rows(cache: LocalCache, parts: Sequence[_Part], entries: Sequence[CellEntry]) -> list[bytes]:
    """Return the rows of each segment that a later entry has again, or that nobody can see."""
    place = {entry.bucket: nth for nth, entry in enumerate(entries)}
    segments = [_map(cache.local(part.address), part) for part in parts]
    later = [_places(_buckets(cache, part), place) for part in parts]
    dead = [doubles_within(segment) for segment in segments]
    for at, one in enumerate(segments):
        for other in range(at):
            theirs = segments[other].rows_of(np.sort(one.anchors)) if len(one) else np.empty(0, np.int64)
            ours = one.rows_of(segments[other].anchors[theirs])
            ours_wins = later[at](ours) >= later[other](theirs)
            dead[other].append(theirs[ours_wins])
            dead[at].append(ours[~ours_wins])
    return [united(rows).astype("<i8").tobytes() for rows in dead]


def _places(held: _Buckets | None, place: dict[Address, int]) -> Callable[[I64], I64]:
    """Return a function from rows to the places of their buckets among all entries."""
    assert held is not None
    ranks = np.array([place[bucket] for bucket in held.names], np.int64)
    return lambda rows: ranks[np.searchsorted(held.begins, rows, side="right") - 1]


def doubles_within(segment: Segment) -> list[I64]:
    """Return the rows of a segment that a later row of it has again, and those that nobody can see."""
    again = np.flatnonzero(segment.ordered[1:] == segment.ordered[:-1])
    unseen = np.flatnonzero((segment.anchors < 0) | (segment.anchors > VISIBLE_ANCHOR_MAX))
    return [segment.order[again], unseen]


def live_mask(segment: Segment, dead: I64, hidden: Iterable[I64]) -> Bools | None:
    """Return which rows of a segment count, bool (n,), or None when all do.

    Args:
        segment: the rows.
        dead: rows that do not.
        hidden: anchors that do not, in ascending arrays.
    """
    gone = [dead, *(segment.rows_of(anchors) for anchors in hidden)]
    if not any(map(len, gone)):
        return None
    mask = np.ones(len(segment), bool)
    mask[np.concatenate(gone)] = False
    return mask
