"""Trees that we change page by page, in the hands of the reference SDK: counted, queried, appended to, merged, kept by gc."""

import operator

import dreamdb
import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.vendor import read_track
from dreamdb_arrow.objects import index_page
from dreamdb_arrow.tracks import btree_pages, index_pages, placing
from tests.places import url_of

OPERATORS = {"==": operator.eq, "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}
DIM = 8


@pytest.fixture
def small_pages(monkeypatch):
    """Pages of a few entries, so that trees of some hundred rows have several levels."""
    monkeypatch.setattr(btree_pages, "LEAF_ENTRIES_MAX", 3)
    monkeypatch.setattr(btree_pages, "CHILDREN_MAX", 4)
    for module in (index_page, index_pages):
        monkeypatch.setattr(module, "LEAF_BYTES", 700)
    monkeypatch.setattr(index_pages, "CHILDREN_MAX", 5)
    monkeypatch.setattr(placing, "INLINE_BYTES_MAX", 1500)


def row(anchor: int, n: int) -> dict:
    floats = [-0.0, 0.0, n * 1.5]
    return {"_anchor": anchor, "n": n, "x": floats[n % 3], "s": f"s{n % 7:03d}", "at": n * 1000}


def track_of(ds: vd.Dataset, field: str):
    return read_track(ds.space.store, row_entry(ds.manifest, field))


class Scalars:
    """A Space with scalar fields, and the rows that it should have."""

    def __init__(self, folder) -> None:
        self.backend, self.rows, self.rng = url_of(folder), {}, np.random.default_rng(1)
        made = vd.Schema().add_scalar_int("n").add_scalar_float("x")
        made = made.add_scalar_string("s").add_scalar_timestamp("at")
        vd.Dataset.create("main", made, backend=self.backend, cache_dir=None)

    def ours(self, ref: str = "main") -> vd.Dataset:
        return vd.Dataset.open_ref(ref, self.backend, cache_dir=None)

    def theirs(self) -> dreamdb.Dataset:
        return dreamdb.Dataset.open("main", backend=self.backend)

    def new_rows(self, first: int, count: int) -> list[dict]:
        made = [row(first + at, int(self.rng.integers(0, 60))) for at in range(count)]
        self.rows |= {r["_anchor"]: r for r in made}
        return made

    def flush(self, first: int, count: int, ref: str = "main") -> vd.Dataset:
        ds = self.ours(ref)
        ds.append_many(self.new_rows(first, count))
        ds.flush()
        return ds

    def check(self) -> None:
        theirs = self.theirs()
        assert theirs.count() == len(self.rows)
        wanted = [("n", op, v) for op in OPERATORS for v in (0, 5, 30, 59)]
        wanted += [("s", op, f"s{v:03d}") for op in OPERATORS for v in (0, 3, 6)]
        wanted += [("x", op, v) for op in OPERATORS for v in (0.0, 10.5, 85.5)]
        wanted += [("at", op, v * 1000) for op in ("<", ">=") for v in (0, 31)]
        for field, op, value in wanted:
            found = theirs.query_scalar(field, op, value)
            assert sorted(found) == self.matching(field, op, value), (field, op, value)
        either = sorted(self.matching("n", "==", 1) + self.matching("n", "==", 50))
        assert sorted(theirs.query_scalar("n", "in", [1, 50])) == either
        counts = {s: len(self.matching("s", "==", s)) for s in {r["s"] for r in self.rows.values()}}
        assert dict(theirs.distinct_values("s")) == counts

    def matching(self, field: str, op: str, value) -> list[int]:
        return sorted(a for a, r in self.rows.items() if OPERATORS[op](r[field], value))


def small_flushes(space: Scalars) -> None:
    for nth in range(20):
        space.flush(1000 * nth, 25)
    space.check()
    space.theirs().append_many(space.new_rows(10**6, 30))  # one level deeper, in their way
    space.flush(2 * 10**6, 20)
    space.check()


def test_they_read_and_change_trees_of_many_small_flushes(tmp_path, small_pages):  # 0011-R9, 0011-R11
    space = Scalars(tmp_path)
    small_flushes(space)
    assert track_of(space.ours(), "n").object_index["tree_height"] >= 4


def test_they_merge_collect_and_compact_them(tmp_path, small_pages, capfd):
    space = Scalars(tmp_path)
    small_flushes(space)
    space.theirs().branch("side")
    space.flush(3 * 10**6, 20, "side")
    space.flush(4 * 10**6, 20)
    space.theirs().merge("side", strategy="union")
    space.check()
    space.flush(5 * 10**6, 20)
    dreamdb.gc(space.backend, keep_manifests=1, dry_run=False, writers_paused=True)
    space.check()
    space.theirs().compact()
    space.flush(6 * 10**6, 20)
    space.check()


def test_pages_of_full_size_split_and_are_read(tmp_path):
    space, numbers = Scalars(tmp_path), np.random.default_rng(0).permutation(20_000)
    ds = space.ours()

    def flush(anchors, n, texts):
        ds.append({"_anchor": anchors, "n": n, "x": n / 7, "s": texts, "at": anchors % 1000})
        ds.flush()

    flush(np.arange(20_000), numbers, [f"{v:06d}" for v in numbers])
    flush(10**6 + np.arange(3), np.full(3, 10_000), ["010000x"] * 3)
    flush(2 * 10**6 + np.arange(2000), 20_000 + np.arange(2000), [str(i) for i in range(2000)])
    assert track_of(ds, "n").object_index["page_count"] > 15
    theirs = space.theirs()
    assert len(theirs.query_scalar("n", ">=", 0)) == 22_003  # counting takes them seven seconds
    assert sorted(theirs.query_scalar("n", ">=", 19_998)) == sorted(
        [*np.flatnonzero(numbers >= 19_998).tolist(), *range(2 * 10**6, 2 * 10**6 + 2000)]
    )
    texts = [f"{v:06d}" for v in range(20_000)] + ["010000x"] * 3 + [str(i) for i in range(2000)]
    assert len(theirs.query_scalar("s", "<", "010000y")) == sum(text < "010000y" for text in texts)
    assert len(theirs.query_scalar("n", "==", 10_000)) == 4


def test_paged_media_and_cells_that_grow(tmp_path, small_pages, capfd):  # 0007-R4, 0007-R5
    backend, rng = url_of(tmp_path), np.random.default_rng(0)
    made = vd.Schema().add_image("img", mime="png").add_embedding("v", dim=DIM, lsh_bits=4, rerank=True)
    ds = vd.Dataset.create("main", made, backend=backend, cache_dir=None)
    rows: dict[int, dict] = {}

    def some(anchors):
        found = [
            {"_anchor": a, "img": bytes([a % 251]) * 3, "v": rng.standard_normal(DIM).astype("f4")}
            for a in anchors
        ]
        rows.update({r["_anchor"]: r for r in found})
        return found

    def check():
        ds.refresh()
        theirs = dreamdb.Dataset.open("main", backend=backend)
        assert theirs.count() == len(rows)
        found = {r["_anchor"]: r for batch in theirs.iter_arrow_batches() for r in batch.to_pylist()}
        assert {a: r["img"] for a, r in found.items()} == {a: r["img"] for a, r in rows.items()}
        assert all(np.array_equal(np.array(r["v"], "f4"), rows[a]["v"]) for a, r in found.items())
        for query in (rng.standard_normal(DIM).astype("f4") for _ in range(3)):
            hits = [a for b in theirs.iter_vector("v", query, 5, nprobe=16) for a in b["_time_anchors"]]
            mine = [a for b in ds.iter_vector("v", query, 5, nprobe=16) for a in b["_time_anchors"]]
            assert hits == mine

    for nth in range(12):  # later and later, but for some late ones
        ds.append_many(some(range(1000 * nth + 500, 1000 * nth + 510)))
        ds.append_many(some(range(7 * nth + 3, 7 * nth + 6)))
        ds.flush()
    assert track_of(ds, "img").object_index["tree_height"] >= 3
    assert track_of(ds, "v").object_index["tree_height"] >= 3
    check()
    theirs = dreamdb.Dataset.open("main", backend=backend)
    theirs.append_many(some(range(10**6, 10**6 + 10)))
    theirs.branch("side")
    side = vd.Dataset.open_ref("side", backend, cache_dir=None)
    side.append_many(some(range(2 * 10**6, 2 * 10**6 + 5)))
    side.flush()
    ds.refresh()
    ds.append_many(some(range(3 * 10**6, 3 * 10**6 + 5)))
    ds.flush()
    dreamdb.Dataset.open("main", backend=backend).merge("side", strategy="union")
    check()
    dreamdb.gc(backend, keep_manifests=1, dry_run=False, writers_paused=True)
    ds.refresh()
    ds.append_many(some(range(4 * 10**6, 4 * 10**6 + 5)))
    ds.flush()
    check()
