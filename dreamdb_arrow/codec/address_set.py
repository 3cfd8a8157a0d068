"""Sets of addresses in little memory: about forty bytes each, where Python's sets take two hundred. Spec 0002.

Digests are spread evenly, so their first two bytes say where an address is kept, side by side with the others that begin so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address

_HEAD: Final = 3  # the code, and two bytes of the digest
_REST: Final = ADDRESS_BYTES - _HEAD


class AddressSet:
    """Addresses that were added. `base` is another set whose members count as members too, and which is not changed."""

    __slots__ = ("_base", "_length", "_parts")

    def __init__(self, addresses: Iterable[bytes] = (), *, base: AddressSet | None = None) -> None:
        self._parts: dict[bytes, bytearray] = {}
        self._base, self._length = base, 0
        self.update(addresses)

    def __contains__(self, address: bytes) -> bool:
        part = self._parts.get(address[:_HEAD])
        if part is not None and _finds(part, address[_HEAD:]):
            return True
        return self._base is not None and address in self._base

    def __len__(self) -> int:
        """Return how many were added here, those of the base left out."""
        return self._length

    def __iter__(self) -> Iterator[Address]:
        """Yield what was added here, those of the base left out."""
        for head, part in self._parts.items():
            for at in range(0, len(part), _REST):
                yield Address(head + part[at : at + _REST])

    def add(self, address: bytes) -> None:
        """Add an address."""
        if address in self:
            return
        self._parts.setdefault(address[:_HEAD], bytearray()).extend(address[_HEAD:])
        self._length += 1

    def update(self, addresses: Iterable[bytes]) -> None:
        """Add addresses."""
        for address in addresses:
            self.add(address)


def _finds(part: bytearray, rest: bytes) -> bool:
    """Whether these bytes are kept: found where an address begins, and not across two of them."""
    at = part.find(rest)
    while at % _REST and at >= 0:
        at = part.find(rest, at + 1)
    return at >= 0
