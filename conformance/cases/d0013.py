"""Cases of 0013: GraphIndex Objects and pages of graphs."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

from cases.d0004 import floats
from cases.kit import MISSING, Case, VectorFile, changed, invalid, reference, smallest, valid
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor

_INDEX: Final = bytes.fromhex("1e4ca615adea100c637850147ca85269a4e9944c6a971c15a22f0f22a31f6332c2")
_TAG: Final = b"embedding.f32.dim=2.graph.r=2.fi"
_OTHER: Final = bytes(address_of(b"other"))

Node = tuple[int, bytes, Sequence[int]]


def indexes() -> Iterator[Case]:
    """How a graph was built and is laid out."""
    stored = smallest("vec-vamana", "graph-index/")
    yield reference("reference", "0013-R3", "300 nodes of dim 24", hex=stored)
    base = decode_cbor(stored)
    params, layout = base["params"], base["graph_layout"]
    yield valid(
        "one-node",
        "0013-R3",
        "entered at its only node",
        hex=encode_cbor(changed(base, graph_layout={**layout, "node_count": 1, "entry_point": 0})),
    )
    grown, coded = _grown(base), _coded(base)
    yield valid("fresh", "0013-R6", "a graph that nodes were added to", hex=encode_cbor(grown))
    yield valid("compressed", "0013-R6", "nodes of nine bytes", hex=encode_cbor(coded))
    for name, requirement, comment, value in _bad_forms(grown, coded):
        yield invalid(name, requirement, comment, hex=encode_cbor(value))
    bad: dict[str, tuple[str, str, dict[str, Any]]] = {
        "algorithm-router": ("0000-R4", "another one", {"algorithm": "dreamdb.router-cosine"}),
        "algorithm-fresh-alone": (
            "0013-R6",
            "with the params of a graph that was built as a whole",
            {"algorithm": "dreamdb.fresh-vamana-cosine"},
        ),
        "metric-l2": ("0013-R3", "cosine alone", {"metric": "l2"}),
        "version-4-alone": (
            "0013-R6",
            "a compressed graph without a compressor",
            {"params": {**params, "version": 4}},
        ),
        "version-2": ("0000-R4", "unknown", {"params": {**params, "version": 2}}),
        "version-true": ("0013-R3", "true is not 1", {"params": {**params, "version": True}}),
        "alpha-eight-bytes": ("0013-R3", "four", {"params": {**params, "alpha": struct.pack("<d", 1.2)}}),
        "alpha-nan": ("0013-R3", "a number", {"params": {**params, "alpha": floats(float("nan"))}}),
        "seed-short": ("0013-R3", "31 bytes", {"params": {**params, "build_seed": bytes(31)}}),
        "params-key-too-many": ("0000-R3", "the map is closed", {"params": {**params, "salt": 1}}),
        "entry-point-beyond": (
            "0013-R3",
            "node 300 of 300",
            {"graph_layout": {**layout, "entry_point": 300}},
        ),
        "no-nodes": (
            "0013-R3",
            "nowhere to enter",
            {"graph_layout": {**layout, "node_count": 0, "entry_point": 0}},
        ),
        "record-bytes-of-another-dim": (
            "0013-R3",
            "four bytes a number",
            {"graph_layout": {**layout, "vector_layout": {"record_bytes": 92}}},
        ),
        "page-of-no-nodes": (
            "0000-R2",
            "pages without number",
            {"graph_layout": {**layout, "page_node_count": 0}},
        ),
        "degree-zero": ("0013-R3", "no way on", {"graph_layout": {**layout, "R": 0}}),
        "layout-key-missing": ("0000-R1", "all six", {"graph_layout": changed(layout, R=MISSING)}),
        "key-too-many": ("0000-R3", "the map is closed", {"v": 1}),
    }
    for name, (requirement, comment, change) in bad.items():
        yield invalid(name, requirement, comment, hex=encode_cbor(changed(base, **change)))


def _grown(base: dict[str, Any]) -> dict[str, Any]:
    params = base["params"]
    first = {key: params[key] for key in ("alpha", "version", "build_seed", "build_passes")}
    return {
        **base,
        "algorithm": "dreamdb.fresh-vamana-cosine",
        "params": {
            "base": {**first, "L_build": params["l_build"], "L_search": params["l_search"]},
            "form": "fresh-vamana-params-v1",
            "lineage_root": _OTHER,
            "consolidation_threshold_appends": 1_000_000,
            "consolidation_threshold_seconds": 86_400,
        },
    }


def _coded(base: dict[str, Any]) -> dict[str, Any]:
    vectors = {"record_bytes": 9, "compressor_hash": _OTHER}
    return {
        **base,
        "params": {**base["params"], "version": 4},
        "graph_layout": {**base["graph_layout"], "vector_layout": vectors},
    }


def _bad_forms(
    grown: dict[str, Any], coded: dict[str, Any]
) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    said, layout = grown["params"], coded["graph_layout"]
    lower = {key.lower(): value for key, value in said["base"].items()}
    yield "fresh-of-another-form", "0000-R4", "v2", changed(grown, params={**said, "form": "v2"})
    yield (
        "fresh-lower-case",
        "0013-R6",
        "l_build as in other graphs",
        changed(grown, params={**said, "base": lower}),
    )
    yield (
        "fresh-without-root",
        "0013-R6",
        "which graph it began with",
        changed(grown, params=changed(said, lineage_root=MISSING)),
    )
    yield (
        "compressed-of-version-1",
        "0013-R6",
        "a compressor where vectors are exact",
        changed(coded, params={**coded["params"], "version": 1}),
    )
    yield (
        "compressor-of-another-hash",
        "0002-R2",
        "0x12",
        changed(
            coded,
            graph_layout={
                **layout,
                "vector_layout": {"record_bytes": 9, "compressor_hash": b"\x12" + _OTHER[1:]},
            },
        ),
    )


def _page(nodes: Sequence[Node], *, width: int = 8, **changes: Any) -> bytes:
    said = {
        "magic": b"GPGU",
        "version": 1,
        "number": 0,
        "count": len(nodes),
        "first": 0,
        "degree": 2,
        **changes,
    }
    head = struct.pack(
        "<4sIIIQII",
        said["magic"],
        said["version"],
        said["number"],
        said["count"],
        said["first"],
        said["degree"],
        width,
    )
    body = b"".join(
        struct.pack("<Q", anchor) + vector + struct.pack(f"<I{len(near)}Q", len(near), *near)
        for anchor, vector, near in nodes
    )
    return (head + said.get("index", _INDEX) + said.get("tag", _TAG)).ljust(192, b"\0") + body


def pages() -> Iterator[Case]:
    """Nodes and their neighbours."""
    nodes: list[Node] = [
        (5, bytes.fromhex("2ef9e43e2ef9643f"), [1, 2]),
        (6, bytes.fromhex("61f1cf3e8eef693f"), [0, 2]),
        (7, floats(0, 1), [0]),
    ]
    yield valid("three-nodes", "0013-R1", "degrees of two and one", hex=_page(nodes))
    yield valid("no-neighbours", "0013-R1", "a node alone", hex=_page([(5, floats(1, 0), [])]))
    yield valid("second-page", "0013-R1", "ids go on", hex=_page(nodes, number=1, first=256))
    yield valid(
        "codes",
        "0013-R1",
        "three bytes in place of a vector",
        hex=_page([(5, b"abc", [1]), (6, b"def", [0])], width=3),
    )
    yield valid("no-nodes", "0013-R1", "a header alone", hex=_page([]))
    good = _page(nodes)
    bad: dict[str, tuple[str, str, bytes]] = {
        "empty": ("0013-R1", "no bytes", b""),
        "header-cut": ("0013-R1", "191 bytes", good[:191]),
        "magic-big-endian": ("0013-R1", "the other way round", _page(nodes, magic=b"UGPG")),
        "version-2": ("0013-R1", "another version", _page(nodes, version=2)),
        "count-too-large": ("0013-R1", "four said, three there", _page(nodes, count=4)),
        "count-too-small": ("0013-R1", "two said, three there", _page(nodes, count=2)),
        "count-beyond-the-bytes": ("0000-R2", "2^32 - 1 nodes", _page(nodes, count=(1 << 32) - 1)),
        "degree-beyond-the-page": ("0013-R1", "two neighbours where one is allowed", _page(nodes, degree=1)),
        "index-of-another-hash": ("0002-R2", "0x12", _page(nodes, index=b"\x12" + _OTHER[1:])),
        "padding-not-zero": ("0013-R1", "a byte before the nodes", good[:191] + b"\1" + good[192:]),
        "tag-with-a-hole": ("0013-R1", "text after the padding", _page(nodes, tag=b"a\0b" + bytes(29))),
        "cut": ("0013-R1", "a byte short", good[:-1]),
        "bytes-after": ("0013-R1", "a byte long", good + b"\0"),
    }
    for name, (requirement, comment, data) in bad.items():
        yield invalid(name, requirement, comment, hex=data)


# Pages of build_anchor_index("v") of the SDK, over anchors 5 to 9 and 100 to 102 in three cells.
_LEAF: Final = bytes.fromhex(
    "0000000800000000000000051eac0942ab31c9cd7f7732448ed400a22169f78c58d1b9d9ae11025750a3191fcc"
    "0000000000000000000000061eac0942ab31c9cd7f7732448ed400a22169f78c58d1b9d9ae11025750a3191fcc"
    "0000000100000000000000071eeea91d5af774848bd7447348fbf51ffc50546119e85b51c934a33f6187c839e1"
    "0000000000000000000000081eeea91d5af774848bd7447348fbf51ffc50546119e85b51c934a33f6187c839e1"
    "0000000100000000000000091eeea91d5af774848bd7447348fbf51ffc50546119e85b51c934a33f6187c839e1"
    "0000000200000000000000641ef820fe6c2d05d04a6ea25b94294e6250e1ffa6fa7ff1573436c0ce9dff798201"
    "0000000000000000000000651ef820fe6c2d05d04a6ea25b94294e6250e1ffa6fa7ff1573436c0ce9dff798201"
    "0000000100000000000000661ef820fe6c2d05d04a6ea25b94294e6250e1ffa6fa7ff1573436c0ce9dff798201"
    "00000002"
)
_ROOT: Final = bytes.fromhex(
    "0000000100000000000000051e1aeb8d4e049736f15657f8eb550a759c8b12c5f7f3de3abcfa167e9091341c67"
)


def anchor_leaves() -> Iterator[Case]:
    """Anchors and the rows of sidecars that hold their vectors."""
    yield reference("eight-rows", "0002-R2", "rows of two appends", hex=_LEAF)
    yield valid("no-rows", "0000-R2", "a count alone", hex=bytes(4))
    yield valid(
        "anchor-twice", "0000-R2", "one anchor in two sidecars", hex=bytes([0, 0, 0, 2]) + _LEAF[4:49] * 2
    )
    bad = {
        "empty": ("no bytes", b""),
        "count-too-large": ("nine said, eight there", b"\0\0\0\x09" + _LEAF[4:]),
        "count-beyond-the-bytes": ("2^32 - 1 rows", b"\xff" * 4 + _LEAF[4:]),
        "anchors-fall": ("6 before 5", _LEAF[:4] + _LEAF[49:94] + _LEAF[4:49] + _LEAF[94:]),
        "cut": ("a byte short", _LEAF[:-1]),
        "bytes-after": ("a byte long", _LEAF + b"\0"),
        "of-a-root": ("41 bytes a record", _ROOT),
    }
    for name, (comment, data) in bad.items():
        yield invalid(name, "0000-R1 0000-R2", comment, hex=data)
    yield invalid("address-of-another-hash", "0002-R2", "0x12", hex=_LEAF[:12] + b"\x12" + _LEAF[13:])


def anchor_roots() -> Iterator[Case]:
    """First anchors and leaves."""
    yield reference("one-leaf", "0002-R2", "above one leaf", hex=_ROOT)
    yield valid("no-leaves", "0000-R2", "a count alone", hex=bytes(4))
    yield invalid("count-too-large", "0000-R2", "two said, one there", hex=b"\0\0\0\x02" + _ROOT[4:])
    yield invalid("cut", "0000-R1", "a byte short", hex=_ROOT[:-1])
    yield invalid("address-of-another-hash", "0002-R2", "0x12", hex=_ROOT[:12] + b"\x12" + _ROOT[13:])


FILES: Final = (
    VectorFile(
        "0013",
        "graph-indexes",
        "graph_index",
        True,
        "GraphIndex Objects",
        "How a graph was built and is laid out.",
        indexes,
    ),
    VectorFile(
        "0013",
        "graph-pages",
        "graph_page",
        True,
        "Graph pages",
        "Nodes: anchor, vector or code, ids of neighbours.",
        pages,
    ),
    VectorFile(
        "0013",
        "anchor-leaves",
        "anchor_leaf",
        True,
        "Leaves of anchor indexes",
        "Anchor, sidecar and row in it.",
        anchor_leaves,
    ),
    VectorFile(
        "0013",
        "anchor-roots",
        "anchor_root",
        True,
        "Roots of anchor indexes",
        "First anchor and address of each leaf.",
        anchor_roots,
    ),
)
