import itertools

import numpy as np
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.errors import RefConflictError, RefNotFoundError
from dreamdb_arrow.testing.model import nearest_rows, rows_of_table

T0 = 1_700_000_000_000_000_000


def schema():
    return (
        vd.Schema()
        .add_scalar_int("n")
        .add_image("img", mime="png", required=False)
        .add_embedding("v", dim=3, algorithm="dreamdb.ivf-cosine", required=False)
    )


def rows(start, n):
    rng = np.random.default_rng(start)
    return pa.table(
        {
            "_anchor": T0 + np.arange(start, start + n) * 10,
            "n": np.arange(start, start + n),
            "img": [b"%d" % i if i % 3 else None for i in range(start, start + n)],
            "v": pa.array(rng.standard_normal((n, 3)).astype("f4").tolist(), pa.list_(pa.float32())),
        }
    )


@pytest.fixture
def backend(tmp_path):
    return f"file://{tmp_path}/space"


@pytest.fixture
def ds(backend):
    made = vd.Dataset.create("x", schema(), backend, cache_dir=None, durability="os")
    for start in (20, 0, 10):
        made.append(rows(start, 10))
    return made


# ---------------------------------------------------------------- opening


def test_all_ways_to_open(ds, backend):
    version = ds.snapshot("v1")
    assert version == {"label": "x@v1", "manifest": ds.current_manifest(), "timeline": ds.timeline()}
    ds.append(rows(30, 1))
    for opened in (
        vd.Dataset.open_at(version, backend, cache_dir=None),
        vd.Dataset.open_at("x@v1", backend, cache_dir=None),
        vd.Dataset.open_at(version["manifest"], backend, cache_dir=None),
        vd.Dataset.open_by_manifest(version["manifest"], backend, cache_dir=None),
        vd.Dataset.open_ref("x@v1", backend, cache_dir=None),
        vd.Dataset.open("x", backend=backend, as_of="v1", cache_dir=None),
    ):
        assert opened.count() == len(opened) == 30
        assert opened.current_manifest() == version["manifest"]
    assert vd.Dataset.open_ref("x", backend, cache_dir=None).count() == 31


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda b: vd.Dataset.open("nope", backend=b), RefNotFoundError, "'nope' does not exist; known refs: x"),
        (lambda b: vd.Dataset.open("../x", backend=b), vd.InvalidInputError, "not a ref name"),
        (lambda b: vd.Dataset.open("x", backend=f"{b}/nowhere"), vd.NotFoundError, "does not exist"),
        (lambda _: vd.Dataset.open("x", backend="gopher://x"), vd.InvalidInputError, "unknown scheme"),
        (lambda _: vd.Dataset.open("x"), vd.InvalidInputError, "not the path of a Space"),
        (lambda b: vd.Dataset.open_at("x@nope", b), RefNotFoundError, "x@nope"),
        (lambda b: vd.Dataset.open_at("not an address", b), vd.DreamDBError, "not an address"),
        (lambda b: vd.Dataset.open_at({"label": "x"}, b), vd.InvalidInputError, "'manifest' is missing"),
        (lambda b: vd.Dataset.create("x", schema(), b), RefConflictError, "'x'"),
        (lambda b: vd.Dataset.create("X", schema(), b), vd.InvalidInputError, "not a ref name"),
        (lambda b: vd.Dataset.create("y@z", schema(), b), vd.InvalidInputError, "snapshots only"),
        (lambda b: vd.Dataset.create("y", schema(), b, flush="often"), vd.InvalidInputError, "flush must be one of"),
    ],
)  # fmt: skip
def test_what_cannot_be_opened(ds, backend, call, error, words):
    with pytest.raises(error) as caught:
        call(backend)
    assert words in str(caught.value)
    assert ds.list_refs() == ["x"]


# ---------------------------------------------------------------- versions


def test_a_handle_stays_where_it_is_and_its_own_writes_move_it(ds):
    other = vd.Dataset(ds.space, "x", ds._version)
    ds.append(rows(30, 5))
    assert (ds.count(), other.count()) == (35, 30)
    other.delete([T0])
    assert (ds.count(), other.count()) == (35, 34)
    assert ds.refresh().count() == 34


def test_snapshots_do_not_move(ds, backend):
    version = ds.snapshot("v1")
    old = vd.Dataset.open_at(version, backend, cache_dir=None)
    for write in (
        lambda: old.append(rows(50, 1)),
        lambda: old.append_many([{"n": 1}]),
        lambda: old.delete([T0]),
        old.flush,
    ):
        with pytest.raises(
            vd.InvalidInputError, match="'x@v1' is a snapshot and does not move; branch from it"
        ):
            write()
    assert vd.Dataset.open_at(version, backend, cache_dir=None).current_manifest() == version["manifest"]
    branch = old.branch("from-v1")
    branch.append(rows(50, 1))
    assert (branch.count(), old.count()) == (31, 30)
    assert old.snapshot("v2")["label"] == "x@v2"


def test_branches_go_their_own_ways(ds):
    branch = ds.branch("side/way")
    ds.delete([T0])
    branch.append(rows(30, 2))
    assert (ds.count(), branch.count()) == (29, 32)
    with pytest.raises(RefConflictError):
        ds.branch("side/way")
    with pytest.raises(vd.InvalidInputError):
        ds.branch("x@side")
    assert ds.list_refs() == ["side/way", "x"]


def test_history_tells_what_was_done(ds):
    ds.delete([T0])
    ds.flush()
    told = ds.history()
    assert [v["operation"] for v in told] == ["flush", "delete", "commit", "commit", "commit", "create"]
    assert all(a["ts_ns"] > b["ts_ns"] for a, b in itertools.pairwise(told))
    assert told[0]["parents"] == [told[1]["manifest"]]
    assert len(ds.history(max_depth=2)) == 2


def test_a_clock_that_is_given_is_the_only_one(tmp_path):
    ticks = iter(range(1000, 2000))
    ds = vd.Dataset.create("x", schema(), tmp_path, cache_dir=None, clock=lambda: next(ticks))
    ds.append(rows(0, 1))
    ds.delete([5])
    ds.flush()
    ds.branch("y").append(rows(5, 1))
    assert max(v["ts_ns"] for v in ds.history()) < 2000


# ---------------------------------------------------------------- deleting


@pytest.mark.parametrize(
    "wrong", [5.0, "abc", b"abc", [1.5], ["1"], [True], [-1], [2**63 - 1], [2**70], None, [None]]
)
def test_what_is_no_list_of_anchors(ds, wrong):
    before = ds.current_manifest()
    for call in (lambda: ds.delete(wrong), lambda: ds.take(wrong)):
        with pytest.raises(vd.InvalidInputError, match="anchors"):
            call()
    with pytest.raises(vd.InvalidInputError, match="reason"):
        ds.delete([1], reason=5)
    assert ds.space.resolve("x") == ds._version
    assert ds.current_manifest() == before


@pytest.mark.parametrize("many", [1, 9, 300])
def test_deleted_rows_are_hidden_however_they_are_asked_for(ds, many):
    gone = [T0 + 10 * i for i in range(0, 30, 30 // min(many, 30))][:many] + list(range(max(0, many - 30)))
    ds.delete(np.array(gone), reason="gdpr")
    ds.delete(pa.array(gone))  # once more changes nothing
    assert ds.tombstone_set() == sorted(gone)
    left = {T0 + 10 * i for i in range(30)} - set(gone)
    assert rows_of_table(ds.to_arrow()).keys() == left
    assert ds.count() == len(left)
    assert set(ds.take(gone)["_anchor"].to_pylist()) == set()
    assert {a for b in ds.iter_vector("v", [1, 0, 0], 50) for a in b["_time_anchors"]} == left
    assert len(ds.to_dataset().to_table()) == ds.to_dataset().count_rows() == len(left)
    assert set(ds.to_polars().collect()["_anchor"]) == left
    assert set(ds.to_pandas(["_anchor"])["_anchor"]) == left


# ---------------------------------------------------------------- reading


def test_rows_come_ascending_in_batches_of_any_size(ds):
    whole = ds.to_arrow()
    for size in (1, 7, 30, 1000):
        batches = list(ds.iter_arrow_batches(size))
        assert max(map(len, batches)) <= size
        assert pa.Table.from_batches(batches).equals(whole.drop_columns("_time"))
    for wrong in (0, -1, 1.5):
        with pytest.raises(vd.InvalidInputError, match="batch_size"):
            list(ds.iter_arrow_batches(wrong))


@pytest.mark.parametrize(("start", "end"), [(0, 0), (55, 55), (50, 60), (95, 215), (0, 2**62), (300, 2**62)])
def test_ranges_are_half_open(ds, start, end):
    wanted = [T0 + a for a in range(0, 300, 10) if start <= a < end]
    span = {"start_ns": T0 + start, "end_ns": T0 + end}
    assert ds.to_arrow(["_anchor"], **span)["_anchor"].to_pylist() == wanted
    assert ds.count(**span) == len(wanted)
    assert [a for b in ds.iter_stream(**span) for a in b["_time_anchors"]] == wanted
    assert ds.to_polars(**span).collect()["_anchor"].to_list() == wanted
    assert ds.to_dataset(**span).to_table(columns=["_anchor"])["_anchor"].to_pylist() == wanted


def test_a_range_that_ends_before_it_begins(ds):
    with pytest.raises(vd.InvalidInputError, match="t0 is after t1"):
        ds.to_arrow(start_ns=5, end_ns=4)


def test_columns(ds):
    assert ds.to_arrow(["n"]).column_names == ["n"]
    assert len(ds.to_arrow([])) == 30
    for read in (ds.to_arrow, lambda f: list(ds.iter_stream(fields=f)), lambda f: ds.take([T0], f)):
        with pytest.raises(vd.InvalidInputError, match="no field 'nope'; fields: img, n, v"):
            read(["nope"])


def test_take_keeps_the_order_it_was_asked_in(ds):
    wanted = [T0 + 250, T0, T0 + 1, T0 + 110, T0]
    assert ds.take(wanted)["n"].to_pylist() == [25, 0, 11, 0]
    assert ds.take([], ["n"]).column_names == ["_anchor", "n"]
    assert ds.take(T0, ["n"])["n"].to_pylist() == [0]


def test_iter_vector_is_brute_force(ds):
    table = ds.to_arrow()
    vectors = dict(zip(table["_anchor"].to_pylist(), table["v"].to_pylist(), strict=True))
    from_model = nearest_rows(
        type("V", (), {"rows": {a: {"v": v} for a, v in vectors.items()}}), "v", [1, 2, 3], "cosine"
    )
    hits = ds.iter_vector("v", [1, 2, 3], 12, batch_size=5, as_numpy=True, fields=["v", "n"])
    assert [len(b["n"]) for b in hits] == [5, 5, 2]
    assert [a for b in hits for a in b["_time_anchors"]] == [a for _, a in from_model[:12]]
    assert hits[0]["v"].shape == (5, 3)
    assert set(hits[0]) == {"v", "n", "_time_anchors"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"field": "nope"}, "no field 'nope'; fields: v"),
        ({"field": "n"}, "'n' is of kind scalar, wanted embedding"),
        ({"query": [1, 2]}, "'v' has 3 dimensions, the query has 2"),
        ({"query": "abc"}, "no vector"),
        ({"query": [1, 2, float("nan")]}, "NaN"),
        ({"query": [1, 2, 1e300]}, "infinity"),
        ({"top_k": 0}, "k must be"),
        ({"top_k": 2.5}, "k must be"),
        ({"nprobe": 0}, "nprobe must be"),
        ({"fields": ["nope"]}, "no field 'nope'"),
    ],
)
def test_searches_that_make_no_sense(ds, options, words):
    given = {"field": "v", "query": [1, 2, 3], "top_k": 3} | options
    with pytest.raises(vd.InvalidInputError, match=words):
        ds.iter_vector(**given)


def test_flushing_changes_no_row(ds, backend):
    before = rows_of_table(ds.to_arrow())
    seen = []
    assert ds.flush(progress=lambda done, total: seen.append((done, total))) == 3
    assert seen[-1] == (3, 3)
    assert ds.flush() == 0
    assert rows_of_table(ds.to_arrow()) == before
    assert rows_of_table(vd.Dataset.open("x", backend=backend, cache_dir=None).to_arrow()) == before


def test_what_it_says_of_itself(ds):
    assert "Dataset('x' at d" in repr(ds)
    assert "v: embedding[3]?" in repr(ds)
    assert ds.ref_name() == "x"
    assert ds.schema.names == ["img", "n", "v"]
    assert ds.arrow_schema.names == ["_anchor", "_time", "img", "n", "v"]
    assert (ds.meta(), ds.description(), ds.constants(), dict(ds.unavailable)) == ({}, None, {}, {})
