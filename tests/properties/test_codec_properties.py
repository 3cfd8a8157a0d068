"""One value, one encoding: what is written is read back, and nothing else is read."""

import struct
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import blake3
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dreamdb_arrow.codec.address import Address, address_of, parse_address
from dreamdb_arrow.codec.cbor import _decode_compiled, decode_cbor, decode_strictly, encode_cbor
from dreamdb_arrow.codec.modality import check_modality, parse_modality
from dreamdb_arrow.codec.outboard import encode_outboard, encode_outboards
from dreamdb_arrow.codec.time_key import decode_time_key, encode_time_key
from dreamdb_arrow.errors import CanonicalError, CorruptDataError, UnsupportedError
from dreamdb_arrow.objects import (
    genesis,
    manifest,
    media_items,
    scalar_index,
    schema,
    tombstone_tree,
    tombstones,
    track,
)

# --- values -------------------------------------------------------------------------------------------------

EDGES = [0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63, 2**64 - 1]
INTEGERS = st.integers(-(2**64), 2**64 - 1) | st.sampled_from(
    [sign * edge for edge in EDGES for sign in (1, -1)]
)
FLOATS = st.floats() | st.floats(width=16) | st.floats(width=32)
TEXTS = st.text(max_size=30)
SCALARS = INTEGERS | FLOATS | TEXTS | st.binary(max_size=40) | st.booleans() | st.none()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=6),
    max_leaves=25,
)


def outcome(decode, data, **options):
    """What a decoder makes of these bytes: what it says, or where it stops."""
    try:
        return encode_cbor(decode(data, **options))
    except CanonicalError as error:
        return error.offset


@given(VALUES)
def test_values_there_and_back(value):
    data = encode_cbor(value)
    for decode in (decode_cbor, decode_strictly):
        assert encode_cbor(decode(data)) == data
    assert "nan" in repr(value) or decode_strictly(data) == value


@given(st.dictionaries(TEXTS, st.none(), max_size=20), st.randoms())
def test_order_of_insertion_does_not_matter(value, random):
    keys = list(value)
    random.shuffle(keys)
    assert encode_cbor(dict.fromkeys(keys)) == encode_cbor(value)


# --- bytes that are nearly CBOR of our kind -----------------------------------------------------------------


@st.composite
def heads(draw, major, argument):
    """A head of any width that holds the argument, mostly the shortest."""
    shortest = next(
        w for w, top in ((0, 24), (1, 2**8), (2, 2**16), (4, 2**32), (8, 2**64)) if argument < top
    )
    width = draw(st.sampled_from([w for w in (0, 1, 2, 4, 8) if w >= shortest][:1] * 6 + [1, 2, 4, 8]))
    if width == 0 or width < shortest:
        return bytes([major << 5 | argument]) if argument < 24 else draw(heads(major, argument))
    return bytes([major << 5 | 24 + (width.bit_length() - 1)]) + argument.to_bytes(width, "big")


@st.composite
def counted(draw, major, inner, per_item):
    items = draw(st.lists(inner, max_size=4 * per_item).filter(lambda found: len(found) % per_item == 0))
    if major == 5 and draw(st.integers(0, 3)):
        pairs = sorted(zip(items[::2], items[1::2], strict=True), key=lambda pair: (len(pair[0]), pair[0]))
        items = [part for pair in pairs for part in pair]
    return draw(heads(major, len(items) // per_item)) + b"".join(items)


@st.composite
def strings(draw, major):
    content = draw(st.binary(max_size=30) if major == 2 else TEXTS.map(str.encode) | st.binary(max_size=3))
    return draw(heads(major, len(content))) + content


SPECIALS = st.sampled_from([bytes([0xE0 | info]) for info in (20, 21, 22, 20, 21, 22, 0, 19, 23, 28, 31)])
RAW_FLOATS = st.one_of(
    st.binary(min_size=2, max_size=2).map(lambda b: b"\xf9" + b),
    st.floats(width=32).map(lambda f: b"\xfa" + struct.pack(">f", f)),
    FLOATS.map(lambda f: b"\xfb" + struct.pack(">d", f)),
)
NEARLY_LEAVES = st.one_of(
    st.sampled_from(EDGES).flatmap(lambda n: heads(0, n)),
    st.integers(0, 300).flatmap(lambda n: heads(1, n)),
    strings(2),
    strings(3),
    SPECIALS,
    RAW_FLOATS,
)
NEARLY = st.recursive(
    NEARLY_LEAVES,
    lambda inner: st.one_of(
        counted(4, inner, 1),
        counted(5, strings(3) | inner, 2),
        st.tuples(
            st.sampled_from([0, 2, 3, 4, 25, 28, 29, 258, 55799]).flatmap(lambda n: heads(6, n)), inner
        ).map(b"".join),
    ),
    max_leaves=12,
)


@given(NEARLY | st.binary(max_size=60) | st.tuples(NEARLY, st.binary(max_size=1)).map(b"".join))
@example(bytes.fromhex("c249010000000000000000"))
@example(bytes.fromhex("81f7"))
@example(bytes.fromhex("a14161f6"))
def test_both_decoders_agree(data):
    expected = outcome(decode_strictly, data)
    assert outcome(decode_cbor, data) == expected
    try:
        compiled = _decode_compiled(data, 64)
    except Exception:  # noqa: BLE001 - it may raise anything
        assert isinstance(expected, int), "the fast way must take what is canonical"
    else:
        assert encode_cbor(compiled) == data == expected, "the fast way may take nothing else"


@given(NEARLY, st.integers(0, 5))
def test_both_decoders_agree_on_depth(data, max_depth):
    assert outcome(decode_cbor, data, max_depth=max_depth) == outcome(
        decode_strictly, data, max_depth=max_depth
    )


@given(NEARLY | VALUES.map(encode_cbor))
def test_what_is_read_is_what_was_written(data):
    found = outcome(decode_strictly, data)
    assert found == data or 0 <= found <= len(data)


@given(VALUES.map(encode_cbor), st.data())
def test_flips_and_cuts_of_values(data, draw):
    position = draw.draw(st.integers(0, 8 * len(data) - 1))
    flipped = flip(data, position)
    for damaged in (flipped, data[: position // 8], flipped[: position // 8 + 1]):
        found = outcome(decode_cbor, damaged)
        assert found == damaged or isinstance(found, int)


def flip(data, bit):
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


# --- objects ------------------------------------------------------------------------------------------------

ADDRESSES = st.binary(min_size=32, max_size=32).map(lambda digest: Address(b"\x1e" + digest))
U64 = st.integers(0, 2**64 - 1)
RANGES = st.tuples(U64, U64).map(sorted).map(tuple)
SEGMENTS = st.text("abcz09_", min_size=1, max_size=5)
PARAMS = st.lists(st.tuples(SEGMENTS, st.none() | st.text("aZ0_", max_size=3)).map(tuple), max_size=3)
MODALITIES = st.builds(
    lambda cls, codec, params: ".".join([cls, codec, *(n if v is None else f"{n}={v}" for n, v in params)]),
    st.sampled_from(["image", "scalar", "org.dreamdb.arrow.stripe", "embedding"]),
    SEGMENTS,
    PARAMS,
)
ENTRIES = st.builds(
    manifest.TrackEntry,
    kind=st.sampled_from(["event", "continuous", "constant"]),
    role=st.just("base") | ADDRESSES.map(lambda address: f"layer-of:{address}"),
    field=TEXTS,
    address=ADDRESSES,
    coverage=RANGES,
    modality=MODALITIES,
    timeline=ADDRESSES,
)


@st.composite
def tracks(draw):
    """Chains of versions: the last of each is active, the rest its lineage."""
    entries = draw(st.lists(ENTRIES, max_size=6, unique_by=lambda e: (e.field, e.address)))
    cuts = sorted(draw(st.sets(st.integers(1, 5), max_size=3)) | {0, len(entries)})
    chains = [chain for start, stop in pairwise(cuts) if (chain := entries[start:stop])]
    edges = [
        manifest.Edge(
            *(manifest.EdgeEnd(e.field, e.address, e.modality, e.timeline) for e in (child, parent))
        )
        for chain in chains
        for parent, child in pairwise(chain)
    ]
    return manifest.order_tracks([c[-1] for c in chains], [e for c in chains for e in c[:-1]], edges)


MANIFESTS = st.builds(
    manifest.Manifest,
    ts=U64,
    tracks=tracks(),
    writer=TEXTS,
    parents=st.lists(ADDRESSES, max_size=2).map(tuple),
    registry=st.dictionaries(TEXTS, VALUES, max_size=3),
    timelines=st.lists(ADDRESSES, min_size=1, max_size=1).map(tuple),
    extra=st.dictionaries(TEXTS.map("x-".__add__), VALUES, max_size=2),
)
TRACKS = st.builds(
    track.Track,
    coverage=RANGES,
    modality=MODALITIES,
    timeline=ADDRESSES,
    object_index=VALUES,
    init_segment=st.none() | ADDRESSES,
    item_key_index=VALUES,
)
ITEMS = st.lists(st.builds(media_items.Chunk, ADDRESSES, st.integers(0, 2**40)), max_size=4).map(
    lambda chunks: media_items.items_object_of(tuple(chunks))
)
TOMBSTONES = st.builds(tombstones.Tombstone, U64, U64, st.none() | TEXTS)
PAGES = st.lists(TOMBSTONES, min_size=1, max_size=200, unique_by=lambda t: t.anchor).map(
    lambda found: tombstone_tree.build_pages(sorted(found, key=lambda t: t.anchor))
)
INDEXES = st.builds(
    tombstones.TombstoneIndex,
    ADDRESSES,
    U64,
    PAGES.map(lambda built: built[0]),
    st.lists(ADDRESSES, max_size=2).map(tuple),
)
OBJECTS = {
    "genesis": (
        st.binary(min_size=16, max_size=16).map(genesis.Genesis),
        genesis.encode_genesis,
        genesis.decode_genesis,
    ),
    "manifest": (MANIFESTS, manifest.encode_manifest, manifest.decode_manifest),
    "track": (TRACKS, track.encode_track, track.decode_track),
    "scalar index": (
        st.builds(scalar_index.scalar_index_of, TEXTS, st.sampled_from(sorted(scalar_index.ALGORITHMS))),
        scalar_index.encode_scalar_index,
        scalar_index.decode_scalar_index,
    ),
    "items": (ITEMS, media_items.encode_items, media_items.decode_items),
    "tombstone index": (INDEXES, tombstones.encode_index, tombstones.decode_index),
    "tombstone page": (
        PAGES.map(lambda built: tombstones.decode_page(built[1][-1])),
        tombstones.encode_page,
        tombstones.decode_page,
    ),
}


@pytest.mark.parametrize(("values", "encode", "decode"), OBJECTS.values(), ids=OBJECTS)
@given(draw=st.data())
def test_objects_there_and_back(values, encode, decode, draw):
    value = draw.draw(values)
    data = encode(value)
    assert encode(decode(data)) == data
    assert "nan" in repr(value) or decode(data) == value


@pytest.mark.parametrize(("values", "encode", "decode"), OBJECTS.values(), ids=OBJECTS)
@given(draw=st.data())
def test_flips_and_cuts_of_objects(values, encode, decode, draw):
    data = encode(draw.draw(values))
    bits = draw.draw(st.lists(st.integers(0, 8 * len(data) - 1), min_size=5, max_size=5))
    for damaged in [flip(data, bit) for bit in bits] + [data[: bit // 8] for bit in bits]:
        check_damaged(damaged, encode, decode)


@pytest.mark.parametrize(("values", "encode", "decode"), OBJECTS.values(), ids=OBJECTS)
@given(draw=st.data())
def test_any_value_is_an_object_or_refused(values, encode, decode, draw):
    """A well-formed map with one part replaced by any value whatever."""
    value = decode_cbor(encode(draw.draw(values)))
    key = draw.draw(st.sampled_from(sorted(value)))
    check_damaged(encode_cbor(value | {key: draw.draw(VALUES)}), encode, decode)


def check_damaged(damaged, encode, decode):
    try:
        decoded = decode(damaged)
    except (CorruptDataError, UnsupportedError):
        return
    assert encode(decoded) == damaged


def test_every_flip_and_cut_of_a_stored_manifest(reference_space):
    root = reference_space("scalars-nulls")
    data = min((path.read_bytes() for path in (root / "manifests").iterdir()), key=len)
    for bit in range(0, 8 * len(data), 7):  # each byte, another bit each time
        check_damaged(flip(data, bit), manifest.encode_manifest, manifest.decode_manifest)
    for stop in range(0, len(data), 5):
        with pytest.raises(CanonicalError):
            manifest.decode_manifest(data[:stop])


@given(st.dictionaries(TEXTS, VALUES) | VALUES)
def test_any_registry_has_a_schema_or_is_refused(value):
    try:
        fields = schema.decode_schema({schema.SCHEMA_KEY: {"v": 1, "fields": [value]}})
    except CorruptDataError:
        return
    assert len(fields) == 1
    for ask in (schema.modality_of, schema.track_kind_of):
        try:
            ask(fields[0])
        except (CorruptDataError, UnsupportedError):
            continue


@given(
    kind=st.sampled_from(
        ["scalar", "image", "embedding", "array", "constant", "geometry", "video_item", "other"]
    ),
    options=st.dictionaries(
        st.sampled_from(
            ["value_type", "mime", "dim", "algorithm", "bucket_max_bytes", "item_type", "track_kind"]
        )
        | st.sampled_from(["object_kind", "modality", "geometry_family", "codec"]),
        VALUES | st.dictionaries(st.sampled_from(["dtype", "shape", "inner_shape"]), VALUES),
    ),
)
def test_any_options_have_a_modality_or_are_refused(kind, options):
    field = schema.Field(kind, "x", options=options)
    for ask in (schema.modality_of, schema.track_kind_of):
        try:
            ask(field)
        except (CorruptDataError, UnsupportedError):
            continue


# --- names --------------------------------------------------------------------------------------------------


@given(ADDRESSES)
def test_addresses_there_and_back(address):
    assert parse_address(str(address)) == address


@given(st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=53, max_size=53) | TEXTS)
def test_any_text_is_an_address_or_refused(text):
    with suppress(CorruptDataError):
        assert str(parse_address(text)) == text


@given(U64)
def test_time_keys_there_and_back(time_ns):
    assert decode_time_key(encode_time_key(time_ns)) == time_ns


@given(U64, U64)
def test_time_keys_are_ordered_as_times(a, b):
    assert (encode_time_key(a) < encode_time_key(b)) == (a < b)


@given(MODALITIES | st.text("abz.=_A/-", max_size=30))
def test_modalities_there_and_back(text):
    try:
        assert str(parse_modality(text)) == text
    except CorruptDataError:
        return
    check_modality(text)
    assert "/" not in text
    assert ".." not in text


@given(st.lists(st.binary(max_size=3) | st.integers(1025, 9000).map(bytes), max_size=5))
def test_outboards_together_are_as_each_alone(payloads):
    together = encode_outboards(payloads)
    assert together == [encode_outboard(payload) for payload in payloads]
    for payload, outboard in zip(payloads, together, strict=True):
        assert len(outboard) == 8 + 64 * max(0, -(-len(payload) // 1024) - 1)


@given(st.binary(max_size=100))
def test_addresses_are_of_blake3(data):
    assert address_of(data) == b"\x1e" + blake3.blake3(data).digest()


def test_replaced_values_have_other_addresses():
    one = manifest.Manifest(0, manifest.order_tracks([]), "", (), {}, (address_of(b""),))
    assert address_of(manifest.encode_manifest(one)) != address_of(
        manifest.encode_manifest(replace(one, ts=1))
    )
