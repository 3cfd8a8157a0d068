"""Cases of 0020: tombstone pages, indexes and trees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from cases.kit import MISSING, Case, VectorFile, changed, files, invalid, reference, valid
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor

_PAGE: Final = "dreamdb.tombstone-page.v1"
_INDEX: Final = "dreamdb.tombstone-index.v1"
_HASH: Final = bytes(address_of(b"page"))


def _stored(kind: str) -> list[bytes]:
    found = [data for of in ("append-delete", "branch-merge") for _, data in files(of, "/tombstones/")]
    return sorted(
        (data for data in found if decode_cbor(data)["kind"] == kind), key=lambda data: (len(data), data)
    )


def _entry(anchor: int, **more: Any) -> dict[str, Any]:
    return {"anchor": anchor, "deleted_at": 1_795_000_000_000, **more}


def _ref(first: int, last: int, count: int, **changes: Any) -> dict[str, Any]:
    return {"hash": _HASH, "level": 0, "count": count, "min": first, "max": last, **changes}


def _leaf(entries: list[Any], **changes: Any) -> bytes:
    return encode_cbor(changed({"kind": _PAGE, "level": 0, "entries": entries}, **changes))


def _node(children: list[Any], level: int = 1) -> bytes:
    return encode_cbor({"kind": _PAGE, "level": level, "children": children})


def pages() -> Iterator[Case]:
    """Pages of both kinds."""
    stored = _stored(_PAGE)
    yield reference("smallest", "0020-R2", "as the SDK wrote it", hex=stored[0])
    yield reference(
        "reasons", "0020-R2 0020-R6", "with reasons", hex=next(d for d in stored if b"freason" in d)
    )
    yield valid("one", "0020-R2", "one entry, no reason", hex=_leaf([_entry(5)]))
    yield valid("reason-empty", "0020-R2", "any text", hex=_leaf([_entry(5, reason="")]))
    yield valid("last-anchor", "0020-R2", "any anchor may be named", hex=_leaf([_entry((1 << 64) - 1)]))
    yield valid("128-entries", "0020-R2", "as many as may be", hex=_leaf([_entry(n) for n in range(128)]))
    yield valid(
        "node", "0020-R2 0020-R3", "children side by side", hex=_node([_ref(0, 9, 3), _ref(10, 10, 1)])
    )
    bad: dict[str, tuple[str, str, bytes]] = {
        "no-entries": ("0020-R2", "at least one", _leaf([])),
        "129-entries": ("0020-R2", "one too many", _leaf([_entry(n) for n in range(129)])),
        "out-of-order": ("0020-R2", "5 before 4", _leaf([_entry(5), _entry(4)])),
        "anchor-twice": ("0020-R2", "the same again", _leaf([_entry(5), _entry(5)])),
        "anchor-negative": ("0003-R1", "below zero", _leaf([_entry(-1)])),
        "anchor-float": ("0003-R1", "a float", _leaf([_entry(1.0)])),  # type: ignore[arg-type]
        "deleted-at-missing": ("0020-R2", "it must be said", _leaf([{"anchor": 5}])),
        "reason-null": ("0020-R2", "absent, but never null", _leaf([_entry(5, reason=None)])),
        "entry-key-too-many": ("0000-R3", "the map is closed", _leaf([_entry(5, by="me")])),
        "kind-unknown": ("0020-R2", "another kind", _leaf([_entry(5)], kind="dreamdb.tombstone-page.v2")),
        "kind-of-index": ("0020-R2", "that of an index", _leaf([_entry(5)], kind=_INDEX)),
        "kind-missing": ("0020-R2", "it must be said", _leaf([_entry(5)], kind=MISSING)),
        "level-1-with-entries": ("0020-R2", "pages above hold children", _leaf([_entry(5)], level=1)),
        "level-0-with-children": ("0020-R2", "leaves hold entries", _node([_ref(0, 9, 3)], 0)),
        "level-10": ("0020-R4", "more levels than there can be", _node([_ref(0, 9, 3, level=9)], 10)),
        "level-negative": ("0020-R4", "below zero", _leaf([_entry(5)], level=-1)),
        "level-true": ("0020-R4", "true is no number", _leaf([_entry(5)], level=False)),
        "children-overlap": ("0020-R2", "9 is in both", _node([_ref(0, 9, 3), _ref(9, 12, 2)])),
        "children-of-another-level": ("0020-R2", "a leaf two levels down", _node([_ref(0, 9, 3)], 2)),
        "child-count-zero": ("0020-R3", "a page is never empty", _node([_ref(0, 9, 0)])),
        "child-count-too-large": ("0020-R3", "eleven anchors in ten", _node([_ref(0, 9, 11)])),
        "child-backwards": ("0020-R3", "its last before its first", _node([_ref(9, 0, 1)])),
        "child-hash-short": ("0002-R2", "32 bytes", _node([_ref(0, 9, 3, hash=_HASH[:-1])])),
        "child-key-too-many": ("0000-R3", "the map is closed", _node([_ref(0, 9, 3, size=5)])),
        "no-children": ("0020-R2", "at least one", _node([])),
        "key-too-many": ("0000-R3", "the map is closed", _leaf([_entry(5)], children=[])),
    }
    for name, (requirement, comment, data) in bad.items():
        yield invalid(name, requirement, comment, hex=data)


def indexes() -> Iterator[Case]:
    """Heads of sets of tombstones."""
    stored = _stored(_INDEX)
    yield reference("smallest", "0020-R1", "as the SDK wrote it", hex=stored[0])
    merged = next(data for data in stored if decode_cbor(data)["parents"])
    yield reference("merged", "0020-R7", "no root, two parents", hex=merged)
    base = {
        "kind": _INDEX,
        "root": _ref(5, 9, 2),
        "parents": [],
        "timeline": _HASH,
        "issued_at": 1_795_000_000_000,
    }
    yield valid(
        "tree", "0020-R1", "a root above leaves", hex=encode_cbor({**base, "root": _ref(5, 99, 20, level=1)})
    )
    yield valid("empty", "0020-R1", "nothing is deleted", hex=encode_cbor({**base, "root": None}))
    bad: dict[str, tuple[str, str, dict[str, Any]]] = {
        "root-missing": ("0020-R1", "null is said", {"root": MISSING}),
        "root-address": ("0020-R3", "a reference says more", {"root": _HASH}),
        "root-level-10": ("0020-R4", "more levels than there can be", {"root": _ref(5, 9, 2, level=10)}),
        "parents-null": ("0020-R1", "none is an empty array", {"parents": None}),
        "parent-null": ("0020-R1", "an address", {"parents": [None]}),
        "kind-of-page": ("0020-R1", "that of a page", {"kind": _PAGE}),
        "timeline-missing": ("0020-R1", "it must be said", {"timeline": MISSING}),
        "issued-at-negative": ("0020-R1", "below zero", {"issued_at": -1}),
        "key-too-many": ("0000-R3", "the map is closed", {"v": 1}),
    }
    for name, (requirement, comment, change) in bad.items():
        yield invalid(name, requirement, comment, hex=encode_cbor(changed(base, **change)))


def trees() -> Iterator[Case]:
    """How many entries make which pages; the root's address says that every byte is right."""
    for count in (0, 1, 127, 128, 129, 256, 257, 385, 16_384, 16_385):
        common = {
            "first": 1_700_000_000_000_000_000,
            "step": 1000,
            "count": count,
            "deleted_at": 1_795_000_000_000,
        }
        yield valid(
            f"entries-{count}", "0020-R5", "sizes differ by at most one, longer pages first", **common
        )
    yield valid(
        "reason",
        "0020-R5 0020-R6",
        "a reason for each",
        first=1,
        step=1,
        count=130,
        deleted_at=5,
        reason="gdpr",
    )


FILES: Final = (
    VectorFile("0020", "pages", "tombstone_page", True, "Tombstone pages", "Entries and children.", pages),
    VectorFile(
        "0020",
        "indexes",
        "tombstone_index",
        True,
        "Tombstone indexes",
        "Heads of sets of tombstones.",
        indexes,
    ),
    VectorFile(
        "0020",
        "trees",
        "tombstone_tree.build",
        False,
        "Tombstone trees",
        "Entries to the sizes of the pages of each level, leaves first, and the root's address.",
        trees,
    ),
)
