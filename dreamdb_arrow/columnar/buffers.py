"""Arrow arrays out of their buffers. `pyarrow.array` imports pandas where that is installed: 0.15 s of a first query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dreamdb_arrow.codec.ragged import Ragged


def numbers(values: NDArray[Any]) -> pa.Array:
    """Return numbers, (n,), as an Arrow array over the same memory."""
    held = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, held])


def texts(values: Sequence[str]) -> pa.StringArray:
    """Return texts; together they may take 2 GiB."""
    held = Ragged.of([value.encode() for value in values])
    offsets = np.append(held.starts, len(held.data)).astype(np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(held.data))
