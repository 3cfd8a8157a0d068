"""Streams: rows in chunks become one commit, as they would from one table, or nothing at all."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar.vendor import STRIPE, VECTORS, read_fragments
from dreamdb_arrow.dataset.chunks import CHUNK_ROWS, cut, gather
from dreamdb_arrow.errors import ConflictError, InvalidInputError, StoreError
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.faulty import FaultyStore
from dreamdb_arrow.testing.model import rows_of_table

T0 = 1_700_000_000_000_000_000
DIM = 4
VECTOR = pa.list_(pa.float32(), DIM)
BATCH = 10  # rows
BUFFER = 2000  # bytes, of which about two batches make a chunk


def dataset(backend=None, flush="manual", **options):
    schema = (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_string("s", required=False)
        .add_embedding("v", dim=DIM, lsh_bits=2, required=False)
        .add_image("img", mime="png", required=False)
    )
    backend = MemoryStore() if backend is None else backend
    return vd.Dataset.create("x", schema, backend, flush=flush, cache_dir=None, **options)


def table(anchors, first=0):
    n = len(anchors)
    numbers = np.arange(first, first + n)
    vectors = np.random.default_rng(first).standard_normal(n * DIM, dtype=np.float32)
    return pa.table(
        {
            "_anchor": np.asarray(anchors, np.int64),
            "n": numbers,
            "s": [None if i % 3 == 0 else f"text {i}" for i in numbers],
            "v": pa.FixedSizeListArray.from_arrays(vectors, DIM),
            "img": pa.array([b"%d" % i if i % 5 else None for i in numbers], pa.binary()),
        }
    )


def batches(anchors, wrong=None):
    """Record batches of ten rows; the last with a column that something is wrong with."""
    for first in range(0, len(anchors), BATCH):
        made = table(anchors[first : first + BATCH], first)
        if wrong is not None and first + BATCH >= len(anchors):
            made = made.set_column(made.column_names.index(wrong[0]), *wrong)
        yield from made.combine_chunks().to_batches()


def stream(anchors, wrong=None):
    return pa.RecordBatchReader.from_batches(table([0]).schema, batches(anchors, wrong))


def rows(ds):
    return rows_of_table(ds.to_arrow())


def stripes(ds):
    return len(read_fragments(ds.space.store, ds.manifest, STRIPE))


ORDERS = {
    "ascending": np.arange(100),
    "descending": np.arange(100)[::-1],
    "interleaved": np.arange(100).reshape(10, 10).T.reshape(-1),
    "shuffled": np.random.default_rng(1).permutation(100),
}


@pytest.mark.parametrize("flush", ["manual", "commit"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_stream_is_what_its_table_is(order, flush):
    anchors = T0 + ORDERS[order]
    one, many = dataset(flush=flush), dataset(flush=flush)
    whole = pa.Table.from_batches(list(batches(anchors)))
    assert one.append(whole) == 100
    before = len(many.history())
    assert many.append(stream(anchors), buffer_bytes=BUFFER) == 100
    assert len(many.history()) == before + 1
    assert stripes(one) == 1
    assert stripes(many) > 3
    assert rows(one) == rows(many)
    one.flush(), many.flush()
    assert rows(one) == rows(many)


def test_a_large_table_is_cut_too():
    ds = dataset()
    whole = pa.Table.from_batches(list(batches(T0 + np.arange(100))))
    assert ds.append(whole, buffer_bytes=BUFFER) == 100
    assert stripes(ds) > 3
    assert ds.to_arrow(["n"])["n"].to_pylist() == list(range(100))


def test_flushed_by_the_commit_means_that_all_of_it_is_in_the_tracks():
    ds = dataset(flush="commit")
    ds.append(stream(T0 + np.arange(100)), buffer_bytes=BUFFER)
    assert ds.flush() == 0


def test_what_fits_into_one_buffer_is_one_stripe():
    ds = dataset()
    assert ds.append(stream(T0 + np.arange(100))) == 100
    assert stripes(ds) == 1
    assert len(read_fragments(ds.space.store, ds.manifest, VECTORS, "v")) == 1


def test_an_empty_stream_is_no_commit():
    ds = dataset()
    version = ds.current_manifest()
    assert ds.append(pa.RecordBatchReader.from_batches(table([0]).schema, iter([]))) == 0
    assert ds.current_manifest() == version
    with pytest.raises(InvalidInputError, match="unknown field 'typo'"):
        ds.append(pa.schema([("typo", pa.int64())]).empty_table().to_reader())


def test_a_lazy_frame_of_polars_is_a_stream():
    ds = dataset()
    lazy = pl.LazyFrame({"_anchor": T0 + np.arange(1000), "n": np.arange(1000), "s": ["t" * 50] * 1000})
    assert ds.append(lazy.filter(pl.col("n") % 2 == 0), buffer_bytes=20_000) == 500
    assert ds.to_arrow(["n"])["n"].to_pylist() == list(range(0, 1000, 2))
    assert stripes(ds) > 1
    assert ds.append(lazy.filter(pl.col("n") < 0)) == 0


# ---------------------------------------------------------------- anchors


def test_assigned_anchors_go_on_from_chunk_to_chunk():
    ds = dataset(clock=lambda: 5000)
    unnamed = pa.RecordBatchReader.from_batches(
        table([0]).drop_columns(["_anchor"]).schema,
        (b.drop_columns(["_anchor"]) for b in batches(np.arange(100))),
    )
    ds.append(unnamed, buffer_bytes=BUFFER)
    found = ds.to_arrow(["_anchor", "n"])
    assert set(np.diff(found["_anchor"].to_numpy()).tolist()) == {1000}
    assert found["n"].to_pylist() == list(range(100))


@pytest.mark.parametrize("ticks", [np.arange(100) // 7 * 50, np.full(100, 7), np.arange(100)[::-1] // 7 * 50])
def test_times_that_coincide_across_chunks_are_spread_on(ticks):
    def timed(batch):
        return batch.set_column(0, "at", pa.array(T0 + ticks[batch["n"].to_numpy()]))

    made = [timed(b) for b in batches(np.arange(100))]
    one, many = dataset(), dataset()
    one.append(pa.Table.from_batches(made), time="at")
    many.append(pa.RecordBatchReader.from_batches(made[0].schema, made), time="at", buffer_bytes=BUFFER)
    assert stripes(many) > 3
    assert rows(one) == rows(many)


def test_an_anchor_given_twice_is_found_across_chunks():
    ds = dataset()
    anchors = T0 + np.arange(100)
    anchors[93] = anchors[14]
    version = ds.current_manifest()
    with pytest.raises(vd.AnchorConflict, match=f"anchor {T0 + 14} of row 93 is given twice") as caught:
        ds.append(stream(anchors), buffer_bytes=BUFFER)
    assert caught.value.anchor == T0 + 14
    assert ds.refresh().current_manifest() == version


def test_an_anchor_that_is_taken_or_deleted_is_found_in_any_chunk():
    ds = dataset()
    ds.append({"_anchor": [T0 + 55, T0 + 200], "n": [1, 2]})
    with pytest.raises(vd.AnchorConflict, match=f"anchor {T0 + 55} of row 55 is taken"):
        ds.append(stream(T0 + np.arange(100)), buffer_bytes=BUFFER)
    ds.delete([T0 + 77])
    with pytest.raises(vd.AnchorConflict, match=f"anchor {T0 + 77} of row 17 was deleted"):
        ds.append(stream(T0 + 60 + np.arange(100)), buffer_bytes=BUFFER)
    assert ds.refresh().count() == 2


# ---------------------------------------------------------------- errors

WRONG = {
    "a missing value": ("n", pa.array([1] * 9 + [None]), ["'n' is required, row 99"]),
    "NaN": ("v", pa.array([[1.0] * 4] * 9 + [[np.nan] * 4], VECTOR), ["'v', row 99", "NaN"]),
    "a long text": ("s", pa.array(["x"] * 4 + ["x" * 9000] * 6), ["'s', row 94", "8192 bytes"]),
    "an anchor below 0": ("_anchor", pa.array([-5] * 10), ["'_anchor', row 90", "outside"]),
    "an anchor twice": ("_anchor", pa.array([T0 + 500] * 10), ["in rows 90 and 91"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_error_in_the_last_chunk_publishes_nothing(name):
    ds = dataset()
    ds.append({"_anchor": [T0 - 1], "n": [0]})
    field, column, words = WRONG[name]
    before = rows(ds), ds.current_manifest()
    with pytest.raises((InvalidInputError, vd.AnchorConflict)) as caught:
        ds.append(stream(T0 + np.arange(100), (field, column)), buffer_bytes=BUFFER)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    ds.refresh()
    assert (rows(ds), ds.current_manifest()) == before
    vd.gc(ds.space.store, 0, dry_run=False, writers_paused=True)
    assert rows(ds) == before[0]
    assert ds.append(stream(T0 + np.arange(100)), buffer_bytes=BUFFER) == 100


def test_a_stream_that_breaks_publishes_nothing():
    ds = dataset()

    def broken():
        yield from batches(T0 + np.arange(100))
        raise OSError("the line is dead")

    with pytest.raises(OSError, match="the line is dead"):
        ds.append(pa.RecordBatchReader.from_batches(table([0]).schema, broken()), buffer_bytes=BUFFER)
    assert ds.refresh().count() == 0


@pytest.mark.parametrize("mode", ["once", "after", "halfway"])
def test_a_store_that_fails_anywhere_leaves_the_space_as_before_or_as_after(mode):
    for nth in range(25, 200, 3):  # opening takes the first calls
        ds = dataset()
        store = FaultyStore(ds.space.store, fail_at=nth, mode=mode)
        try:
            vd.Dataset.open("x", backend=store, cache_dir=None).append(
                stream(T0 + np.arange(60)), buffer_bytes=BUFFER
            )
        except StoreError:
            assert ds.refresh().count() in (0, 60)
            continue
        assert ds.refresh().count() == 60
        if store.calls < nth:
            return
    pytest.fail("the store was called too often")


@pytest.mark.parametrize("size", [0, -1, 1.5, None, True])
def test_a_buffer_has_a_size(size):
    with pytest.raises(InvalidInputError, match="buffer_bytes must be a number of bytes"):
        dataset().append({"n": [1]}, buffer_bytes=size)


# ---------------------------------------------------------------- races


def racing(ds, act, anchors):
    """Ten batches; before the last, somebody else does something to the same Ref."""
    made = list(batches(anchors))

    def generate():
        yield from made[:-1]
        act(vd.Dataset.open("x", backend=ds.space.store, cache_dir=None))
        yield made[-1]

    return pa.RecordBatchReader.from_batches(made[0].schema, generate())


@pytest.mark.parametrize("flush", ["manual", "commit"])
def test_a_race_that_is_lost_during_a_stream_keeps_what_is_written(flush):
    ds = dataset(flush=flush)
    counted = FaultyStore(ds.space.store)
    there = vd.Dataset.open("x", backend=counted, cache_dir=None)
    other = {"_anchor": [T0 + 1000, T0 - 1], "n": [1, 2]}
    there.append(racing(ds, lambda o: o.append(other), T0 + np.arange(100)), buffer_bytes=BUFFER)
    ds.refresh()
    assert ds.count() == 102
    assert len(ds.history()) == 3
    assert ds.flush() == (0 if flush == "commit" else stripes(ds))
    assert ds.count() == 102


def test_a_field_that_comes_while_a_stream_is_read_is_null_in_its_rows():
    ds = dataset()
    ds.append(racing(ds, lambda o: o.add_scalar_int("later"), T0 + np.arange(100)), buffer_bytes=BUFFER)
    found = ds.to_arrow(["later", "n"])
    assert found["later"].null_count == len(found) == 100


CLASHES = {
    "an anchor is taken": (
        lambda other: other.append({"_anchor": [T0 + 42], "n": [1]}),
        vd.AnchorConflict,
        f"anchor {T0 + 42} was taken while the rows were read; append them again",
    ),
    "an anchor is deleted": (
        lambda other: other.delete([T0 + 43]),
        vd.AnchorConflict,
        f"anchor {T0 + 43} was taken while",
    ),
    "a field is gone": (
        lambda other: other.decommission_modality("s"),
        ConflictError,
        "field 's' was changed while the rows were read",
    ),
}


@pytest.mark.parametrize("name", CLASHES)
def test_a_race_that_leaves_no_room_for_a_stream(name):
    act, error, words = CLASHES[name]
    ds = dataset()
    ds.append({"_anchor": [T0 - 1], "n": [0]})
    with pytest.raises(error, match=words):
        ds.append(racing(ds, act, T0 + np.arange(100)), buffer_bytes=BUFFER)
    assert ds.refresh().count() in (1, 2)


def test_a_race_leaves_a_stream_of_one_chunk_as_a_table():
    ds = dataset()
    there = racing(ds, lambda o: o.append({"_anchor": [T0 + 42], "n": [1]}), T0 + np.arange(100))
    with pytest.raises(vd.AnchorConflict, match=f"anchor {T0 + 42} of row 42 is taken"):
        ds.append(there)
    assert ds.refresh().count() == 1


# ---------------------------------------------------------------- chunks


def test_chunks_copy_nothing_and_keep_to_the_buffer():
    whole = table(np.arange(1000)).drop_columns(["img"])
    found = list(cut(whole, 5000))
    assert pa.concat_tables(found).equals(whole)
    assert max(t.nbytes for t in found) <= 6000
    assert found[3]["n"].chunk(0).buffers()[1].address == whole["n"].chunk(0).buffers()[1].address
    many = pa.table({"n": pa.nulls(CHUNK_ROWS + 5, pa.int8())})
    assert [len(t) for t in cut(many, 1 << 30)] == [CHUNK_ROWS, 5]


def test_gathered_batches_keep_to_the_buffer():
    found = list(gather(stream(np.arange(1000)), 5000))
    assert max(t.nbytes for t in found) <= 5000
    assert min(t.nbytes for t in found[:-1]) >= 3000
    huge = pa.RecordBatchReader.from_batches(table([0]).schema, table(np.arange(1000)).to_batches())
    assert max(t.nbytes for t in gather(huge, 5000)) <= 6000


def test_slices_of_views_count_for_what_they_show():
    texts = pa.array([f"a text that is long enough {i}" for i in range(1000)], pa.string_view())
    sliced = [pa.record_batch({"s": texts.slice(i, 100)}) for i in range(0, 1000, 100)]
    found = list(gather(pa.RecordBatchReader.from_batches(sliced[0].schema, sliced), 20_000))
    assert len(found) == 3
