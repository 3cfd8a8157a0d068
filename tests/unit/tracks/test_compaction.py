"""Compaction of one Track: rows stay as they are, buckets become few."""

import numpy as np
import pytest

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.errors import AnchorConflict, LayoutError
from dreamdb_arrow.objects.index_entries import CELLS, entries_of_lists
from dreamdb_arrow.objects.spatial_bucket import SpatialBucket
from dreamdb_arrow.objects.spatial_index import make_lsh_cosine
from dreamdb_arrow.objects.track import EMPTY_COVERAGE, Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks.cell_rows import CellRows, add_rows
from dreamdb_arrow.tracks.compaction import compact_cells, compact_scalars
from dreamdb_arrow.tracks.pages import read_index
from dreamdb_arrow.tracks.placing import place_entries
from dreamdb_arrow.tracks.scalars import bucket_addresses, read_scalars, write_scalars
from dreamdb_arrow.tracks.vectors import read_vectors, write_vectors

TIMELINE = Address(address_of(b"timeline"))
VALUES = {
    "int": [5, -1, 5, 2**62],
    "float": [0.0, -0.0, 1.5, 1e300],
    "string": ["a", "", "é", "a"],
    "timestamp": [1, -1, 1, 2**60],
    "categorical": ["x", "y", "x", "y"],
    "bool": [True, False, True, True],
}
TAGS = {
    "int": "i64",
    "float": "f64",
    "string": "str",
    "timestamp": "ts",
    "categorical": "cat",
    "bool": "bool",
}


def grown(store, value_type, appends=3):
    """A column that several appends made."""
    track = Track(EMPTY_COVERAGE, f"scalar.{TAGS[value_type]}.field=x", TIMELINE, [])
    for nth in range(appends):
        batch = Batch(store)
        anchors = np.arange(4) + 10 * nth
        track = write_scalars(store, batch, track, "x", value_type, anchors, VALUES[value_type]).track
        batch.flush()
    return track


def plain(column):
    values = column.values if isinstance(column.values, list) else list(map(repr, column.values.tolist()))
    return list(zip(column.anchors.tolist(), (values[c] for c in column.codes.tolist()), strict=True))


@pytest.mark.parametrize("value_type", VALUES)
def test_a_column_becomes_one_bucket(value_type):  # 0008-R15
    store, batch = MemoryStore(), None
    track = grown(store, value_type)
    batch = Batch(store)
    done = compact_scalars(store, batch, track, value_type)
    batch.flush()
    before = bucket_addresses(store, track, value_type)
    after = bucket_addresses(store, done.track, value_type)
    distinct = len({repr(v) for v in VALUES[value_type]})
    assert len(before) == 3
    assert done.replaced == ((next(iter(after)), before),)
    assert (len(after), done.examined, done.compacted, done.collapsed) == (
        1,
        distinct,
        distinct,
        3 * distinct,
    )
    assert plain(read_scalars(store, done.track, value_type)) == plain(read_scalars(store, track, value_type))
    assert done.track.coverage == track.coverage
    assert compact_scalars(store, Batch(store), done.track, value_type).track is None


def test_two_values_at_one_anchor_both_stay():
    store = MemoryStore()
    track = grown(store, "int", 1)
    for value in (7, 3):
        batch = Batch(store)
        track = write_scalars(store, batch, track, "x", "int", np.array([0]), np.array([value])).track
        batch.flush()
    batch = Batch(store)
    done = compact_scalars(store, batch, track, "int").track
    batch.flush()
    assert done.object_index["total_entries"] == 5  # 5, -1, 2^62, 7, 3
    assert plain(read_scalars(store, done, "int"))[0] == (0, "7")


def test_a_threshold_leaves_columns_alone():
    store = MemoryStore()
    track = grown(store, "int")
    assert compact_scalars(store, Batch(store), track, "int", 3).track is None
    assert compact_scalars(store, Batch(store), track, "int", 2).track is not None
    empty = Track(EMPTY_COVERAGE, "scalar.i64.field=x", TIMELINE, [])
    assert compact_scalars(store, Batch(store), empty, "int").examined == 0


def test_a_column_of_many_values_keeps_them():
    store = MemoryStore()
    track = Track(EMPTY_COVERAGE, "scalar.i64.field=x", TIMELINE, [])
    rng = np.random.default_rng(3)
    for nth in range(3):
        batch = Batch(store)
        anchors = np.arange(5000) * 3 + nth
        track = write_scalars(store, batch, track, "x", "int", anchors, rng.integers(0, 3000, 5000)).track
        batch.flush()
    batch = Batch(store)
    done = compact_scalars(store, batch, track, "int").track
    batch.flush()
    assert done.object_index["page_count"] < track.object_index["page_count"]
    assert plain(read_scalars(store, done, "int")) == plain(read_scalars(store, track, "int"))


# --- cells --------------------------------------------------------------------------------------------------

INDEX = make_lsh_cosine(2, bytes(32), 2)
INDEX_ADDRESS = Address(address_of(b"index"))
VECTORS = np.array([[1, 0.5], [-1, 0.25], [0.5, -1], [-1, -1], [1, 0.75]], np.float32)


def cells(store, appends=3, rerank=False, **options):
    track = Track(EMPTY_COVERAGE, "embedding.f32.dim=2.bucketed", TIMELINE, [])
    for nth in range(appends):
        batch = Batch(store)
        anchors = np.array([4, 0, 3, 1, 2]) + 10 * nth
        track = write_vectors(
            store, batch, track, INDEX, INDEX_ADDRESS, anchors, VECTORS * (nth + 1), rerank=rerank, **options
        ).track
        batch.flush()
    return track


def compacted(store, track, *args):
    batch = Batch(store)
    done = compact_cells(store, batch, track, *args)
    batch.flush()
    return done


def rows(store, track):
    found = read_vectors(store, track, 2)
    return found.anchors.tolist(), found.vectors.tolist()


@pytest.mark.parametrize("rerank", [False, True])
def test_each_cell_becomes_one_bucket_by_anchor(rerank):  # 0008-R15
    store = MemoryStore()
    track = cells(store, rerank=rerank)
    done = compacted(store, track)
    entries = read_index(store, done.track)
    assert rows(store, done.track) == rows(store, track)
    assert len(set(entries.keys)) == len(entries) == done.examined
    assert set(entries.members.tolist()) == {7 if rerank else 5}
    assert sum(map(len, (before for _, before in done.replaced))) == done.collapsed
    assert compacted(store, done.track).track is None
    assert store.exists(f"bao-outboard/{done.replaced[0][0]}")


def test_cells_below_the_threshold_stay():
    store = MemoryStore()
    track = cells(store)
    assert compacted(store, track, 3).track is None
    assert compacted(store, track, 2).track is not None


def test_a_cell_that_needs_several_buckets_is_left_with_as_few():
    store = MemoryStore()
    track = cells(store, appends=5, bucket_max_bytes=16)
    done = compacted(store, track, 1, 16 * 3)
    entries = read_index(store, done.track)
    assert rows(store, done.track) == rows(store, track)
    assert int(entries.sizes.max()) == 160 + 3 * 16
    assert compacted(store, done.track, 1, 16 * 3).track is None


def test_a_row_that_is_there_twice_comes_once_and_two_vectors_are_refused():
    store = MemoryStore()
    track = cells(store, appends=1)
    batch = Batch(store)
    twice = write_vectors(
        store,
        batch,
        track,
        INDEX,
        INDEX_ADDRESS,
        np.array([4, 50]),
        np.array([VECTORS[0], [1, 0.5]], np.float32),
    ).track
    rival = write_vectors(
        store, batch, track, INDEX, INDEX_ADDRESS, np.array([4]), np.array([[1, 0.625]], np.float32)
    ).track
    batch.flush()
    done = compacted(store, twice)
    assert rows(store, done.track) == rows(store, twice)
    assert sum(int(n) for n in (read_index(store, done.track).sizes - np.uint64(160)) // np.uint64(16)) == 6
    with pytest.raises(AnchorConflict, match=r"anchor 4 has two vectors in cell '[01]+'"):
        compacted(store, rival)


def test_codes_and_tables_are_carried_over():
    store = MemoryStore()
    track = Track(EMPTY_COVERAGE, "embedding.f32.dim=2.bucketed.tables=2", TIMELINE, [])
    batch, made = Batch(store), []
    for table in (0, 1):
        for nth in range(2):
            codes = np.array([[nth, 1], [2, table]], np.uint8)
            like = SpatialBucket(
                INDEX_ADDRESS, track.modality, np.empty(0, np.int64), None, INDEX_ADDRESS, codes
            )
            held = CellRows(like, np.array([nth, -2 + nth]), codes, None)
            made.append(add_rows(batch, track, "01", held, 6, table))
    index = place_entries(batch, track, entries_of_lists(CELLS, made))
    batch.flush()
    done = compacted(store, Track((0, 1), track.modality, TIMELINE, index))
    entries = read_index(store, done.track)
    assert (done.examined, done.compacted, done.collapsed) == (2, 2, 4)
    assert entries.members.tolist() == [6, 6]
    assert entries.columns[5].tolist() == [0, 1]
    assert entries.stops.tolist() == [2**64 - 1] * 2  # anchors that nobody can see stay too


def test_buckets_of_several_indexes_are_damage():
    store = MemoryStore()
    track = cells(store, appends=1)
    batch = Batch(store)
    other = Address(address_of(b"another index"))
    mixed = write_vectors(store, batch, track, INDEX, other, np.array([60, 61, 62, 63, 64]), VECTORS).track
    batch.flush()
    with pytest.raises(LayoutError, match="were written in several ways"):
        compacted(store, mixed)
