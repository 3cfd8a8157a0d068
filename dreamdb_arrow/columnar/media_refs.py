"""Media references: where the bytes of media lie, as the struct column of a stripe. Spec 0021."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dreamdb_arrow.columnar.stripe import MEDIA_REF
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.tracks.media import MediaItems

_ADDRESS = MEDIA_REF.field("address").type


def refs_of_items(items: MediaItems) -> pa.Array:
    """Return placed media items as media references, row for row."""
    names = pa.py_buffer(np.ascontiguousarray(items.addresses, dtype=np.uint8).tobytes())
    columns = [
        pa.FixedSizeBinaryArray.from_buffers(_ADDRESS, len(items), [None, names]),
        pa.array(items.offsets, pa.int64()),
        pa.array(items.sizes, pa.int64()),
        pa.array(items.chunked, pa.bool_()),
    ]
    return pa.StructArray.from_arrays(columns, fields=list(MEDIA_REF))


def items_of_refs(refs: pa.Array, anchors: I64) -> MediaItems:
    """Return media references, none of them null, as the items of these anchors.

    Raises LayoutError for a reference without an address.
    """
    n, width = len(refs), _ADDRESS.byte_width
    names = refs.field("address").cast(_ADDRESS)
    if names.null_count:  # 0021-R6
        raise LayoutError("a media reference has no address")
    raw = np.frombuffer(names.buffers()[1] or b"", np.uint8, n * width, names.offset * width)
    chunked = np.asarray(refs.field("chunked").to_numpy(zero_copy_only=False), dtype=np.bool_)
    return MediaItems(
        anchors=anchors,
        stops=anchors + 1,
        sizes=np.asarray(refs.field("size"), dtype=np.int64),
        addresses=raw.reshape(n, width),
        offsets=np.asarray(refs.field("offset"), dtype=np.int64),
        packed=~chunked,  # 0021-R6
        chunked=chunked,
    )
