"""Bao outboards: payload bytes to the hash tree above them. Spec 0002.

An outboard is the payload's length (u64, little-endian), then one node of 64 bytes for each inner node of the
BLAKE3 tree over chunks of 1 KiB, in pre-order: the chaining values of the left and the right child. The left
subtree holds the largest power of two of chunks that is below the total; pairing neighbours level by level,
and carrying an odd last one up, gives that very tree. Whatever fits one chunk has no inner node.

Many payloads are hashed side by side, each chunk a lane of the kernel: a call on one small payload costs as
much as a call on a thousand chunks. So commits hand over their payloads together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.kernels.blake3_tree import CHUNK_BYTES, Words, chunk_values, parent_values

if TYPE_CHECKING:
    from typing_extensions import Buffer

NODE_BYTES: Final = 64
LENGTH_BYTES: Final = 8
_LANES: Final = 4096  # chunks hashed at a time: 4 MiB, where the kernel is fastest and memory still small


def encode_outboard(data: Buffer) -> bytes:
    """Return the Bao outboard of one payload."""
    return encode_outboards([data])[0]


def encode_outboards(payloads: Iterable[Buffer]) -> list[bytes]:
    """Return the Bao outboard of each payload, in order."""
    arrays = [np.frombuffer(memoryview(payload).cast("B"), dtype=np.uint8) for payload in payloads]
    trees = iter(_encode_trees([array for array in arrays if array.size > CHUNK_BYTES]))
    return [
        array.size.to_bytes(LENGTH_BYTES, "little") + (next(trees) if array.size > CHUNK_BYTES else b"")
        for array in arrays
    ]


def is_outboard_of(outboard: Buffer, address: Address, size: int) -> bool:
    """Whether an outboard is that of the payload of this address and size, found without the payload.

    Each node must hash to what the node above it says, and the first one to the address; that is a sixteenth of the work of
    hashing the payload.
    """
    data = memoryview(outboard).cast("B")
    chunks = max(1, -(-size // CHUNK_BYTES))
    if len(data) != LENGTH_BYTES + NODE_BYTES * (chunks - 1):
        return False
    if int.from_bytes(data[:LENGTH_BYTES], "little") != size:
        return False
    nodes = np.frombuffer(data[LENGTH_BYTES:], "<u4").reshape(-1, NODE_BYTES // 4)
    return chunks == 1 or _hashes_down(nodes, np.frombuffer(address[1:], "<u4")[None], chunks)


def _hashes_down(nodes: NDArray[np.uint32], expected: NDArray[np.uint32], chunks: int) -> bool:
    """Whether nodes in pre-order hash to what is expected of the first one, uint32 (1, 8), and so on, level by level."""
    ranks, below, root = np.zeros(1, np.int64), np.array([chunks]), True
    while len(ranks):
        level = nodes[ranks]
        if not np.array_equal(parent_values(level.T[:8], level.T[8:], root=root), expected.T):
            return False
        left = (
            1 << np.frexp(below - 1)[1].astype(np.int64) - 1
        )  # the largest power of two below the number of chunks
        ranks = np.concatenate([ranks + 1, ranks + left])
        expected = np.concatenate([level[:, :8], level[:, 8:]])
        below, root = np.concatenate([left, below - left]), False
        inner = below > 1
        ranks, expected, below = ranks[inner], expected[inner], below[inner]
    return True


@dataclass(frozen=True, slots=True)
class _Lanes:
    """Which nodes of a level belong to which payload: payload i has those from starts[i] to starts[i+1]."""

    starts: NDArray[np.int64]

    @classmethod
    def of(cls, counts: NDArray[np.int64]) -> Self:
        return cls(np.concatenate([[0], np.cumsum(counts)]))

    @property
    def counts(self) -> NDArray[np.int64]:
        return np.diff(self.starts)

    def owners(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.starts) - 1), self.counts)

    def places(self) -> NDArray[np.int64]:
        """Return the place of each node within its own payload's level."""
        return np.arange(self.starts[-1]) - np.repeat(self.starts[:-1], self.counts)


def _encode_trees(payloads: Sequence[NDArray[np.uint8]]) -> Iterator[bytes]:
    sizes = np.array([payload.size for payload in payloads], dtype=np.int64)
    chunks = -(-sizes // CHUNK_BYTES)
    nodes = np.zeros((int((chunks - 1).sum()), NODE_BYTES // 4), dtype="<u4")
    first_nodes = np.cumsum(chunks - 1) - (chunks - 1)
    lanes, values, level = _Lanes.of(chunks), _hash_chunks(payloads, sizes, _Lanes.of(chunks)), 0
    while values.shape[1] > len(payloads):
        level += 1
        left = np.flatnonzero(_has_right_sibling(lanes))
        owners, places = lanes.owners()[left], lanes.places()[left]
        ranks = _preorder_ranks(places >> 1, level, chunks[owners])
        nodes[first_nodes[owners] + ranks] = np.concatenate([values[:, left], values[:, left + 1]]).T
        lanes, values = _next_level(lanes, values, left)
    data = nodes.view(np.uint8).reshape(-1)
    for first, count in zip(first_nodes, chunks - 1, strict=True):
        yield data[first * NODE_BYTES : (first + count) * NODE_BYTES].tobytes()


def _hash_chunks(payloads: Sequence[NDArray[np.uint8]], sizes: NDArray[np.int64], lanes: _Lanes) -> Words:
    """Return the chaining values of the chunks of all payloads, uint32 (8, chunks)."""
    places, owners = lanes.places(), lanes.owners()
    lengths = np.minimum(sizes[owners] - places * CHUNK_BYTES, CHUNK_BYTES)
    values = np.empty((8, len(places)), dtype=np.uint32)
    for start in range(0, len(places), _LANES):
        some = slice(start, min(start + _LANES, len(places)))
        buffer = _gather_chunks(payloads, lanes, owners[some], start)
        values[:, some] = chunk_values(buffer, lengths[some], places[some].astype(np.uint64))
    return values


def _gather_chunks(
    payloads: Sequence[NDArray[np.uint8]], lanes: _Lanes, owners: NDArray[np.int64], start: int
) -> NDArray[np.uint8]:
    """Copy the bytes of the chunks from `start` on, zero after the end of a payload, to uint8 (n, 1024)."""
    buffer = np.zeros((len(owners), CHUNK_BYTES), dtype=np.uint8)
    flat = buffer.reshape(-1)
    for owner in range(int(owners[0]), int(owners[-1]) + 1):
        offset = (int(lanes.starts[owner]) - start) * CHUNK_BYTES
        part = payloads[owner][max(0, -offset) : max(0, flat.size - offset)]
        at = max(0, offset)
        flat[at : at + part.size] = part
    return buffer


def _has_right_sibling(lanes: _Lanes) -> NDArray[np.bool_]:
    places = lanes.places()
    counts = np.repeat(lanes.counts, lanes.counts)
    paired: NDArray[np.bool_] = (places % 2 == 0) & (places + 1 < counts)
    return paired


def _next_level(lanes: _Lanes, values: Words, left: NDArray[np.int64]) -> tuple[_Lanes, Words]:
    """Put each pair's parent where its left child was, and carry the unpaired nodes up unchanged."""
    values = values.copy()
    values[:, left] = parent_values(values[:, left], values[:, left + 1])
    return _Lanes.of((lanes.counts + 1) // 2), np.delete(values, left + 1, axis=1)


def _preorder_ranks(places: NDArray[np.int64], level: int, chunks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place in pre-order of the inner nodes at these places of a level, in trees of so many chunks.

    Before a node come the nodes above it and all inner nodes over the s chunks to the left of it that are not
    above it. Those s chunks are one complete subtree for each set bit of s, hence s - popcount(s) nodes.
    """
    left_chunks = places << level
    ranks: NDArray[np.int64] = left_chunks - np.bitwise_count(left_chunks)
    for above in range(level + 1, int(chunks.max(initial=1) - 1).bit_length() + 1):
        right_child = ((left_chunks >> above) << above) + (1 << (above - 1))
        ranks += right_child < chunks  # a node whose right half is empty is none: its left half was carried
    return ranks
