"""Cases of 0016: hot shards of scalars and of vectors."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

from cases.d0004 import floats
from cases.kit import MISSING, Case, VectorFile, changed, invalid, reference, smallest, valid
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import encode_cbor

_PARENT: Final = bytes(address_of(b"track"))
_AT: Final = 1_700_000_000_000_000_000


def _scalars(kind: str, items: list[Any], **changes: Any) -> bytes:
    base = {
        "items": items,
        "version": 2,
        "field_kind": kind,
        "ttl_seconds": 30,
        "parent_track": _PARENT,
        "published_at": _AT,
        "flush_threshold": 10_000,
    }
    return encode_cbor(changed(base, **changes))


def _vectors(
    items: list[Any],
    order: str = "version parent_track published_at flush_threshold ttl_seconds items",
    **changes: Any,
) -> bytes:
    base = {
        "version": 1,
        "parent_track": _PARENT,
        "published_at": _AT,
        "flush_threshold": 10_000,
        "ttl_seconds": 30,
        "items": items,
        **changes,
    }
    keys = order.split()
    return bytes([0xA0 | len(keys)]) + b"".join(encode_cbor(key) + encode_cbor(base[key]) for key in keys)


_TAGS: Final = {
    "int": "scalar.i64.field=int",
    "timestamp": "scalar.ts.field=timestamp",
    "float": "scalar.f64.field=float",
    "bool": "scalar.bool.field=bool",
    "string": "scalar.str.field=string",
    "categorical": "scalar.cat.field=categorical",
    "vectors": "embedding.f32.dim=2.bucketed",
}


def shards() -> Iterator[Case]:
    """Rows that wait beside a Track."""
    good = {
        "int": [[5, struct.pack("<q", -1)], [9, struct.pack("<q", 7)]],
        "timestamp": [[5, struct.pack("<q", _AT)]],
        "float": [[5, struct.pack("<d", 0.1)]],
        "bool": [[5, b"\x00"], [6, b"\x01"]],
        "string": [[5, b""], [6, "\u00e9".encode()]],
        "categorical": [[5, b"train"]],
    }
    for kind, items in good.items():
        yield valid(kind, "0016-R3", f"a column of {kind}", hex=_scalars(kind, items))
    for kind, tag in _TAGS.items():
        yield reference(
            f"reference-{kind}",
            "0016-R3",
            "a hot append of the SDK",
            hex=smallest("hot", f"/{tag}/hot-shard/"),
        )
    yield valid("no-rows", "0016-R3", "nothing waits", hex=_scalars("int", []))
    yield valid(
        "vectors",
        "0016-R3",
        "keys in an order of their own",
        hex=_vectors([[5, floats(1, 2)], [9, floats(2, 4.5)]]),
    )
    yield valid(
        "vectors-any-order",
        "0016-R3",
        "as they came, an anchor perhaps twice",
        hex=_vectors([[9, floats(1, 2)], [5, floats(2, 1)], [5, floats(1, 1)]]),
    )
    one = [[5, struct.pack("<q", 1)]]
    bad: dict[str, tuple[str, str, bytes]] = {
        "kind-unknown": ("0000-R4", "a type that nobody knows", _scalars("decimal", one)),
        "version-1": ("0016-R3", "that of vectors", _scalars("int", one, version=1)),
        "version-float": ("0016-R3", "2.0 is not 2", _scalars("int", one, version=2.0)),
        "key-missing": ("0000-R1", "all seven", _scalars("int", one, ttl_seconds=MISSING)),
        "key-too-many": ("0000-R3", "the map is closed", _scalars("int", one, writer="me")),
        "anchors-out-of-order": ("0016-R3", "9 before 5", _scalars("int", [[9, bytes(8)], [5, bytes(8)]])),
        "anchor-twice": ("0016-R3", "5 twice", _scalars("int", [[5, bytes(8)], [5, bytes(8)]])),
        "anchor-negative": ("0003-R1", "below zero", _scalars("int", [[-1, bytes(8)]])),
        "int-of-seven-bytes": ("0016-R3", "a byte short", _scalars("int", [[5, bytes(7)]])),
        "float-nan": (
            "0016-R3 0011-R2",
            "not a number",
            _scalars("float", [[5, struct.pack("<d", float("nan"))]]),
        ),
        "bool-two": ("0016-R3", "neither 0 nor 1", _scalars("bool", [[5, b"\x02"]])),
        "string-not-utf8": ("0016-R3", "a stray continuation byte", _scalars("string", [[5, b"\x80"]])),
        "value-not-bytes": ("0016-R3", "an integer of CBOR", _scalars("int", [[5, 1]])),
        "item-of-one": ("0016-R3", "no value", _scalars("int", [[5]])),
        "parent-short": ("0002-R2", "32 bytes", _scalars("int", one, parent_track=_PARENT[:-1])),
        "vectors-in-canonical-order": (
            "0016-R3",
            "the order of other Objects",
            _vectors(
                [[5, floats(1, 2)]], "items version ttl_seconds parent_track published_at flush_threshold"
            ),
        ),
        "vectors-of-two-lengths": (
            "0016-R3",
            "two numbers, then one",
            _vectors([[5, floats(1, 2)], [6, floats(1)]]),
        ),
        "vector-of-three-bytes": ("0016-R3", "no whole float32", _vectors([[5, b"abc"]])),
        "vector-of-nothing": ("0016-R3", "no numbers", _vectors([[5, b""]])),
        "vectors-version-2": ("0016-R3", "that of scalars", _vectors([[5, floats(1, 2)]], version=2)),
        "vectors-bytes-after": ("0002-R7", "a byte long", _vectors([[5, floats(1, 2)]]) + b"\0"),
    }
    for name, (requirement, comment, data) in bad.items():
        yield invalid(name, requirement, comment, hex=data)


FILES: Final = (
    VectorFile(
        "0016",
        "hot-shards",
        "hot_shard",
        True,
        "Hot shards",
        "Rows of one field that wait: anchors and the bytes of each value.",
        shards,
    ),
)
