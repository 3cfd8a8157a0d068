"""Writer tags: by which verb we made a version, and where on its line of first parents it lies. Specs 0006 and 0008.

A place is a hint that saves steps. Text that is not exactly ours gives none, and such a version is walked over by its parents.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from dreamdb_arrow._version import __version__
from dreamdb_arrow.codec.address import Address, parse_address
from dreamdb_arrow.errors import LayoutError

_SDK: Final = f"dreamdb-writer/1;sdk={quote('python/dreamdb-arrow', safe='')};"
_COUNT: Final = "(0|[1-9][0-9]{0,19})"
_PLACE: Final = re.compile(
    rf"{re.escape(_SDK)}version=[^;]*;operation=[^;]*"
    rf";depth={_COUNT};merges={_COUNT}(?:;skip={_COUNT}:{_COUNT}:([a-z2-7]+))?"
    r"(?:;marks=([A-Za-z0-9_-]+))?(?:;(?!skip=|marks=).*)?"
)

_OPERATION: Final = re.compile(rf"{re.escape(_SDK)}version=[^;]*;operation=([^;]*)")
_BUNDLE: Final = re.compile(rf"{re.escape(_SDK)}[^\n]*;bundle=([a-z2-7]+)(?:\+([a-z2-7]+))?")


@dataclass(frozen=True, slots=True)
class Skip:
    """A pointer to an older version of the same line.

    depth    that of its target
    low      the lowest `ts` of the versions from the first parent down to the target, both included
    address  its target
    """

    depth: int
    low: int
    address: Address


@dataclass(frozen=True, slots=True)
class Place:
    """Where a version lies.

    depth   how many steps it is from where counting began
    merges  how many of the versions since then have two parents
    skip    a pointer that passes over many of them
    marks   what `history.marks` says of those behind it, as text
    """

    depth: int
    merges: int
    skip: Skip | None = None
    marks: str = field(default="", compare=False)


FIRST: Final = Place(0, 0)


def writer_tag(operation: str, place: Place = FIRST) -> str:
    """Return the `writer` text of our Manifests."""
    tag = f"{_SDK}version={__version__};operation={operation};depth={place.depth};merges={place.merges}"
    tag = tag if place.skip is None else f"{tag};skip={_skip_text(place.skip)}"
    return f"{tag};marks={place.marks}" if place.marks else tag


def _skip_text(skip: Skip) -> str:
    return f"{skip.depth}:{skip.low}:{skip.address}"


def own_operation(writer: str) -> str | None:
    """Return the verb that a tag of ours tells; None for any other text."""
    found = _OPERATION.match(writer)
    return None if found is None else found[1]


def place_of(writer: str) -> Place | None:
    """Return the place that a tag of ours tells; None for any other text."""
    found = _PLACE.fullmatch(writer)  # 0008-R16
    if found is None:
        return None
    depth, merges, to, low, address, marks = found.groups()
    if address is None:
        return Place(int(depth), int(merges), marks=marks or "")
    try:
        skip = Skip(int(to), int(low), parse_address(address))
    except LayoutError:
        return None
    return Place(int(depth), int(merges), skip, marks or "") if skip.depth < int(depth) else None


def with_bundle(writer: str, bundle: Address, note: Address | None = None) -> str:
    """Return a tag that names a bundle, too, and a cover note that is not in it (`history.bundle`)."""
    return f"{writer};bundle={bundle}" if note is None else f"{writer};bundle={bundle}+{note}"


def bundle_of(writer: str) -> tuple[Address | None, Address | None]:
    """Return the bundle and the cover note that a tag of ours names."""
    found = _BUNDLE.fullmatch(writer)
    if found is None:
        return None, None
    try:
        return parse_address(found[1]), parse_address(found[2]) if found[2] else None
    except LayoutError:
        return None, None


def skip_depth(depth: int) -> int:
    """Return to which depth a version of this depth, above 0, should point.

    Depths are written as sums of the fewest numbers 2^k - 1, and the pointer takes the smallest of these away. So from
    any version any older one is at most three times log2 of the depth steps away, each to a first parent or a target.
    """
    rest = width = depth
    while rest:
        width = (1 << ((rest + 1).bit_length() - 1)) - 1
        rest -= width
    return depth - width
