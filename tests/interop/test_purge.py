"""Purge: afterwards no byte of the rows is left under the root or in the cache; other rows, older versions, the SDK go on."""

import json
import shutil

import dreamdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset import purge as purging
from dreamdb_arrow.errors import RefNotFoundError
from dreamdb_arrow.store.urls import open_store
from dreamdb_arrow.testing.sample import DIM, T0, sample_rows, write_sample
from tests.places import copy_space, url_of

MARKED = (3, 41, 90, 125, 167)  # rows of each append of the sample: flushed, merged, and in stripes alone
ROWS = 45


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The sample, with rows that are unlike all others, read through a local cache, and then deleted on both branches."""
    folder = tmp_path_factory.mktemp("purge")
    root, cache = folder / "space", folder / "cache"
    write_sample(root, ROWS, cache_dir=cache)
    ds = vd.Dataset.open("main", backend=root, cache_dir=cache)
    con = vd.connect(root, cache_dir=cache)
    con.sql("SELECT * FROM dreamdb_scan('main')").fetchall()
    con.sql(f"FROM dreamdb_search('main', 'w', {[1.0] * DIM}::FLOAT[], nprobe := 4)").fetchall()
    con.close()
    for name in ("main", "side"):
        vd.Dataset.open(name, backend=root, cache_dir=cache).delete([T0 + i for i in MARKED], reason="gdpr")
    ds.refresh()
    return folder


@pytest.fixture
def place(made, tmp_path):
    """A copy of it."""
    copied = tmp_path / "copy"
    shutil.copytree(made / "cache", copied / "cache")
    copy_space(made / "space", copied / "space")
    return copied


def markers():
    """Byte strings that only the marked rows have, and the values that columns could have of them."""
    table = sample_rows(0, 4 * ROWS).take(list(MARKED)).to_pydict()
    found = [v for name in ("img", "snd") for v in table[name]]
    # the chunks that a sound is cut into, and what a scalar bucket or a B-tree page has of a text
    found += [
        v[at : at + 16] for v in table["snd"] for at in (16, 32) if len(v) >= at + 16 and len(set(v[at:])) > 3
    ]
    found += [np.array(v, "<f4").tobytes() for name in ("v", "w") for v in table[name]]
    return found, {name: set(table[name]) for name in ("s", "n", "x")}


def values_in(data):
    """The values of a stripe or of an Arrow file, by column, as far as it is one."""
    if data[:4] == b"PAR1":
        return pq.read_table(pa.BufferReader(data)).to_pydict()
    if data[:6] == b"ARROW1":
        return pa.ipc.open_file(data).read_all().to_pydict()
    return {}


def left_of(folder, wanted=None):
    """Where something of the rows is found: in a Space, or in one and its cache below a folder."""
    needles, values = wanted or markers()
    found = []
    for path, data in {**snapshot_of(folder), **snapshot_of(folder / "space")}.items():
        found += [(path, needle) for needle in needles if needle in data]
        found += [
            (path, text)
            for text in values["s"]
            if text.encode() + b"\x00" in data or data.count(text.encode() + b"g")
        ]
        held = values_in(data)
        found += [(path, name) for name in values if values[name] & set(held.get(name, ()))]
    return found


def rows_of(root, ref="main", as_of=None):
    ds = vd.Dataset.open(ref, backend=root, as_of=as_of, cache_dir=None)
    return ds.to_arrow()


def test_the_bytes_are_gone_and_all_else_is_as_it_was(place):  # 0022-R3, 0022-R8
    root, cache = place / "space", place / "cache"
    assert left_of(place), "the search must find what is there"
    before, side, first = (rows_of(root, *which) for which in (("main",), ("side",), ("main@first",)))
    report = vd.purge(root, reason="a law", writers_paused=True, cache_dir=cache)
    assert left_of(place) == []
    # the sample has deleted a row on both branches, and two on one of them
    assert (report["anchors"], report["live_elsewhere"], report["reason"]) == (len(MARKED) + 1, 2, "a law")
    assert rows_of(root).equals(before)
    assert rows_of(root, "side").equals(side)
    kept = ~np.isin(np.asarray(first["_anchor"]), [T0 + i for i in (*MARKED, ROWS + 1)])
    assert rows_of(root, "main@first").equals(first.filter(pa.array(kept)))
    assert vd.fsck(root)["findings"] == []
    assert report["scanned_versions"] >= len(report["versions"]) > 5
    assert set(report["refs"]) == {"main", "side", "main@first"}


def test_run_again_it_finds_nothing_to_do(place):
    root = place / "space"
    vd.purge(root, writers_paused=True, cache_dir=None)
    before = snapshot_of(root)
    report = vd.purge(root, writers_paused=True, cache_dir=None)
    assert (report["versions"], report["refs"], report["objects"]) == ({}, {}, 0)
    assert snapshot_of(root) == before


def snapshot_of(root):
    """All files below a folder, and all objects and refs of a Space that lies in a bucket."""
    files = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    if (root / "refs").is_dir() or root.name not in ("space", "s"):
        return files
    store = open_store(root, create=True)
    refs = {f"refs/{name}": bytes(store.read_ref(name).address) for name in store.list_refs()}
    return {**files, **{path: store.get(path) for path in store.list()}, **refs}


def test_a_dry_run_tells_the_same_and_writes_nothing(place):
    root = place / "space"
    before = snapshot_of(root)
    told = vd.purge(root, dry_run=True, cache_dir=None)
    assert snapshot_of(root) == before
    done = vd.purge(root, writers_paused=True, cache_dir=None)
    assert (set(told["versions"]), set(told["refs"])) == (set(done["versions"]), set(done["refs"]))


def test_refs_that_are_not_named_stay_as_they_are(place):  # 0022-R1
    root = place / "space"
    snapshot, side = rows_of(root, "main@first"), rows_of(root, "side")
    tips = {name: vd.Dataset.open(name, backend=root).current_manifest() for name in ("main@first", "side")}
    report = vd.purge(root, ["main"], writers_paused=True, cache_dir=None)
    assert report["left_alone"] == ["main@first", "side"]
    assert set(report["refs"]) == {"main"}
    assert report["anchors"] == len(MARKED) + 3
    assert {name: vd.Dataset.open(name, backend=root).current_manifest() for name in tips} == tips
    assert rows_of(root, "main@first").equals(snapshot)
    assert rows_of(root, "side").equals(side)
    assert vd.fsck(root)["findings"] == []


def test_only_the_rows_that_are_named(place):
    root = place / "space"
    report = vd.purge(root, anchors=[T0 + 3], writers_paused=True, cache_dir=None)
    assert report["anchors"] == 1
    needles, _ = markers()
    assert left_of(root, ([needles[0]], {"s": {"text 3"}})) == []
    assert left_of(root, ([needles[1]], {"s": set()}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"anchors": [T0 + 5]},
            "1 of these rows are live in 'main', the first at anchor 1700000000000000005",
        ),
        ({"anchors": "all"}, "anchors must be a list of integers"),
        ({"refs": ["nope"]}, "ref 'nope' does not exist"),
    ],
)
def test_what_cannot_be_purged(place, options, message):
    before = snapshot_of(place / "space")
    with pytest.raises((vd.InvalidInputError, RefNotFoundError), match=message):
        vd.purge(place / "space", writers_paused=True, cache_dir=None, **options)
    assert snapshot_of(place / "space") == before


def test_versions_from_before_the_rows_keep_their_addresses(tmp_path):  # 0022-R2
    ds = vd.Dataset.create("x", vd.Schema().add_scalar_string("s"), tmp_path / "s", cache_dir=None)
    ds.append({"_anchor": [1, 2], "s": ["one", "two"]})
    early = ds.current_manifest()
    ds.append({"_anchor": [3, 4], "s": ["three", "a secret"]})
    ds.append({"_anchor": [5], "s": ["five"]})
    ds.delete([4])
    lengths = len(ds.history(None))
    report = vd.purge(tmp_path / "s", writers_paused=True, cache_dir=None)
    ds = vd.Dataset.open("x", backend=tmp_path / "s", cache_dir=None)
    assert early in {v["manifest"] for v in ds.history(None)}
    assert (len(ds.history(None)), len(report["versions"])) == (lengths, 3)
    times = [v["ts_ns"] for v in ds.history(None)]
    assert times == sorted(times, reverse=True)
    assert ds.to_arrow()["s"].to_pylist() == ["one", "two", "three", "five"]
    with pytest.raises(vd.AnchorConflict, match="was deleted, and stays so"):
        ds.append({"_anchor": [4], "s": ["again"]})


def test_a_purge_that_was_interrupted_goes_on(place, monkeypatch):  # 0022-R6
    root, cache = place / "space", place / "cache"
    before = rows_of(root)
    for name in ("_list_doomed", "swap_confirmed", "_sweep", "_prove"):
        with monkeypatch.context() as patched:
            patched.setattr(f"dreamdb_arrow.dataset.purge.{name}", stop)
            with pytest.raises(KeyboardInterrupt):
                vd.purge(root, cache_dir=cache)
        assert rows_of(root).equals(before)
    vd.purge(root, cache_dir=cache)
    assert left_of(place) == []
    assert rows_of(root).equals(before)


def stop(*_, **__):
    raise KeyboardInterrupt


def test_a_ref_that_moves_meanwhile_is_looked_at_anew(place, monkeypatch):  # 0022-R5, 0022-R7
    """A writer commits while versions are written again, and takes up an object that is to go."""
    root = place / "space"
    real = purging._list_doomed

    def beside(store, changed):
        monkeypatch.setattr(purging, "_list_doomed", real)
        real(store, changed)
        vd.Dataset.open("main", backend=root, cache_dir=None).append(sample_rows(5000, 2))
        sound = sample_rows(0, 10).to_pydict()["snd"][3]  # cut into chunks, as the row that goes is
        taken = sample_rows(6001, 1)
        taken = taken.set_column(taken.schema.get_field_index("snd"), "snd", pa.array([sound], pa.binary()))
        vd.Dataset.open("side", backend=root, cache_dir=None).append(taken)

    monkeypatch.setattr(purging, "_list_doomed", beside)
    report = vd.purge(root, cache_dir=None)
    assert len(rows_of(root).filter(pa.compute.field("_anchor") >= T0 + 5000)) == 2
    held = vd.Dataset.open("side", backend=root, cache_dir=None).take([T0 + 6001])["snd"].to_pylist()
    assert held == [sample_rows(0, 10).to_pydict()["snd"][3]]
    assert vd.fsck(root)["findings"] == []
    assert report["anchors"] == len(MARKED) + 1


def test_a_report_tells_no_value(place):  # 0022-R9
    report = json.dumps(vd.purge(place / "space", writers_paused=True, cache_dir=None))
    assert not any(text in report for text in markers()[1]["s"])


@pytest.mark.parametrize("gone", [[2], [2, 3], [1, 3]])
def test_rows_in_a_hot_buffer(tmp_path, gone):
    root = f"file://{tmp_path}/s"
    (tmp_path / "s").mkdir()
    schema = dreamdb.Schema().add_scalar_string("s").add_embedding("v", dim=DIM, lsh_bits=2)
    ds = dreamdb.Dataset.create("main", schema, backend=root)
    made = {i: {"_anchor": i, "s": f"secret {i}", "v": np.full(DIM, i + 0.125, "f4")} for i in (1, 2, 3, 4)}
    ds.append_many([made[1]])
    ds.append_many([made[2], made[3]], hot=True)
    ds.delete(gone)
    needles = [made[i]["s"].encode() for i in gone] + [made[i]["v"].tobytes() for i in gone]
    assert any(n in d for n in needles for d in snapshot_of(tmp_path / "s").values())
    before = rows_of(root)
    vd.purge(root, writers_paused=True, cache_dir=None)
    assert not [n for n in needles for d in snapshot_of(tmp_path / "s").values() if n in d]
    assert rows_of(root).equals(before)
    held = dreamdb.Dataset.open_ref("main", root)
    if set(gone) != {2, 3}:
        held.flush_hot()  # before an append that is not hot
    held.append_many([made[4]])
    live = [i for i in (1, 2, 3, 4) if i not in gone]
    assert rows_of(root)["s"].to_pylist() == [made[i]["s"] for i in live]
    assert their_rows(held).keys() == set(live)


def test_nodes_of_a_graph_that_grew_are_refused(tmp_path):  # 0022-R10
    ds = vd.Dataset.create(
        "main", vd.Schema().add_scalar_int("n"), tmp_path / "s", cache_dir=None, flush="commit"
    )
    ds.append({"_anchor": np.arange(9), "n": np.arange(9)})
    vectors = np.random.default_rng(1).standard_normal((9, DIM)).astype("f4")
    ds.build_graph_index("g", "n", DIM, list(enumerate(vectors[:8])), r=4)
    ds.append_graph_nodes("g", [(8, vectors[8])])
    ds.delete([3])
    before = snapshot_of(tmp_path / "s")
    with pytest.raises(vd.UnsupportedError, match="rows cannot be taken out of the graph of 'g'"):
        vd.purge(tmp_path / "s", writers_paused=True, cache_dir=None)
    assert set(before) <= set(snapshot_of(tmp_path / "s"))
    assert len(vd.Dataset.open("main", backend=tmp_path / "s", cache_dir=None)) == 8


# ---------------------------------------------------------------- the reference SDK


def theirs(root, **options):
    return dreamdb.Dataset.open_ref("main", url_of(root), **options)


def test_the_reference_goes_on(place):
    root = place / "space"
    ds = vd.Dataset.open("main", backend=root, cache_dir=None)
    ds.flush()
    vd.purge(root, writers_paused=True, cache_dir=None)
    held = theirs(root)
    live = set(np.asarray(rows_of(root)["_anchor"]).tolist())
    read = held.iter_stream(64, fields=["n", "v"])  # it cannot stream a graph
    assert {anchor for batch in read for anchor in batch["_time_anchors"]} == live
    assert sorted(held.tombstone_set())[:2] == [T0 + 1, T0 + 2]
    found = held.iter_vector("v", [1.0] * DIM, 5, nprobe=1 << 20)
    assert sum(len(b["_time_anchors"]) for b in found) == 5
    held.set_meta("dreamdb.title", "theirs")
    assert vd.Dataset.open("main", backend=root, cache_dir=None).meta()["dreamdb.title"] == "theirs"
    assert len(rows_of(root)) == len(live)


def their_rows(held):
    rows = {}
    for batch in held.iter_all_batches():
        for nth, anchor in enumerate(batch["_time_anchors"]):
            rows[anchor] = {name: values[nth] for name, values in batch.items()}
    return rows


@pytest.mark.parametrize("packed", [{}, {"pack_items": 3}, {"chunk_size": 8}])
def test_spaces_of_the_reference(tmp_path, packed):  # 0022-R4
    root = f"file://{tmp_path}/s"
    (tmp_path / "s").mkdir()
    schema = dreamdb.Schema().add_scalar_string("s").add_scalar_categorical("c").add_scalar_int("n")
    schema.add_image("img", mime="png", required=False, **packed)
    schema.add_embedding("v", dim=DIM, lsh_bits=2, required=False, rerank=True)
    schema.add_array("a", "f32", [2], required=False)
    ds = dreamdb.Dataset.create("main", schema, backend=root)
    rng = np.random.default_rng(0)
    made = [
        {
            "_anchor": i + 1,
            "s": f"secret {i:03d}",
            "c": f"class {i % 2}",
            "n": 1000 + i,
            "img": b"%03d image! " % i * 2,
        }
        | {"v": rng.standard_normal(DIM).astype("f4"), "a": np.array([i, i], "f4")}
        for i in range(20)
    ]
    for start in range(0, 20, 5):
        ds.append_many(made[start : start + 5])
    ds.delete([4, 12], reason="gdpr")
    needles = [
        made[i][k] if isinstance(made[i][k], bytes) else made[i][k].tobytes()
        for i in (3, 11)
        for k in ("img", "v")
    ]
    needles += [b"secret 003", b"secret 011"]
    if "chunk_size" in packed:
        needles = [n for n in needles if b"image" not in n] + [b"003 imag", b"011 imag"]
    assert {n for n in needles if any(n in d for d in snapshot_of(tmp_path / "s").values())} == set(needles)
    before = rows_of(root)
    vd.purge(root, writers_paused=True, cache_dir=None)
    assert {n for n in needles if any(n in d for d in snapshot_of(tmp_path / "s").values())} == set()
    assert rows_of(root).equals(before)
    assert vd.fsck(root)["findings"] == []
    held = dreamdb.Dataset.open_ref("main", root)
    assert held.count() == 18
    assert held.query_scalar("s", "==", "secret 003") == []
    assert {a: bytes(row["img"]) for a, row in their_rows(held).items()} == {
        row["_anchor"]: row["img"] for row in made if row["_anchor"] not in (4, 12)
    }
    found = held.iter_vector("v", made[5]["v"].tolist(), 3, nprobe=4)
    assert next(iter(found))["_time_anchors"][0] == 6
    held.append_many([{"_anchor": 100, "s": "new", "c": "class 0", "n": 1}])
    assert len(rows_of(root)) == 19


def test_nodes_of_a_graph(tmp_path):
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((60, DIM)).astype("f4")
    ds = vd.Dataset.create(
        "main", vd.Schema().add_scalar_int("n"), tmp_path / "s", cache_dir=None, flush="commit"
    )
    ds.append({"_anchor": np.arange(60), "n": np.arange(60)})
    ds.build_graph_index("g", "n", DIM, list(enumerate(vectors)), r=8)
    unit = vectors[7] / np.linalg.norm(vectors[7])
    ds.delete([7])
    stored = rows_of(tmp_path / "s").filter(pa.compute.field("_anchor") == 6)["g"]
    vd.purge(tmp_path / "s", writers_paused=True, cache_dir=None)
    held = snapshot_of(tmp_path / "s").values()
    assert not any(unit.astype("<f4").tobytes() in d or vectors[7].tobytes() in d for d in held)
    ds = vd.Dataset.open("main", backend=tmp_path / "s", cache_dir=None)
    assert len(ds) == 59
    assert ds.to_arrow().filter(pa.compute.field("_anchor") == 6)["g"].equals(stored)
    assert ds.iter_vector("g", vectors[9], 1)[0]["_time_anchors"] == [9]
    assert vd.fsck(tmp_path / "s")["findings"] == []
