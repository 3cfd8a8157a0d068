"""Samples: vectors in any form, drawn from a stream that may be larger than memory. Spec 0004."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.columnar.vectors import F32
from dreamdb_arrow.dataset.values import check_vectors
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.spatial.training import SAMPLE_BYTES_MAX

F64 = np.ndarray[Any, np.dtype[np.float64]]

_BLOCK_BYTES: Final = 16 << 20


def draw(sample: Any, dim: int, limit: int | None, seed: int) -> tuple[F32, int]:
    """Return at most `limit` rows drawn by the seed, in their order, float32 (n, dim); and how many there were.

    How a stream is cut into batches makes no difference. Without a limit, as many are kept as training may ever use.
    Raises InvalidInputError, with the row, for what is no vector with a direction.
    """
    limit = SAMPLE_BYTES_MAX // (4 * dim) if limit is None else limit
    drawn, random, seen = _Drawn(limit, dim), np.random.default_rng(seed), 0
    for block in vector_blocks(sample, dim):
        drawn.add(random.random(len(block)), block)
        seen += len(block)
    drawn.settle()
    return drawn.vectors, seen


class _Drawn:
    """The rows with the smallest lots so far, at most `limit` of them, in their order; and those that came since."""

    def __init__(self, limit: int, dim: int) -> None:
        self.vectors = np.empty((0, dim), np.float32)
        self._limit, self._lots, self._most, self._waiting = limit, np.empty(0), np.inf, 0
        self._new: list[tuple[F64, F32]] = []

    def add(self, lots: F64, block: F32) -> None:
        """Take those rows of a block, (n,) and (n, dim), whose lots are small enough yet."""
        chosen = np.flatnonzero(lots < self._most)
        self._new.append((lots[chosen], block[chosen]))
        self._waiting += len(chosen)
        if self._waiting > self._limit:  # so that each row is moved a few times, however short the batches
            self.settle()

    def settle(self) -> None:
        """Let go of all rows but the `limit` best."""
        lots = np.concatenate([self._lots, *(lot for lot, _ in self._new)])
        vectors = np.concatenate([self.vectors, *(block for _, block in self._new)])
        self._new, self._waiting = [], 0
        if len(lots) > self._limit:
            best = np.sort(np.argpartition(lots, self._limit - 1)[: self._limit])
            lots, vectors = lots[best], vectors[best]
            self._most = float(lots.max())
        self._lots, self.vectors = lots, vectors


def vector_blocks(sample: Any, dim: int) -> Iterator[F32]:
    """Yield vectors as float32 (n, dim), checked: of arrays, lists, Arrow data, or an iterable of any of these.

    A table or a reader must have one column, or one of vectors. Raises InvalidInputError.
    """
    f = Field("embedding", "sample", True, {"dim": dim})
    first = 0
    for column in _columns(sample, dim):
        if column.null_count:
            raise InvalidInputError("field 'sample': a vector is missing; leave such rows out")
        _, vectors = check_vectors(f, column, first)
        first += len(column)
        yield vectors


def _columns(sample: Any, dim: int) -> Iterator[pa.Array]:
    if isinstance(sample, np.ndarray) or (isinstance(sample, (list, tuple)) and not _is_batches(sample)):
        yield from _columns_of_array(sample, dim)
    elif isinstance(sample, (pa.Array, pa.ChunkedArray)):
        yield from sample.chunks if isinstance(sample, pa.ChunkedArray) else [sample]
    elif hasattr(sample, "__arrow_c_stream__"):
        yield from _columns_of_stream(sample)
    elif hasattr(sample, "__arrow_c_array__"):
        array = pa.array(sample)
        yield _vector_column(pa.record_batch(array)) if pa.types.is_struct(array.type) else array
    elif isinstance(sample, Iterable) and not isinstance(sample, (str, bytes, dict)):
        for batch in sample:
            yield from _columns(batch, dim)
    else:
        raise InvalidInputError(
            f"a sample is vectors (n, {dim}) as an array, lists or Arrow data, or batches of them, "
            f"not {type(sample).__name__}"
        )


def _is_batches(listed: list[Any] | tuple[Any, ...]) -> bool:
    """Whether a list holds batches, and not vectors."""
    first = listed[0] if len(listed) else None
    arrow = hasattr(first, "__arrow_c_array__") or hasattr(first, "__arrow_c_stream__")
    return arrow or getattr(first, "ndim", 1) == 2


def _columns_of_array(sample: Any, dim: int) -> Iterator[pa.Array]:
    try:
        with np.errstate(over="ignore"):  # what is too large becomes an infinity, and is refused as such
            array = sample if isinstance(sample, np.ndarray) else np.asarray(sample, dtype=np.float32)
    except (TypeError, ValueError):
        raise InvalidInputError(f"the sample is no array of numbers (n, {dim})") from None
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] != dim:
        raise InvalidInputError(f"the sample is {array.dtype} {array.shape}, expected numbers (n, {dim})")
    step = max(1, _BLOCK_BYTES // (4 * dim))
    for start in range(0, len(array), step):
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(array[start : start + step], dtype=np.float32)
        yield pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), dim)


def _columns_of_stream(sample: Any) -> Iterator[pa.Array]:
    try:
        reader = pa.RecordBatchReader.from_stream(sample)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # a stream of vectors, not of rows with columns
        yield from pa.chunked_array(sample).chunks
        return
    for batch in reader:
        yield _vector_column(batch)


def _vector_column(batch: pa.RecordBatch) -> pa.Array:
    """Return the one column of vectors. Raises InvalidInputError when there are none, or several."""
    lists = [n for n in batch.schema.names if pa.types.is_fixed_size_list(batch.schema.field(n).type)]
    named = lists or batch.schema.names
    if len(named) != 1:
        raise InvalidInputError(
            f"a sample has one column of vectors, these are {', '.join(named) or 'none'}: select one"
        )
    return batch[named[0]]
