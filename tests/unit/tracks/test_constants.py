"""Constants: the stored ones, back and forth, and what is refused."""

from dataclasses import replace

import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import InvalidInputError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.manifest import decode_manifest
from dreamdb_arrow.objects.track import decode_track, encode_track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks.constants import encode_constant, read_constant, write_constant
from dreamdb_arrow.tracks.layout import track_directory

TIMELINE = address_of(b"a timeline")


def test_stored_constants(reference_space, reference_expected):
    store = LocalStore(reference_space("evolution-meta"), sync=False)
    expected = reference_expected("evolution-meta")["refs"]["main"]
    manifest = decode_manifest(store.get(f"manifests/{expected['manifest']}"))
    found = {}
    for entry in manifest.tracks.active:
        if entry.kind == "constant":
            track = decode_track(
                store.get(f"{track_directory(entry.timeline, entry.modality)}/{entry.address}")
            )
            found[entry.field] = {"modality": entry.modality, "value": read_constant(store, track)}
            written = write_constant(
                Batch(MemoryStore()), entry.timeline, entry.modality, found[entry.field]["value"]
            )
            assert address_of(encode_track(written.track)) == entry.address
    assert found == expected["constants"]


@pytest.mark.parametrize(
    ("modality", "value", "encoded"),
    [
        ("title.text", "Título ✓", "Título ✓".encode()),
        ("source.uri", "https://example.org/", b"https://example.org/"),
        (
            "author.json",
            {"é": "✓", "a": 1.0, "b": [True, None]},
            '{"a":1.0,"b":[true,null],"é":"✓"}'.encode(),
        ),
    ],
)
def test_back_and_forth(modality, value, encoded):
    assert encode_constant(modality, value) == encoded
    store = MemoryStore()
    batch = Batch(store)
    written = write_constant(batch, TIMELINE, modality, value)
    batch.flush()
    assert read_constant(store, written.track) == value
    assert written.track.coverage == (0, 2**64 - 1)
    assert list(store.list()) == [f"{TIMELINE}/{modality}/{address_of(encoded)}"]


@pytest.mark.parametrize(
    ("modality", "value"),
    [
        ("title.text", 1),
        ("title.text", "\ud800"),
        ("source.uri", "é"),
        ("author.json", {1, 2}),
        ("author.json", float("nan")),
        ("author.json", "\ud800"),
    ],
)
def test_values_that_are_refused(modality, value):
    with pytest.raises(InvalidInputError):
        encode_constant(modality, value)


@pytest.mark.parametrize(
    ("modality", "payload"),
    [
        ("title.text", b"\xff"),
        ("source.uri", b"\x80"),
        ("author.json", b"{"),
        ("author.json", b"[" * 100_000),
    ],
)
def test_payloads_that_are_refused(modality, payload):
    store = MemoryStore()
    store.put(f"{TIMELINE}/{modality}/{address_of(payload)}", payload)
    track = write_constant(Batch(store), TIMELINE, modality, "x").track
    with pytest.raises(LayoutError):
        read_constant(store, replace(track, object_index=[bytes(address_of(payload))]))


def test_tracks_that_are_no_constants():
    track = write_constant(Batch(MemoryStore()), TIMELINE, "title.text", "x").track
    for index in ([], [bytes(TIMELINE)] * 2, [7], {}):
        with pytest.raises(LayoutError):
            read_constant(MemoryStore(), replace(track, object_index=index))
    with pytest.raises(UnsupportedError):
        read_constant(MemoryStore(), replace(track, modality="image.png"))
