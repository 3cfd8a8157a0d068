"""Typed arrays: what the PyPI SDK `dreamdb` writes we read, what we flush it reads, bit for bit. Specs 0006 and 0007."""

import itertools
import json
from dataclasses import replace
from io import BytesIO

import dreamdb
import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.arrays import items_of_arrow
from dreamdb_arrow.columnar.vendor import add_track, read_track
from dreamdb_arrow.dataset.arrays import only_item
from dreamdb_arrow.history.commit import Change, commit
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.history.refs import resolve_ref
from dreamdb_arrow.objects.array_index import ArrayEntries
from dreamdb_arrow.objects.array_type import DTYPES
from dreamdb_arrow.objects.manifest import find_entry
from dreamdb_arrow.objects.schema import is_constant, item_type_of
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.urls import open_store
from dreamdb_arrow.testing.unions import keep_both
from dreamdb_arrow.tracks.arrays import array_directory, place_array_entries, read_array_items
from tests.places import url_of

T0 = 1_700_000_000_000_000_000
ORDERS = ("little", "big")
DENSE_SHAPES = ([], [3], [2, 3], [2, 0], [2, 1, 2])
BATCHES = {"track_kind": "continuous", "object_kind": "time-batch"}
TOLD = {"semantic_type": "A b!", "units": "m/s", "frame": "", "axis_order": "x,y"}


@pytest.fixture
def backend(tmp_path) -> str:
    (tmp_path / "space").mkdir(exist_ok=True)
    return url_of(tmp_path / "space")


def declare(schema):
    """Every dtype in every family, every byte order, shape, layout and codec; both SDKs have these methods."""
    schema = schema.add_scalar_int("n")
    shapes, forms = itertools.cycle(DENSE_SHAPES), itertools.cycle(itertools.product("cf", ("raw", "npy")))
    for dtype, order in itertools.product(DTYPES, ORDERS):
        layout, codec = next(forms)
        told = {"endianness": order, "required": False}
        schema.add_array(f"d_{dtype}_{order}", dtype, next(shapes), layout=layout, codec=codec, **told)
        if order == ORDERS[tuple(DTYPES).index(dtype) % 2]:
            schema.add_ragged_array(f"r_{dtype}", dtype, **told)
            schema.add_ragged_array(f"p_{dtype}", dtype, [2], **told, **BATCHES)
            schema.add_sparse_csr(f"s_{dtype}", dtype, [3, 4], **told)
    schema.add_array("batch", "u16", [4], required=False, **BATCHES)
    schema.add_array("told", "f32", [2], required=False, **TOLD)
    return schema.add_array("told_too", "f32", [2], required=False, **TOLD)


def bits(rng, dtype, shape):
    """Any bits whatever: of floats also NaN and infinities."""
    kind = np.dtype(DTYPES[dtype])
    return np.frombuffer(rng.bytes(int(np.prod(shape)) * kind.itemsize), kind).reshape(shape)


def value_of(rng, field: vd.Schema, name: str):
    f = next(f for f in field.fields if f.name == name)
    item = f.options["item_type"]
    if item["family"] == "dense-array":
        found = bits(rng, item["dtype"], item["shape"])
        # An NPY file of a single number is the one thing that the SDK cannot make itself.
        return found if item["shape"] or item["codec"] == "raw" else npy(found, item)
    if item["family"] == "ragged-array":
        offsets = np.r_[0, np.cumsum(rng.integers(0, 3, rng.integers(0, 4)))]
        return {
            "row_offsets": offsets,
            "values": bits(rng, item["dtype"], (offsets[-1], *item["inner_shape"])),
        }
    rows = [np.sort(rng.choice(4, rng.integers(0, 4), replace=False)) for _ in range(3)]
    offsets = np.r_[0, np.cumsum([len(r) for r in rows])]
    columns = np.concatenate(rows).astype(np.uint64)
    return {
        "row_offsets": offsets,
        "column_indices": columns,
        "values": bits(rng, item["dtype"], (offsets[-1],)),
    }


def npy(value, item):
    """A value in the byte order and layout of its type, as bytes, which the SDK takes as they are."""
    out = BytesIO()
    header = {
        "descr": value.dtype.newbyteorder("<" if item["endianness"] == "little" else ">").str,
        "fortran_order": item["layout"] == "f",
        "shape": (),
    }
    np.lib.format.write_array_header_1_0(out, header)
    out.write(value.astype(header["descr"]).tobytes())
    return out.getvalue()


def samples(count: int):
    """Rows for the SDK; every third value is missing."""
    schema = declare(vd.Schema())
    names = [f.name for f in schema.fields if f.kind == "array"]
    for nth in range(count):
        rng = np.random.default_rng(nth)
        given = {name: value_of(rng, schema, name) for name in names}
        held = {k: v for at, (k, v) in enumerate(given.items()) if (at + nth) % 3}
        yield {"_anchor": T0 + nth * 1000, "n": nth, **held}


def plain(value):
    """An array or its parts in one form for both: shapes and bits, offsets as integers."""
    if value is None:
        return None
    if isinstance(value, dict):
        return {
            k: plain(v) if k == "values" else np.asarray(v).astype(np.uint64).tolist()
            for k, v in value.items()
        }
    array = np.asarray(value)
    native = array.astype(array.dtype.newbyteorder("="))
    return (native.dtype.str, native.shape, native.tobytes())


def our_rows(backend, cache, ref="main") -> dict[int, dict]:
    ours = vd.Dataset.open(ref, backend=backend, cache_dir=cache)
    table = ours.to_arrow()
    rows = {anchor: {} for anchor in table["_anchor"].to_pylist()}
    for f in ours.schema.fields:
        if f.kind == "array" and not is_constant(f):
            column = table[f.name].combine_chunks()
            for at, row in enumerate(rows.values()):
                if column[at].is_valid:
                    row[f.name] = plain(only_item(items_of_arrow(item_type_of(f), column.slice(at, 1))))
    return rows


def their_rows(backend, ref="main") -> dict[int, dict]:
    rows = {}
    for batch in dreamdb.Dataset.open_ref(ref, backend).iter_all_batches():
        for at, anchor in enumerate(batch.pop("_time_anchors")):
            held = {name: values[at] for name, values in batch.items() if name != "n"}
            rows[anchor] = {name: plain(value) for name, value in held.items() if value is not None}
    return rows


def wanted(rows) -> dict[int, dict]:
    """Rows as they were given; values that had to be given as bytes are left out."""
    return {
        row["_anchor"]: {
            k: plain(v) for k, v in row.items() if k not in ("_anchor", "n") and not isinstance(v, bytes)
        }
        for row in rows
    }


@pytest.fixture
def theirs(backend) -> dreamdb.Dataset:
    ds = dreamdb.Dataset.create("main", declare(dreamdb.Schema()), backend=backend)
    rows = list(samples(6))
    ds.append_many(rows[:2])
    ds.append_many(rows[2:])
    return ds


def test_what_the_reference_writes_we_read(theirs, backend, tmp_path):  # 0006-R7, 0007-R2
    rows = our_rows(backend, tmp_path / "cache")
    assert rows == their_rows(backend)
    for anchor, row in wanted(samples(6)).items():
        assert row.items() <= rows[anchor].items()
    theirs.delete([T0 + 1000])
    after = our_rows(backend, tmp_path / "cache")
    assert after == their_rows(backend)
    assert rows.keys() - after.keys() == {T0 + 1000}
    ours = vd.Dataset.open("main", backend=backend, cache_dir=tmp_path / "cache")
    assert ours.unavailable == {}
    for name, anchor in itertools.product(("told", "s_f64", "r_u16", "p_i8"), (T0, T0 + 1000, T0 + 5)):
        assert plain(ours.get_array_item(name, anchor)) == plain(theirs.get_array_item(name, anchor))


@pytest.mark.parametrize("mode", ["manual", "commit"])
def test_what_we_flush_the_reference_reads(backend, tmp_path, mode):  # 0000-R5
    cache = tmp_path / "cache"
    ours = vd.Dataset.create(
        "main", declare(vd.Schema()), backend=backend, cache_dir=cache, flush=mode, durability="os"
    )
    given = [{k: 7 if isinstance(v, bytes) else v for k, v in row.items()} for row in samples(4)]
    ours.append_many(given[:1])
    ours.append_many(given[1:])
    ours.delete([T0 + 1000])
    ours.flush()
    theirs = dreamdb.Dataset.open_ref("main", backend)
    assert theirs.count() == 3
    rows = their_rows(backend)
    assert rows == our_rows(backend, cache)
    assert all(
        row.items() <= rows[anchor].items() for anchor, row in wanted(samples(4)).items() if anchor in rows
    )
    for f in ours.schema.fields:
        if f.kind == "array":
            flushed = (
                given if mode == "commit" else [given[0], *given[2:]]
            )  # the deleted row was flushed, or not
            count = sum(f.name in row for row in flushed)
            assert theirs.audit_array_field(f.name) == ours.audit_array_field(f.name) == count, f.name
    # both go on: the reference on our Tracks, we on its
    more = next(itertools.islice(samples(9), 8, None))
    theirs.append_many([more])
    theirs.compact()
    dreamdb.gc(backend, keep_manifests=1, dry_run=False, writers_paused=True)
    assert their_rows(backend) == our_rows(backend, cache)
    ours.refresh()
    ours.append_many([{"_anchor": T0 + 9000, "n": 9, "told": [1, 2]}])
    ours.flush()
    rows = their_rows(backend)
    assert rows.keys() == {T0, T0 + 2000, T0 + 3000, T0 + 8000, T0 + 9000}
    assert rows == our_rows(backend, cache) == our_rows(backend, tmp_path / "fresh")


def test_equal_values_are_equal_objects(backend, tmp_path):  # 0002-R1
    """Both SDKs write the same Space, but for nonces and times: the same payloads, under the same modalities."""
    made = dreamdb.Dataset.create("main", declare(dreamdb.Schema()), backend=backend)
    rows = list(samples(3))
    made.append_many(rows)
    ours = vd.Dataset.create("main", declare(vd.Schema()), backend=tmp_path / "ours", flush="commit")
    given = [{k: v for k, v in row.items() if not isinstance(v, bytes)} for row in rows]
    ours.append_many(given)

    def payloads(root):
        found = {p.relative_to(root).parts for p in root.rglob("array.*/0*/*") if p.is_file()}
        return {parts[1:] for parts in found}

    theirs, mine = payloads(tmp_path / "space"), payloads(tmp_path / "ours")
    assert mine <= theirs
    left = {parts[0] for parts in theirs - mine}
    assert all(".shape=0d." in modality for modality in left)
    outboards = {p.name for p in (tmp_path / "ours" / "bao-outboard").iterdir()}
    assert {parts[-1] for parts in mine} <= outboards


def test_fields_added_later_and_constants(backend, tmp_path):
    ours = vd.Dataset.create(
        "main", vd.Schema().add_scalar_int("n"), backend=backend, cache_dir=tmp_path / "cache"
    )
    ours.append_many([{"_anchor": 1, "n": 1}])
    ours.add_array("grid", "f32", [2, 2], layout="f")
    ours.add_ragged_array("rows", "u8")
    ours.add_sparse_csr("m", "i64", [2, 2], endianness="big")
    parts = {"row_offsets": [0, 1, 1], "column_indices": [1], "values": [-5]}
    ours.append_many([{"_anchor": 2, "n": 2, "grid": [[1, 2], [3, 4]], "rows": [[1], []], "m": parts}])
    ours.add_array_constant("k", [[1, 2], [3, 4]], dtype="i16", shape=[2, 2], endianness="big", codec="npy")
    ours.add_array_constant(
        "kr", [[[1, 2]], []], dtype="f64", shape=[2], family="ragged-array", codec="offsets-values"
    )
    ours.add_array_constant("kc", parts, dtype="i8", shape=[2, 2], family="sparse-csr")
    ours.flush()
    theirs = dreamdb.Dataset.open_ref("main", backend)
    assert our_rows(backend, tmp_path / "cache") == their_rows(backend)
    for name in ("k", "kr", "kc"):
        assert plain(theirs.get_array_constant(name)) == plain(ours.get_array_constant(name))
    theirs.add_array_constant("kk", [1.5, 2.5], dtype="f32", shape=[2])
    theirs.add_array("late", "u16", [2])
    theirs.append_many([{"_anchor": 3, "n": 3, "late": [8, 9], "m": parts}])
    ours.refresh()
    assert ours.get_array_constant("kk").tolist() == [1.5, 2.5]
    values = {"k": [[1, 2], [3, 4]], "kr": [[[1.0, 2.0]], []], "kk": [1.5, 2.5], "kc": parts}
    assert ours.constants() == values
    assert ours.get_array_item("late", 3).tolist() == [8, 9]
    con = vd.connect(backend, cache_dir=tmp_path / "cache")
    assert con.sql("SELECT n, grid[2][1], len(rows), m.values[1], late FROM main ORDER BY n").fetchall() == [
        (1, None, None, None, None),
        (2, 3.0, 2, -5, None),
        (3, None, None, -5, [8, 9]),
    ]
    told = dict(con.sql("SELECT field, value FROM dreamdb_constants('main')").fetchall())
    assert {name: json.loads(text) for name, text in told.items()} == values
    con.close()
    with pytest.raises(vd.InvalidInputError, match="has this type already"):
        ours.add_array_constant("again", [3, 4], dtype="f32", shape=[2])
    with pytest.raises(vd.InvalidInputError, match="is a constant"):
        ours.get_array_item("k", 1)
    with pytest.raises(vd.InvalidInputError, match="no array constant"):
        ours.get_array_constant("grid")


def test_a_space_of_theirs_takes_our_arrays(theirs, backend, tmp_path):  # 0006-R10
    ours = vd.Dataset.open("main", backend=backend, cache_dir=tmp_path / "cache")
    ours.append_many([{"_anchor": T0 + 50_000, "n": 50, "told": [5, 6], "batch": [1, 2, 3, 4]}])
    theirs = dreamdb.Dataset.open_ref("main", backend)
    assert theirs.get_array_item("batch", T0 + 50_000).tolist() == [1, 2, 3, 4]
    assert our_rows(backend, tmp_path / "cache") == their_rows(backend)
    with pytest.raises(vd.AnchorConflict):
        ours.append_many([{"_anchor": T0, "n": 1, "told": [5, 6]}])


def test_a_deleted_or_refused_anchor_does_not_come_back(theirs, backend, tmp_path):
    theirs.delete([T0])
    ours = vd.Dataset.open("main", backend=backend, cache_dir=tmp_path / "cache")
    with pytest.raises(vd.AnchorConflict):
        ours.append_many([{"_anchor": T0, "n": 1, "told": [5, 6]}])


@pytest.mark.parametrize("name", ["plain", "batch"])
def test_the_reference_reads_our_pages(backend, tmp_path, name):  # 0007-R1, 0007-R6
    """A paged Track of 30,000 items, of which a few have payloads: more are not asked for."""
    made = (
        vd.Schema()
        .add_array("plain", "u16", [2], required=False)
        .add_array("batch", "u16", [2], required=False, **BATCHES)
    )
    ours = vd.Dataset.create("main", made, backend=backend, cache_dir=tmp_path / "cache", flush="commit")
    ours.append_many([{"_anchor": T0, name: [3, 4]}])
    store = open_store(backend)

    def pages(parent, _, batch: Batch) -> Change:
        entry = find_entry(parent.tracks, name)
        track = read_track(store, entry)
        anchors = (T0 + 10 * np.arange(30_000)).astype(np.uint64)
        address = bytes(track.object_index[0][3 if name == "batch" else 0])
        entries = ArrayEntries(anchors, np.frombuffer(address * 30_000, np.uint8).reshape(-1, 33))
        wide = replace(track, coverage=(T0, int(anchors[-1]) + 1))
        paged = place_array_entries(batch, wide, entries, anchors)
        assert paged.object_index["form"] == "paged"
        payload = store.get(f"{array_directory(track, T0)}/{Address(address)}")
        for at in (1, 15_000, 29_999):
            batch.add_payload(array_directory(track, int(anchors[at])), payload)
        return Change("commit", (replace(entry, address=add_track(batch, paged), coverage=wide.coverage),))

    commit(store, "main", pages)
    theirs = dreamdb.Dataset.open_ref("main", backend)
    with pytest.raises(RuntimeError, match="incompatible Track index Paged"):
        theirs.count()  # it writes such Tracks itself, reads their items, and does not count them
    for at in (0, 1, 15_000, 29_999):
        assert theirs.get_array_item(name, T0 + 10 * at).tolist() == [3, 4]
    assert theirs.get_array_item(name, T0 + 5) is None
    theirs.append_many([{"_anchor": T0 + 5, name: [5, 6]}])
    assert theirs.get_array_item(name, T0 + 5).tolist() == [5, 6]
    tip = load_manifest(store, resolve_ref(store, "main"))
    track = read_track(store, find_entry(tip.tracks, name))
    assert track.object_index["total_items"] == 30_001
    assert read_array_items(store, track).anchors[:3].tolist() == [T0, T0 + 5, T0 + 10]


def test_unsupported_forms_leave_the_other_fields_alone(backend, tmp_path):  # 0000-R4
    made = (
        dreamdb.Schema()
        .add_array("a", "f32", [1 << 20, 0], required=False)
        .add_array("b", "f32", [2], required=False)
    )
    theirs = dreamdb.Dataset.create("main", made, backend=backend)
    theirs.append_many([{"_anchor": 1, "a": b"", "b": [1, 2]}, {"_anchor": 2, "a": b""}])
    ours = vd.Dataset.open("main", backend=backend, cache_dir=tmp_path / "cache")
    assert ours.count() == 2
    assert "too many rows" in ours.unavailable["a"]
    assert ours.to_arrow()["b"].to_pylist() == [[1.0, 2.0], None]
    with pytest.raises(vd.InvalidInputError, match="cannot be written"):
        ours.append_many([{"a": []}])


@pytest.mark.parametrize("mode", ["manual", "commit"])
@pytest.mark.parametrize("options", [{}, BATCHES], ids=["event", "batch"])
def test_unions_of_branches(backend, tmp_path, mode, options):  # 0008-R7
    """The reference cannot unite arrays itself; what we unite it reads."""
    made = (
        vd.Schema()
        .add_array("a", "f32", [2], required=False, **options)
        .add_sparse_csr("c", "u8", [1, 2], required=False)
    )
    cache = tmp_path / "cache"
    ours = vd.Dataset.create("main", made, backend=backend, cache_dir=cache, flush=mode)
    matrix = {"indptr": [0, 1], "indices": [1], "data": [5]}
    ours.append_many([{"_anchor": 1, "a": [1, 2], "c": matrix}])
    branch = ours.branch("side")
    branch.append_many([{"_anchor": 2, "a": [3, 4]}, {"_anchor": 9, "a": [9, 9]}])
    ours.append_many([{"_anchor": 3, "a": [5, 6], "c": matrix}, {"_anchor": 9, "a": [8, 8], "c": matrix}])
    keep_both(ours, "side")
    ours.flush()
    rows = their_rows(backend)
    assert rows == our_rows(backend, cache) == our_rows(backend, tmp_path / "fresh")
    assert rows.keys() == {1, 2, 3, 9}
    assert rows[9].keys() == {"a", "c"}
    assert dreamdb.Dataset.open_ref("main", backend).audit_array_field("a") == 4


def test_our_collection_keeps_arrays(theirs, backend, tmp_path):
    rows = their_rows(backend)
    vd.gc(backend, keep_manifests=1, dry_run=False, writers_paused=True)
    assert their_rows(backend) == rows == our_rows(backend, tmp_path / "cache")
