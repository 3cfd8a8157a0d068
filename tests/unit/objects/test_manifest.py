from dataclasses import replace

import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import CanonicalError, InvalidInputError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.manifest import (
    LIST_FORM,
    Edge,
    EdgeEnd,
    Manifest,
    TrackEntry,
    Tracks,
    decode_manifest,
    encode_manifest,
    find_entry,
    order_tracks,
    skim_registry,
)

TIMELINE = address_of(b"timeline")


def entry(field, version=1, **changes):
    plain = TrackEntry(
        kind="event",
        role="base",
        field=field,
        address=address_of(f"{field} {version}".encode()),
        coverage=(0, 1),
        modality=f"scalar.i64.field={field}",
        timeline=TIMELINE,
    )
    return replace(plain, **changes)


def end(of):
    return EdgeEnd(of.field, of.address, of.modality, of.timeline)


def edge(child, parent):
    return Edge(end(child), end(parent))


def manifest(*active, lineage=(), edges=(), **changes):
    plain = Manifest(
        ts=1_700_000_000_000_000_000,
        tracks=order_tracks(active, lineage, edges),
        writer="",
        parents=(),
        registry={"dreamdb.schema": {"v": 1, "fields": []}},
        timelines=(TIMELINE,),
    )
    return replace(plain, **changes)


OTHER = address_of(b"other")
A1, A2, A3, B1, B2 = entry("a"), entry("a", 2), entry("a", 3), entry("b"), entry("b", 2)
MANIFESTS = {
    "empty": manifest(),
    "two fields": manifest(A1, B1),
    "lineage": manifest(A3, B1, lineage=[A1, A2], edges=[edge(A3, A2), edge(A2, A1)]),
    "layer of another field": manifest(A1, entry("b", role=f"layer-of:{A1.address}"), edges=[edge(B1, A1)]),
    "parents, writer": manifest(A1, parents=(TIMELINE, A1.address), writer="acme/1"),
    "unknown keys": manifest(A1, extra={"acme": {"deep": [1, None, 0.5]}, "z": b""}),
    "vendor track": manifest(A1, entry("x", modality="org.dreamdb.arrow.stripe.v1", kind="continuous")),
    "list form": manifest(tracks=Tracks(active=(A1, B1), form=LIST_FORM)),
    "two timelines": manifest(A1, timelines=(TIMELINE, address_of(b"other"))),
    "entries of two timelines": manifest(A1, entry("0", timeline=OTHER), timelines=(TIMELINE, OTHER)),
    "claims on backfills": manifest(tracks=Tracks((A1,), form="lineage-v2", claims=({"target": 1},))),
    "entity keys": manifest(
        tracks=Tracks((A1,), form="lineage-v4"), registry={"dreamdb.entity_keys": bytes(A1.address)}
    ),
    "origins": manifest(tracks=Tracks((A1,), form="lineage-v5", claims=([b"as it is"],))),
}


@pytest.mark.parametrize("case", MANIFESTS.values(), ids=MANIFESTS)
def test_there_and_back(case):  # 0000-R3, 0001-R7
    data = encode_manifest(case)
    assert decode_manifest(data) == case
    assert list(decode_cbor(data))[:3] == sorted(decode_cbor(data), key=lambda key: (len(key), key))[:3]


def test_read_only_forms():  # 0001-R8
    for name in ("list form", "claims on backfills", "entity keys", "origins"):
        assert MANIFESTS[name].tracks.read_only
        assert MANIFESTS[name].tracks.refusal
    assert not MANIFESTS["empty"].tracks.read_only
    assert MANIFESTS["empty"].tracks.refusal == ""
    assert "entity operations" in MANIFESTS["entity keys"].tracks.refusal


def test_find_entry():
    tracks = MANIFESTS["lineage"].tracks
    assert find_entry(tracks, "a") == A3
    assert find_entry(tracks, "c") is None


def test_order_is_by_timeline_field_modality_and_address():  # 0001-R4
    short, long = (
        entry("a", n, modality=m) for n, m in ((1, "embedding.f32"), (2, "embedding.f32.version=1"))
    )
    assert order_tracks([long, short]).active == (short, long)
    twins = replace(short, address=long.address), replace(long, address=short.address)
    assert order_tracks(twins[::-1]).active == twins
    first, last = sorted([TIMELINE, OTHER])
    tracks = order_tracks([entry("a", timeline=last), entry("b", timeline=first)])
    assert [e.field for e in tracks.active] == ["b", "a"]
    tracks = order_tracks([B1, A2, A1, entry("aa"), entry("é"), entry("z")])
    assert [e.field for e in tracks.active] == ["a", "a", "aa", "b", "z", "é"]
    assert tracks.active[0].address < tracks.active[1].address


LOST = manifest(A3, lineage=[A1]).tracks
INVALID_TRACKS = {
    "unordered": Tracks(active=(B1, A1)),
    "twice": Tracks(active=(A1, A1)),
    "lineage unordered": replace(
        MANIFESTS["lineage"].tracks, lineage=MANIFESTS["lineage"].tracks.lineage[::-1]
    ),
    "edges unordered": replace(MANIFESTS["lineage"].tracks, edges=MANIFESTS["lineage"].tracks.edges[::-1]),
    "edge twice": replace(MANIFESTS["lineage"].tracks, edges=MANIFESTS["lineage"].tracks.edges[:1] * 2),
    "lineage without edge": LOST,
    "lineage only in a circle": order_tracks([A3], [A1, A2], [edge(A1, A2), edge(A2, A1)]),
    "lineage by an edge the wrong way": order_tracks([A3], [A1], [edge(A1, A3)]),
    "two parents of one track": order_tracks([A3], [A1, A2], [edge(A3, A1), edge(A3, A2)]),
    "its own parent": order_tracks([A3], [], [edge(A3, A3)]),
    "edge to nowhere": order_tracks([A3], [], [edge(A3, A1)]),
    "edge from nowhere": order_tracks([A3], [], [edge(A1, A3)]),
    "edge by another modality": order_tracks([A3], [A1], [edge(A3, replace(A1, modality="image.png"))]),
    "list with lineage": replace(MANIFESTS["lineage"].tracks, form=LIST_FORM),
    "form of another name": Tracks(active=(), form="lineage-v3"),
    "claims of a form without": Tracks(active=(), claims=(1,)),
    "timelines unordered": Tracks(active=order_tracks([A1, entry("a", timeline=OTHER)]).active[::-1]),
}


@pytest.mark.parametrize("tracks", INVALID_TRACKS.values(), ids=INVALID_TRACKS)
def test_tracks_that_may_not_be(tracks):  # 0000-R5, 0001-R4, 0001-R5, 0001-R8
    with pytest.raises(InvalidInputError):
        encode_manifest(manifest(tracks=tracks))


@pytest.mark.parametrize(
    "tracks", [t for t in INVALID_TRACKS.values() if t.form == "lineage-v1" and not t.claims]
)
def test_tracks_that_are_refused(tracks):  # 0000-R1, 0001-R4, 0001-R5
    value = decode_cbor(encode_manifest(manifest()))
    value["tracks"] = {
        "form": "lineage-v1",
        "active": [entry_value(e) for e in tracks.active],
        "lineage": [entry_value(e) for e in tracks.lineage],
        "edges": [
            {"child": end_value(e.child), "exact_parent": end_value(e.exact_parent)} for e in tracks.edges
        ],
    }
    with pytest.raises(LayoutError):
        decode_manifest(encode_cbor(value))


def end_value(of):
    return {key: getattr(of, key) for key in ("field", "address", "modality", "timeline")}


def entry_value(of):
    return end_value(of) | {"kind": of.kind, "role": of.role, "coverage": of.coverage}


def altered(*path, value):
    decoded = decode_cbor(encode_manifest(MANIFESTS["lineage"]))
    inner = decoded
    for step in path[:-1]:
        inner = inner[step]
    if value is KeyError:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return encode_cbor(decoded)


ACTIVE = ("tracks", "active", 0)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *[((key,), KeyError) for key in ("ts", "tracks", "writer", "parents", "registry", "timelines")],
        *[(("tracks", key), KeyError) for key in ("form", "active", "lineage", "edges")],
        *[
            ((*ACTIVE, key), KeyError)
            for key in ("kind", "role", "field", "address", "coverage", "modality", "timeline")
        ],
        (("tracks", "edges", 0, "child"), KeyError),
        (("tracks", "edges", 0, "child", "field"), KeyError),
        (("tracks", "extra"), 1),
        ((*ACTIVE, "extra"), 1),
        (("tracks", "edges", 0, "extra"), 1),
        (("tracks", "edges", 0, "child", "extra"), 1),
        (("ts",), -1),
        (("ts",), True),
        (("ts",), 1.5),
        (("ts",), 2**64 - 1 + 0.0),
        (("writer",), None),
        (("writer",), b""),
        (("parents",), {}),
        (("parents",), [b""]),
        (("parents",), ["d"]),
        (("registry",), []),
        (("timelines",), []),
        (("timelines",), [b"\x1f" * 33]),
        (("tracks",), None),
        (("tracks",), [1]),
        (("tracks", "form"), 1),
        (("tracks", "active"), {}),
        ((*ACTIVE, "kind"), "sometimes"),
        ((*ACTIVE, "role"), "layer-of:"),
        ((*ACTIVE, "role"), "layer-of:x"),
        ((*ACTIVE, "role"), str(TIMELINE)),
        ((*ACTIVE, "role"), "bass"),
        ((*ACTIVE, "coverage"), [1, 0]),
        ((*ACTIVE, "coverage"), [0, 2**64 - 1, 1]),
        ((*ACTIVE, "modality"), "../refs"),
        ((*ACTIVE, "modality"), "a/b.c"),
        ((*ACTIVE, "modality"), ""),
        ((*ACTIVE, "field"), 1),
        ((*ACTIVE, "address"), b"\x1e"),
    ],
)
def test_not_a_manifest(path, value):  # 0000-R1, 0000-R3, 0001-R2, 0001-R10, 0003-R3
    with pytest.raises(LayoutError):
        decode_manifest(altered(*path, value=value))


@pytest.mark.parametrize(
    ("form", "keys"),
    [
        ("lineage-v2", {"origins": []}),
        ("lineage-v2", {}),
        ("lineage-v5", {"backfill_claims": []}),
        ("lineage-v5", {"origins": {}}),
        ("lineage-v1", {"origins": []}),
        ("lineage-v4", {"backfill_claims": []}),  # without the registry's key
    ],
)
def test_forms_have_their_own_keys(form, keys):  # 0000-R3, 0001-R8
    plain = decode_cbor(encode_manifest(manifest()))["tracks"]
    with pytest.raises(LayoutError):
        decode_manifest(altered("tracks", value={**plain, "form": form, **keys}))


def test_entity_keys_go_with_their_form():  # 0001-R8
    with pytest.raises(LayoutError, match="entity_keys"):
        decode_manifest(altered("registry", value={"dreamdb.entity_keys": bytes(A1.address)}))


@pytest.mark.parametrize("form", ["lineage-v3", "lineage-v6", "paged", ""])
def test_other_forms_are_named(form):  # 0001-R8
    with pytest.raises(UnsupportedError, match=repr(form)):
        decode_manifest(altered("tracks", "form", value=form))
    with pytest.raises(UnsupportedError):
        decode_manifest(altered("tracks", value={"form": form, "active": [], "backfill_claims": []}))


def test_tracks_have_a_limit():  # 0001-R7
    entries = [replace(A1, field=f"{nth:05}" + "x" * 190) for nth in range(3000)]
    encode_manifest(manifest(tracks=order_tracks(entries[:2000])))
    with pytest.raises(InvalidInputError, match="1048576"):
        encode_manifest(manifest(tracks=order_tracks(entries)))


def test_extra_keys_may_not_take_the_place_of_others():
    with pytest.raises(InvalidInputError, match="ts"):
        encode_manifest(manifest(extra={"ts": 1}))


def test_a_repeated_registry_entry_of_the_reference_is_read():
    """dreamdb 0.0.16 writes the entry of an array type once for each field of that type."""
    once = encode_cbor({"array.f32.x": {"item_type": {}}})[1:]
    data = encode_manifest(manifest(A1, registry={"array.f32.x": {"item_type": {}}}))
    twice = data.replace(b"\xa1" + once, b"\xa2" + once + once)
    assert len(twice) == len(data) + len(once)
    found = decode_manifest(twice)
    assert replace(found, repeated={}) == decode_manifest(data)
    assert encode_manifest(found) == twice
    assert encode_manifest(replace(found, repeated={})) == data
    with pytest.raises(InvalidInputError, match=r"no \['array.u8.x'\] to repeat"):
        encode_manifest(replace(found, repeated={"array.u8.x": 2}))


def test_nothing_else_may_be_repeated():
    extra = encode_cbor("array.f32.x") + encode_cbor(1)
    data = encode_manifest(manifest(A1, extra={"other": {"array.f32.x": 1}}))
    twice = data.replace(b"\xa1" + extra, b"\xa2" + extra + extra)
    assert twice != data
    with pytest.raises(CanonicalError):
        decode_manifest(twice)


def test_a_registry_is_read_whatever_the_rest_is():
    data = encode_cbor({"registry": {"dreamdb.schema": {"v": 1}}, "tracks": "none"})
    assert skim_registry(data) == {"dreamdb.schema": {"v": 1}}
    for value in ({}, {"registry": 1}, [1]):
        with pytest.raises(LayoutError):
            skim_registry(encode_cbor(value))
