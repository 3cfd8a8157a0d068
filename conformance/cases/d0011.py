"""Cases of 0011: ScalarIndex Objects, values, keys, records, buckets, B-tree pages."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

from cases.kit import MISSING, Case, VectorFile, changed, files, invalid, reference, smallest, space, valid
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor

_BUCKET: Final = bytes(address_of(b"bucket"))
_T0: Final = 1_700_000_000_000_000_000


# --- ScalarIndex --------------------------------------------------------------------------------------------


def indexes() -> Iterator[Case]:
    """One Object an algorithm and field."""
    seen = set()
    for path, data in sorted(space("scalars-nulls").items()):
        if path.startswith("scalar-index/"):
            algorithm = decode_cbor(data)["algorithm"].removeprefix("dreamdb.")
            name = algorithm if algorithm not in seen else f"{algorithm}-{decode_cbor(data)['field_name']}"
            seen.add(algorithm)
            yield reference(name, "0011-R1", "as the SDK wrote it", hex=data)
    base = decode_cbor(smallest("images", "scalar-index/"))
    bad: dict[str, tuple[str, str, dict[str, Any]]] = {
        "metric-of-another": ("0011-R1", "trees are ordinal", {"metric": "categorical"}),
        "algorithm-unknown": ("0000-R4", "a kind that nobody knows", {"algorithm": "dreamdb.btree-decimal"}),
        "field-name-missing": ("0011-R1", "it must be said", {"field_name": MISSING}),
        "field-name-bytes": ("0011-R1", "text", {"field_name": b"i"}),
        "key-too-many": ("0000-R3", "the map is closed", {"v": 1}),
        "fanout-of-another": (
            "0011-R1",
            "4096 entries a leaf",
            {"params": {**base["params"], "leaf_fanout": 64}},
        ),
        "version-float": ("0011-R1", "1.0 is not 1", {"params": {**base["params"], "version": 1.0}}),
        "version-true": ("0011-R1", "true is not 1", {"params": {**base["params"], "version": True}}),
    }
    for name, (requirement, comment, change) in bad.items():
        yield invalid(name, requirement, comment, hex=encode_cbor(changed(base, **change)))


# --- values and keys ----------------------------------------------------------------------------------------

_INTS: Final = (0, 1, 23, 24, 255, 256, -1, -24, -25, -257, (1 << 63) - 1, -(1 << 63), 1 << 32)
_FLOATS: Final = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1,
    65_504.0,
    65_505.0,
    1e300,
    -1e300,
    5e-324,
    2.0**-24,
    -(2.0**-149),
)
_TEXTS: Final = ("", "a", "aa", "b", "\u00e9", "\U0001f600", "x" * 24)


def values() -> Iterator[Case]:
    """Values as bytes."""
    for value_type, numbers in (("int", _INTS), ("timestamp", (0, -1, _T0)), ("float", _FLOATS)):
        for nth, number in enumerate(numbers):
            yield valid(
                f"{value_type}-{nth}",
                "0011-R3",
                f"{number!r}",
                hex=encode_cbor(number),
                value_type=value_type,
                expected=number,
            )
    for value_type in ("string", "categorical"):
        for nth, text in enumerate(_TEXTS):
            yield valid(
                f"{value_type}-{nth}",
                "0011-R3",
                "a text",
                hex=encode_cbor(text),
                value_type=value_type,
                expected=text,
            )
    for truth in (False, True):
        yield valid(
            f"bool-{truth}".lower(),
            "0011-R3",
            "a truth",
            hex=encode_cbor(truth),
            value_type="bool",
            expected=truth,
        )
    bad = {
        "int-beyond-63-bits": ("int", "1b8000000000000000", "2^63"),
        "int-below-63-bits": ("int", "3b8000000000000000", "-2^63 - 1"),
        "int-not-shortest": ("int", "1800", "0 in two bytes"),
        "int-float": ("int", "f90000", "0.0"),
        "int-text": ("int", "6130", "the text 0"),
        "int-bool": ("int", "f5", "true"),
        "int-two": ("int", "0000", "two values"),
        "int-cut": ("int", "19ff", "a byte short"),
        "int-none": ("int", "", "no bytes"),
        "float-int": ("float", "01", "an integer would be shorter, but is none"),
        "float-nan": ("float", "f97e00", "NaN"),
        "float-infinite": ("float", "f97c00", "infinity"),
        "float-not-shortest": ("float", "fa3f800000", "1.0 in five bytes"),
        "float-double-for-single": ("float", "fb40effc2000000000", "65505.0 in nine bytes"),
        "float-null": ("float", "f6", "null"),
        "string-bytes": ("string", "4161", "bytes"),
        "string-not-utf8": ("string", "6180", "a stray continuation byte"),
        "string-cut": ("string", "6261", "a letter short"),
        "string-long": ("string", "616161", "a letter long"),
        "categorical-int": ("categorical", "01", "a number"),
        "bool-null": ("bool", "f6", "null"),
        "bool-int": ("bool", "01", "1 is not true"),
    }
    for name, (value_type, encoded, comment) in bad.items():
        requirement = "0011-R2" if name in {"float-nan", "float-infinite"} else "0011-R3"
        yield invalid(name, requirement, comment, hex=encoded, value_type=value_type)


def keys() -> Iterator[Case]:
    """Values to the keys of internal pages."""
    for nth, number in enumerate(_INTS):
        key = ((number + (1 << 63)) & ((1 << 64) - 1)).to_bytes(8, "big").hex()
        yield valid(
            f"int-{nth}",
            "0011-R9",
            f"{number}: the sign bit is flipped",
            value_type="int",
            value=number,
            expected=key,
        )
    for nth, number in enumerate(_FLOATS):
        bits = int.from_bytes(struct.pack(">d", number + 0.0), "big")
        key = (bits ^ ((1 << 64) - 1) if bits >> 63 else bits ^ 1 << 63).to_bytes(8, "big").hex()
        yield valid(
            f"float-{nth}",
            "0011-R9",
            f"{number!r}: order of bytes is order of numbers",
            value_type="float",
            value=number,
            expected=key,
        )
    for nth, text in enumerate(_TEXTS):
        yield valid(
            f"string-{nth}",
            "0011-R9",
            "UTF-8 itself",
            value_type="string",
            value=text,
            expected=text.encode().hex(),
        )


# --- records ------------------------------------------------------------------------------------------------


def bitmap(containers: Sequence[tuple[int, int, bytes]]) -> bytes:
    """Return a bitmap without runs of (key, cardinality, container)."""
    head = struct.pack("<II", 12346, len(containers))
    lines = b"".join(struct.pack("<HH", key, n - 1) for key, n, _ in containers)
    at, offsets = len(head) + 8 * len(containers), b""
    for _, _, body in containers:
        offsets += struct.pack("<I", at)
        at += len(body)
    return head + lines + offsets + b"".join(body for _, _, body in containers)


def runs_bitmap(containers: Sequence[tuple[int, int, bytes, bool]]) -> bytes:
    """Return a bitmap with runs of (key, cardinality, container, whether it is runs)."""
    k = len(containers)
    flags = sum(1 << n for n, (*_, runs) in enumerate(containers) if runs)
    head = struct.pack("<HH", 12347, k - 1) + flags.to_bytes((k + 7) // 8, "little")
    lines = b"".join(struct.pack("<HH", key, n - 1) for key, n, _, _ in containers)
    at, offsets = len(head) + (8 if k >= 4 else 4) * k, b""
    for _, _, body, _ in containers:
        offsets += struct.pack("<I", at)
        at += len(body)
    return head + lines + (offsets if k >= 4 else b"") + b"".join(body for _, _, body, _ in containers)


def record(*blocks: tuple[int, bytes]) -> bytes:
    """Return a record of (upper half, bitmap)."""
    return (
        b"\x01"
        + struct.pack("<Q", len(blocks))
        + b"".join(struct.pack("<I", high) + bits for high, bits in blocks)
    )


def members(*lows: int) -> tuple[int, bytes]:
    """Return the cardinality and bytes of a container of these members."""
    return len(lows), struct.pack(f"<{len(lows)}H", *lows)


def runs(*pairs: tuple[int, int]) -> tuple[int, bytes]:
    """Return the cardinality and bytes of a container of runs (first, length)."""
    body = struct.pack("<H", len(pairs)) + b"".join(struct.pack("<HH", first, n - 1) for first, n in pairs)
    return sum(n for _, n in pairs), body


def _bits(lows: Sequence[int]) -> bytes:
    return sum(1 << low for low in lows).to_bytes(8192, "little")


_ONE: Final = bitmap([(0, *members(5))])
_TWO: Final = bitmap([(1, *members(1, 2)), (3, *members(65_535))])


def records() -> Iterator[Case]:
    """Records of anchors."""
    example = "010200000000000000fe9c97173a300000010000002a360000100000000000009d97173a300000010000002a36000010000000 0000"
    yield reference("example", "0011-R6", "one value, two anchors 2^33 apart", hex=example.replace(" ", ""))
    stored = {
        "int": "scalar.i64.field=n",
        "bool": "scalar.bool.field=ok",
        "categorical": "scalar.cat.field=c",
    }
    for name, field in stored.items():
        track = decode_cbor(smallest("scalars-nulls", f"/{field}/track/", 1))
        yield reference(
            f"reference-{name}",
            "0011-R4 0011-R6",
            "the first record of a bucket",
            hex=_first_record(field, track),
        )
    yield valid("zero", "0011-R6", "the first anchor of all", hex=record((0, bitmap([(0, *members(0))]))))
    yield valid(
        "last", "0011-R6", "the last but one", hex=record((0xFFFFFFFF, bitmap([(0xFFFF, *members(0xFFFE))])))
    )
    yield valid("two-containers", "0011-R6", "two keys in one block", hex=record((7, _TWO)))
    yield valid("three-blocks", "0011-R6", "three upper halves", hex=record((0, _ONE), (1, _TWO), (9, _ONE)))
    whole = members(*range(5, 2053), *range(4000, 6048))
    yield valid("array-4096", "0011-R6", "the largest array", hex=record((0, bitmap([(0, *whole)]))))
    two = [*range(7, 2055), *range(4000, 6049)]
    yield valid(
        "bitmap-4097", "0011-R6", "the smallest bitmap", hex=record((0, bitmap([(0, 4097, _bits(two))])))
    )
    yield valid(
        "bitmap-full",
        "0011-R6",
        "65,536 anchors in a row",
        hex=record((0, bitmap([(0, 65_536, b"\xff" * 8192)]))),
    )
    read_only = {"flags": ["decode-only"]}
    yield valid(
        "runs-one", "0011-R5", "readers take runs", hex=record((3, runs_bitmap([(2, *runs((10, 5)), True)])))
    )
    yield valid(
        "runs-several",
        "0011-R5",
        "two runs in a container",
        hex=record((3, runs_bitmap([(2, *runs((10, 5), (20, 1)), True)]))),
    )
    yield valid(
        "runs-side-by-side",
        "0011-R5",
        "two runs that touch",
        hex=record((3, runs_bitmap([(2, *runs((10, 5), (15, 2)), True)]))),
    )
    yield valid(
        "runs-whole-container",
        "0011-R5",
        "65,536 in six bytes",
        hex=record((0, runs_bitmap([(0, *runs((0, 65_536)), True)]))),
    )
    mixed = [(0, *runs((1, 3)), True), (1, *members(4, 9), False), (2, *runs((0, 2)), True)]
    yield valid(
        "runs-and-arrays", "0011-R5", "three containers have no offsets", hex=record((0, runs_bitmap(mixed)))
    )
    yield valid(
        "runs-with-offsets",
        "0011-R5",
        "four have",
        hex=record((0, runs_bitmap([*mixed, (9, *members(8), False)]))),
    )
    nine = [(key, *runs((key, 2)), True) for key in range(9)]
    yield valid("runs-nine", "0011-R5", "flags in two bytes", hex=record((0, runs_bitmap(nine))))
    yield valid(
        "runs-in-one-block-of-two",
        "0011-R5",
        "runs, then none",
        hex=record((0, runs_bitmap(mixed)), (1, _ONE)),
    )
    yield valid(
        "runs-flag-unset",
        "0011-R5",
        "the head of runs, a container without",
        hex=record((0, runs_bitmap([(0, *members(1, 2), False)]))),
    )
    yield from _broken_records(read_only)


def _first_record(field: str, track: dict[str, Any]) -> bytes:
    index = track["object_index"]
    if isinstance(index, dict):
        root = next(
            d
            for p, d in space("scalars-nulls").items()
            if f"/{field}/index/" in p and address_of(d) == index["root"]
        )
        entry = decode_cbor(root)["entries"][0]
    else:
        entry = index[0]
    bucket = next(
        d for p, d in space("scalars-nulls").items() if f"/{field}/bucket/" in p and address_of(d) == entry[3]
    )
    return bucket[entry[4] : entry[4] + entry[5]]


def _broken_records(_: Any) -> Iterator[Case]:
    good = record((7, _TWO))
    bad: dict[str, tuple[str, str, Any]] = {
        "empty": ("0011-R6", "no bytes", b""),
        "version-2": ("0011-R6", "another version", b"\x02" + good[1:]),
        "no-blocks": ("0011-R6", "at least one anchor", record()),
        "block-missing": ("0011-R4", "two said, one there", b"\x01\x02" + good[2:]),
        "block-too-many": ("0011-R4", "one said, two there", b"\x01\x01" + record((0, _ONE), (1, _ONE))[2:]),
        "blocks-beyond-the-bytes": (
            "0000-R2",
            "2^63 blocks",
            b"\x01" + struct.pack("<Q", 1 << 63) + good[9:],
        ),
        "blocks-out-of-order": ("0011-R6", "upper halves descend", record((9, _ONE), (1, _ONE))),
        "block-twice": (
            "0011-R6",
            "one upper half in two blocks",
            record((9, _ONE), (9, bitmap([(1, *members(5))]))[:2]),
        ),
        "cookie-unknown": ("0011-R6", "12345", record((0, struct.pack("<I", 12_345) + _ONE[4:]))),
        "no-containers": ("0011-R6", "a block without anchors", record((0, struct.pack("<II", 12346, 0)))),
        "containers-beyond-the-bytes": (
            "0000-R2",
            "2^31 containers",
            record((0, struct.pack("<II", 12346, 1 << 31) + _ONE[8:])),
        ),
        "keys-out-of-order": (
            "0011-R6",
            "3 before 1",
            record((0, bitmap([(3, *members(1)), (1, *members(1))]))),
        ),
        "key-twice": (
            "0011-R6",
            "one key in two containers",
            record((0, bitmap([(3, *members(1)), (3, *members(2))]))),
        ),
        "members-out-of-order": ("0011-R6", "9 before 4", record((0, bitmap([(0, *members(9, 4))])))),
        "member-twice": ("0011-R6", "4 twice", record((0, bitmap([(0, *members(4, 4))])))),
        "cardinality-too-large": (
            "0011-R6",
            "two said, one there",
            record((0, bitmap([(0, 2, members(5)[1])]))),
        ),
        "cardinality-too-small": (
            "0011-R6",
            "one said, two there",
            record((0, bitmap([(0, 1, members(5, 6)[1])]))),
        ),
        "bitmap-cardinality": (
            "0011-R6",
            "4097 said, 4098 there",
            record((0, bitmap([(0, 4097, _bits(range(4098)))]))),
        ),
        "bitmap-of-4096": (
            "0011-R6",
            "bits where an array belongs",
            record((0, bitmap([(0, 4096, _bits(range(4096)))]))),
        ),
        "offset-wrong": (
            "0011-R6",
            "a byte further",
            record((0, _ONE[:12] + struct.pack("<I", 17) + _ONE[16:])),
        ),
        "offset-overlapping": (
            "0011-R6",
            "both at one place",
            record((0, _TWO[:20] + _TWO[16:20] + _TWO[24:])),
        ),
        "cut": ("0011-R4", "a byte short", good[:-1]),
        "bytes-after": ("0011-R4", "a byte long", good + b"\0"),
        "runs-cardinality": (
            "0011-R6",
            "five said, six in runs",
            record((0, runs_bitmap([(0, 5, runs((0, 6))[1], True)]))),
        ),
        "runs-overlapping": (
            "0011-R6",
            "3 is in both",
            record((0, runs_bitmap([(0, *runs((0, 4), (3, 2)), True)]))),
        ),
        "runs-out-of-order": (
            "0011-R6",
            "9 before 0",
            record((0, runs_bitmap([(0, *runs((9, 2), (0, 2)), True)]))),
        ),
        "run-beyond-the-container": (
            "0011-R6",
            "65,535 and one more",
            record((0, runs_bitmap([(0, *runs((65_535, 2)), True)]))),
        ),
        "runs-cut": (
            "0011-R4",
            "two runs said, one there",
            record((0, runs_bitmap([(0, 4, b"\x02\0" + runs((0, 4))[1][2:], True)]))),
        ),
    }
    for name, (requirement, comment, data) in bad.items():
        yield invalid(name, f"{requirement}", comment, hex=data)
    many = runs_bitmap([(key, *runs((0, 65_536)), True) for key in range(300)])
    block = (struct.pack("<I", 0) + many).hex()
    head = (b"\x01" + struct.pack("<Q", 1)).hex()
    yield invalid(
        "runs-too-many",
        "0000-R2",
        "4,000 bytes that say 19,660,800 anchors: more than a reader need take",
        hex=[[head, 1], [block, 1]],
    )


def buckets() -> Iterator[Case]:
    """Buckets and the lengths of their records."""
    parts = [record((0, _ONE)), record((7, _TWO)), record((0, _ONE), (1, _TWO), (9, _ONE))]
    yield valid(
        "three-records",
        "0011-R4",
        "records end to end",
        hex=b"".join(parts),
        lengths=[len(part) for part in parts],
    )
    singles = [record((n, bitmap([(n, *members(n))]))) for n in range(5)]
    yield valid("single-anchors", "0011-R4", "31 bytes each", hex=b"".join(singles), lengths=[31] * 5)
    tree = decode_cbor(smallest("scalars-nulls", "/scalar.i64.field=n/index/"))
    entries = sorted(tree["entries"], key=lambda entry: entry[4])
    bucket = next(
        data
        for path, data in space("scalars-nulls").items()
        if "/bucket/" in path and address_of(data) == entries[0][3]
    )
    lengths = [entry[5] for entry in entries if entry[3] == entries[0][3]]
    yield reference("reference", "0011-R4", "one append of the SDK", hex=bucket, lengths=lengths)
    whole = b"".join(parts)
    yield invalid(
        "length-too-small",
        "0011-R4",
        "a record is cut off",
        hex=whole,
        lengths=[len(parts[0]) - 1, len(parts[1]) + 1, len(parts[2])],
    )
    yield invalid(
        "lengths-do-not-fill", "0011-R4", "bytes that belong to nothing", hex=whole, lengths=[len(parts[0])]
    )


# --- B-tree pages -------------------------------------------------------------------------------------------

_ALGORITHMS: Final = {
    "int": "dreamdb.btree-int64",
    "timestamp": "dreamdb.btree-int64",
    "float": "dreamdb.btree-float64",
    "string": "dreamdb.btree-string",
}


def _entry(value: Any, nth: int = 0, *, whole: bool = False) -> list[Any]:
    entry = [encode_cbor(value), _T0 + nth, _T0 + nth + 1, _BUCKET]
    return entry if whole else [*entry, 31 * nth, 31]


def _leaf(value_type: str, entries: list[Any], **changes: Any) -> bytes:
    page = {"type": "leaf", "level": 0, "entries": entries, "algorithm": _ALGORITHMS[value_type]}
    return encode_cbor(changed(page, **changes))


def _node(value_type: str, children: list[Any], **changes: Any) -> bytes:
    page = {"type": "internal", "level": 1, "entries": children, "algorithm": _ALGORITHMS[value_type]}
    return encode_cbor(changed(page, **changes))


def pages() -> Iterator[Case]:
    """Leaves and internal pages of every value type."""
    for name, field in {
        "int": "scalar.i64.field=n",
        "float": "scalar.f64.field=f",
        "string": "scalar.str.field=s",
        "timestamp": "scalar.ts.field=ts",
    }.items():
        yield reference(
            f"leaf-{name}",
            "0011-R9 0011-R10",
            "a column of the SDK",
            hex=smallest("scalars-nulls", f"/{field}/index/"),
            value_type=name,
        )
    node = _smallest_node("scalar.i64.field=id")
    yield reference("node-int", "0011-R9 0011-R11", "an internal page of the SDK", hex=node, value_type="int")
    texts = [[b"", b"a", _BUCKET], [b"a", "\u00e9".encode(), _BUCKET]]
    yield valid(
        "node-string",
        "0011-R9",
        "a value that spans two leaves",
        hex=_node("string", texts),
        value_type="string",
    )
    yield valid("one-entry", "0011-R8", "a tree of one page", hex=_leaf("int", [_entry(5)]), value_type="int")
    yield valid(
        "whole-bucket",
        "0011-R4",
        "four items mean the whole bucket",
        hex=_leaf("int", [_entry(5, whole=True)]),
        value_type="int",
    )
    mixed = [_entry(-1), _entry(5, 1, whole=True), _entry(5, 2), _entry(70_000, 3)]
    yield valid(
        "both-lengths", "0011-R4", "some with, some without", hex=_leaf("int", mixed), value_type="int"
    )
    yield valid(
        "value-twice",
        "0011-R9",
        "one value from two appends, by first anchor",
        hex=_leaf("int", [_entry(5, 0), _entry(5, 1)]),
        value_type="int",
    )
    yield valid(
        "zeros",
        "0011-R9",
        "0.0 before -0.0",
        hex=_leaf("float", [_entry(-1.0), _entry(0.0, 1), _entry(-0.0, 2), _entry(1.0, 3)]),
        value_type="float",
    )
    yield valid(
        "texts",
        "0011-R9",
        "by UTF-8, not by length",
        hex=_leaf("string", [_entry("aa"), _entry("b", 1), _entry("\u00e9", 2)]),
        value_type="string",
    )
    low, high = bytes([128] + [0] * 7), bytes([128] + [0] * 6 + [9])
    yield valid("node", "0011-R9", "one child", hex=_node("int", [[low, high, _BUCKET]]), value_type="int")
    yield valid(
        "node-level-2",
        "0011-R11",
        "a page above internal pages",
        hex=_node("int", [[low, high, _BUCKET]], level=2),
        value_type="int",
    )
    yield from _broken_pages(low, high)


def _smallest_node(field: str) -> bytes:
    return next(
        data
        for _, data in files("paged-btree", f"/{field}/index/")
        if decode_cbor(data)["type"] == "internal"
    )


def _broken_pages(low: bytes, high: bytes) -> Iterator[Case]:
    first, second = _entry(5), _entry(6, 1)
    bad: dict[str, tuple[str, str, str, bytes]] = {
        "no-entries": ("0011-R8", "empty columns have no page", "int", _leaf("int", [])),
        "out-of-order": ("0011-R9", "6 before 5", "int", _leaf("int", [second, first])),
        "anchors-out-of-order": (
            "0011-R9",
            "one value, the later anchor first",
            "int",
            _leaf("int", [_entry(5, 1), _entry(5, 0)]),
        ),
        "zeros-out-of-order": (
            "0011-R9",
            "-0.0 before 0.0",
            "float",
            _leaf("float", [_entry(-0.0), _entry(0.0, 1)]),
        ),
        "texts-by-length": (
            "0011-R9",
            "b before aa",
            "string",
            _leaf("string", [_entry("b"), _entry("aa", 1)]),
        ),
        "algorithm-of-another": (
            "0011-R9",
            "a tree of floats",
            "int",
            _leaf("int", [first], algorithm=_ALGORITHMS["float"]),
        ),
        "value-of-another-type": ("0011-R3", "a text among integers", "int", _leaf("int", [_entry("a")])),
        "value-text": ("0011-R3", "values are bytes", "int", _leaf("int", [[5, *first[1:]]])),
        "entry-of-five": ("0011-R4", "an offset without a length", "int", _leaf("int", [first[:5]])),
        "entry-of-three": ("0011-R4", "no bucket", "int", _leaf("int", [first[:3]])),
        "entry-covers-nothing": ("0003-R3", "no anchor", "int", _leaf("int", [[first[0], 5, 5, *first[3:]]])),
        "bucket-short": ("0002-R2", "32 bytes", "int", _leaf("int", [[*first[:3], _BUCKET[:-1], 0, 31]])),
        "bucket-of-another-hash": (
            "0002-R2",
            "0x12",
            "int",
            _leaf("int", [[*first[:3], b"\x12" + _BUCKET[1:], 0, 31]]),
        ),
        "offset-negative": ("0011-R4", "below zero", "int", _leaf("int", [[*first[:4], -1, 31]])),
        "offset-beyond-any-bucket": ("0011-R4", "2^63", "int", _leaf("int", [[*first[:4], 1 << 63, 31]])),
        "leaf-level-1": ("0011-R11", "leaves are at level 0", "int", _leaf("int", [first], level=1)),
        "node-level-0": (
            "0011-R11",
            "internal pages are above",
            "int",
            _node("int", [[low, high, _BUCKET]], level=0),
        ),
        "node-level-99": (
            "0000-R2",
            "more levels than there can be",
            "int",
            _node("int", [[low, high, _BUCKET]], level=99),
        ),
        "type-unknown": ("0011-R11", "leaf or internal", "int", _leaf("int", [first], type="branch")),
        "key-too-many": ("0000-R3", "the map is closed", "int", _leaf("int", [first], v=1)),
        "key-missing": ("0000-R1", "all four", "int", _leaf("int", [first], algorithm=MISSING)),
        "no-children": ("0011-R11", "at least one", "int", _node("int", [])),
        "child-backwards": ("0011-R9", "its high below its low", "int", _node("int", [[high, low, _BUCKET]])),
        "children-out-of-order": (
            "0011-R9",
            "the second first",
            "int",
            _node("int", [[high, high, _BUCKET], [low, low, _BUCKET]]),
        ),
        "child-of-two": ("0011-R11", "no address", "int", _node("int", [[low, high]])),
        "child-key-text": ("0011-R9", "keys are bytes", "string", _node("string", [["a", "b", _BUCKET]])),
        "cut": ("0002-R8", "a byte short", "int", _leaf("int", [first])[:-1]),
        "bytes-after": ("0002-R7", "a byte long", "int", _leaf("int", [first]) + b"\0"),
        "count-too-large": (
            "0000-R2",
            "a head of 2^32 entries",
            "int",
            _leaf("int", [first]).replace(b"\x67entries\x81", b"\x67entries\x9a\xff\xff\xff\xff"),
        ),
        "count-not-shortest": (
            "0002-R4",
            "one entry, its count in a byte",
            "int",
            _leaf("int", [first]).replace(b"\x67entries\x81", b"\x67entries\x98\x01"),
        ),
    }
    for name, (requirement, comment, value_type, data) in bad.items():
        yield invalid(name, requirement, comment, hex=data, value_type=value_type)
    entry = encode_cbor(_entry("a" * 200, whole=True)).hex()
    head = b"\xa4\x64type\x64leaf\x65level\x00\x67entries\x19\x01\x00".hex()
    tail = (encode_cbor("algorithm") + encode_cbor(_ALGORITHMS["string"])).hex()
    yield invalid(
        "beyond-65536-bytes",
        "0011-R10",
        "256 long entries are too many bytes",
        hex=[[head, 1], [entry, 256], [tail, 1]],
        value_type="string",
    )


FILES: Final = (
    VectorFile(
        "0011",
        "scalar-indexes",
        "scalar_index",
        True,
        "ScalarIndex Objects",
        "Parameters of a column's index.",
        indexes,
    ),
    VectorFile("0011", "values", "scalar_value", True, "Values", "The bytes of one value of a type.", values),
    VectorFile(
        "0011",
        "keys",
        "scalar_key.encode",
        False,
        "Keys",
        "A value to its key in internal pages, as hex.",
        keys,
    ),
    VectorFile(
        "0011",
        "records",
        "scalar_record",
        True,
        "Records",
        "Roaring bitmaps of anchors, given as [first, last] of stretches; `runs` where a bitmap has runs: for each block null, or for each container null or [first, length - 1] of each run.",
        records,
    ),
    VectorFile(
        "0011", "buckets", "scalar_bucket", True, "Buckets", "Records end to end, of these lengths.", buckets
    ),
    VectorFile(
        "0011",
        "btree-pages",
        "btree_page",
        True,
        "B-tree pages",
        "Pages of a column of one value type.",
        pages,
    ),
)
