"""Local copies without deleted rows: what they hold, when they are made, which one is used, when they go."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dreamdb_arrow as vd
from dreamdb_arrow.columnar import hidden as hidden_rows
from dreamdb_arrow.columnar.hidden import COPY_ALL, NAMED_MAX, held_anchors, live_stripes, write_live
from dreamdb_arrow.columnar.stripe import anchors_of, decode_stripe, encode_stripe, stripe_schema
from dreamdb_arrow.errors import DigestMismatchError

LAST = 2**63 - 1
FIELDS = (
    vd.Schema()
    .add_scalar_int("n")
    .add_scalar_float("f", required=False)
    .add_scalar_categorical("label")
    .add_image("img", required=False)
)


def table(n, seed=0):
    rng = np.random.default_rng(seed)
    anchors = np.sort(rng.choice(4 * n, n, replace=False)).astype("i8")
    kinds = stripe_schema(FIELDS.fields)
    refs = [
        None if i % 3 else {"address": bytes(33), "offset": i, "size": 1, "chunked": False} for i in range(n)
    ]
    columns = {
        "_anchor": anchors,
        "_time": anchors,
        "n": rng.integers(0, 9, n),
        "f": np.where(rng.random(n) < 0.1, None, rng.random(n)),
        "label": [f"l{i % 4}" for i in range(n)],
        "img": refs,
    }
    return pa.table([pa.array(columns[f.name], f.type) for f in kinds], schema=kinds)


@given(st.integers(1, 300), st.integers(0, 5), st.floats(0, 1))
def test_a_copy_is_the_stripe_without_the_rows(tmp_path_factory, n, seed, share):
    whole, rng = table(n, seed), np.random.default_rng(seed)
    wanted = np.flatnonzero(rng.random(4 * n) < share).astype("i8")
    folder = tmp_path_factory.mktemp("copy")
    (folder / "stripe").write_bytes(encode_stripe(whole))
    write_live(folder / "stripe", wanted, folder / "copy")
    there = np.isin(anchors_of(whole), wanted)
    assert decode_stripe(folder / "copy").equals(whole.filter(pa.array(~there)))
    assert held_anchors(folder / "stripe", wanted).tolist() == anchors_of(whole)[there].tolist()


def written(path):
    told = pq.ParquetFile(path).metadata.row_group(0)
    leaves = [told.column(i) for i in range(told.num_columns)]
    return {
        c.path_in_schema: (set(c.encodings), c.compression, c.is_stats_set and c.statistics.has_min_max)
        for c in leaves
    }


@pytest.mark.parametrize("value", [1.5, float("nan")])
def test_a_copy_is_written_as_the_stripe_is(tmp_path, value):
    whole = table(1000).set_column(3, "f", pa.array([value] * 1000))
    (tmp_path / "stripe").write_bytes(encode_stripe(whole))
    write_live(tmp_path / "stripe", anchors_of(whole)[:100], tmp_path / "copy")
    assert written(tmp_path / "copy") == written(tmp_path / "stripe")
    names = pq.ParquetFile(tmp_path / "stripe").schema
    assert pq.ParquetFile(tmp_path / "copy").schema.equals(names)  # field ids too


def test_a_stripe_is_copied_row_group_by_row_group(tmp_path, monkeypatch):
    whole = table(1000)
    pq.write_table(whole, tmp_path / "stripe", row_group_size=100)
    groups: list[int] = []
    real = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda f, i, *a: groups.append(i) or real(f, i, *a))
    write_live(tmp_path / "stripe", anchors_of(whole)[500:], tmp_path / "copy")
    assert groups == list(range(10))
    assert decode_stripe(tmp_path / "copy").equals(whole[:500])
    groups.clear()
    assert (
        held_anchors(tmp_path / "stripe", anchors_of(whole)[550:560]).tolist()
        == anchors_of(whole)[550:560].tolist()
    )
    assert groups == [5]


# ---------------------------------------------------------------- in a Space

ROWS = 3000


@pytest.fixture
def ds(tmp_path):
    schema = vd.Schema().add_scalar_int("n")
    made = vd.Dataset.create("x", schema, backend=tmp_path / "space", cache_dir=tmp_path / "cache")
    for start in range(0, ROWS, 1000):
        anchors = np.arange(start, start + 1000)
        made.append({"_anchor": anchors, "n": anchors * 2})
    return made


@pytest.fixture
def no_grace(monkeypatch):
    monkeypatch.setattr(hidden_rows, "GRACE_NS", 0)


def read(rows, live):
    """Return the anchors that a reader sees who does as it is told."""
    parts = [
        np.setdiff1d(anchors_of(decode_stripe(s.local(rows.store, rows.cache))), left) for s, left in live
    ]
    return np.sort(np.concatenate([np.empty(0, "i8"), *parts])).tolist()


def shown(ds, t0=0, t1=LAST, **options):
    rows = ds.space.rows(ds.space.resolve("x"))
    live = live_stripes(rows, t0, t1, **options)
    assert len(live) == len([s for s in rows.stripes if s.meets(t0, t1)])
    return rows, live


def objects(ds):
    return {p.name for p in (ds.space.cache.root / "objects").rglob("d*") if p.is_file()}


def test_few_deleted_rows_are_named(ds):
    ds.delete([5, 1005, 2005])
    rows, live = shown(ds)
    assert [s for s, _ in live] == list(rows.stripes)
    assert [left.tolist() for _, left in live] == [[5], [1005], [2005]]
    assert objects(ds) == set()


def test_many_are_left_out_of_copies_and_stripes_without_any_stay(ds):
    ds.delete(range(0, 1000, 50))
    rows, live = shown(ds)
    assert all(len(left) == 0 for _, left in live)
    assert [s.address for s, _ in live][1:] == [s.address for s in rows.stripes][1:]
    assert (live[0][0].directory, live[0][0].t0, live[0][0].t1) == ("", 0, 1000)
    assert read(rows, live) == [a for a in range(ROWS) if a >= 1000 or a % 50]
    assert objects(ds) == {str(live[0][0].address)}


def test_a_copy_serves_later_versions_until_it_lacks_a_share(ds, monkeypatch):
    monkeypatch.setattr(hidden_rows, "SHARE", 20)
    ds.delete(range(100))
    first = shown(ds, share=20)[1][0][0].address
    ds.delete(range(100, 140))  # two in a hundred
    rows, live = shown(ds, share=20)
    assert (live[0][0].address, live[0][1].tolist()) == (first, list(range(100, 140)))
    assert read(rows, live) == list(range(140, ROWS))
    assert shown(ds, share=COPY_ALL)[1][0][1].tolist() == []
    ds.delete(range(140, 200))
    rows, live = shown(ds, share=20)
    assert live[0][0].address != first
    assert len(live[0][1]) == 0
    assert read(rows, live) == list(range(200, ROWS))


def test_an_older_version_never_uses_a_copy_that_lacks_its_rows(ds):
    ds.delete(range(20))
    old, before = shown(ds)
    ds.delete(range(20, 500))
    new, after = shown(ds)
    assert read(old, live_stripes(old, 0, LAST)) == list(range(20, ROWS)) == read(old, before)
    assert read(new, live_stripes(new, 0, LAST)) == list(range(500, ROWS)) == read(new, after)


def test_copies_that_others_replaced_are_removed_after_a_while(ds, no_grace):
    for end in (100, 200, 300):
        ds.delete(range(end - 100, end))
        rows, live = shown(ds)
        assert objects(ds) == {str(live[0][0].address)}
        assert read(rows, live) == list(range(end, ROWS))


def test_a_query_that_runs_finds_its_copy_for_some_time(ds):
    for end in range(100, 1000, 100):
        ds.delete(range(end - 100, end))
        newest = str(shown(ds)[1][0][0].address)
    assert newest in objects(ds)
    assert 1 < len(objects(ds)) <= hidden_rows.KEPT_MAX


def test_anchors_that_no_stripe_holds_cost_nothing(tmp_path):
    ds = vd.Dataset.create("x", vd.Schema().add_scalar_int("n"), tmp_path / "s", cache_dir=tmp_path / "c")
    ds.append({"_anchor": [0, 999], "n": [1, 2]})
    ds.delete(range(1, 999))  # as after a compaction: tombstones stay, their rows are gone
    rows, live = shown(ds)
    assert [(s.address, left.tolist()) for s, left in live] == [(rows.stripes[0].address, [])]
    assert objects(ds) == set()


def test_all_rows_may_go(ds):
    ds.delete(range(ROWS))
    assert read(*shown(ds)) == []


def test_only_the_range_counts(ds):
    ds.delete([*range(20), *range(1000, 1005)])
    rows, live = shown(ds, 1000, 2000)
    assert [(s.address, left.tolist()) for s, left in live] == [
        (rows.stripes[1].address, [1000, 1001, 1002, 1003, 1004])
    ]
    assert objects(ds) == set()


def test_a_copy_that_is_gone_or_damaged_is_made_again(ds):
    ds.delete(range(100))
    rows, live = shown(ds)
    file = live[0][0].local(rows.store, rows.cache)
    data = file.read_bytes()
    for bad in (data[:-1] + bytes([data[-1] ^ 1]), b""):
        file.write_bytes(bad)
        with pytest.raises(DigestMismatchError):
            live[0][0].local(rows.store, rows.cache)
        assert read(*shown(ds)) == list(range(100, ROWS))
        assert file.read_bytes() == data
    shutil.rmtree(ds.space.cache.root)
    assert read(*shown(ds)) == list(range(100, ROWS))


def test_too_much_at_once_is_not_copied(ds, monkeypatch):
    monkeypatch.setattr(hidden_rows, "BYTES_MAX", 10)
    ds.delete(range(100))
    rows, live = shown(ds)
    assert live[0][0] == rows.stripes[0]
    assert live[0][1].tolist() == list(range(100))


def test_a_full_disk_leaves_the_stripe(ds, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hidden_rows, "write_live", full)
    ds.delete(range(100))
    rows, live = shown(ds)
    assert live[0][0] == rows.stripes[0]
    assert read(rows, live) == list(range(100, ROWS))
    assert list((ds.space.cache.root / ".dreamdb-tmp").iterdir()) == []


@given(
    st.lists(st.sets(st.integers(0, ROWS + 50), max_size=400), min_size=1, max_size=5),
    st.sampled_from([1, 50, 1024]),
)
def test_growing_deletes_are_as_the_model_says(tmp_path_factory, deletes, share):
    root = tmp_path_factory.mktemp("model")
    ds = vd.Dataset.create("x", vd.Schema().add_scalar_int("n"), root / "s", cache_dir=root / "c")
    ds.append({"_anchor": np.arange(0, ROWS, 2), "n": np.arange(0, ROWS, 2)})
    ds.append({"_anchor": np.arange(1, ROWS, 2), "n": np.arange(1, ROWS, 2)})  # whose range is the same
    gone, versions = set(), []
    for some in deletes:
        if some:
            ds.delete(sorted(some))
        gone |= some
        versions.append((ds.space.rows(ds.space.resolve("x")), sorted(set(range(ROWS)) - gone)))
        rows, live = shown(ds, share=share)
        assert read(rows, live) == versions[-1][1]
        assert sum(len(left) for _, left in live) <= max(NAMED_MAX, ROWS // share + len(live))
    for rows, expected in versions:
        assert read(rows, live_stripes(rows, 0, LAST, share=share)) == expected
