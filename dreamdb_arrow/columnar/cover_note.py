"""Cover notes: what the stripes of a Space have in common with its Tracks. Spec 0021.

A flush writes one. It says of each field which Track it wrote and which buckets it added:
all rows of those are in stripes. It also names the stripes whose rows the Tracks now hold. A reader that meets
exactly these Tracks need not look at them; of another Track it decodes only payloads that no note lists.

A field that is decommissioned leaves its column behind in stripes, which never change. The note of that commit lists
them as dropped, so that a later field of the same name does not find the old values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import LayoutError

_KEYS: Final = frozenset({"v", "tracks", "stripes", "payloads", "dropped"})


@dataclass(frozen=True, slots=True)
class CoverNote:
    """Tracks and payloads by field, whose rows are all in stripes; the stripes that are flushed; dropped columns.

    `dropped` names, by field, the stripes whose column of that name belongs to an earlier field. The newest note has
    all that came before.
    """

    tracks: Mapping[str, Address]
    payloads: Mapping[str, frozenset[Address]]
    stripes: frozenset[Address] = field(default_factory=frozenset)
    dropped: Mapping[str, frozenset[Address]] = field(default_factory=dict)


def encode_cover_note(note: CoverNote) -> bytes:
    """Return the canonical bytes of a note."""
    listed = {
        "v": 1,
        "tracks": {name: bytes(a) for name, a in note.tracks.items()},
        "stripes": [bytes(a) for a in sorted(note.stripes)],
        "payloads": _by_field(note.payloads),
    }
    return encode_cbor({**listed, "dropped": _by_field(note.dropped)} if note.dropped else listed)


def _by_field(listed: Mapping[str, frozenset[Address]]) -> dict[str, list[bytes]]:
    return {name: [bytes(a) for a in sorted(addresses)] for name, addresses in listed.items()}


def decode_cover_note(data: bytes) -> CoverNote:
    """Return the note. Raises CanonicalError or LayoutError for anything that no flush writes."""
    raw: Any = decode_cbor(data)
    if not isinstance(raw, dict) or set(raw) | {"dropped"} != _KEYS or raw["v"] != 1:
        raise LayoutError("not a cover note of version 1")
    tracks, stripes = raw["tracks"], raw["stripes"]
    if isinstance(raw["v"], bool) or not isinstance(tracks, dict) or not isinstance(stripes, list):
        raise LayoutError("a cover note must hold tracks, payloads and stripes")
    if "dropped" in raw and not raw["dropped"]:
        raise LayoutError("a cover note that drops nothing must not say so")
    note = CoverNote(
        {name: as_address(a) for name, a in tracks.items()},
        _addresses_by_field(raw["payloads"]),
        frozenset(map(as_address, stripes)),
        _addresses_by_field(raw.get("dropped", {})),
    )
    if encode_cover_note(note) != data:  # the version as a float, or a list that is not sorted
        raise LayoutError("a cover note must list addresses in order, each once")
    return note


def _addresses_by_field(raw: Any) -> dict[str, frozenset[Address]]:
    if not isinstance(raw, dict) or not all(isinstance(listed, list) for listed in raw.values()):
        raise LayoutError("a cover note must list the payloads of each field")
    return {name: frozenset(map(as_address, listed)) for name, listed in raw.items()}


def merge_notes(notes: Iterable[CoverNote]) -> CoverNote:
    """Unite notes, oldest first: the newest names the Tracks, payloads and stripes add up."""
    tracks: dict[str, Address] = {}
    payloads: dict[str, frozenset[Address]] = {}
    stripes: frozenset[Address] = frozenset()
    dropped: dict[str, frozenset[Address]] = {}
    for note in notes:
        tracks |= note.tracks
        stripes |= note.stripes
        for united, listed in ((payloads, note.payloads), (dropped, note.dropped)):
            for name, held in listed.items():
                united[name] = united.get(name, frozenset()) | held
    return CoverNote(tracks, payloads, stripes, dropped)
