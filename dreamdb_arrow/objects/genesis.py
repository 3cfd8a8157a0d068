"""Genesis: the Object whose Address names a timeline. Spec 0001."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.shape import expect_closed_map

NONCE_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Genesis:
    """A random nonce and nothing else: it makes the timeline's Address unlike any other's."""

    nonce: bytes

    def __post_init__(self) -> None:
        _check_nonce(self.nonce)


def encode_genesis(genesis: Genesis) -> bytes:
    """Return the canonical bytes."""
    return encode_cbor({"nonce": genesis.nonce})


def decode_genesis(data: bytes) -> Genesis:
    """Return the Genesis of these bytes. Raises CanonicalError or LayoutError."""
    return Genesis(expect_closed_map(decode_cbor(data), "genesis", {"nonce"})["nonce"])


def _check_nonce(nonce: Any) -> None:
    if not isinstance(nonce, bytes) or len(nonce) != NONCE_BYTES:  # 0001-R1
        raise LayoutError(f"a genesis nonce must be {NONCE_BYTES} bytes")
