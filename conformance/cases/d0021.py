"""Cases of 0021: cover notes and ids of columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from cases.kit import MISSING, Case, VectorFile, changed, invalid, valid
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import encode_cbor

_A, _B = sorted(bytes(address_of(bytes([n]))) for n in range(2))


def notes() -> Iterator[Case]:
    """Cover notes."""
    base = {"v": 1, "tracks": {"n": _A}, "stripes": [_A, _B], "payloads": {"n": [_A, _B]}}
    yield valid("full", "0021-R9", "a field, two payloads, two stripes", hex=encode_cbor(base))
    yield valid(
        "empty",
        "0021-R9",
        "nothing in common yet",
        hex=encode_cbor({"v": 1, "tracks": {}, "stripes": [], "payloads": {}}),
    )
    bad: dict[str, tuple[str, dict[str, Any]]] = {
        "version-2": ("another version", {"v": 2}),
        "version-true": ("true is not 1", {"v": True}),
        "version-float": ("1.0 is not 1", {"v": 1.0}),
        "tracks-missing": ("all four", {"tracks": MISSING}),
        "tracks-array": ("a map by field", {"tracks": [_A]}),
        "track-text": ("an address is bytes", {"tracks": {"n": "x"}}),
        "stripes-map": ("an array", {"stripes": {}}),
        "stripe-short": ("32 bytes", {"stripes": [_A[:-1]]}),
        "payloads-addresses": ("arrays by field", {"payloads": {"n": _A}}),
        "key-too-many": ("the map is closed", {"rows": 5}),
        "stripes-out-of-order": ("sorted by address", {"stripes": [_B, _A]}),
        "stripe-twice": ("each once", {"stripes": [_A, _A]}),
        "payloads-out-of-order": ("sorted by address", {"payloads": {"n": [_B, _A]}}),
    }
    for name, (comment, change) in bad.items():
        yield invalid(name, "0021-R9", comment, hex=encode_cbor(changed(base, **change)))


def ids() -> Iterator[Case]:
    """Names of columns to Parquet field ids."""
    published = {"digits": ("123456789", 0xCBF43926 & 0x7FFFFFFF), "empty": ("", 0)}
    for name, (text, number) in published.items():
        yield valid(name, "0021-R5", "a CRC-32 that is published", name=text, expected=number)
    for nth, text in enumerate(("_anchor", "_time", "n", "photo.address", "gr\u00fc\u00dfe")):
        yield valid(f"name-{nth}", "0021-R5", "the lowest 31 bits", name=text)


FILES: Final = (
    VectorFile(
        "0021",
        "cover-notes",
        "cover_note",
        True,
        "Cover notes",
        "What stripes and Tracks have in common.",
        notes,
    ),
    VectorFile(
        "0021", "field-ids", "field_id", False, "Ids of columns", "A name to its Parquet field id.", ids
    ),
)
