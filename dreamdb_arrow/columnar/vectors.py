"""Vector stripes: the embeddings of one field and one commit as one Arrow IPC object. Spec 0021.

Two columns, `_anchor` ascending and `vector` a FixedSizeList<float32>, in one record batch and never compressed:
a reader maps the file and works on the very bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.columnar.stripe import ANCHOR
from dreamdb_arrow.errors import LayoutError

VECTOR: Final = "vector"
# Arrow IPC: what comes behind the footer, the most of a message that is looked at, and fields of Flatbuffers tables.
_TAIL_BYTES: Final = 10
_HEADER_BYTES_MAX: Final = 1 << 16
_FOOTER_BATCHES: Final = 3
_MESSAGE_HEADER: Final = 2
_BATCH_COMPRESSION: Final = 3

I64 = np.ndarray[Any, np.dtype[np.int64]]
F32 = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class VectorStripe:
    """Anchors int64 (n,), ascending, and vectors float32 (n, d), row for row; views, read-only."""

    anchors: I64
    vectors: F32


def encode_vectors(anchors: I64, vectors: F32) -> pa.Buffer:
    """Return the Arrow IPC bytes of vectors float32 (n, d) with their anchors int64 (n,), ascending."""
    return pa.py_buffer(b"".join(vector_parts(anchors, vectors)))


def vector_parts(anchors: I64, vectors: F32) -> tuple[memoryview, ...]:
    """Return the same bytes in parts, so that nothing is copied: one of them is the very memory of the vectors."""
    n, d = vectors.shape
    assert anchors.shape == (n,)
    # 0021-R7
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors).reshape(-1)), d)
    batch = pa.record_batch([pa.array(anchors, pa.int64()), values], names=[ANCHOR, VECTOR])
    sink = _Parts()
    with pa.ipc.new_file(pa.PythonFile(sink, mode="w"), batch.schema) as writer:
        writer.write_batch(batch)
    return tuple(sink.parts)


class _Parts:
    """A file for Arrow to write to, that keeps what it is handed."""

    closed = False

    def __init__(self) -> None:
        self.parts: list[memoryview] = []

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.parts.append(view)
        return len(view)


def open_vectors(path: Path, dim: int) -> VectorStripe:
    """Map a verified vector stripe into memory. Raises LayoutError when it is none, or of another dimension."""
    return _stripe_in(lambda: pa.memory_map(str(path)), path.name, dim)


def decode_vectors(data: bytes, dim: int) -> VectorStripe:
    """Return the vector stripe of verified bytes. Raises as open_vectors does."""
    return _stripe_in(lambda: pa.BufferReader(data), "a buffer", dim)


def _stripe_in(opened: Callable[[], pa.NativeFile], name: str, dim: int) -> VectorStripe:
    try:
        batch = only_batch(opened())
        if batch is not None:
            batch.validate(full=True)
        columns = [] if batch is None else [(f.name, f.type) for f in batch.schema]
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise LayoutError(f"not a vector stripe: {name}: {str(error).splitlines()[0]}") from error
    if batch is None or columns != [(ANCHOR, pa.int64()), (VECTOR, pa.list_(pa.float32(), dim))]:
        raise LayoutError(f"not a stripe of vectors of {dim} dimensions: {name}")
    anchors, values = batch.column(0), batch.column(1).flatten()
    if anchors.null_count or values.null_count or len(values) != len(anchors) * dim:
        raise LayoutError(f"a vector stripe must have no nulls: {name}")
    held = VectorStripe(anchors.to_numpy(), values.to_numpy().reshape(-1, dim))
    check_ascending(held.anchors, name)
    return held


def only_batch(source: pa.NativeFile) -> pa.RecordBatch | None:
    """Return the one batch of an IPC file, None where there are more or none. Raises LayoutError for a compressed one, ArrowInvalid."""
    file = pa.ipc.open_file(source)
    if file.num_record_batches != 1:
        return None
    if _is_packed(source):  # 0021-R17
        raise LayoutError("not a vector stripe: its batch is compressed")
    return file.get_batch(0)


def _is_packed(source: pa.NativeFile) -> bool:
    """Whether the first batch of an IPC file is compressed, which Arrow would undo at once.

    Arrow does not tell, so the Flatbuffers tables of the footer and of the batch are looked into, as Arrow lays them out.
    What lies beyond their bytes reads as 0.
    """
    end = source.size() - _TAIL_BYTES
    length = _number(source.read_at(4, end), 0)
    footer = _part(source, end - length, length)
    blocks = _pointed(footer, _number(footer, 0), _FOOTER_BATCHES)
    message = _part(source, int.from_bytes(footer[blocks + 4 : blocks + 12], "little"), _HEADER_BYTES_MAX)
    message = message[8:] if message[:4] == b"\xff\xff\xff\xff" else message[4:]
    batch = _pointed(message, _number(message, 0), _MESSAGE_HEADER)
    return _field(message, batch, _BATCH_COMPRESSION) != 0


def _part(source: pa.NativeFile, start: int, length: int) -> bytes:
    """Return some bytes of a file, none where it has none."""
    inside = 0 <= start < source.size()
    return bytes(source.read_at(min(length, source.size() - start), start)) if inside else b""


def _number(data: bytes, at: int, size: int = 4, *, signed: bool = False) -> int:
    return int.from_bytes(data[at : at + size], "little", signed=signed) if at >= 0 else 0


def _field(data: bytes, table: int, nth: int) -> int:
    """Return how far from its table the nth field of it lies, 0 where it has none."""
    layout, place = table - _number(data, table, signed=True), 4 + 2 * nth
    return _number(data, layout + place, 2) if place < _number(data, layout, 2) else 0


def _pointed(data: bytes, table: int, nth: int) -> int:
    """Return where that lies which the nth field of a table points to."""
    at = table + _field(data, table, nth)
    return at + _number(data, at)


def gather_vectors(
    stripes: Sequence[VectorStripe], anchors: I64, dim: int
) -> tuple[F32, np.ndarray[Any, Any]]:
    """Look up vectors by anchor.

    anchors  (n,) int64, in any order
    Returns vectors (n, dim) float32, zero where there is none, and found (n,) bool.
    """
    n = len(anchors)
    out = np.zeros((n, dim), dtype=np.float32)
    found = np.zeros(n, dtype=bool)
    if n == 0:
        return out, found
    low, high = anchors.min(), anchors.max()
    for stripe in stripes:
        held = stripe.anchors
        if len(held) == 0 or held[0] > high or held[-1] < low:
            continue
        at = np.minimum(np.searchsorted(held, anchors), len(held) - 1)
        hits = np.flatnonzero(held[at] == anchors)
        out[hits] = stripe.vectors[at[hits]]
        found[hits] = True
    return out, found


def slice_vectors(stripe: VectorStripe, anchors: I64) -> F32 | None:
    """Return the vectors of anchors, int64 (n,) ascending, where they lie in a stripe row after row; else None."""
    low = int(np.searchsorted(stripe.anchors, anchors[0])) if len(anchors) else 0
    rows = slice(low, low + len(anchors))
    return stripe.vectors[rows] if np.array_equal(stripe.anchors[rows], anchors) else None


def check_ascending(anchors: I64, name: str) -> None:
    """Refuse anchors that are not strictly ascending: every lookup relies on the order."""
    if len(anchors) > 1 and not bool((anchors[1:] > anchors[:-1]).all()):
        raise LayoutError(f"anchors of {name} are not ascending")
