import struct

import numpy as np
import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import InvalidInputError, LayoutError, NotFoundError
from dreamdb_arrow.objects.hot_shard import HotShard, encode_hot_shard
from dreamdb_arrow.objects.track import EMPTY_COVERAGE, Track, encode_track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks.hot import (
    base_of,
    fold_hot,
    is_overlay,
    read_hot_scalars,
    with_hot_vectors,
)
from dreamdb_arrow.tracks.scalars import write_scalars
from dreamdb_arrow.tracks.vectors import Vectors

TIMELINE = address_of(b"timeline")
MODALITIES = {"int": "scalar.i64.field=n", "categorical": "scalar.cat.field=n", "float": "scalar.f64.field=n"}
VECTORS = "embedding.f32.dim=2.bucketed"


def put(store, directory, data):
    address = address_of(data)
    store.put(f"{directory}/{address}", data)
    return address


def put_shard(store, modality, value_type, items):
    anchors, payloads = zip(*items, strict=True) if items else ((), ())
    shard = HotShard(value_type, address_of(b"base"), 1, 10_000, 30, anchors, payloads)
    return put(store, f"{TIMELINE}/{modality}/hot-shard", encode_hot_shard(shard))


def overlaid(store, value_type, cold, items, shard_type=None):
    """A Track of cold rows with a hot shard over it."""
    modality = MODALITIES[value_type]
    batch = Batch(store)
    base = Track(EMPTY_COVERAGE, modality, TIMELINE, [])
    if cold:
        base = write_scalars(store, batch, base, "n", value_type, np.array(list(cold)), _values(cold)).track
    batch.flush()
    below = put(store, f"{TIMELINE}/{modality}/track", encode_track(base))
    shard = put_shard(store, modality, shard_type or value_type, items)
    index = {"form": "hot-overlay-v1", "hot_shard": shard, "base_track": below}
    return Track((0, 9), modality, TIMELINE, index)


def _values(cold):
    values = list(cold.values())
    return values if isinstance(values[0], str) else np.array(values)


def rows_of(column):
    return {a: column.values[c] for a, c in zip(column.anchors.tolist(), column.codes.tolist(), strict=True)}


INTS = [(3, struct.pack("<q", 5)), (4, struct.pack("<q", -7))]


@pytest.mark.parametrize("cold", [{}, {1: 5, 2: 9}])
def test_hot_and_cold_are_one_column(cold):  # 0016-R1
    store = MemoryStore()
    column = read_hot_scalars(store, overlaid(store, "int", cold, INTS), "int")
    assert rows_of(column) == cold | {3: 5, 4: -7}
    assert np.all(np.diff(column.values) > 0)
    assert np.all(np.diff(column.anchors) > 0)


def test_of_two_values_at_an_anchor_the_larger_shows():  # 0001-R17
    store = MemoryStore()
    items = [(1, b"a"), (2, b"zz")]
    track = overlaid(store, "categorical", {1: "b", 2: "zzz"}, items)
    assert rows_of(read_hot_scalars(store, track, "categorical")) == {1: "b", 2: "zzz"}


def test_anchors_that_nobody_can_see():  # 0003-R2
    store = MemoryStore()
    items = [(5, struct.pack("<q", 1)), (2**63 - 1, struct.pack("<q", 2)), (2**64 - 1, struct.pack("<q", 3))]
    assert rows_of(read_hot_scalars(store, overlaid(store, "int", {}, items), "int")) == {5: 1}


def test_a_track_without_hot_rows_is_read_as_ever():
    store = MemoryStore()
    track = base_of(store, overlaid(store, "float", {1: 0.5}, []))
    assert not is_overlay(track)
    assert rows_of(read_hot_scalars(store, track, "float")) == {1: 0.5}
    assert base_of(store, track) is track


def test_fold():  # 0016-R2
    store = MemoryStore()
    track = overlaid(store, "int", {1: 5}, INTS)
    base, anchors, values = fold_hot(store, track, "int", np.array([9]), np.array([8]))
    batch = Batch(store)
    written = write_scalars(store, batch, base, "n", "int", anchors, values).track
    batch.flush()
    assert rows_of(read_hot_scalars(store, written, "int")) == {1: 5, 3: 5, 4: -7, 9: 8}


def test_an_overlay_over_an_overlay_is_refused():
    store = MemoryStore()
    inner = overlaid(store, "int", {}, INTS)
    address = put(store, f"{TIMELINE}/{inner.modality}/track", encode_track(inner))
    outer = Track((0, 9), inner.modality, TIMELINE, inner.object_index | {"base_track": address})
    with pytest.raises(LayoutError, match="hot itself"):
        read_hot_scalars(store, outer, "int")


def test_a_shard_of_another_type_is_refused():
    store = MemoryStore()
    with pytest.raises(LayoutError, match="'timestamp'"):
        read_hot_scalars(store, overlaid(store, "int", {}, INTS, shard_type="timestamp"), "int")


@pytest.mark.parametrize("missing", ["hot-shard", "track"])
def test_what_is_missing_is_named(missing):
    store = MemoryStore()
    track = overlaid(store, "int", {}, INTS)
    for path in list(store.list()):
        if f"/{missing}/" in path:
            store.delete(path)
    with pytest.raises(NotFoundError, match=missing):
        read_hot_scalars(store, track, "int")


@pytest.mark.parametrize("index", [{"form": "hot-overlay-v1"}, {"extra": 1}, {"base_track": b"x"}])
def test_no_overlay(index):  # 0000-R3
    store = MemoryStore()
    track = overlaid(store, "int", {}, INTS)
    wrong = index if len(index) == 1 and "form" in index else track.object_index | index
    with pytest.raises(LayoutError):
        read_hot_scalars(store, Track((0, 9), track.modality, TIMELINE, wrong), "int")


def test_hot_vectors_come_after_cold_ones():  # 0016-R1
    store = MemoryStore()
    items = [
        (a, np.asarray(v, "<f4").tobytes())
        for a, v in [(9, [1, 1]), (3, [2, 2]), (3, [3, 3]), (2**63, [0, 1])]
    ]
    shard = put_shard(store, VECTORS, None, items)
    cold = Vectors(np.array([1, 9]), np.array([[8, 8], [7, 7]], "f4"))
    track = Track((1, 10), VECTORS, TIMELINE, [])
    found = with_hot_vectors(store, track, shard, cold, 2)
    assert found.anchors.tolist() == [1, 3, 9]
    assert found.vectors.tolist() == [[8, 8], [3, 3], [7, 7]]
    with pytest.raises(LayoutError, match="vectors of 3"):
        with_hot_vectors(store, track, shard, cold, 3)


def test_values_that_cannot_be_folded_are_refused():
    """An anchor that nobody could see stays where it is: it may not be dropped, nor written."""
    store = MemoryStore()
    track = overlaid(store, "int", {}, [(2**63, struct.pack("<q", 1))])
    base, anchors, values = fold_hot(store, track, "int", np.array([9]), np.array([8]))
    with pytest.raises(InvalidInputError, match="anchors"):
        write_scalars(store, Batch(store), base, "n", "int", anchors, values)
