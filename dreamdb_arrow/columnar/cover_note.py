"""Cover notes: what the stripes of a Space have in common with its Tracks. Spec 0021.

A flush writes one. It says of each field which Track it wrote and which payloads (buckets, fragments) it added:
all rows of those are in stripes. It also names the stripes whose rows the Tracks now hold. A reader that meets
exactly these Tracks need not look at them; of another Track it decodes only payloads that no note lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import LayoutError


@dataclass(frozen=True, slots=True)
class CoverNote:
    """Tracks and payloads by field, whose rows are all in stripes; and the stripes that are flushed."""

    tracks: Mapping[str, Address]
    payloads: Mapping[str, frozenset[Address]]
    stripes: frozenset[Address] = field(default_factory=frozenset)


def encode_cover_note(note: CoverNote) -> bytes:
    """Return the canonical bytes of a note."""
    return encode_cbor(
        {
            "v": 1,
            "tracks": {name: bytes(a) for name, a in note.tracks.items()},
            "stripes": [bytes(a) for a in sorted(note.stripes)],
            "payloads": {name: [bytes(a) for a in sorted(p)] for name, p in note.payloads.items()},
        }
    )


def decode_cover_note(data: bytes) -> CoverNote:
    """Return the note. Raises CanonicalError or LayoutError for anything that no flush writes."""
    raw: Any = decode_cbor(data)
    if not isinstance(raw, dict) or set(raw) != {"v", "tracks", "stripes", "payloads"} or raw["v"] != 1:
        raise LayoutError("not a cover note of version 1")
    tracks, payloads, stripes = raw["tracks"], raw["payloads"], raw["stripes"]
    if not isinstance(tracks, dict) or not isinstance(payloads, dict) or not isinstance(stripes, list):
        raise LayoutError("a cover note must hold tracks, payloads and stripes")
    if isinstance(raw["v"], bool) or not all(isinstance(listed, list) for listed in payloads.values()):
        raise LayoutError("a cover note must list the payloads of each field")
    return CoverNote(
        {name: as_address(a) for name, a in tracks.items()},
        {name: frozenset(map(as_address, p)) for name, p in payloads.items()},
        frozenset(map(as_address, stripes)),
    )


def merge_notes(notes: Iterable[CoverNote]) -> CoverNote:
    """Unite notes, oldest first: the newest names the Tracks, payloads and stripes add up."""
    tracks: dict[str, Address] = {}
    payloads: dict[str, frozenset[Address]] = {}
    stripes: frozenset[Address] = frozenset()
    for note in notes:
        tracks |= note.tracks
        stripes |= note.stripes
        for name, held in note.payloads.items():
            payloads[name] = payloads.get(name, frozenset()) | held
    return CoverNote(tracks, payloads, stripes)
