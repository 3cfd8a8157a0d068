"""A Space against plain dicts: whatever is done to it, each ref and snapshot shows the rows of the model."""

import contextlib
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import dreamdb_arrow as vd
from dreamdb_arrow.columnar.vendor import VENDOR_MODALITIES
from dreamdb_arrow.dataset.flush import flush_rows
from dreamdb_arrow.dataset.incoming import check_rows
from dreamdb_arrow.dataset.outgoing import store_rows
from dreamdb_arrow.history.commit import commit
from dreamdb_arrow.history.manifests import MANIFESTS
from dreamdb_arrow.objects.manifest import encode_manifest, order_tracks
from dreamdb_arrow.objects.schema import decode_schema
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.model import Version, nearest_rows, plain_row, rows_of_table, spread
from dreamdb_arrow.testing.strategies import DIM, anchors, batches, full_schema, ticks, vectors

TYPES = {
    "n": pa.int64(),
    "x": pa.float64(),
    "s": pa.string(),
    "c": pa.dictionary(pa.int32(), pa.string()),
    "ok": pa.bool_(),
    "at": pa.timestamp("ns"),
    "img": pa.binary(),
    "snd": pa.large_binary(),
    "v": pa.list_(pa.float32(), DIM),
    "w": pa.list_(pa.float64()),
    "_anchor": pa.int64(),
    "tick": pa.int64(),
}


def table_of(rows: list[dict], **extra) -> pa.Table:
    names = sorted({name for row in rows for name in row})
    columns = {name: [row.get(name) for row in rows] for name in names} | extra
    return pa.table({name: pa.array(values, TYPES[name]) for name, values in columns.items()})


def without_columnar_layer(manifest):
    """A Manifest as another SDK makes it: it has Tracks only."""
    active = [e for e in manifest.tracks.active if e.modality not in VENDOR_MODALITIES]
    registry = {key: value for key, value in manifest.registry.items() if key not in VENDOR_MODALITIES}
    return replace(manifest, registry=registry, tracks=order_tracks(active))


def strip_columnar_layer(ds):
    store, name = ds.space.store, ds.ref_name()
    batch = Batch(store)
    address = batch.add(MANIFESTS, encode_manifest(without_columnar_layer(ds.manifest)))
    batch.flush()
    store.swap_ref(name, store.read_ref(name), address)
    ds.refresh()


class SpaceMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.refs: dict[str, Version] = {}
        self.seen: dict[str, str] = {}
        self.caches = 0
        self.sql = contextlib.ExitStack()

    @initialize(on_disk=st.booleans(), flush=st.sampled_from(["manual", "commit", "foreign"]))
    def create(self, on_disk, flush):
        self.place = Path(tempfile.mkdtemp(prefix="dreamdb-machine-"))
        self.backend = self.place / "space" if on_disk else MemoryStore()
        mode = "commit" if flush == "foreign" else flush
        self.ds = vd.Dataset.create(
            "main", full_schema(), self.backend, flush=mode, cache_dir=self.fresh_cache(), durability="os"
        )
        if flush == "foreign":
            strip_columnar_layer(self.ds)
        self.refs["main"] = Version()
        self.connect()

    def connect(self):
        self.sql.close()
        self.con = self.sql.enter_context(contextlib.closing(duckdb.connect()))
        self.sql.enter_context(contextlib.closing(vd.attach(self.con, self.ds.space)))

    def fresh_cache(self) -> Path:
        self.caches += 1
        return self.place / f"cache-{self.caches}"

    @property
    def name(self) -> str:
        return self.ds.ref_name()

    @property
    def version(self) -> Version:
        return self.refs[self.name]

    def tip(self, name: str) -> vd.Dataset:
        return vd.Dataset(self.ds.space, name, self.ds.space.resolve(name))

    # ------------------------------------------------------------ writing

    @rule(rows=batches(), data=st.data(), as_samples=st.booleans())
    def append_at_anchors(self, rows, data, as_samples):
        given = data.draw(st.lists(anchors(), min_size=len(rows), max_size=len(rows)))
        try:
            after = self.version.append(given, [plain_row(row) for row in rows])
        except vd.AnchorConflict:
            before = self.ds.space.resolve(self.name)
            with pytest.raises(vd.AnchorConflict, match="anchor"):
                self.append(rows, given, as_samples=as_samples)
            assert self.ds.space.resolve(self.name) == before
            return
        assert self.append(rows, given, as_samples=as_samples) == len(rows)
        self.refs[self.name] = after

    def append(self, rows, given, *, as_samples) -> int:
        if as_samples:
            return self.ds.append_many([row | {"_anchor": a} for row, a in zip(rows, given, strict=True)])
        return self.ds.append(table_of(rows, _anchor=given))

    @rule(rows=batches(), as_samples=st.booleans())
    def append_from_now_on(self, rows, as_samples):
        count = self.ds.append_many(rows) if as_samples else self.ds.append(table_of(rows))
        shown = self.ds.to_arrow(["_anchor"])["_anchor"].to_pylist()
        given = sorted(a for a in shown if a not in self.version.rows)
        assert count == len(rows) == len(given)
        assert set(np.diff(given)) <= {1000}
        self.refs[self.name] = self.version.append(given, [plain_row(row) for row in rows])

    @rule(rows=batches(8), data=st.data())
    def append_by_tick(self, rows, data):
        given = data.draw(st.lists(ticks(), min_size=len(rows), max_size=len(rows)))
        table = table_of(rows, tick=given)
        try:
            anchors_given = spread(self.version, given)
        except vd.AnchorConflict:
            with pytest.raises(vd.AnchorConflict):
                self.ds.append(table, time="tick")
            return
        self.ds.append(table, time="tick")
        self.refs[self.name] = self.version.append(anchors_given, [plain_row(row) for row in rows])

    @rule(rows=batches(), data=st.data())
    def another_sdk_appends(self, rows, data):
        """Rows that only the Tracks hold, under no cover note."""
        free = anchors().filter(lambda a: not self.version.is_taken(a))
        given = data.draw(st.lists(free, min_size=len(rows), max_size=len(rows), unique=True))

        def build(parent, _, batch):
            table, fields = table_of(rows, _anchor=given), decode_schema(parent.registry)
            stored = store_rows(
                check_rows(table, fields), np.array(given), fields, parent.timelines[0], batch
            )
            return flush_rows(self.ds.space.store, without_columnar_layer(parent), batch, stored)

        commit(self.ds.space.store, self.name, build)
        self.ds.refresh()
        self.refs[self.name] = self.version.append(given, [plain_row(row) for row in rows])

    @rule(data=st.data(), missing=st.lists(anchors(), max_size=2))
    def delete(self, data, missing):
        live = sorted(self.version.rows)
        chosen = data.draw(st.lists(st.sampled_from(live), max_size=4)) if live else []
        self.ds.delete([*chosen, *missing], reason=data.draw(st.sampled_from([None, "gdpr"])))
        self.refs[self.name] = self.version.delete([*chosen, *missing])
        assert set(self.ds.tombstone_set()) == self.version.deleted

    @rule()
    def flush(self):
        self.ds.flush()
        assert self.ds.flush() == 0

    @rule(tracks=st.booleans())
    def compact(self, tracks):
        self.ds.compact(tracks=tracks)
        assert self.ds.compact(tracks=tracks)["manifest"] is None

    # ------------------------------------------------------------ versions

    @precondition(lambda self: len(self.refs) < 8)
    @rule()
    def snapshot(self):
        name = self.ds.snapshot(f"s{len(self.refs)}")["label"]
        self.refs[name] = self.version

    @precondition(lambda self: len(self.refs) < 8)
    @rule()
    def branch(self):
        name = f"b{len(self.refs)}"
        version = self.version
        self.ds = self.ds.branch(name)
        self.refs[name] = version

    @rule(data=st.data())
    def switch(self, data):
        names = sorted(name for name in self.refs if "@" not in name)
        self.ds = self.tip(data.draw(st.sampled_from(names)))

    @rule(data=st.data())
    def a_snapshot_does_not_move(self, data):
        names = sorted(name for name in self.refs if "@" in name)
        if names:
            snapshot = self.tip(data.draw(st.sampled_from(names)))
            with pytest.raises(vd.InvalidInputError, match="snapshot"):
                snapshot.append({"n": [1]})

    @rule()
    def reopen_with_a_fresh_cache(self):
        self.ds = vd.Dataset.open(
            self.name, backend=self.backend, cache_dir=self.fresh_cache(), durability="os"
        )
        self.seen.clear()
        self.connect()

    # ------------------------------------------------------------ reading

    @invariant()
    def refs_show_the_model(self):
        """Scan what moved; of the others it is enough that they name what they named."""
        for name, expected in self.refs.items():
            found = self.tip(name)
            if self.seen.get(name) != found.current_manifest():
                self.check_scan(found, expected)
                self.seen[name] = found.current_manifest()

    def check_scan(self, found, expected):
        assert rows_of_table(found.to_arrow()) == expected.rows
        assert found.count() == len(expected.rows)

    @rule(low=anchors(), width=st.integers(0, 40))
    def a_range_shows_the_rows_inside(self, low, width):
        ds = self.tip(self.name)
        inside = {a: row for a, row in self.version.rows.items() if low <= a < low + width}
        assert rows_of_table(ds.to_arrow(start_ns=low, end_ns=low + width)) == inside
        assert ds.count(low, low + width) == len(inside)

    @rule(name=st.sampled_from(["v", "w"]), query=vectors(), k=st.integers(1, 6))
    def knn_is_brute_force(self, name, query, k):
        decoded = {
            a: {name: np.frombuffer(row[name], "f4")} for a, row in self.version.rows.items() if name in row
        }
        best = nearest_rows(Version(decoded), name, query, "cosine")
        distance_of = {anchor: distance for distance, anchor in best}
        knn = "SELECT * FROM dreamdb_knn(?, ?, ?::FLOAT[], k := ?, nprobe := ?)"
        exact = self.con.execute(knn, [self.name, name, query, k, None]).fetchall()
        probed = self.con.execute(knn, [self.name, name, query, k, 1]).fetchall()
        np.testing.assert_allclose([d for _, d in exact], [d for d, _ in best[:k]], atol=1e-6)
        for hits in (exact, probed):
            assert len({a for a, _ in hits}) == len(hits)
            np.testing.assert_allclose([d for _, d in hits], [distance_of[a] for a, _ in hits], atol=1e-6)

    @rule()
    def duckdb_shows_the_model(self):
        for name, expected in self.refs.items():
            scan = self.con.sql("FROM dreamdb_scan(?)", params=[name])
            assert rows_of_table(scan.to_arrow_table()) == expected.rows
            assert scan.count("*").fetchall() == [(len(expected.rows),)]

    def teardown(self):
        if self.refs:
            for name, expected in self.refs.items():
                self.check_scan(vd.Dataset.open(name, backend=self.backend, cache_dir=None), expected)
            self.duckdb_shows_the_model()
            self.sql.close()
            shutil.rmtree(self.place)


SpaceMachine.TestCase.settings = settings(max_examples=settings().max_examples // 4, stateful_step_count=20)
test_space = SpaceMachine.TestCase
