"""Vectors of an embedding Track: rows out of its cells, and rows into cells. Specs 0004 and 0007.

A vector lies in the bucket of its cell, and a cell has a bucket for each append, or several. Where buckets hold codes,
the exact vectors lie in sidecars. An anchor that the index holds twice is one row: the later entry wins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address, address_texts
from dreamdb_arrow.codec.distinct import united
from dreamdb_arrow.errors import InvalidInputError, LayoutError
from dreamdb_arrow.objects.index_entries import (
    CELLS,
    IndexEntries,
    entries_of_lists,
    join_index_entries,
)
from dreamdb_arrow.objects.spatial_bucket import (
    ANCHOR_BYTES,
    SpatialBucket,
    VectorSidecar,
    decode_spatial_bucket,
    decode_vector_sidecar,
    join_raw_buckets,
    record_bytes,
)
from dreamdb_arrow.objects.spatial_index import SpatialIndex
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.objects.vector_compressor import VectorCompressor, decode_vector_compressor
from dreamdb_arrow.spatial.compressors import decode_codes, encode_vectors
from dreamdb_arrow.spatial.partitioners import Cells, assign_cells
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch, fetch_many
from dreamdb_arrow.tracks.cell_rows import CellRows, add_rows
from dreamdb_arrow.tracks.cells import (
    CellEntry,
    Origin,
    check_keys,
    field_directory,
    iterate_cells,
    sidecar_directory,
)
from dreamdb_arrow.tracks.index_insertion import addresses_of, insert_in_index
from dreamdb_arrow.tracks.index_pages import sort_index_entries
from dreamdb_arrow.tracks.layout import (
    VISIBLE_ANCHOR_MAX,
    Written,
    paths_in,
    widen,
)
from dreamdb_arrow.tracks.pages import read_index
from dreamdb_arrow.tracks.placing import place_entries

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
Coder = tuple[Address, VectorCompressor]

BUCKET_MAX_BYTES: Final = 100 << 20
COMPRESSORS: Final = "vector-compressor"  # the directory
_FETCHED_BYTES: Final = 64 << 20  # of buckets that are decoded together
_FETCHED_BUCKETS: Final = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Rows: anchors int64 (n,), vectors float32 (n, d), and codes uint8 (n, c) where their buckets hold codes."""

    anchors: I64
    vectors: F32
    codes: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.anchors)


# --- reading ------------------------------------------------------------------------------------------------


def read_vectors(
    store: Store,
    track: Track,
    dim: int,
    *,
    known: frozenset[Address] = frozenset(),
    origin: Origin | None = None,
) -> Vectors:
    """Return all rows of an embedding Track, by anchor, each anchor once.

    Args:
        store: where the Space is.
        track: one of an embedding field of `dim` numbers.
        dim: the field's.
        known: addresses of buckets to leave out.
        origin: what the field's buckets were written with; None for whatever they say.

    Raises:
        CorruptDataError: an object is not what its address, its layout or the registry says.
        UnsupportedError: codes of an algorithm that is not known here.
    """
    return _settle(list(iterate_vectors(store, track, dim, known=known, origin=origin)), dim)


def read_cells(
    store: Store,
    track: Track,
    dim: int,
    keys: Collection[str],
    *,
    known: frozenset[Address] = frozenset(),
    origin: Origin | None = None,
) -> Vectors:
    """Return the rows of some cells, named by their keys, as read_vectors does; cells that are not there are empty."""
    return _settle(list(iterate_vectors(store, track, dim, keys=keys, known=known, origin=origin)), dim)


def read_cell_anchors(store: Store, track: Track) -> I64:
    """Return the anchors of an embedding Track, ascending, each once: also of codes that cannot be read."""
    found = [np.empty(0, np.int64)]
    for group in _groups(iterate_cells(store, track)):
        found += [decode_spatial_bucket(data).anchors for data in _fetch_buckets(store, track, group)]
    anchors = united(found)
    return anchors[(anchors >= 0) & (anchors <= VISIBLE_ANCHOR_MAX)]


def iterate_vectors(
    store: Store,
    track: Track,
    dim: int,
    *,
    keys: Collection[str] | None = None,
    known: frozenset[Address] = frozenset(),
    origin: Origin | None = None,
) -> Iterator[Vectors]:
    """Yield the visible rows in bounded blocks, as they lie: an anchor that is there twice comes twice."""
    for group in _groups(iterate_cells(store, track, keys=keys, known=known)):
        anchors, vectors = _read_group(store, track, group, dim, origin)
        visible = (anchors >= 0) & (anchors <= VISIBLE_ANCHOR_MAX)
        yield Vectors(anchors, vectors) if visible.all() else Vectors(anchors[visible], vectors[visible])


def iterate_buckets(
    store: Store, track: Track, dim: int, entries: Iterable[CellEntry], origin: Origin
) -> Iterator[tuple[CellEntry, Vectors]]:
    """Yield the rows of these buckets as they lie, those too that nobody can see. Raises as read_vectors."""
    for group in _groups(iter(entries)):
        fetched = _fetch_buckets(store, track, group)
        yield from zip(group, _decode_buckets(store, track, group, fetched, dim, origin), strict=True)


def _groups(entries: Iterator[CellEntry]) -> Iterator[list[CellEntry]]:
    """Gather entries until their buckets are a block."""
    group: list[CellEntry] = []
    size = 0
    for entry in entries:
        group.append(entry)
        size += entry.size_bytes
        if size >= _FETCHED_BYTES or len(group) >= _FETCHED_BUCKETS:
            yield group
            group, size = [], 0
    if group:
        yield group


def bucket_paths(track: Track, entries: Sequence[CellEntry]) -> list[str]:
    """Return where the buckets of some entries lie."""
    directory, named = (
        field_directory(track),
        zip(entries, address_texts([e.bucket for e in entries]), strict=True),
    )
    return [f"{directory}/{entry.key}/{text}" for entry, text in named]


def _fetch_buckets(store: Store, track: Track, entries: list[CellEntry]) -> list[bytes]:
    return fetch_many(store, [*zip(bucket_paths(track, entries), (e.bucket for e in entries), strict=True)])


def _read_group(
    store: Store, track: Track, entries: list[CellEntry], dim: int, origin: Origin | None
) -> tuple[I64, F32]:
    fetched = _fetch_buckets(store, track, entries)
    joined = join_raw_buckets(fetched)  # a cell mostly has a row or two
    if joined is not None:
        _check_origin(entries[0], joined, origin)
        found = [_rows(joined, joined.vectors, dim)]
    else:
        found = _decode_buckets(store, track, entries, fetched, dim, origin)
    return np.concatenate([rows.anchors for rows in found]), np.concatenate([rows.vectors for rows in found])


def _decode_buckets(
    store: Store,
    track: Track,
    entries: list[CellEntry],
    fetched: list[bytes],
    dim: int,
    origin: Origin | None,
) -> list[Vectors]:
    buckets = [decode_spatial_bucket(data) for data in fetched]
    for entry, bucket in zip(entries, buckets, strict=True):
        _check_origin(entry, bucket, origin)
    held = [b.vectors for b in buckets]
    coded = [at for at, vectors in enumerate(held) if vectors is None]
    exact = [at for at in coded if entries[at].sidecar is not None]
    for at, sidecar in zip(exact, _read_sidecars(store, track, [entries[at] for at in exact]), strict=True):
        held[at] = sidecar.vectors
    for at in set(coded).difference(exact):
        held[at] = _decoded(store, buckets[at])
    return [_rows(b, vectors, dim) for b, vectors in zip(buckets, held, strict=True)]


def _decoded(store: Store, bucket: SpatialBucket) -> F32:
    """Return what the codes of a bucket say of its vectors: all there is, where no exact ones lie beside them."""
    assert bucket.compressor is not None
    assert bucket.codes is not None
    return decode_codes(load_compressor(store, bucket.compressor), bucket.codes)  # 0010-R6


def _check_origin(entry: CellEntry, bucket: SpatialBucket, origin: Origin | None) -> None:
    found = Origin(bucket.index, bucket.compressor)
    if origin is not None and found != origin:  # 0007-R9
        raise LayoutError(
            f"bucket {entry.bucket} was written with {_told(found)}, its field has {_told(origin)}"
        )


def _told(origin: Origin) -> str:
    return f"index {origin.index} and {f'compressor {origin.compressor}' if origin.compressor else 'no compressor'}"


def _read_sidecars(store: Store, track: Track, entries: list[CellEntry]) -> list[VectorSidecar]:
    addresses = [entry.sidecar for entry in entries if entry.sidecar is not None]
    directory = sidecar_directory(track)
    return [decode_vector_sidecar(data) for data in fetch_many(store, paths_in(directory, addresses))]


def load_compressor(store: Store, address: Address) -> VectorCompressor:
    """Fetch and decode a VectorCompressor."""
    return decode_vector_compressor(fetch(store, f"{COMPRESSORS}/{address}", address))


def _rows(bucket: SpatialBucket, vectors: F32 | None, dim: int) -> Vectors:
    shape = None if vectors is None else vectors.shape
    if vectors is None or shape != (len(bucket.anchors), dim):  # 0007-R11
        raise LayoutError(
            f"{len(bucket.anchors)} anchors have vectors of shape {shape}, of a field of {dim} numbers"
        )
    return Vectors(bucket.anchors, vectors, bucket.codes)


def _settle(blocks: list[Vectors], dim: int) -> Vectors:
    """Return the rows by anchor; of an anchor that is there twice, the last one."""
    anchors = np.concatenate([np.empty(0, np.int64), *(block.anchors for block in blocks)])
    vectors = np.concatenate([np.empty((0, dim), np.float32), *(block.vectors for block in blocks)])
    order = np.argsort(anchors, kind="stable")
    last = np.append(np.diff(anchors[order]) > 0, np.ones(min(1, len(order)), np.bool_))
    return Vectors(anchors[order[last]], vectors[order[last]])


# --- writing ------------------------------------------------------------------------------------------------


def write_vectors(
    store: Store,
    batch: Batch,
    track: Track,
    index: SpatialIndex,
    index_address: Address,
    anchors: I64,
    vectors: F32,
    *,
    rerank: bool = False,
    compressor: Address | None = None,
    bucket_max_bytes: int = BUCKET_MAX_BYTES,
) -> Written:
    """Add rows to the cells of an embedding Track.

    Args:
        store: where the pages of the Track are.
        batch: takes the buckets, sidecars, outboards and pages.
        track: the Track as it is.
        index: says where vectors belong.
        index_address: the name of `index`, which buckets carry.
        anchors: int64 (n,), which no row of the Track has.
        vectors: float32 (n, dim), stored exactly as given.
        rerank: whether each bucket gets a sidecar.
        compressor: of a compressed field: its buckets hold codes.
        bucket_max_bytes: of the records of one bucket; a fuller cell gets several.

    Returns:
        The Track with the new rows, which the caller stores, and the addresses of the new buckets.

    Raises:
        InvalidInputError: a vector without a cell, with its row, or an anchor that nobody could see.
        UnsupportedError: a compressor whose algorithm is not known here.
    """
    anchors = _check_anchors(anchors, len(vectors))
    cells = assign_cells(index, vectors)
    if not len(anchors):
        return Written(track)
    coder = None if compressor is None else (compressor, load_compressor(store, compressor))
    most = max(1, bucket_max_bytes // _row_bytes(index.dim, coder))
    like = SpatialBucket(index_address, track.modality, anchors, vectors)
    rows = [
        add_rows(batch, track, key, _cell_rows(like, part, coder, rerank=rerank))
        for key, part in _bucket_rows(cells, most)
    ]
    return _with_entries(store, batch, track, entries_of_lists(CELLS, rows))


def _bucket_rows(cells: Cells, most: int) -> Iterator[tuple[str, I64]]:
    """Yield each cell's key and its rows in their order, at most so many at a time."""
    order = np.argsort(cells.codes, kind="stable")
    stops = np.cumsum(np.bincount(cells.codes, minlength=len(cells.keys)))
    for key, rows in zip(cells.keys, np.split(order, stops[:-1]), strict=True):
        for start in range(0, len(rows), most):  # 0007-R10
            yield key, rows[start : start + most]


def _row_bytes(dim: int, coder: Coder | None) -> int:
    """Return the size of one row of a bucket."""
    return record_bytes(dim) if coder is None else ANCHOR_BYTES + coder[1].code_bytes


def _cell_rows(given: SpatialBucket, part: I64, coder: Coder | None, *, rerank: bool) -> CellRows:
    """Return some of the rows that are given, with their codes if the field is a compressed one."""
    assert given.vectors is not None
    anchors, vectors = given.anchors[part], np.asarray(given.vectors[part], np.float32)  # 0006-R7
    exact = vectors if rerank else None
    if coder is None:
        return CellRows(given, anchors, vectors, exact)
    address, compressor = coder
    codes = encode_vectors(compressor, vectors)
    return CellRows(replace(given, vectors=None, compressor=address, codes=codes), anchors, codes, exact)


def _with_entries(store: Store, batch: Batch, track: Track, added: IndexEntries) -> Written:
    """Return the Track with these entries beside its own: inline, or in pages when they are many."""
    new = sort_index_entries(added)
    first, stop = int(new.firsts.min()), int(new.stops.max())
    held = replace(track, coverage=widen(track.coverage, first, stop, empty=track.object_index == []))
    if isinstance(track.object_index, dict):
        return Written(
            replace(held, object_index=insert_in_index(store, batch, track, new)), addresses_of(added)
        )
    entries = join_index_entries(CELLS, [check_keys(read_index(store, track)), new])
    return Written(replace(held, object_index=place_entries(batch, held, entries)), addresses_of(added))


def _check_anchors(anchors: I64, count: int) -> I64:
    anchors = np.asarray(anchors)
    if anchors.shape != (count,) or anchors.dtype.kind not in "iu":
        raise InvalidInputError(
            f"{count} vectors need as many whole numbers as anchors, found {anchors.shape}"
        )
    if count and (anchors.min() < 0 or anchors.max() > VISIBLE_ANCHOR_MAX):
        raise InvalidInputError(f"an anchor lies outside 0 .. {VISIBLE_ANCHOR_MAX}")
    return anchors.astype(np.int64)
