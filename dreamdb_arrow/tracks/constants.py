"""Constants: one value for the whole timeline. Spec 0007.

Text is UTF-8, a URI is ASCII, JSON is compact and its keys are sorted: equal values have one Address.
"""

from __future__ import annotations

import json
from typing import Any, Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import InvalidInputError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.array_item import Items, decode_items_of, encode_items_of
from dreamdb_arrow.objects.array_type import ItemType
from dreamdb_arrow.objects.shape import expect_addresses
from dreamdb_arrow.objects.track import WHOLE_COVERAGE, Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch
from dreamdb_arrow.tracks.layout import Written, constant_directory

TEXT_MODALITIES: Final = ("title.text", "author.text", "license.spdx", "description.text")
URI_MODALITY: Final = "source.uri"
JSON_MODALITY: Final = "author.json"


def read_constant(store: Store, track: Track) -> Any:
    """Return the value of a constant: text, or what its JSON says.

    Raises CorruptDataError for a value that is not what its modality promises, UnsupportedError for a modality that
    has no encoding here.
    """
    encoding = _encoding_of(track.modality)
    path, address = place_of(track)
    try:
        text = fetch(store, path, address).decode(encoding)
        return json.loads(text) if track.modality == JSON_MODALITY else text
    except (ValueError, RecursionError) as error:
        raise LayoutError(f"not a {track.modality} constant: {path}: {error}") from None


def read_array_constant(store: Store, track: Track, of: ItemType) -> Items:
    """Return the one item of an array constant. Raises CorruptDataError, UnsupportedError."""
    return decode_items_of(of, [fetch(store, *place_of(track))])


def place_of(track: Track) -> tuple[str, Address]:
    """Return path and address of a constant's payload."""
    addresses = expect_addresses(track.object_index, "object_index of a constant")
    if len(addresses) != 1:
        raise LayoutError(f"a constant has one payload, not {len(addresses)}")
    return f"{constant_directory(track.timeline, track.modality)}/{addresses[0]}", addresses[0]


def write_array_constant(
    batch: Batch, timeline: Address, modality: str, of: ItemType, items: Items
) -> Written:
    """Add the payload of an array constant, one item, to the batch and return its Track."""
    (payload,) = encode_items_of(of, items)
    address = batch.add(constant_directory(timeline, modality), payload)
    return Written(Track(WHOLE_COVERAGE, modality, timeline, [address]), (address,))


def write_constant(batch: Batch, timeline: Address, modality: str, value: Any) -> Written:
    """Add the payload of a constant to the batch and return its Track.

    Raises InvalidInputError for a value that its modality does not have, UnsupportedError for a modality that has no
    encoding here.
    """
    payload = batch.add(constant_directory(timeline, modality), encode_constant(modality, value))
    return Written(Track(WHOLE_COVERAGE, modality, timeline, [payload]), (payload,))


def encode_constant(modality: str, value: Any) -> bytes:
    """Return the bytes of a value. Raises as write_constant does."""
    encoding = _encoding_of(modality)
    try:
        text = _compact(value) if modality == JSON_MODALITY else value
        if not isinstance(text, str):
            raise InvalidInputError(f"a {modality} constant is text, not {type(text).__name__}")
        return text.encode(encoding)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInputError(f"cannot be a {modality} constant: {error}") from None


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _encoding_of(modality: str) -> str:
    if modality == URI_MODALITY:
        return "ascii"
    if modality in TEXT_MODALITIES or modality == JSON_MODALITY:
        return "utf-8"
    raise UnsupportedError(f"constants of modality {modality!r:.80} are not supported yet")
