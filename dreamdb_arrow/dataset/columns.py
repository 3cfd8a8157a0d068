"""Late columns: embeddings and media, fetched for the rows that are looked at. Spec 0021."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dreamdb_arrow.columnar.media_refs import items_of_refs
from dreamdb_arrow.columnar.projection import dim_of, row_entry
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.vectors import I64, VectorStripe, gather_vectors, slice_vectors
from dreamdb_arrow.errors import InvalidInputError, UnsupportedError
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.tracks.blobs import fetch_blobs


def find_field(rows: RowSet, name: str, kinds: tuple[str, ...] = ()) -> Field:
    """Return a field of the version. Raises InvalidInputError with the fields there are, or what kind is wanted."""
    found = next((f for f in rows.fields if f.name == name), None)
    if found is None:
        known = ", ".join(f.name for f in rows.fields if not kinds or f.kind in kinds)
        raise InvalidInputError(f"no field {name!r}; fields: {known or 'none'}")
    if name in rows.unavailable:
        raise UnsupportedError(f"field {name!r} is unavailable: {rows.unavailable[name]}")
    if kinds and found.kind not in kinds:
        raise InvalidInputError(f"field {name!r} is of kind {found.kind}, wanted {' or '.join(kinds)}")
    return found


def vector_column(rows: RowSet, name: str, anchors: I64) -> pa.Array:
    """Return the vectors of these anchors, FixedSizeList<float32> with null where there is none."""
    dim = dim_of(find_field(rows, name, ("embedding",)))
    order = None if _ascends(anchors) else np.argsort(anchors, kind="stable")
    wanted = anchors if order is None else anchors[order]
    waits = rows.waits_for_vectors(name)  # those of the newest rows may be had without
    held = _vector_stripes(rows, name, wanted, dim, listed=waits)
    if order is None and len(held) == 1 and (as_is := slice_vectors(held[0], anchors)) is not None:
        return pa.FixedSizeListArray.from_arrays(pa.array(as_is.reshape(-1)), dim)
    vectors, found = gather_vectors(held, wanted, dim)
    if waits and not found.all():
        vectors, found = gather_vectors(_vector_stripes(rows, name, wanted, dim), wanted, dim)
    if order is not None:
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        vectors, found = vectors[back], found[back]
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim, mask=pa.array(~found))


def _ascends(anchors: I64) -> bool:
    return bool((anchors[1:] >= anchors[:-1]).all())


def _vector_stripes(
    rows: RowSet, name: str, wanted: I64, dim: int, *, listed: bool = False
) -> list[VectorStripe]:
    held = (s for s, _, _ in rows.holders(wanted, name, listed=listed))
    return [rows.cache.vectors(rows.store, s.path, s.address, dim) for s in held]


def media_column(rows: RowSet, name: str, refs: pa.Array) -> pa.Array:
    """Return the bytes that references of a stripe name, large_binary, null where the reference is."""
    kind = find_field(rows, name).kind
    entry = row_entry(rows.manifest, name)
    assert entry is not None
    present = np.asarray(refs.is_valid())
    held = refs.filter(refs.is_valid()) if refs.null_count else refs
    wanted = np.arange(len(held))
    items = items_of_refs(held, wanted)
    verifier = rows.cache.verifier
    blobs = fetch_blobs(rows.store, entry.timeline, entry.modality, kind, items, wanted, verifier)
    offsets = np.zeros(len(refs) + 1, dtype=np.int64)
    offsets[1:][present] = blobs.lengths
    valid = pa.array(present).buffers()[1] if refs.null_count else None
    buffers = [valid, pa.py_buffer(offsets.cumsum()), pa.py_buffer(blobs.data)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(refs), buffers)
