"""Cases of 0007: pages of media and cells, lists of chunks, spatial buckets, sidecars, typed arrays."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

from cases.kit import (
    MISSING,
    Case,
    VectorFile,
    changed,
    files,
    invalid,
    recoded,
    reference,
    smallest,
    space,
    valid,
)
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor

_PAYLOAD: Final = bytes(address_of(b"payload"))
_CHILD: Final = bytes(address_of(b"child"))
_T0: Final = 1_700_000_000_000_000_000
_IMAGE: Final = "image.png"
_CELLS: Final = "embedding.f32.dim=2.bucketed"


# --- pages --------------------------------------------------------------------------------------------------


def _page(kind: str, entries: list[Any], modality: str = _IMAGE, **changes: Any) -> bytes:
    page = {"type": kind, "t_max": _T0 + 100, "t_min": _T0, "entries": entries, "modality": modality}
    return encode_cbor(changed(page, **changes))


def media_pages() -> Iterator[Case]:
    """Pages of an index of media."""
    kinds = {decode_cbor(data)["type"]: data for _, data in reversed(files("paged-media", "/index/"))}
    yield reference(
        "internal", "0007-R4", "an internal page of the SDK", hex=kinds["internal"], modality=_IMAGE
    )
    leaf = decode_cbor(kinds["leaf"])
    yield reference(
        "leaf", "0007-R5 0007-R6", "its last leaf", hex=_shortest_leaf(leaf, kinds["leaf"]), modality=_IMAGE
    )
    entries = {
        "plain": [[0, 1, 70, _PAYLOAD], [9, 3, 0, _PAYLOAD]],
        "packed": [[0, 1, 2, _PAYLOAD, False, 0], [1, 1, 3, _PAYLOAD, False, 2]],
        "chunked": [[0, 1, 70_000, _PAYLOAD, True]],
        "mixed": [[0, 1, 2, _PAYLOAD], [1, 1, 3, _PAYLOAD, True], [2, 1, 3, _PAYLOAD, False, 9]],
        "any-order": [[9, 1, 2, _PAYLOAD], [0, 1, 3, _PAYLOAD]],
        "no-duration": [[5, 0, 2, _PAYLOAD]],
    }
    for name, rows in entries.items():
        yield valid(
            f"leaf-{name}",
            "0007-R3 0007-R5",
            "times relative to the page",
            hex=_page("leaf", rows),
            modality=_IMAGE,
        )
    first = _page("leaf", [[0, 1, 2, _PAYLOAD]], t_min=0, t_max=1)
    yield valid("leaf-at-zero", "0007-R5", "the first time of all", hex=first, modality=_IMAGE)
    child = [_T0, _T0 + 100, _CHILD, 7]
    yield valid("node", "0007-R4", "one child", hex=_page("internal", [child]), modality=_IMAGE)
    yield from _broken_media_pages(child)


def _shortest_leaf(_: Any, data: bytes) -> bytes:
    leaves = [found for _, found in files("paged-media", "/index/") if decode_cbor(found)["type"] == "leaf"]
    return min([*leaves, data], key=len)


def _broken_media_pages(child: list[Any]) -> Iterator[Case]:
    entry = [0, 1, 70, _PAYLOAD]
    bad: dict[str, tuple[str, str, bytes]] = {
        "no-entries": ("0007-R4", "empty indexes have no page", _page("leaf", [])),
        "no-children": ("0007-R4", "at least one", _page("internal", [])),
        "type-unknown": ("0007-R4", "leaf or internal", _page("branch", [entry])),
        "modality-of-another": ("0001-R9", "that of another Track", _page("leaf", [entry], "image.jpeg")),
        "entry-of-three": ("0007-R3", "no address", _page("leaf", [entry[:3]])),
        "entry-of-seven": ("0007-R3", "one item too many", _page("leaf", [[*entry, False, 0, 0]])),
        "entry-flag-number": ("0007-R2", "0 is not false", _page("leaf", [[*entry, 0]])),
        "entry-time-negative": ("0003-R1", "below zero", _page("leaf", [[-1, *entry[1:]]])),
        "entry-beyond-time": ("0003-R1", "beyond 64 bits", _page("leaf", [[(1 << 64) - 1, *entry[1:]]])),
        "entry-address-short": ("0002-R2", "32 bytes", _page("leaf", [[*entry[:3], _PAYLOAD[:-1]]])),
        "entry-text": ("0007-R3", "an entry is an array", _page("leaf", ["entry"])),
        "leaf-backwards": ("0003-R3", "ends before it starts", _page("leaf", [entry], t_max=_T0 - 1)),
        "node-backwards": ("0003-R3", "ends before it starts", _page("internal", [child], t_max=_T0 - 1)),
        "child-of-three": ("0007-R4", "no count", _page("internal", [child[:3]])),
        "child-of-six": ("0007-R4", "keys are for cells", _page("internal", [[*child, "0", "1"]])),
        "key-too-many": ("0000-R3", "the map is closed", _page("leaf", [entry], v=1)),
        "key-missing": ("0000-R1", "all five", _page("leaf", [entry], t_max=MISSING)),
        "cut": ("0002-R8", "a byte short", _page("leaf", [entry])[:-1]),
        "bytes-after": ("0002-R7", "a byte long", _page("leaf", [entry]) + b"\0"),
    }
    for name, (requirement, comment, data) in bad.items():
        yield invalid(name, requirement, comment, hex=data, modality=_IMAGE)


def cell_pages() -> Iterator[Case]:
    """Pages of an index of cells."""
    entries = {
        "plain": [["0101", 0, 5, 192, _PAYLOAD], ["1111", 3, 1, 192, _PAYLOAD]],
        "tables": [["0101", 0, 5, 192, _PAYLOAD, 1]],
        "sidecars": [["0101", 0, 5, 192, _PAYLOAD, 0, _CHILD]],
        "mixed": [
            ["0", 0, 5, 192, _PAYLOAD],
            ["1", 0, 5, 192, _PAYLOAD, 3],
            ["1", 7, 5, 192, _PAYLOAD, 0, _CHILD],
        ],
    }
    for name, rows in entries.items():
        yield valid(
            f"leaf-{name}",
            "0007-R7 0007-R8",
            "five, six or seven items",
            hex=_page("leaf", rows, _CELLS),
            modality=_CELLS,
        )
    child = [_T0, _T0 + 100, _CHILD, 7, "0000", "0101"]
    yield valid(
        "node", "0007-R4", "with first and last key", hex=_page("internal", [child], _CELLS), modality=_CELLS
    )
    entry = entries["plain"][0]
    bad: dict[str, tuple[str, str, bytes]] = {
        "entry-of-four": ("0007-R7", "no address", _page("leaf", [entry[:4]], _CELLS)),
        "entry-of-eight": ("0007-R7", "one item too many", _page("leaf", [[*entry, 0, _CHILD, 0]], _CELLS)),
        "key-bytes": ("0004-R2", "keys are text", _page("leaf", [[b"0101", *entry[1:]]], _CELLS)),
        "sidecar-null": ("0007-R11", "absent, but never null", _page("leaf", [[*entry, 0, None]], _CELLS)),
        "child-without-keys": ("0007-R7", "cells have them", _page("internal", [child[:4]], _CELLS)),
        "child-keys-numbers": ("0007-R7", "keys are text", _page("internal", [[*child[:4], 0, 5]], _CELLS)),
        "media-entry": ("0007-R7", "of media", _page("leaf", [[0, 1, 70, _PAYLOAD]], _CELLS)),
    }
    for name, (requirement, comment, data) in bad.items():
        yield invalid(name, requirement, comment, hex=data, modality=_CELLS)


# --- lists of chunks ----------------------------------------------------------------------------------------


def items() -> Iterator[Case]:
    """Chunks of an item."""
    stored = smallest("images", "/items/")
    for nth, (_, data) in enumerate(files("images", "/items/")[:3]):
        yield reference(f"reference-{nth}", "0007-R2", "as the SDK wrote it", hex=data)
    chunk = {"hash": _PAYLOAD, "size": 3}
    yield valid(
        "no-chunks", "0007-R2", "an item of no bytes", hex=encode_cbor({"chunks": [], "total_size": 0})
    )
    yield valid(
        "same-chunk-twice",
        "0007-R2",
        "equal bytes, one address",
        hex=encode_cbor({"chunks": [chunk, chunk], "total_size": 6}),
    )
    yield invalid(
        "total-too-large",
        "0007-R2",
        "a byte more than the chunks have",
        hex=encode_cbor({"chunks": [chunk], "total_size": 4}),
    )
    yield invalid(
        "total-too-small", "0007-R2", "a byte less", hex=encode_cbor({"chunks": [chunk], "total_size": 2})
    )
    yield invalid("total-missing", "0000-R1", "it must be said", hex=recoded(stored, total_size=MISSING))
    yield invalid(
        "size-negative",
        "0007-R2",
        "below zero",
        hex=encode_cbor({"chunks": [{**chunk, "size": -3}, {**chunk, "size": 6}], "total_size": 3}),
    )
    yield invalid(
        "hash-text",
        "0002-R2",
        "an address is bytes",
        hex=encode_cbor({"chunks": [{"hash": "x", "size": 3}], "total_size": 3}),
    )
    yield invalid(
        "chunk-key-too-many",
        "0000-R3",
        "the map is closed",
        hex=encode_cbor({"chunks": [{**chunk, "offset": 0}], "total_size": 3}),
    )
    yield invalid("key-too-many", "0000-R3", "the map is closed", hex=recoded(stored, v=1))
    yield invalid("chunks-null", "0007-R2", "an array", hex=recoded(stored, chunks=None))


# --- buckets ------------------------------------------------------------------------------------------------

_INDEX: Final = bytes.fromhex("1e052f0c8e18f02a0b712dd3688d5972291500c53de7950ab462de00b7962ab595")


def _bucket(
    size: int, count: int, records: bytes, *, header: int = 160, compressor: bytes = b"", **changes: Any
) -> bytes:
    said = {"magic": b"VBUU", "version": 1, "index": _INDEX, "tag": _CELLS.encode(), "mode": 0, **changes}
    head = struct.pack(
        ">4sIIII33s32sB",
        said["magic"],
        said["version"],
        size,
        count,
        header,
        said["index"],
        said["tag"],
        said["mode"],
    )
    return (head + compressor).ljust(header, b"\0") + records


def _record(anchor: int, *numbers: float) -> bytes:
    return struct.pack(">Q", anchor) + struct.pack(f"<{len(numbers)}f", *numbers)


def buckets() -> Iterator[Case]:
    """Spatial buckets, raw and compressed."""
    rows = _record(5, 1, 2) + _record(9, 2, 4.5)
    yield reference("example", "0007-R9", "dim 2, two rows", hex=_bucket(16, 2, rows))
    for name, of in {"lsh": "vec-lsh", "lsh-l2": "vec-lsh-l2", "rabitq": "vec-hybrid"}.items():
        yield reference(
            f"reference-{name}",
            "0007-R9",
            "a bucket of the SDK",
            hex=_stored_bucket(of, compressed=name == "rabitq"),
        )
    yield reference(
        "reference-pq",
        "0007-R9 0010-R1",
        "codes of six bytes",
        hex=_stored_bucket("vec-ivf-pq", compressed=True),
    )
    yield valid(
        "anchor-last", "0007-R9", "the last anchor of all", hex=_bucket(16, 1, _record((1 << 64) - 1, 1, 2))
    )
    yield valid(
        "anchor-twice", "0007-R9", "one anchor in two records", hex=_bucket(16, 2, _record(5, 1, 2) * 2)
    )
    yield valid(
        "any-order",
        "0007-R9",
        "records in any order",
        hex=_bucket(16, 2, _record(9, 1, 2) + _record(5, 1, 2)),
    )
    yield valid("no-records", "0007-R9", "a header alone", hex=_bucket(16, 0, b""))
    nan = struct.pack(">Q", 5) + bytes.fromhex("0000c07f010080ff")
    yield valid(
        "bits-kept",
        "0007-R9 0006-R7",
        "a reader of buckets gives back every bit, NaN too",
        hex=_bucket(16, 1, nan),
    )
    yield valid(
        "tag-cut",
        "0007-R9",
        "32 bytes of a longer tag",
        hex=_bucket(16, 1, rows[:16], tag=b"embedding.f32.dim=2.bucketed.ver"),
    )
    code = struct.pack(">Q", 7) + bytes.fromhex("039846463f")
    yield valid(
        "compressed",
        "0007-R9 0010-R4",
        "bits and a factor",
        hex=_bucket(13, 1, code, header=200, compressor=_PAYLOAD),
    )
    yield from _broken_buckets(rows, code)


def _stored_bucket(of: str, *, compressed: bool) -> bytes:
    found = [data for path, data in space(of).items() if ".bucketed" in path and data[:4] == b"VBUU"]
    return min(
        (data for data in found if (data[16:20] == b"\0\0\0\xc8") == compressed),
        key=lambda data: (len(data), data),
    )


def _broken_buckets(rows: bytes, code: bytes) -> Iterator[Case]:
    good = _bucket(16, 2, rows)
    bad: dict[str, tuple[str, str, bytes]] = {
        "empty": ("0007-R9", "no bytes", b""),
        "header-cut": ("0007-R9", "159 bytes", good[:159]),
        "magic-of-sidecar": ("0007-R9", "that of a sidecar", _bucket(16, 2, rows, magic=b"VSTU")),
        "version-2": ("0007-R9", "another version", _bucket(16, 2, rows, version=2)),
        "mode-reference": ("0007-R9", "records elsewhere", _bucket(16, 2, rows, mode=1)),
        "count-too-large": ("0007-R9", "three said, two there", _bucket(16, 3, rows)),
        "count-too-small": ("0007-R9", "one said, two there", _bucket(16, 1, rows)),
        "count-beyond-the-bytes": ("0000-R2", "2^32 - 1 records", _bucket(16, (1 << 32) - 1, rows)),
        "record-without-vector": ("0007-R9", "eight bytes", _bucket(8, 2, rows[:16])),
        "record-size-odd": ("0007-R9", "no whole float32", _bucket(15, 2, rows[:30])),
        "record-size-zero": ("0007-R9", "no bytes a record", _bucket(0, 2, b"")),
        "header-of-161": ("0007-R9", "160 or 200", _bucket(16, 2, rows, header=161)),
        "header-of-80": (
            "0007-R9",
            "shorter than its fields",
            good[:16] + struct.pack(">I", 80) + good[20:112],
        ),
        "index-of-another-hash": ("0002-R2", "0x12", _bucket(16, 2, rows, index=b"\x12" + _INDEX[1:])),
        "padding-not-zero": ("0007-R9", "a byte before the records", good[:159] + b"\1" + good[160:]),
        "tag-not-ascii": (
            "0007-R9",
            "a letter of two bytes",
            _bucket(16, 2, rows, tag="embedding.\u00e9".encode()),
        ),
        "tag-with-a-hole": ("0007-R9", "text after the padding", _bucket(16, 2, rows, tag=b"a\0b")),
        "compressor-missing": (
            "0007-R9 0010-R2",
            "zeros where an address belongs",
            _bucket(13, 1, code, header=200),
        ),
        "cut": ("0007-R9", "a byte short", good[:-1]),
        "bytes-after": ("0007-R9", "a byte long", good + b"\0"),
    }
    for name, (requirement, comment, data) in bad.items():
        yield invalid(name, requirement, comment, hex=data)


def _sidecar(size: int, count: int, rows: bytes, magic: bytes = b"VSTU", version: int = 1) -> bytes:
    return struct.pack(">4sIII32s", magic, version, size, count, _CELLS.encode()).ljust(128, b"\0") + rows


def sidecars() -> Iterator[Case]:
    """Exact vectors beside codes."""
    for name, of in {"rerank": "vec-lsh-rerank", "pq": "vec-ivf-pq"}.items():
        yield reference(f"reference-{name}", "0007-R11", "as the SDK wrote it", hex=smallest(of, "/vectors/"))
    rows = struct.pack("<4f", 1, 2, 3, 4)
    yield valid("two-rows", "0007-R11", "dim 2", hex=_sidecar(8, 2, rows))
    yield valid("no-rows", "0007-R11", "a header alone", hex=_sidecar(8, 0, b""))
    good = _sidecar(8, 2, rows)
    bad: dict[str, tuple[str, bytes]] = {
        "header-cut": ("127 bytes", good[:127]),
        "magic-of-bucket": ("that of a bucket", _sidecar(8, 2, rows, b"VBUU")),
        "version-2": ("another version", _sidecar(8, 2, rows, version=2)),
        "count-too-large": ("three said, two there", _sidecar(8, 3, rows)),
        "record-size-zero": ("no bytes a record", _sidecar(0, 2, b"")),
        "record-size-odd": ("no whole float32", _sidecar(6, 2, rows[:12])),
        "padding-not-zero": ("a byte before the rows", good[:127] + b"\1" + good[128:]),
        "cut": ("a byte short", good[:-1]),
        "bytes-after": ("a byte long", good + b"\0"),
    }
    for name, (comment, data) in bad.items():
        yield invalid(name, "0007-R11", comment, hex=data)


# --- typed arrays -------------------------------------------------------------------------------------------


def _item_type(family: str, dtype: str, **more: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "family": family,
        "dtype": dtype,
        "endianness": "little",
        "layout": "c",
        "codec": "offsets-values" if family == "ragged-array" else "raw",
        "codec_version": 1,
        "semantic_type": "none",
        "units": "none",
        "frame": "none",
        "axis_order": "none",
        **more,
    }


def _ragged(
    offsets: list[int],
    values: bytes,
    cells: int | None = None,
    rows: int | None = None,
    magic: bytes = b"RAG1",
) -> bytes:
    counts = (len(offsets) - 1 if rows is None else rows, offsets[-1] if cells is None else cells)
    return struct.pack(">4sIQQ", magic, 1, *counts) + struct.pack(f">{len(offsets)}Q", *offsets) + values


def _csr(
    rows: int, columns: int, offsets: list[int], indices: list[int], values: bytes, count: int | None = None
) -> bytes:
    head = struct.pack(">4sIQQQ", b"CSR1", 1, rows, columns, len(indices) if count is None else count)
    return head + struct.pack(f">{len(offsets)}Q{len(indices)}Q", *offsets, *indices) + values


def arrays() -> Iterator[Case]:
    """Items of typed arrays."""
    dense = _item_type("dense-array", "f32", shape=[2, 3])
    numbers = struct.pack("<6f", 1, 2, 3, 4, 5, 6)
    yield valid("dense-2x3", "0007-R14", "the numbers alone", hex=numbers, item_type=dense)
    yield valid(
        "dense-big-endian",
        "0007-R14",
        "the other way round",
        hex=struct.pack(">6f", 1, 2, 3, 4, 5, 6),
        item_type={**dense, "endianness": "big"},
    )
    yield valid(
        "dense-columns-first", "0007-R14", "layout f", hex=numbers, item_type={**dense, "layout": "f"}
    )
    yield valid(
        "dense-single",
        "0007-R14",
        "no dimensions",
        hex=struct.pack("<q", -5),
        item_type=_item_type("dense-array", "i64", shape=[]),
    )
    yield valid(
        "dense-nan",
        "0007-R14",
        "every bit is kept",
        hex="010080ff",
        item_type=_item_type("dense-array", "f32", shape=[1]),
    )
    yield valid(
        "dense-bytes",
        "0007-R14",
        "one byte each",
        hex="00ff80",
        item_type=_item_type("dense-array", "u8", shape=[3]),
    )
    ragged = _item_type("ragged-array", "i16", inner_shape=[])
    yield valid(
        "ragged",
        "0007-R13",
        "rows of two, none and one",
        hex=_ragged([0, 2, 2, 3], struct.pack("<3h", 1, -2, 3)),
        item_type=ragged,
    )
    yield valid("ragged-no-rows", "0007-R13", "an offset alone", hex=_ragged([0], b""), item_type=ragged)
    pairs = _item_type("ragged-array", "u8", inner_shape=[2])
    yield valid(
        "ragged-pairs", "0007-R13", "cells of two", hex=_ragged([0, 1, 3], bytes(range(6))), item_type=pairs
    )
    csr = _item_type("sparse-csr", "f64", shape=[3, 4], index_dtype="u64")
    yield valid(
        "csr",
        "0007-R13",
        "three numbers in three rows",
        hex=_csr(3, 4, [0, 1, 1, 3], [2, 0, 3], struct.pack("<3d", 1, 2, 3)),
        item_type=csr,
    )
    yield valid("csr-empty", "0007-R13", "no numbers", hex=_csr(3, 4, [0, 0, 0, 0], [], b""), item_type=csr)
    yield from _stored_arrays()
    yield from _broken_arrays(dense, numbers, ragged, csr)


def _stored_arrays() -> Iterator[Case]:
    """One item of each form that the SDK wrote: the smallest of the first field that has it."""
    registry = decode_cbor(files("arrays", "/manifests/")[-1][1], repeated_prefix="array.")["registry"]
    seen = set()
    for tag in sorted(name for name in registry if name.startswith("array.")):
        of = registry[tag]["item_type"]
        form = (of["family"], of["codec"], of["layout"], of["endianness"])
        stored = [
            data for path, data in space("arrays").items() if f"/{tag}/" in path and "/track/" not in path
        ]
        if form in seen or not stored or not any(stored):
            continue
        seen.add(form)
        name = "-".join(["reference", *form])
        yield reference(
            name,
            "0007-R13 0007-R14",
            f"an item of {of['dtype']}",
            hex=min(filter(None, stored), key=lambda data: (len(data), data)),
            item_type=of,
        )


def _broken_arrays(dense: Any, numbers: bytes, ragged: Any, csr: Any) -> Iterator[Case]:
    shorts, doubles = struct.pack("<3h", 1, -2, 3), struct.pack("<3d", 1, 2, 3)
    bad: dict[str, tuple[str, str, Any, bytes]] = {
        "dense-cut": ("0007-R14", "a byte short", dense, numbers[:-1]),
        "dense-long": ("0007-R14", "a number too many", dense, numbers + bytes(4)),
        "dense-empty": ("0007-R14", "no bytes", dense, b""),
        "dtype-unknown": ("0000-R4", "a type that nobody knows", {**dense, "dtype": "f16"}, numbers[:12]),
        "ragged-magic": ("0007-R13", "that of a matrix", ragged, _ragged([0, 3], shorts, magic=b"CSR1")),
        "ragged-offsets-fall": ("0007-R13", "2, then 1", ragged, _ragged([0, 2, 1, 3], shorts)),
        "ragged-first-offset": ("0007-R13", "begins at 1", ragged, _ragged([1, 2, 3], shorts)),
        "ragged-last-offset": ("0007-R13", "ends at 2 of 3", ragged, _ragged([0, 2], shorts, cells=3)),
        "ragged-cut": ("0007-R13", "a byte short", ragged, _ragged([0, 3], shorts)[:-1]),
        "ragged-rows-beyond-the-bytes": (
            "0000-R2",
            "2^61 rows",
            ragged,
            _ragged([0, 3], shorts, rows=1 << 61),
        ),
        "ragged-cells-beyond-the-bytes": ("0000-R2", "2^63 cells", ragged, _ragged([0, 1 << 63], shorts)),
        "ragged-head-cut": ("0007-R13", "23 bytes", ragged, _ragged([0], b"")[:23]),
        "csr-another-shape": ("0007-R13", "4 x 3", csr, _csr(4, 3, [0, 1, 1, 3, 3], [2, 0, 2], doubles)),
        "csr-column-beyond": ("0007-R13", "column 4 of 4", csr, _csr(3, 4, [0, 1, 1, 3], [4, 0, 3], doubles)),
        "csr-columns-fall": (
            "0007-R13",
            "3 before 0 in a row",
            csr,
            _csr(3, 4, [0, 1, 1, 3], [2, 3, 0], doubles),
        ),
        "csr-column-twice": (
            "0007-R13",
            "one place, two numbers",
            csr,
            _csr(3, 4, [0, 1, 1, 3], [2, 3, 3], doubles),
        ),
        "csr-count-wrong": (
            "0007-R13",
            "four said, three there",
            csr,
            _csr(3, 4, [0, 1, 1, 3], [2, 0, 3], doubles, count=4),
        ),
        "csr-cut": ("0007-R13", "a byte short", csr, _csr(3, 4, [0, 1, 1, 3], [2, 0, 3], doubles)[:-1]),
    }
    for name, (requirement, comment, item_type, data) in bad.items():
        yield invalid(name, requirement, comment, hex=data, item_type=item_type)


FILES: Final = (
    VectorFile(
        "0007",
        "media-pages",
        "media_page",
        True,
        "Pages of media",
        "Leaves, times absolute, and internal pages.",
        media_pages,
    ),
    VectorFile(
        "0007",
        "cell-pages",
        "cell_page",
        True,
        "Pages of cells",
        "Leaves, times absolute, and internal pages.",
        cell_pages,
    ),
    VectorFile("0007", "items", "items", True, "Lists of chunks", "The chunks of one item.", items),
    VectorFile(
        "0007",
        "spatial-buckets",
        "spatial_bucket",
        True,
        "Spatial buckets",
        "`width` is numbers a vector, or bytes a code.",
        buckets,
    ),
    VectorFile(
        "0007", "sidecars", "vector_sidecar", True, "Sidecars", "Exact vectors of a bucket's rows.", sidecars
    ),
    VectorFile(
        "0007",
        "arrays",
        "array_item",
        True,
        "Typed arrays",
        "One item of a type; numbers little-endian, rows first.",
        arrays,
    ),
)
