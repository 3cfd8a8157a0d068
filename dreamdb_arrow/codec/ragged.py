"""Byte strings of different lengths, end to end in one array: what columns of CBOR are made of. Spec 0007.

NumPy moves items of one size fast, so strings are moved length by length: a *window* is the array seen as one
item of `width` bytes at every position (the items overlap), and indexing it with starts moves whole strings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
_FEW_BYTES: Final = 1 << 16  # up to which strings are joined by way of a matrix


@dataclass(frozen=True, slots=True)
class Ragged:
    """n byte strings: `data` is uint8 (sum of lengths,), `lengths` is int64 (n,)."""

    data: Bytes
    lengths: Ints

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def starts(self) -> Ints:
        """Where each string begins in `data`, int64 (n,)."""
        return self.lengths.cumsum() - self.lengths

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> Self:
        """Lay these byte strings end to end."""
        lengths = np.fromiter(map(len, strings), np.int64, len(strings))
        return cls(np.frombuffer(b"".join(strings), np.uint8), lengths)

    @classmethod
    def of_rows(cls, rows: Bytes) -> Self:
        """Return the rows of a matrix, uint8 (n, width), as n strings of one length."""
        return cls(np.ascontiguousarray(rows).reshape(-1), np.full(len(rows), rows.shape[1], np.int64))

    @classmethod
    def repeat(cls, string: bytes, count: int) -> Self:
        """Return the same byte string `count` times."""
        return cls(np.frombuffer(string * count, np.uint8), np.full(count, len(string), np.int64))

    def take(self, order: Ints) -> Ragged:
        """Return the strings at these positions, int64 (m,), in that order."""
        return slices(self.data, self.starts[order], self.lengths[order])

    def tolist(self) -> list[bytes]:
        """Return the strings one by one."""
        return cut_strings(self.data.tobytes(), self.starts, self.lengths)


def window(data: Bytes, width: int) -> NDArray[np.void]:
    """Return `data`, uint8 (size,) and contiguous, as an item of `width` bytes at each position that has one."""
    assert data.ndim == 1
    assert data.flags.c_contiguous
    return np.ndarray((max(0, data.size - width + 1),), np.dtype((np.void, width)), buffer=data, strides=(1,))


def rows_at(data: Bytes, starts: Ints, width: int) -> Bytes:
    """Return the `width` bytes from each start on: uint8 (n, width). All of them must lie within `data`."""
    return window(data, width)[starts].view(np.uint8).reshape(len(starts), width)


def numbers_at(data: Bytes, starts: Ints, dtype: str) -> NDArray[Any]:
    """Return the number of this dtype, such as ">u8", that begins at each start: (n,) in native byte order."""
    kind = np.dtype(dtype)
    return window(data, kind.itemsize)[starts].view(kind).astype(kind.newbyteorder("="))


def slices(data: Bytes, starts: Ints, lengths: Ints) -> Ragged:
    """Cut n strings out of `data`, which must hold all of them."""
    out = np.empty(int(lengths.sum()), np.uint8)
    move_strings(out, lengths.cumsum() - lengths, data, starts, lengths)
    return Ragged(out, lengths)


def move_strings(
    target: Bytes, target_starts: Ints, source: Bytes, source_starts: Ints, lengths: Ints
) -> None:
    """Copy n strings from their places in `source` to their places in `target`."""
    for width, rows in _by_length(lengths):
        window(target, width)[target_starts[rows]] = window(source, width)[source_starts[rows]]


def join(columns: Sequence[Ragged]) -> Ragged:
    """Return n strings, each made of one string of every column, from left to right."""
    count, widest = len(columns[0]), [int(column.lengths.max(initial=0)) for column in columns]
    if count * sum(widest) == sum(column.data.size for column in columns):  # of one length in each column
        parts = zip(columns, widest, strict=True)
        return Ragged.of_rows(np.concatenate([c.data.reshape(count, w) for c, w in parts], axis=1))
    lengths = np.sum([column.lengths for column in columns], axis=0)
    if count * sum(widest) <= _FEW_BYTES:
        return Ragged(_join_few(columns, widest), lengths)
    data = np.empty(int(lengths.sum()), np.uint8)
    places = lengths.cumsum() - lengths
    for column in columns:
        move_strings(data, places, column.data, column.starts, column.lengths)
        places = places + column.lengths
    return Ragged(data, lengths)


def _join_few(columns: Sequence[Ragged], widest: Sequence[int]) -> Bytes:
    """Join by way of a matrix that has room for the longest strings: fewer steps, for a page of entries."""
    shape = len(columns[0]), sum(widest)
    room, held, at = np.empty(shape, np.uint8), np.ones(shape, np.bool_), 0
    for column, width in zip(columns, widest, strict=True):
        part = room[:, at : at + width]
        if column.data.size == part.size:
            part[:] = column.data.reshape(part.shape)
        else:
            inside = np.arange(width) < column.lengths[:, None]
            part[inside], held[:, at : at + width] = column.data, inside
        at += width
    return room[held]


def cut_strings(data: bytes, starts: Ints, lengths: Ints) -> list[bytes]:
    """Return the slices of `data` as a list."""
    return [data[a:b] for a, b in zip(starts.tolist(), (starts + lengths).tolist(), strict=True)]


def spread(lengths: Ints) -> Ints:
    """Return 0 .. length-1 for each length, one after another: int64 (sum of lengths,)."""
    firsts = lengths.cumsum() - lengths
    return np.arange(int(lengths.sum())) - np.repeat(firsts, lengths)


def _by_length(lengths: Ints) -> Iterator[tuple[int, Any]]:
    """Yield each length above zero, and the rows that have it."""
    if len(lengths) == 0:
        return
    if lengths[0] == lengths.max() == lengths.min():
        if lengths[0]:
            yield int(lengths[0]), slice(None)
        return
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    firsts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    for first, stop in zip(firsts.tolist(), [*firsts[1:].tolist(), len(order)], strict=True):
        if ordered[first]:
            yield int(ordered[first]), order[first:stop]
