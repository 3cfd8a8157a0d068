"""Addresses: bytes to their content name, and the text form of it. Spec 0002.

An Address is 0x1e, the code of BLAKE3-256, and the 32 bytes of the digest of all bytes of the object: no
length, type or salt goes in, so equal bytes have one Address wherever they are stored. Its text form is RFC
4648 base32 of those 33 bytes, in lower case and without padding: 53 characters, the first always "d".
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Self

import blake3
import numpy as np

from dreamdb_arrow.errors import LayoutError

if TYPE_CHECKING:
    from typing_extensions import Buffer

BLAKE3_CODE: Final = 0x1E
ADDRESS_BYTES: Final = 33
ADDRESS_CHARACTERS: Final = 53
_PREFIX: Final = bytes([BLAKE3_CODE])
_DIGITS: Final = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8)
_DIGIT_BITS: Final = 5
_THREADED_BYTES: Final = 16 << 20  # below this, threads save less than what else they could do meanwhile
_LOADED_BY: Final = os.getpid()


class Address(bytes):
    """The name of an object: 33 bytes, valid once built; `str(address)` is the text form.

    Raises LayoutError for anything but 33 bytes that start with 0x1e.
    """

    __slots__ = ()

    def __new__(cls, value: bytes) -> Self:
        """Check the value and make it an Address."""
        if len(value) != ADDRESS_BYTES or value[0] != BLAKE3_CODE:  # 0002-R2
            raise LayoutError(f"not an address: {bytes(value[:40]).hex()} ({len(value)} bytes)")
        return super().__new__(cls, value)

    def __str__(self) -> str:
        return _text_of(self)

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"


@lru_cache(maxsize=4096)
def _text_of(address: bytes) -> str:
    return base64.b32encode(address)[:ADDRESS_CHARACTERS].decode("ascii").lower()


def address_of(*parts: Buffer) -> Address:
    """Return the Address of these bytes, one part after the other: contiguous buffers, which are not copied."""
    if len(parts) == 1 and type(parts[0]) is bytes and len(parts[0]) <= _THREADED_BYTES:  # mostly, and often
        return bytes.__new__(Address, _PREFIX + blake3.blake3(parts[0], max_threads=1).digest())
    views = [memoryview(part).cast("B") for part in parts]
    # The threads of the hash do not live on in a fork, which would wait for them for ever.
    many = max(map(len, views), default=0) > _THREADED_BYTES and os.getpid() == _LOADED_BY
    hasher = blake3.blake3(max_threads=blake3.blake3.AUTO if many else 1)
    for view in views:
        hasher.update(view)
    return Address(_PREFIX + hasher.digest())  # 0002-R1


class Hashing:
    """Parts of an object on their way; once all went by, `address` is that of what they were together."""

    __slots__ = ("_hasher", "_parts", "size")

    def __init__(self, parts: Iterable[Buffer]) -> None:
        self._parts, self._hasher, self.size = parts, blake3.blake3(max_threads=1), 0

    def __iter__(self) -> Iterator[Buffer]:
        for part in self._parts:
            view = memoryview(part).cast("B")
            self._hasher.update(view)
            self.size += len(view)
            yield view

    @property
    def address(self) -> Address:
        """That of the parts that went by."""
        return Address(_PREFIX + self._hasher.digest())


def address_texts(addresses: Sequence[Address]) -> list[str]:
    """Return the text forms of many addresses."""
    rows = np.frombuffer(b"".join(addresses), np.uint8).reshape(-1, ADDRESS_BYTES)
    bits = np.zeros((len(rows), ADDRESS_CHARACTERS * _DIGIT_BITS), np.uint8)
    bits[:, : 8 * ADDRESS_BYTES] = np.unpackbits(rows, axis=1)
    digits = np.packbits(bits.reshape(-1, _DIGIT_BITS), axis=1) >> (8 - _DIGIT_BITS)
    texts = _DIGITS[digits].tobytes().decode("ascii")
    return [texts[at : at + ADDRESS_CHARACTERS] for at in range(0, len(texts), ADDRESS_CHARACTERS)]


@lru_cache(1024)  # SQL names the same versions again and again
def parse_address(text: str) -> Address:
    """Return the Address that has this text form.

    Raises LayoutError for anything that `str` of an Address does not write: another length or case, padding,
    or a last character that carries a bit too many.
    """
    if len(text) != ADDRESS_CHARACTERS or not text.isascii():
        raise LayoutError(f"not the text form of an address: {text[:80]!r}")
    try:
        address = Address(base64.b32decode(text.upper() + "==="))
    except binascii.Error:
        raise LayoutError(f"not the text form of an address: {text!r}") from None
    if str(address) != text:  # 0002-R2
        raise LayoutError(f"not the text form of an address: {text!r}")
    return address


def as_address(value: Any) -> Address:
    """Return a value that came out of CBOR as an Address. Raises LayoutError when it is none."""
    if not isinstance(value, bytes):
        raise LayoutError(f"an address must be a byte string, found {type(value).__name__}")
    return Address(value)


def is_address_text(text: str) -> bool:
    """Whether this is the text form of an Address."""
    try:
        parse_address(text)
    except LayoutError:
        return False
    return True
