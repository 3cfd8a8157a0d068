"""Cases of 0008: merge bases, what a union makes of indexes and tombstones, what refuses one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from cases.kit import Case, VectorFile, invalid, valid
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import encode_cbor

_TIMELINE: Final = bytes(address_of(b"timeline"))
_A, _B, _C, _D = sorted(bytes(address_of(bytes([n]))) for n in range(4))


def bases() -> Iterator[Case]:
    """Versions and what lies behind two of them."""
    line = [["a", []], ["b", ["a"]], ["c", ["b"]]]
    fork = [["a", []], ["b", ["a"]], ["ours", ["b"]], ["theirs", ["b"]]]
    merged = [*fork, ["m", ["ours", "theirs"]], ["more", ["theirs"]]]
    two_roots = [["a", []], ["b", []]]
    drawn: dict[str, tuple[str, list[Any], str, str, str | None]] = {
        "same": ("a version and itself", line, "c", "c", "c"),
        "behind": ("one is behind the other: a fast-forward", line, "a", "c", "a"),
        "ahead": ("the other way round", line, "c", "a", "a"),
        "fork": ("where they parted", fork, "ours", "theirs", "b"),
        "after-a-merge": ("what was merged lies behind both", merged, "m", "more", "theirs"),
        "by-the-second-parent": ("the second parent counts like the first", merged, "m", "theirs", "theirs"),
        "nothing-in-common": ("two beginnings", two_roots, "a", "b", None),
        "long-and-short": (
            "a long line and a short one",
            [["a", []], *([f"l{n}", [f"l{n - 1}" if n else "a"]] for n in range(20)), ["s", ["a"]]],
            "l19",
            "s",
            "a",
        ),
        "newest-of-two": (
            "of two that lie behind both, the one that the other lies behind",
            [["a", []], ["b", ["a"]], ["ours", ["a", "b"]], ["theirs", ["b", "a"]]],
            "ours",
            "theirs",
            "b",
        ),
    }
    for name, (comment, versions, ours, theirs, base) in drawn.items():
        yield valid(
            name, "0008-R7 0008-R12", comment, versions=versions, ours=ours, theirs=theirs, expected=base
        )


def registries() -> Iterator[Case]:
    """Registries that may be merged, and that may not."""
    schema = {"dreamdb.schema": {"v": 1, "fields": []}}
    heads = [{**schema, "dreamdb.tombstones": {"head": head}} for head in (_A, _B)]
    yield valid("equal", "0008-R9", "the same on both sides", ours=schema, theirs=schema, expected="alike")
    yield valid("tombstones", "0008-R9", "they may differ", ours=heads[0], theirs=heads[1], expected="alike")
    yield valid(
        "tombstones-on-one-side",
        "0008-R9",
        "or be on one side",
        ours=schema,
        theirs=heads[1],
        expected="alike",
    )
    title = {**schema, "dreamdb.title": "t"}
    yield invalid("title-on-one-side", "0008-R9", "metadata of one side", ours=title, theirs=schema)
    yield invalid(
        "titles-differ", "0008-R9", "metadata of both", ours=title, theirs={**title, "dreamdb.title": "u"}
    )
    field = {"kind": "image", "name": "i", "mime": "png"}
    yield invalid(
        "schemas-differ",
        "0008-R9",
        "a field more",
        ours=schema,
        theirs={"dreamdb.schema": {"v": 1, "fields": [field]}},
    )
    yield invalid(
        "foreign-key-differs",
        "0008-R9",
        "a key of others",
        ours={**schema, "x": 1},
        theirs={**schema, "x": 2},
    )


def tombstones() -> Iterator[Case]:
    """Heads of two sides to the head of both."""
    at = 1_795_000_000_000
    both = {
        "kind": "dreamdb.tombstone-index.v1",
        "root": None,
        "parents": [_A, _B],
        "timeline": _TIMELINE,
        "issued_at": at,
    }
    joined = str(address_of(encode_cbor(both)))
    sides: dict[str, tuple[str, bytes | None, bytes | None, bytes | None, str | None]] = {
        "none": ("nothing was deleted", None, None, None, None),
        "ours": ("we deleted", _A, None, None, _text(_A)),
        "theirs": ("they deleted", None, _B, None, _text(_B)),
        "both": ("both did: no root, two parents", _A, _B, None, joined),
        "both-after-a-base": ("both did more", _A, _B, _C, joined),
        "ours-as-before": ("only they did more", _A, _B, _A, _text(_B)),
        "theirs-as-before": ("only we did more", _A, _B, _B, _text(_A)),
        "equal": ("the same on both sides", _A, _A, None, _text(_A)),
    }
    for name, (comment, ours, theirs, base, head) in sides.items():
        yield valid(
            name, "0008-R8 0020-R7", comment, ours=ours, theirs=theirs, base=base, issued_at=at, expected=head
        )


def _text(address: bytes) -> str:
    from_bytes = int.from_bytes(address, "big") << 1
    digits = "abcdefghijklmnopqrstuvwxyz234567"
    return "".join(digits[from_bytes >> 5 * place & 31] for place in range(52, -1, -1))


def indexes() -> Iterator[Case]:
    """Inline indexes of two sides to the index of both."""
    image = "image.png"
    first, second, third = [1, 2, 9, _A], [5, 6, 9, _B], [3, 4, 9, _C]
    yield valid(
        "media",
        "0008-R7",
        "entries of both, by time",
        modality=image,
        base=[first],
        ours=[first, second],
        theirs=[first, third],
        expected=[first, third, second],
    )
    yield valid(
        "media-same-entry",
        "0008-R7",
        "what both added is there once",
        modality=image,
        base=[],
        ours=[first, second],
        theirs=[second],
        expected=[first, second],
    )
    yield valid(
        "theirs-empty",
        "0008-R7",
        "ours stays",
        modality=image,
        base=[],
        ours=[first],
        theirs=[],
        expected=[first],
    )
    yield valid(
        "ours-empty",
        "0008-R7",
        "theirs is taken",
        modality=image,
        base=[],
        ours=[],
        theirs=[first],
        expected=[first],
    )
    category = "scalar.cat.field=c"
    a, b, c = ([encode_cbor(text), 1, 9, bucket, 0, 31] for text, bucket in (("a", _A), ("b", _B), ("c", _C)))
    yield valid(
        "categories",
        "0008-R7 0011-R7",
        "entries of both, by value",
        modality=category,
        base=[b],
        ours=[b, c],
        theirs=[b, a],
        expected=[a, b, c],
    )
    cells = "embedding.f32.dim=2.bucketed"
    low, high = ["00", 1, 2, 176, _A], ["11", 3, 4, 176, _B]
    yield valid(
        "cells",
        "0008-R7 0007-R7",
        "entries of both, by key",
        modality=cells,
        base=[],
        ours=[high],
        theirs=[low],
        expected=[low, high],
    )


FILES: Final = (
    VectorFile(
        "0008",
        "merge-bases",
        "merge.base",
        False,
        "Merge bases",
        "Versions, [name, parents], older ones first; the newest that lies behind two of them.",
        bases,
    ),
    VectorFile(
        "0008",
        "merged-registries",
        "merge.registries",
        False,
        "Registries of both sides",
        "Whether they may be merged.",
        registries,
    ),
    VectorFile(
        "0008",
        "merged-tombstones",
        "merge.tombstones",
        False,
        "Tombstones of both sides",
        "Heads before to the head after.",
        tombstones,
    ),
    VectorFile(
        "0008",
        "merged-indexes",
        "merge.index",
        False,
        "Indexes of both sides",
        "Inline indexes to the one after.",
        indexes,
    ),
)
