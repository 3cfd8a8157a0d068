"""Cuts: packs of media without the bytes of some items, and where the others lie then. Spec 0022."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.ragged import Bytes, Ints
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch
from dreamdb_arrow.tracks.scalars import number_addresses

Slices = dict[
    Address, set[tuple[int, int]]
]  # of each payload: where parts of it begin, and how long they are


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """What becomes of one payload: where bytes go out of it, ascending; then its address, None when nothing is left of it.

    starts   int64 (n,)
    lengths  int64 (n,)
    """

    starts: Ints
    lengths: Ints
    address: Address | None
    size: int

    def moved(self, offsets: Ints) -> Ints:
        """Return where what lay at these offsets lies now."""
        before = np.r_[0, self.lengths.cumsum()]
        moved: Ints = offsets - before[np.searchsorted(self.starts, offsets)]
        return moved


@dataclass(slots=True)
class Seen:
    """Slices of payloads that rows to be erased name, and that others name."""

    gone: Slices = field(default_factory=dict)
    kept: Slices = field(default_factory=dict)

    def add(
        self, addresses: Bytes, offsets: Ints, sizes: Ints, dead: np.ndarray[tuple[int], np.dtype[np.bool_]]
    ) -> None:
        """Note rows, n of each: addresses uint8 (n, 33), and which rows are to be erased."""
        names, numbers = number_addresses(addresses)
        rows = zip(numbers.tolist(), offsets.tolist(), sizes.tolist(), dead.tolist(), strict=True)
        for number, offset, size, is_dead in rows:
            side = self.gone if is_dead else self.kept
            side.setdefault(names[number], set()).add((offset, size))


def cut_payloads(
    store: Store, batch: Batch, directories: Mapping[Address, list[str]], seen: Seen
) -> dict[Address, Cut]:
    """Write the payloads again that hold bytes of erased rows, without those that no other row names.

    Args:
        store: where they are.
        batch: what new ones are added to.
        directories: where each payload lies; equal ones of two fields lie in two.
        seen: what rows name of them.
    """
    cuts = {}
    for address, gone in sorted(seen.gone.items()):
        spans = sorted(gone - seen.kept.get(address, set()))  # 0022-R4
        if not spans or address not in directories:
            continue
        data = fetch(store, f"{directories[address][0]}/{address}", address)
        starts, lengths = (np.array([span[at] for span in spans], np.int64) for at in (0, 1))
        left = _without(data, spans) if address in seen.kept else b""
        new = [batch.add_payload(directory, left) for directory in directories[address]] if left else [None]
        cuts[address] = Cut(starts, lengths, new[0], len(left))
    return cuts


def _without(data: bytes, spans: list[tuple[int, int]]) -> bytes:
    parts, at = [], 0
    for start, length in spans:
        parts.append(data[at:start])
        at = max(at, start + length)
    return b"".join([*parts, data[at:]])
