"""The PyPI SDK `dreamdb` and we take turns on one Space: both see the same rows."""

import itertools
from pathlib import Path

import dreamdb
import numpy as np
import pytest

import dreamdb_arrow as vd
from tests.places import url_of

T0 = 1_700_000_000_000_000_000
DIM = 16


def schema(index: bytes) -> vd.Schema:
    return (
        vd.Schema()
        .add_image("img", mime="png")
        .add_image("thumb", mime="jpeg", required=False, pack_items=4)
        .add_audio("snd", required=False, chunk_size=100)
        .add_embedding("v", dim=DIM, lsh_bits=4, rerank=True)
        .add_embedding("w", dim=8, algorithm="dreamdb.ivf-cosine", required=False)
        .add_embedding("l", dim=4, algorithm="dreamdb.lsh-l2", required=False)
        .add_embedding("m", dim=6, algorithm="dreamdb.imi-cosine", required=False)
        .add_embedding("g", dim=8, algorithm="dreamdb.ivf-cosine", required=False, spatial_index=index)
        .add_scalar_int("n")
        .add_scalar_float("x", required=False)
        .add_scalar_string("s", required=False)
        .add_scalar_categorical("c", required=False)
        .add_scalar_bool("ok", required=False)
        .add_scalar_timestamp("at", required=False)
    )


def sample(i: int) -> dict:
    rng = np.random.default_rng(i)
    row = {
        "_anchor": T0 + i * 1000,
        "img": bytes([137, 80, i % 256]) * (i % 7 + 1),
        "v": rng.standard_normal(DIM).astype("f4"),
        "n": (i * 37) % 50 - 20,
    }
    optional = {
        "thumb": b"\xff\xd8" + bytes([i % 256]) * (i % 5),
        "snd": bytes(range(256))[: i % 256] * 2,
        "w": rng.standard_normal(8).astype("f4"),
        "l": rng.standard_normal(4).astype("f4") * 3,
        "m": rng.standard_normal(6).astype("f4"),
        "g": rng.standard_normal(8).astype("f4"),
        "x": [0.5, -0.0, 1e300, float(i)][i % 4],
        "s": f"text {i % 9} é",
        "c": f"class-{i % 4}",
        "ok": i % 2 == 0,
        "at": T0 + i,
    }
    return row | {k: v for j, (k, v) in enumerate(optional.items()) if (i + j) % 3}


def plain(row: dict) -> dict:
    """A row in the form that both SDKs can be compared in."""
    out = {}
    for name, value in row.items():
        if value is None:
            continue
        out[name] = np.asarray(value, "f4").tobytes() if isinstance(value, list | np.ndarray) else value
    return out


def our_rows(backend: str, ref: str, cache: Path, **options) -> dict[int, dict]:
    ds = vd.Dataset.open(ref, backend=backend, cache_dir=cache, **options)
    rows = {}
    for batch in ds.iter_stream():
        anchors = batch.pop("_time_anchors")
        rows |= {a: plain({k: v[i] for k, v in batch.items()}) for i, a in enumerate(anchors)}
    return rows


def their_rows(backend: str, ref: str) -> dict[int, dict]:
    ds = dreamdb.Dataset.open_ref(ref, backend)
    rows = {}
    for batch in ds.iter_arrow_batches():
        for row in batch.to_pylist():
            if not isinstance(row.get("at"), int | None):
                row["at"] = int(np.datetime64(row["at"], "ns").astype("i8"))
            anchor = row.pop("_anchor")
            rows[anchor] = plain(row)
    return rows


@pytest.fixture
def backend(tmp_path) -> str:
    return url_of(tmp_path / "space")


@pytest.fixture
def space(backend, tmp_path) -> vd.Dataset:
    (tmp_path / "space").mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    index = dreamdb.train_and_publish_ivf_centroids(backend, rng.standard_normal((60, 8)).tolist(), 8, 5)
    ds = vd.Dataset.create("main", schema(index), backend=backend, cache_dir=tmp_path / "cache")
    for start in range(0, 250, 50):
        ds.append_many([sample(i) for i in range(start, start + 50)])
    ds.delete([T0 + i * 1000 for i in (3, 77, 200)], reason="gdpr")
    return ds


def wanted(*gone: int, n: int = 250) -> dict[int, dict]:
    rows = {}
    for i in range(n):
        row = sample(i)
        anchor = row.pop("_anchor")
        if i not in gone:
            rows[anchor] = plain(row)
    return rows


def test_before_a_flush_the_reference_sees_a_valid_empty_dataset(space, backend):  # 0000-R5
    theirs = dreamdb.Dataset.open("main", backend=backend)
    assert theirs.count() == 0
    assert sorted(theirs.tombstone_set()) == [T0 + i * 1000 for i in (3, 77, 200)]


def test_what_we_flush_the_reference_reads(space, backend, tmp_path):  # 0000-R5
    assert our_rows(backend, "main", tmp_path / "cache") == wanted(3, 77, 200)
    space.flush()
    theirs = dreamdb.Dataset.open("main", backend=backend)
    assert theirs.count() == 247
    assert their_rows(backend, "main") == wanted(3, 77, 200)
    rows = wanted(3, 77, 200)
    for value in (-20, 0, 17):
        assert theirs.query_scalar("n", "==", value) == sorted(a for a, r in rows.items() if r["n"] == value)
    assert theirs.query_scalar("s", ">=", "text 5") == sorted(
        a for a, r in rows.items() if r.get("s", "") >= "text 5"
    )
    counts = {
        c: sum(r.get("c") == c for r in rows.values()) for c in {r.get("c") for r in rows.values()} - {None}
    }
    assert dict(theirs.distinct_values("c")) == counts
    con = vd.connect(backend, cache_dir=tmp_path / "cache")
    assert dict(con.sql("SELECT c, count(*) FROM main WHERE c IS NOT NULL GROUP BY 1").fetchall()) == counts
    con.close()


@pytest.mark.parametrize(
    ("field", "nprobe"), [("v", 11), ("v", 3), ("w", 100), ("w", 2), ("l", 40), ("m", 3), ("g", 2)]
)
def test_the_reference_searches_our_cells_as_we_do(space, backend, tmp_path, field, nprobe):
    # 0004-R7, 0004-R11
    space.flush()
    dim = {"v": DIM, "w": 8, "l": 4, "m": 6, "g": 8}[field]
    theirs = dreamdb.Dataset.open("main", backend=backend)
    ours = vd.Dataset.open("main", backend=backend, cache_dir=tmp_path / "cache")
    for seed in range(5):
        query = np.random.default_rng(seed).standard_normal(dim).astype("f4")
        found = [a for b in theirs.iter_vector(field, query, 10, nprobe=nprobe) for a in b["_time_anchors"]]
        mine = [a for b in ours.iter_vector(field, query, 10, nprobe=nprobe) for a in b["_time_anchors"]]
        assert mine == found


def test_we_see_what_the_reference_appends_and_deletes(space, backend, tmp_path):
    space.flush()
    theirs = dreamdb.Dataset.open("main", backend=backend)
    full = [sample(i) for i in range(250, 280)]
    for group in (
        {0, 1},
        {2},
    ):  # the reference wants an optional embedding in all rows of an append, or in none
        rows = [{k: v for k, v in r.items() if k not in "wlmg"} for i, r in enumerate(full) if i % 3 in group]
        theirs.append_many(rows)
    theirs.delete([T0, T0 + 260_000], reason="theirs")
    want = wanted(0, 3, 77, 200, 260, n=280)
    for i in range(250, 280):
        for name in "wlmg":
            want.get(T0 + i * 1000, {}).pop(name, None)
    assert our_rows(backend, "main", tmp_path / "cache") == want
    assert their_rows(backend, "main") == want
    space.refresh()
    space.append_many([sample(300)])
    space.flush()
    assert set(their_rows(backend, "main")) == set(our_rows(backend, "main", tmp_path / "cache"))


def test_their_gc_takes_nothing_that_we_need(space, backend, tmp_path):  # 0001-R14, 0005-R14
    space.snapshot("before")
    space.flush()
    space.append_many(
        [sample(i) for i in range(250, 260)]
    )  # not flushed: only vendor Tracks keep these alive
    theirs = dreamdb.Dataset.open("main", backend=backend)
    theirs.delete([T0 + 1000])
    dreamdb.gc(backend, keep_manifests=1, dry_run=False, writers_paused=True)
    assert our_rows(backend, "main", tmp_path / "fresh") == wanted(1, 3, 77, 200, n=260)
    assert our_rows(backend, "main@before", tmp_path / "fresh") == wanted(3, 77, 200)
    space.refresh()
    space.flush()
    assert their_rows(backend, "main") == wanted(1, 3, 77, 200, n=260)


def test_sql_of_the_reference_agrees(space, backend):
    space.flush()
    session = dreamdb.SqlSession.open("main", backend)
    found = session.query("select n from dataset where n >= 20", options={"allow_scan": True})
    values = [v for batch in found["batches"] for v in batch["columns"][0]]
    assert sorted(map(int, values)) == sorted(r["n"] for r in wanted(3, 77, 200).values() if r["n"] >= 20)


def test_a_space_of_theirs_takes_our_rows(backend, tmp_path):  # 0006-R10
    (tmp_path / "space").mkdir(exist_ok=True)
    made = (
        dreamdb.Schema()
        .add_scalar_int("n")
        .add_scalar_categorical("c", required=False)
        .add_image("img", mime="png")
    )
    theirs = dreamdb.Dataset.create("main", made, backend=backend)
    theirs.append_many([{"_anchor": i, "n": i, "img": bytes([i])} for i in range(10)])
    ours = vd.Dataset.open("main", backend=backend, cache_dir=tmp_path / "cache")
    ours.append_many([{"_anchor": i, "n": i, "c": "new", "img": bytes([i])} for i in range(10, 20)])
    assert dreamdb.Dataset.open("main", backend=backend).count() == 20
    assert their_rows(backend, "main") == our_rows(backend, "main", tmp_path / "cache")
    with pytest.raises(vd.AnchorConflict, match="anchor 15"):
        ours.append_many([{"_anchor": 15, "n": 0, "img": b""}])


def test_flush_with_each_commit(backend, tmp_path):
    made = vd.Schema().add_scalar_int("n").add_embedding("v", dim=4, lsh_bits=2)
    ds = vd.Dataset.create("main", made, backend=backend, flush="commit", cache_dir=tmp_path / "cache")
    for i in range(3):
        ds.append_many([{"_anchor": i * 10 + j, "n": j, "v": [1.0, j, i, 2.0]} for j in range(5)])
        assert their_rows(backend, "main") == our_rows(backend, "main", tmp_path / "cache")
    assert dreamdb.Dataset.open("main", backend=backend).count() == 15


@pytest.mark.parametrize("flushed", [True, False])
def test_branches_that_gave_one_anchor_twice_are_united_by_anchor(backend, tmp_path, flushed):
    # 0008-R7, 0008-R10
    made = (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_string("s", required=False)
        .add_embedding("v", dim=4, lsh_bits=2)
    )
    ds = vd.Dataset.create("main", made, backend=backend, cache_dir=tmp_path / "cache")
    ds.append_many([{"_anchor": i, "n": i, "v": [1.0, i, 0, 0]} for i in range(10)])
    side = ds.branch("side")
    ds.append_many([{"_anchor": i, "n": i, "v": [1.0, i, 0, 0]} for i in range(20, 30)])
    side.append_many(
        [{"_anchor": i, "n": i + i % 2, "s": f"s{i}", "v": [1.0, i, 0, 0]} for i in range(25, 35)]
    )
    if flushed:
        ds.flush()
    dreamdb.Dataset.open("main", backend=backend).merge("side", strategy="union")
    rows = our_rows(backend, "main", tmp_path / "cache")
    assert sorted(rows) == [*range(10), *range(20, 35)]
    assert [rows[i]["n"] for i in range(20, 35)] == [*range(20, 25), *(i + i % 2 for i in range(25, 35))]
    assert [rows[i].get("s") for i in (24, 25, 34)] == [None, "s25", "s34"]
    con = vd.connect(backend, cache_dir=tmp_path / "cache")
    assert con.sql("SELECT count(*), count(DISTINCT _anchor) FROM main").fetchall() == [(25, 25)]
    found = [a for a, _ in con.sql("FROM dreamdb_knn('main', 'v', [1, 27, 0, 0], k := 25)").fetchall()]
    assert len(set(found)) == len(found) == 25
    con.close()
    ds.refresh().flush()
    assert their_rows(backend, "main") == our_rows(backend, "main", tmp_path / "cache") == rows


def few(start: int, category: str | None) -> list[dict]:
    rows = [{"_anchor": i, "n": i} for i in range(start, start + 3)]
    return [{**r, "c": category} for r in rows] if category else rows


@pytest.mark.parametrize("writers", list(itertools.product(["ours", "theirs"], repeat=4)), ids="-".join)
def test_branches_merge_whoever_wrote_which_side(writers, tmp_path):
    maker, *hands = writers
    for number, values in enumerate(itertools.product(["c0", None], ["c0", None], ["c1", None])):
        folder = tmp_path / f"space-{number}"
        folder.mkdir(exist_ok=True)
        backend = url_of(folder)

        def append(who, ref, rows, backend=backend):
            opened = (
                vd.Dataset.open_ref(ref, backend, cache_dir=None)
                if who == "ours"
                else dreamdb.Dataset.open_ref(ref, backend)
            )
            opened.append_many(rows)

        made = (
            (vd if maker == "ours" else dreamdb)
            .Schema()
            .add_scalar_int("n")
            .add_scalar_categorical("c", required=False)
        )
        if maker == "ours":
            vd.Dataset.create("main", made, backend=backend, flush="commit", cache_dir=None)
        else:
            dreamdb.Dataset.create("main", made, backend=backend)
        append(hands[0], "main", few(0, values[0]))
        dreamdb.Dataset.open("main", backend=backend).branch("side")
        append(hands[1], "side", few(10, values[1]))
        append(hands[2], "main", few(20, values[2]))
        dreamdb.Dataset.open("main", backend=backend).merge("side", strategy="union")
        rows = our_rows(backend, "main", tmp_path / "cache")
        assert rows == their_rows(backend, "main")
        assert [rows[i].get("c") for i in (0, 10, 20)] == list(values)
        assert len(rows) == 9
