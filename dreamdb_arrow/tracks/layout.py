"""Where the objects of a Track lie (0002-R11), and what writing one gives back. Specs 0002 and 0003."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from dreamdb_arrow.codec.address import Address, address_texts
from dreamdb_arrow.codec.time_key import encode_time_key
from dreamdb_arrow.objects.track import Track

VALUE_BYTES_MAX: Final = 1 << 32  # of one value that is put together: parts may be listed any number of times
ZERO_TIME: Final = encode_time_key(0)
VISIBLE_ANCHOR_MAX: Final = (1 << 63) - 2  # the reference neither counts nor iterates anchors above; 0003-R2


@dataclass(frozen=True, slots=True)
class Written:
    """A Track that is not stored yet, and the payloads that were added to the batch for it."""

    track: Track
    payloads: tuple[Address, ...] = ()


def track_directory(timeline: Address, modality: str) -> str:
    """Return where Tracks lie."""
    return f"{timeline}/{modality}/track"


def index_directory(timeline: Address, modality: str) -> str:
    """Return where pages of scalar B-trees, media and spatial indexes lie."""
    return f"{timeline}/{modality}/index"


def bucket_directory(timeline: Address, modality: str) -> str:
    """Return where scalar buckets lie."""
    return f"{timeline}/{modality}/bucket"


def payload_directory(timeline: Address, modality: str) -> str:
    """Return where media items, packs, chunks and fragments lie, whatever their anchors."""
    return f"{timeline}/{modality}/{ZERO_TIME}"


def items_directory(timeline: Address, modality: str) -> str:
    """Return where the chunk lists of media items lie."""
    return f"{timeline}/{modality}/items"


def init_directory(timeline: Address, modality: str) -> str:
    """Return where the initialization bytes of CMAF fragments and of video items lie."""
    return f"{timeline}/{modality}/init"


def constant_directory(timeline: Address, modality: str) -> str:
    """Return where the payload of a constant lies."""
    return f"{timeline}/{modality}"


def paths_in(directory: str, addresses: Iterable[Address]) -> list[tuple[str, Address]]:
    """Return path and address of objects in one directory, as `store.verified.fetch_many` takes them."""
    names = list(addresses)
    return [(f"{directory}/{text}", name) for text, name in zip(address_texts(names), names, strict=True)]


def widen(coverage: tuple[int, int], first: int, stop: int, *, empty: bool) -> tuple[int, int]:
    """Return the coverage of a Track that also holds [first, stop); that of an empty one says nothing."""
    return (first, stop) if empty else (min(coverage[0], first), max(coverage[1], stop))
