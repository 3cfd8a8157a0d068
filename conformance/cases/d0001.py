"""Cases of 0001: Genesis, modality tags, fields, Tracks, Manifests."""

from __future__ import annotations

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

_TIMELINE: Final = bytes(address_of(b"timeline"))
_OTHER: Final = bytes(address_of(b"another timeline"))


def name_of(nth: int) -> bytes:
    """Return the n-th of some addresses."""
    return bytes(address_of(b"%d" % nth))


# --- Genesis ------------------------------------------------------------------------------------------------


def genesis() -> Iterator[Case]:
    """A nonce and nothing else."""
    yield reference("reference", "0001-R1", "as the SDK drew it", hex=smallest("images", "/genesis/"))
    yield valid("zeros", "0001-R1", "bytes are bytes", hex=encode_cbor({"nonce": bytes(16)}))
    bad = {
        "nonce-15-bytes": ({"nonce": bytes(15)}, "a byte short"),
        "nonce-17-bytes": ({"nonce": bytes(17)}, "a byte long"),
        "nonce-text": ({"nonce": "0123456789abcdef"}, "text of sixteen letters"),
        "nonce-missing": ({}, "an empty map"),
        "nonce-null": ({"nonce": None}, "null"),
        "key-too-many": ({"nonce": bytes(16), "v": 1}, "the map is closed"),
    }
    for name, (value, comment) in bad.items():
        yield invalid(name, "0001-R1 0000-R3", comment, hex=encode_cbor(value))
    yield invalid("not-a-map", "0001-R1 0000-R1", "the nonce alone", hex=encode_cbor(bytes(16)))
    yield invalid(
        "not-canonical",
        "0001-R1 0002-R4",
        "the nonce's length in a byte",
        hex=b"\xa1\x65nonce\x58\x10" + bytes(16),
    )


# --- modality tags ------------------------------------------------------------------------------------------


def tags() -> Iterator[Case]:
    """Tags and their parts."""
    good = {
        "scalar": ("scalar.i64.field=n", "a scalar"),
        "image": ("image.png", "class and codec, no params"),
        "embedding": ("embedding.f32.dim=24.bucketed", "a flag among params"),
        "embedding-l2": ("embedding.f32.dim=16.metric=l2.bucketed", "another metric"),
        "embedding-version": (
            "embedding.f32.dim=8.bucketed.bucket_max_bytes=1048576.version=2",
            "all params",
        ),
        "multi-vector": ("embedding.f32.dim=8.bucketed.multivec.maxtokens=4", "two flags"),
        "graph": ("embedding.f32.dim=24.graph.r=12.field=g", "a graph"),
        "text-index": ("text.utf8.bm25.field=t", "a text index"),
        "constant": ("author.json", "a constant"),
        "license": ("license.spdx", "a constant"),
        "value-upper-case": (
            "array.f64.kind=event.storage=time_batch.shape=2x3.item=Ab9",
            "values may have capitals",
        ),
        "value-empty": ("scalar.i64.field=", "a value of no characters"),
        "vendor": ("com.acme.ext.blob.v1", "three segments of a vendor"),
        "vendor-ours": ("org.dreamdb.arrow.stripe.v1", "our own"),
        "vendor-geometry": ("ai.dreamlake.spatial.geometry.point", "a vendor's class"),
        "vendor-shortest": ("a.b.c.d.e", "single letters"),
        "256-characters": ("image." + "p" * 250, "as long as may be"),
    }
    for name, (text, comment) in good.items():
        yield valid(name, "0001-R10", comment, text=text)
    bad = {
        "empty": ("", "nothing"),
        "class-alone": ("image", "no codec"),
        "codec-empty": ("image.", "an empty segment"),
        "class-empty": (".png", "an empty segment"),
        "empty-segment-between": ("image..png", "an empty segment"),
        "upper-case-segment": ("image.PNG", "capitals outside values"),
        "vendor-without-codec": ("com.acme.ext.blob", "three segments of a vendor and a class"),
        "unknown-class": ("picture.png", "neither built in nor behind a vendor"),
        "slash": ("image.png/..", "would leave its directory"),
        "dots": ("image.png...", "would leave its directory"),
        "parent-directory": ("..", "would leave its directory"),
        "hyphen": ("image.svg-xml", "no hyphens"),
        "plus": ("image.svg+xml", "no plus"),
        "blank": ("image. png", "no blanks"),
        "value-in-class": ("image=x.png", "a value before the params"),
        "value-in-codec": ("image.png=1", "a value before the params"),
        "value-in-vendor": ("com=x.acme.ext.blob.v1", "a value before the params"),
        "two-equals": ("scalar.i64.field=a=b", "two values"),
        "name-empty": ("scalar.i64.=n", "a param without a name"),
        "not-ascii": ("image.\u00e9", "a letter that is not ASCII"),
        "digit-not-ascii": ("image.\u0661", "a digit that is not ASCII"),
        "line-end": ("image.png\n", "a line end"),
        "nul": ("image.png\0", "a zero"),
        "257-characters": ("image." + "p" * 251, "one too many"),
    }
    for name, (text, comment) in bad.items():
        yield invalid(name, "0001-R10", comment, text=text)


def field_tags() -> Iterator[Case]:
    """Fields to the tags and kinds of their Tracks."""
    for kind in ("int", "float", "string", "categorical", "bool", "timestamp"):
        field = {"kind": "scalar", "name": "a_1", "value_type": kind}
        yield valid(f"scalar-{kind}", "0001-R11 0001-R12", f"a column of {kind}", field=field)
    for kind in ("image", "audio", "video"):
        yield valid(kind, "0001-R12", "media", field={"kind": kind, "name": "m", "mime": "x_y"})
    embedding = {"kind": "embedding", "name": "v", "dim": 16, "algorithm": "dreamdb.lsh-cosine"}
    yield valid("embedding", "0001-R12", "cosine goes unsaid", field=embedding)
    yield valid(
        "embedding-algorithm-absent",
        "0001-R12",
        "so does lsh-cosine",
        field={k: embedding[k] for k in ("kind", "name", "dim")},
    )
    yield valid("embedding-l2", "0001-R12", "l2 does not", field={**embedding, "algorithm": "dreamdb.lsh-l2"})
    yield valid(
        "embedding-limit",
        "0001-R12 0007-R10",
        "a limit is said",
        field={**embedding, "bucket_max_bytes": 1 << 20},
    )
    yield valid("embedding-second", "0001-R12", "the second field of a tag", field=embedding, version=2)
    yield valid(
        "constant",
        "0001-R12",
        "its own tag",
        field={"kind": "constant", "name": "t", "modality": "title.text"},
    )
    geometry = {"kind": "geometry", "name": "g", "geometry_family": "splat"}
    yield valid("geometry", "0001-R12", "a vendor's class", field=geometry)
    yield valid(
        "video-item",
        "0001-R12",
        "a vendor's class",
        field={"kind": "video_item", "name": "v", "codec": "h264"},
    )
    yield from _array_tags()
    yield invalid(
        "unknown-kind", "0000-R4", "this field alone is unavailable", field={"kind": "hologram", "name": "h"}
    )
    yield invalid(
        "unknown-value-type",
        "0000-R4",
        "this field alone",
        field={"kind": "scalar", "name": "d", "value_type": "decimal"},
    )
    yield invalid("mime-missing", "0001-R12", "no tag without it", field={"kind": "image", "name": "i"})
    yield invalid("dim-missing", "0001-R12", "no tag without it", field={"kind": "embedding", "name": "v"})
    yield invalid("dim-text", "0001-R12", "a number as text", field={**embedding, "dim": "16"})
    yield invalid(
        "name-missing", "0001-R15", "a field without a name", field={"kind": "image", "mime": "png"}
    )
    yield invalid("required-not-a-truth", "0001-R16", "1 is not true", field={**embedding, "required": 1})


def _array_tags() -> Iterator[Case]:
    item = {
        "version": 1,
        "family": "dense-array",
        "dtype": "f32",
        "endianness": "little",
        "layout": "c",
        "codec": "raw",
        "codec_version": 1,
        "semantic_type": "none",
        "units": "none",
        "frame": "none",
        "axis_order": "none",
        "shape": [2, 3],
    }
    field = {
        "kind": "array",
        "name": "a",
        "track_kind": "event",
        "object_kind": "unbucketed",
        "item_type": item,
    }
    yield valid("array-2x3", "0001-R12", "a matrix", field=field)
    yield valid(
        "array-0d", "0001-R12", "a single number", field={**field, "item_type": {**item, "shape": []}}
    )
    ragged = {key: part for key, part in item.items() if key != "shape"}
    for name, inner in (("array-ragged", []), ("array-ragged-2", [2])):
        of = {**ragged, "family": "ragged-array", "codec": "offsets-values", "inner_shape": inner}
        yield valid(name, "0001-R12", "rows of any number", field={**field, "item_type": of})
    yield valid(
        "array-constant",
        "0001-R12",
        "one for the whole Space",
        field={**field, "track_kind": "constant", "object_kind": "constant"},
    )
    yield invalid(
        "array-without-type", "0001-R12", "no tag without it", field={k: field[k] for k in ("kind", "name")}
    )


# --- Tracks -------------------------------------------------------------------------------------------------

_SORTS: Final = {
    "empty": ("images", "/audio.wav/track/", 0, "no rows: coverage [0, 1]", "0001-R9"),
    "image": ("images", "/audio.wav/track/", 1, "media, one item an entry", "0007-R3"),
    "packed": ("packed-images", "/image.png/track/", 1, "media in packs", "0007-R2"),
    "chunked": ("images", "/video.mp4/track/", 1, "media in chunks", "0007-R2"),
    "paged-media": ("paged-media", "/track/", 1, "media in pages", "0007-R1 0007-R4"),
    "int": ("scalars-nulls", "/scalar.i64.field=n/track/", 1, "a B-tree", "0011-R8 0011-R11"),
    "float": ("scalars-nulls", "/scalar.f64.field=f/track/", 1, "a B-tree", "0011-R8"),
    "string": ("scalars-nulls", "/scalar.str.field=s/track/", 1, "a B-tree", "0011-R8"),
    "timestamp": ("scalars-nulls", "/scalar.ts.field=ts/track/", 1, "a B-tree", "0011-R8"),
    "categorical": ("scalars-nulls", "/scalar.cat.field=c/track/", 1, "a list", "0011-R7"),
    "bool": ("scalars-nulls", "/scalar.bool.field=ok/track/", 1, "a list", "0011-R7"),
    "cells": ("vec-lsh-l2", "/track/", 1, "five items an entry", "0007-R7"),
    "cells-with-sidecars": (
        "vec-hybrid",
        "multivec.maxtokens=4/track/",
        0,
        "seven items an entry",
        "0007-R7 0007-R11",
    ),
    "graph": ("vec-vamana", "/embedding.f32.dim=24.graph", 0, "pages of a graph", "0001-R9"),
    "constant": ("evolution-meta", "/title.text/track/", 0, "one payload", "0001-R9"),
    "arrays": (
        "arrays",
        "/array.u8.kind=event.storage=unbucketed.shape=0d",
        0,
        "an address and an anchor an entry",
        "0001-R9",
    ),
    "array-batches": ("arrays", "/array.u16.kind=continuous", 0, "arrays with an end", "0001-R9"),
    "array-constant": ("arrays", "/array.i8.kind=constant", 0, "one payload", "0001-R9"),
    "cmaf": ("cmaf", "/video.h264/track/", 1, "fragments, with an init segment", "0014-R1 0014-R2"),
    "hot": ("hot", "/scalar.i64.field=int/track/", 4, "rows that wait over a Track", "0016-R1"),
    "video-items": ("video-items", "/track/", 3, "with an index by key", "0001-R9"),
}


def tracks() -> Iterator[Case]:
    """Tracks of every sort."""
    for name, (of, part, nth, comment, requirement) in _SORTS.items():
        data = _graph_track() if name == "graph" else _track(of, part, nth)
        yield reference(name, requirement, comment, hex=data)
    media = smallest("images", "/audio.wav/track/", 1)
    fields = decode_cbor(media)
    yield from _broken_tracks(media, fields)
    yield from _broken_indexes(fields)


def _track(of: str, part: str, nth: int) -> bytes:
    found = [data for path, data in files(of, part) if "/track/" in path]
    return found[nth]


def _graph_track() -> bytes:
    return next(data for path, data in space("vec-vamana").items() if ".graph." in path and "/track/" in path)


def _broken_tracks(media: bytes, fields: dict[str, Any]) -> Iterator[Case]:
    first, stop = fields["coverage"]
    for key in ("coverage", "modality", "timeline", "object_index"):
        yield invalid(
            f"{key.replace('_', '-')}-missing",
            "0000-R1",
            "a key that must be there",
            hex=recoded(media, **{key: MISSING}),
        )
    changes = {
        "key-too-many": ("0000-R3", "the map is closed", {"v": 1}),
        "coverage-backwards": ("0003-R3", "ends before it starts", {"coverage": [stop, first]}),
        "coverage-of-three": ("0003-R3", "a pair has two", {"coverage": [first, stop, stop]}),
        "coverage-negative": ("0003-R1", "below zero", {"coverage": [-1, stop]}),
        "coverage-float": ("0003-R1", "a float", {"coverage": [0.0, stop]}),
        "modality-bad": ("0001-R10", "would leave its directory", {"modality": "../image.png"}),
        "modality-bytes": ("0001-R10", "bytes, not text", {"modality": b"image.png"}),
        "timeline-text": (
            "0002-R2",
            "the text form",
            {"timeline": "d2z2wzwskrp6zadjojgpvdnxcegljzino3pkzpnbh7e6n66ud3cjo"},
        ),
        "timeline-short": ("0002-R2", "32 bytes", {"timeline": fields["timeline"][:-1]}),
        "item-key-index-null": ("0000-R1", "absent, but never null", {"item_key_index": None}),
        "init-segment-text": ("0002-R2", "an address is bytes", {"init_segment": "init"}),
    }
    for name, (requirement, comment, change) in changes.items():
        yield invalid(name, requirement, comment, hex=recoded(media, **change))
    keys = list(decode_cbor(media))
    backwards = b"\xa4" + b"".join(encode_cbor(key) + encode_cbor(fields[key]) for key in reversed(keys))
    yield invalid("keys-out-of-order", "0002-R5", "the right keys in another order", hex=backwards)
    yield invalid("cut", "0002-R8", "a byte short", hex=media[:-1])


def _broken_indexes(fields: dict[str, Any]) -> Iterator[Case]:
    entry = fields["object_index"][0]
    paged = decode_cbor(smallest("paged-media", "/track/", 1))
    tree = decode_cbor(smallest("scalars-nulls", "/scalar.i64.field=n/track/", 1))
    listed = decode_cbor(smallest("scalars-nulls", "/scalar.bool.field=ok/track/", 1))
    cells = decode_cbor(smallest("vec-lsh-l2", "/track/", 1))
    cell = cells["object_index"][0]
    bad: dict[str, tuple[str, str, dict[str, Any], Any]] = {
        "media-entry-of-three": ("0007-R3", "no address", fields, [entry[:3]]),
        "media-entry-of-seven": ("0007-R3", "one item too many", fields, [[*entry, False, 0, 0]]),
        "media-entry-backwards": ("0003-R3", "ends before it starts", fields, [[9, 8, *entry[2:]]]),
        "media-entry-flag-number": ("0007-R2", "0 is not false", fields, [[*entry, 0, 0]]),
        "media-entry-time-negative": ("0003-R1", "below zero", fields, [[-1, *entry[1:]]]),
        "media-entry-address-short": ("0002-R2", "32 bytes", fields, [[*entry[:3], entry[3][:-1]]]),
        "media-index-text": ("0007-R1", "neither array nor map", fields, "paged"),
        "paged-height-zero": (
            "0007-R4",
            "a tree without levels",
            paged,
            changed(paged["object_index"], tree_height=0),
        ),
        "paged-height-99": (
            "0007-R4 0000-R2",
            "more levels than there can be",
            paged,
            changed(paged["object_index"], tree_height=99),
        ),
        "paged-root-missing": ("0007-R4", "no way in", paged, changed(paged["object_index"], root=MISSING)),
        "paged-key-too-many": ("0000-R3", "the map is closed", paged, changed(paged["object_index"], v=1)),
        "paged-form-unknown": (
            "0000-R4",
            "a form that nobody knows",
            paged,
            changed(paged["object_index"], form="paged-v2"),
        ),
        "paged-count-negative": (
            "0007-R4",
            "below zero",
            paged,
            changed(paged["object_index"], page_count=-1),
        ),
        "btree-inline": ("0011-R8", "an array that holds something", tree, [[b"\x01", 0, 1, name_of(1)]]),
        "btree-form-unknown": (
            "0000-R4",
            "a form that nobody knows",
            tree,
            changed(tree["object_index"], form="scalar-btree-v2"),
        ),
        "btree-total-missing": (
            "0011-R11",
            "a count must be there",
            tree,
            changed(tree["object_index"], total_entries=MISSING),
        ),
        "btree-height-zero": (
            "0011-R11",
            "a tree without levels",
            tree,
            changed(tree["object_index"], tree_height=0),
        ),
        "btree-root-null": ("0011-R11", "no way in", tree, changed(tree["object_index"], root=None)),
        "overlay-without-base": (
            "0016-R1",
            "nothing below the rows that wait",
            tree,
            {"form": "hot-overlay-v1", "hot_shard": name_of(1)},
        ),
        "overlay-key-too-many": (
            "0000-R3",
            "the map is closed",
            tree,
            {"form": "hot-overlay-v1", "hot_shard": name_of(1), "base_track": name_of(2), "v": 1},
        ),
        "categories-in-a-btree": ("0011-R7", "always a list", listed, tree["object_index"]),
        "category-of-five": (
            "0011-R4",
            "an offset without a length",
            listed,
            [listed["object_index"][0][:5]],
        ),
        "category-value-text": (
            "0011-R4",
            "values are bytes",
            listed,
            [["f5", *listed["object_index"][0][1:]]],
        ),
        "category-of-another-type": (
            "0011-R3",
            "an integer in a column of truths",
            listed,
            [[b"\x01", *listed["object_index"][0][1:]]],
        ),
        "category-covers-nothing": (
            "0003-R3",
            "no anchor",
            listed,
            [[b"\xf5", 5, 5, *listed["object_index"][0][3:]]],
        ),
        "cell-of-four": ("0007-R7", "no address", cells, [cell[:4]]),
        "cell-of-eight": ("0007-R7", "one item too many", cells, [[*cell, 0, name_of(1), 0]]),
        "cell-key-number": ("0004-R2", "a key is text", cells, [[5, *cell[1:]]]),
        "cell-table-negative": ("0007-R8", "below zero", cells, [[*cell, -1]]),
        "cell-sidecar-null": ("0007-R11", "absent, but never null", cells, [[*cell, 0, None]]),
    }
    for name, (requirement, comment, of, index) in bad.items():
        yield invalid(name, requirement, comment, hex=encode_cbor({**of, "object_index": index}))


# --- Manifests ----------------------------------------------------------------------------------------------


def manifests() -> Iterator[Case]:
    """Versions of Spaces."""
    yield reference("first", "0001-R2 0001-R6", "the first version of a Space", hex=_manifest("images", []))
    yield reference(
        "second", "0001-R4 0001-R5", "with lineage and edges", hex=_manifest("packed-images", [0])
    )
    yield reference("merge", "0008-R7", "two parents", hex=_manifest("branch-merge", [0, 1]))
    for form, of in {"lineage-v4": "entities", "lineage-v5": "checkpoints"}.items():
        data = next(d for _, d in files(of, "/manifests/") if decode_cbor(d)["tracks"]["form"] == form)
        yield reference(form, "0001-R8", "a form that is read, and not written on", hex=data)
    yield reference("tombstones", "0008-R8", "with deleted rows", hex=_tombstoned())
    base = _plain_manifest()
    yield valid("plain", "0001-R2 0001-R7", "two fields, no lineage", hex=encode_cbor(base))
    yield valid(
        "no-tracks", "0001-R2", "a Space without fields", hex=encode_cbor(_with_tracks(base, active=[]))
    )
    yield valid("writer-empty", "0001-R2", "any text", hex=encode_cbor({**base, "writer": ""}))
    yield valid("ts-in-the-past", "0001-R3", "readers do not care", hex=encode_cbor({**base, "ts": 0}))
    yield valid(
        "foreign-keys",
        "0000-R3 0001-R2",
        "keys of others are kept",
        hex=encode_cbor({**base, "com.acme": {"deep": [1, b"x"]}}),
    )
    yield valid(
        "second-timeline",
        "0001-R4",
        "kept as it is",
        hex=encode_cbor({**base, "timelines": [_TIMELINE, _OTHER]}),
    )
    yield valid(
        "list-form",
        "0001-R8",
        "the older form: read, not written on",
        hex=encode_cbor({**base, "tracks": base["tracks"]["active"]}),
    )
    yield valid(
        "layer",
        "0001-R4",
        "a role that names a Track",
        hex=encode_cbor(
            _with_tracks(
                base,
                active=[
                    base["tracks"]["active"][0],
                    {**base["tracks"]["active"][1], "role": f"layer-of:{address_of(b'1')}"},
                ],
            )
        ),
    )
    yield valid("lineage", "0001-R5", "a Track made from another", hex=encode_cbor(_with_lineage(base)))
    yield from _repeated(base)
    yield from _broken_manifests(base)
    yield from _broken_lineage(base)


def _repeated(base: dict[str, Any]) -> Iterator[Case]:
    """The one exception to 0002-R5: the reference says the entry of an array's type once a field that has the type."""
    for name, key, accepted in (("array", "array.f32.x", True), ("scalar", "scalar.i64.field=a", False)):
        registry = {**base["registry"], key: {"item_type": {}}}
        whole = encode_cbor({**base, "registry": registry})
        pair = encode_cbor(key) + encode_cbor(registry[key])
        head = encode_cbor("registry")
        at = whole.index(head) + len(head)
        twice = whole[:at] + bytes([whole[at] + 1]) + whole[at + 1 :].replace(pair, pair * 2)
        if accepted:
            comment = "the same pair again, of an array's type: read once"
            yield valid(f"{name}-pair-twice", "0002-R8", comment, flags=["decode-only"], hex=twice)
        else:
            yield invalid(f"{name}-pair-twice", "0002-R5", "the same pair again, of anything else", hex=twice)


def _manifest(of: str, parents: list[int]) -> bytes:
    return next(
        data for _, data in files(of, "/manifests/") if len(decode_cbor(data)["parents"]) == len(parents)
    )


def _tombstoned() -> bytes:
    return next(
        data
        for _, data in files("append-delete", "/manifests/")
        if "dreamdb.tombstones" in decode_cbor(data)["registry"]
    )


def _entry(field: str, nth: int, **changes: Any) -> dict[str, Any]:
    entry = {
        "kind": "event",
        "role": "base",
        "field": field,
        "address": name_of(nth),
        "coverage": [0, 1],
        "modality": f"scalar.i64.field={field}",
        "timeline": _TIMELINE,
    }
    return {**entry, **changes}


def _plain_manifest() -> dict[str, Any]:
    fields = [{"kind": "scalar", "name": name, "value_type": "int", "required": False} for name in "ab"]
    scalars = {f"scalar.i64.field={name}": {"scalar_index_hash": name_of(9)} for name in "ab"}
    return {
        "ts": 1_700_000_000_000_000_000,
        "tracks": {
            "form": "lineage-v1",
            "edges": [],
            "active": [_entry("a", 1), _entry("b", 2)],
            "lineage": [],
        },
        "writer": "somebody",
        "parents": [],
        "registry": {"dreamdb.schema": {"v": 1, "fields": fields}, **scalars},
        "timelines": [_TIMELINE],
    }


def _with_tracks(base: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {**base, "tracks": {**base["tracks"], **parts}}


def _end(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("field", "address", "modality", "timeline")}


def _with_lineage(base: dict[str, Any], **parts: Any) -> dict[str, Any]:
    old = _entry("a", 7)
    edge = {"child": _end(base["tracks"]["active"][0]), "exact_parent": _end(old)}
    return _with_tracks(base, **{"lineage": [old], "edges": [edge], **parts})


def _broken_manifests(base: dict[str, Any]) -> Iterator[Case]:
    for key in ("ts", "tracks", "writer", "parents", "registry", "timelines"):
        yield invalid(
            f"{key}-missing",
            "0001-R2",
            "a key that must be there",
            hex=encode_cbor(changed(base, **{key: MISSING})),
        )
    bad: dict[str, tuple[str, str, dict[str, Any]]] = {
        "no-timeline": ("0001-R2", "at least one", {"timelines": []}),
        "timeline-text": ("0002-R2", "an address is bytes", {"timelines": ["x"]}),
        "ts-negative": ("0003-R1", "below zero", {"ts": -1}),
        "ts-float": ("0003-R1", "a float", {"ts": 1.5}),
        "ts-beyond-64-bits": ("0003-R1", "minus 2^64", {"ts": -(1 << 64)}),
        "writer-null": ("0001-R2", "text must be there", {"writer": None}),
        "parent-short": ("0002-R2", "32 bytes", {"parents": [name_of(1)[:-1]]}),
        "parents-null": ("0001-R2", "none is an empty array", {"parents": None}),
        "registry-array": ("0001-R2", "a map", {"registry": []}),
    }
    for name, (requirement, comment, change) in bad.items():
        yield invalid(name, requirement, comment, hex=encode_cbor({**base, **change}))
    yield invalid("not-a-map", "0001-R2", "an array", hex=encode_cbor([base]))


def _broken_lineage(base: dict[str, Any]) -> Iterator[Case]:
    active = base["tracks"]["active"]
    old, edges = _entry("a", 7), _with_lineage(base)["tracks"]["edges"]
    bad: dict[str, tuple[str, str, dict[str, Any]]] = {
        "form-unknown": ("0001-R8", "a form that nobody knows", {"form": "lineage-v9"}),
        "form-missing": ("0001-R8", "it must be said", {"form": None}),
        "active-out-of-order": ("0001-R4", "b before a", {"active": active[::-1]}),
        "active-twice": ("0001-R4", "the same entry again", {"active": [active[0], active[0]]}),
        "entry-kind-unknown": (
            "0001-R4",
            "three kinds there are",
            {"active": [_entry("a", 1, kind="sometimes")]},
        ),
        "entry-role-unknown": ("0001-R4", "base, or layer-of", {"active": [_entry("a", 1, role="top")]}),
        "entry-role-no-address": (
            "0001-R4 0002-R2",
            "a layer of nothing",
            {"active": [_entry("a", 1, role="layer-of:x")]},
        ),
        "entry-coverage-backwards": (
            "0003-R3",
            "ends before it starts",
            {"active": [_entry("a", 1, coverage=[5, 4])]},
        ),
        "entry-modality-bad": (
            "0001-R10",
            "would leave its directory",
            {"active": [_entry("a", 1, modality="..")]},
        ),
        "entry-key-too-many": ("0000-R3", "the map is closed", {"active": [_entry("a", 1, v=1)]}),
        "entry-field-null": ("0001-R6", "a name is text", {"active": [{**active[0], "field": None}]}),
        "tracks-key-too-many": ("0000-R3", "the map is closed", {"backfill": []}),
        "lineage-not-reached": ("0001-R5", "no edge leads there", {"lineage": [old]}),
        "edge-to-nowhere": ("0001-R5", "its parent is no entry", {"edges": edges}),
        "edge-key-too-many": (
            "0000-R3",
            "the map is closed",
            {"lineage": [old], "edges": [{**edges[0], "v": 1}]},
        ),
        "edge-twice": ("0001-R4", "the same edge again", {"lineage": [old], "edges": edges * 2}),
        "edge-backwards": (
            "0001-R5",
            "from old to new",
            {
                "lineage": [old],
                "edges": [{"child": edges[0]["exact_parent"], "exact_parent": edges[0]["child"]}],
            },
        ),
    }
    for name, (requirement, comment, parts) in bad.items():
        yield invalid(name, requirement, comment, hex=encode_cbor(_with_tracks(base, **parts)))


# --- schemas ------------------------------------------------------------------------------------------------


def schemas() -> Iterator[Case]:
    """Registries, and the fields they declare."""
    for of in ("scalars-nulls", "images", "vec-hybrid", "evolution-meta"):
        registry = decode_cbor(files(of, "/manifests/")[-1][1])["registry"]
        kept = {"dreamdb.schema": registry["dreamdb.schema"]}
        yield valid(of, "0001-R12 0001-R15", "as the SDK declared it", registry=kept, flags=["reference"])
    a, b = ({"kind": "scalar", "name": name, "value_type": "int"} for name in "ab")
    yield valid(
        "required-absent",
        "0001-R16",
        "false when it is not said",
        registry={"dreamdb.schema": {"v": 1, "fields": [a]}},
    )
    yield valid(
        "any-order",
        "0001-R15",
        "read in any order, written by name",
        registry={"dreamdb.schema": {"v": 1, "fields": [b, a]}},
    )
    yield valid(
        "unknown-kind",
        "0000-R4",
        "declared, if not readable",
        registry={"dreamdb.schema": {"v": 1, "fields": [{"kind": "hologram", "name": "h", "depth": 3}]}},
    )
    yield valid(
        "no-fields", "0001-R12", "an empty schema", registry={"dreamdb.schema": {"v": 1, "fields": []}}
    )
    yield valid(
        "specs",
        "0001-R12",
        "the version that names embedding spaces",
        registry={"dreamdb.schema": {"v": 2, "fields": [a], "embedding_specs": {}}},
    )
    bad: dict[str, tuple[str, str, dict[str, Any]]] = {
        "missing": ("0001-R12", "no schema", {}),
        "version-3": ("0000-R4", "a version that nobody knows", {"dreamdb.schema": {"v": 3, "fields": []}}),
        "version-missing": ("0001-R12", "it must be said", {"dreamdb.schema": {"fields": []}}),
        "specs-with-version-1": (
            "0000-R3",
            "the map is closed",
            {"dreamdb.schema": {"v": 1, "fields": [], "embedding_specs": {}}},
        ),
        "specs-missing": ("0000-R3", "version 2 has them", {"dreamdb.schema": {"v": 2, "fields": []}}),
        "name-twice": ("0001-R15", "two fields of one name", {"dreamdb.schema": {"v": 1, "fields": [a, a]}}),
        "fields-map": ("0001-R12", "an array", {"dreamdb.schema": {"v": 1, "fields": {"a": a}}}),
        "field-text": ("0001-R12", "a field is a map", {"dreamdb.schema": {"v": 1, "fields": ["a"]}}),
        "name-number": (
            "0001-R15",
            "a name is text",
            {"dreamdb.schema": {"v": 1, "fields": [{**a, "name": 5}]}},
        ),
    }
    for name, (requirement, comment, registry) in bad.items():
        yield invalid(name, requirement, comment, registry=registry)


FILES: Final = (
    VectorFile("0001", "genesis", "genesis", True, "Genesis", "The Object that names a timeline.", genesis),
    VectorFile(
        "0001", "modality-tags", "modality.parse", False, "Modality tags", "A tag to its parts.", tags
    ),
    VectorFile(
        "0001",
        "field-tags",
        "field.modality",
        False,
        "Tags of fields",
        "A field to the tag and kind of its Track.",
        field_tags,
    ),
    VectorFile(
        "0001", "tracks", "track", True, "Tracks", "Tracks of every sort, their index included.", tracks
    ),
    VectorFile("0001", "manifests", "manifest", True, "Manifests", "One version of a Space each.", manifests),
    VectorFile(
        "0001", "schemas", "schema.decode", False, "Schemas", "A registry to the fields it declares.", schemas
    ),
)
