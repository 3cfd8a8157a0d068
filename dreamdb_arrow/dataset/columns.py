"""Late columns: embeddings and media, fetched for the rows that are looked at. Spec 0021."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dreamdb_arrow.columnar.media_refs import items_of_refs
from dreamdb_arrow.columnar.projection import dim_of, row_entry
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.vectors import I64, gather_vectors
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
    f = find_field(rows, name, ("embedding",))
    dim = dim_of(f)
    low, high = (int(anchors.min()), int(anchors.max()) + 1) if len(anchors) else (0, 0)
    vectors, found = gather_vectors(rows.vector_stripes(name, low, high), anchors, dim)
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim, mask=pa.array(~found))


def media_column(rows: RowSet, name: str, refs: pa.Array) -> pa.Array:
    """Return the bytes that references of a stripe name, large_binary, null where the reference is."""
    kind = find_field(rows, name).kind
    entry = row_entry(rows.manifest, name)
    assert entry is not None
    present = np.asarray(refs.is_valid())
    held = refs.filter(refs.is_valid()) if refs.null_count else refs
    wanted = np.arange(len(held))
    items = items_of_refs(held, wanted)
    blobs = fetch_blobs(rows.store, entry.timeline, entry.modality, kind, items, wanted) if len(held) else []
    return pa.array(blobs, pa.large_binary()).take(pa.array(np.cumsum(present) - 1, mask=~present))
