"""Tombstones: which anchors are deleted; an index, and under it a tree of pages. Spec 0020.

Times are milliseconds since 1970. A page of level 0 holds entries, one of a higher level its children; both at
most 128, in order of anchors. How they are spread over pages: `objects.tombstone_tree`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.shape import (
    expect_address,
    expect_addresses,
    expect_closed_map,
    expect_list,
    expect_map,
    expect_text,
    expect_uint,
)

TOMBSTONES_KEY: Final = "dreamdb.tombstones"
PAGE_ITEMS_MAX: Final = 128  # 0020-R2
LEVEL_MAX: Final = 9  # 128^10 anchors are more than there are
_INDEX_KIND: Final = "dreamdb.tombstone-index.v1"
_PAGE_KIND: Final = "dreamdb.tombstone-page.v1"
_INDEX_KEYS: Final = frozenset({"kind", "root", "parents", "timeline", "issued_at"})
_PAGE_REF_KEYS: Final = frozenset({"hash", "level", "count", "min", "max"})
_ENTRY_KEYS: Final = frozenset({"anchor", "deleted_at"})
_REASON_KEY: Final = frozenset({"reason"})


class Tombstone(NamedTuple):
    """A deleted anchor, when it was deleted, and perhaps why."""

    anchor: int
    deleted_at: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PageRef:
    """A page as its parent names it: how many entries lie below it, and their first and last anchor."""

    address: Address
    level: int
    count: int
    min_anchor: int
    max_anchor: int


@dataclass(frozen=True, slots=True)
class TombstonePage:
    """A page: entries at level 0, children above it."""

    level: int
    entries: tuple[Tombstone, ...] = ()
    children: tuple[PageRef, ...] = ()


@dataclass(frozen=True, slots=True)
class TombstoneIndex:
    """The head of a set of tombstones: its tree, united with the sets of its parents."""

    timeline: Address
    issued_at: int
    root: PageRef | None = None
    parents: tuple[Address, ...] = ()


# --- pages --------------------------------------------------------------------------------------------------


def encode_page(page: TombstonePage) -> bytes:
    """Return the canonical bytes."""
    items: dict[str, Any] = (
        {"children": [_ref_value(child) for child in page.children]}
        if page.level
        else {"entries": [entry_value(entry) for entry in page.entries]}
    )
    return encode_cbor({"kind": _PAGE_KIND, "level": page.level, **items})


def decode_page(data: bytes) -> TombstonePage:
    """Return the page of these bytes, its items in order. Raises CanonicalError or LayoutError."""
    fields = expect_map(decode_cbor(data), "tombstone page")
    level = _expect_level(fields.get("level"))
    items_key = "children" if level else "entries"
    expect_closed_map(fields, "tombstone page", {"kind", "level", items_key})
    _expect_kind(fields["kind"], _PAGE_KIND)
    items = expect_list(fields[items_key], f"{items_key} of a tombstone page")
    if not 1 <= len(items) <= PAGE_ITEMS_MAX:  # 0020-R2
        raise LayoutError(f"a tombstone page has 1 to {PAGE_ITEMS_MAX} {items_key}, not {len(items)}")
    if level:
        return TombstonePage(level, children=_decode_children(items, level))
    return TombstonePage(level, entries=_decode_entries(items))


def check_page(page: TombstonePage, ref: PageRef) -> None:
    """Raise LayoutError unless a page is what its parent says of it."""
    if ref_to(page, ref.address) != ref:  # 0020-R3
        raise LayoutError(f"tombstone page {ref.address} is not what its parent says of it")


def ref_to(page: TombstonePage, name: Address | bytes) -> PageRef:
    """Return the reference to a page, given its address or its bytes."""
    address = name if isinstance(name, Address) else address_of(name)
    if page.level:
        first, last = page.children[0].min_anchor, page.children[-1].max_anchor
        return PageRef(address, page.level, sum(child.count for child in page.children), first, last)
    return PageRef(address, 0, len(page.entries), page.entries[0].anchor, page.entries[-1].anchor)


def _decode_children(items: list[Any], level: int) -> tuple[PageRef, ...]:
    children = tuple(map(_decode_ref, items))
    if any(child.level != level - 1 for child in children):  # 0020-R2
        raise LayoutError(
            f"a child of a tombstone page of level {level} is of another level than {level - 1}"
        )
    if any(left.max_anchor >= right.min_anchor for left, right in pairwise(children)):  # 0020-R2
        raise LayoutError("children of a tombstone page are not in order")
    return children


def _decode_entries(items: list[Any]) -> tuple[Tombstone, ...]:
    entries = tuple(map(decode_entry, items))
    if any(left.anchor >= right.anchor for left, right in pairwise(entries)):
        raise LayoutError("entries of a tombstone page are not in order")
    return entries


# --- index --------------------------------------------------------------------------------------------------


def encode_index(index: TombstoneIndex) -> bytes:
    """Return the canonical bytes."""
    return encode_cbor(
        {
            "kind": _INDEX_KIND,
            "root": None if index.root is None else _ref_value(index.root),
            "parents": index.parents,
            "timeline": index.timeline,
            "issued_at": index.issued_at,
        }
    )


def decode_index(data: bytes) -> TombstoneIndex:
    """Return the index of these bytes. Raises CanonicalError or LayoutError."""
    fields = expect_closed_map(decode_cbor(data), "tombstone index", _INDEX_KEYS)
    _expect_kind(fields["kind"], _INDEX_KIND)
    return TombstoneIndex(
        timeline=expect_address(fields["timeline"], "timeline of a tombstone index"),
        issued_at=expect_uint(fields["issued_at"], "issued_at of a tombstone index"),
        root=None if fields["root"] is None else _decode_ref(fields["root"]),
        parents=expect_addresses(fields["parents"], "parent of a tombstone index"),
    )


# --- their parts: values and back ---------------------------------------------------------------------------


def entry_value(entry: Tombstone) -> dict[str, Any]:
    """Return a tombstone as what CBOR has for it."""
    value: dict[str, Any] = {"anchor": entry.anchor, "deleted_at": entry.deleted_at}
    return value if entry.reason is None else {**value, "reason": entry.reason}


def decode_entry(value: Any) -> Tombstone:
    """Return the tombstone that was decoded to this value. Raises LayoutError."""
    fields = expect_closed_map(value, "tombstone", _ENTRY_KEYS, _REASON_KEY)
    return Tombstone(
        anchor=expect_uint(fields["anchor"], "anchor of a tombstone"),
        deleted_at=expect_uint(fields["deleted_at"], "deleted_at of a tombstone"),
        reason=expect_text(fields["reason"], "reason of a tombstone") if "reason" in fields else None,
    )


def _ref_value(ref: PageRef) -> dict[str, Any]:
    return {
        "hash": ref.address,
        "level": ref.level,
        "count": ref.count,
        "min": ref.min_anchor,
        "max": ref.max_anchor,
    }


def _decode_ref(value: Any) -> PageRef:
    fields = expect_closed_map(value, "reference to a tombstone page", _PAGE_REF_KEYS)
    ref = PageRef(
        address=expect_address(fields["hash"], "hash of a tombstone page"),
        level=_expect_level(fields["level"]),
        count=expect_uint(fields["count"], "count of a tombstone page"),
        min_anchor=expect_uint(fields["min"], "min of a tombstone page"),
        max_anchor=expect_uint(fields["max"], "max of a tombstone page"),
    )
    if not 1 <= ref.count <= ref.max_anchor - ref.min_anchor + 1:
        raise LayoutError(f"{ref.count} tombstones cannot lie in [{ref.min_anchor}, {ref.max_anchor}]")
    return ref


def _expect_level(value: Any) -> int:
    level = expect_uint(value, "level of a tombstone page")
    if level > LEVEL_MAX:  # 0020-R4
        raise LayoutError(f"tombstone pages of level {level} are too many levels")
    return level


def _expect_kind(value: Any, kind: str) -> None:
    if value != kind:
        raise LayoutError(f"kind must be {kind!r}, found {value!r:.80}")
