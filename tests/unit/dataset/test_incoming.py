"""What must not get in: each refusal names field and row, and nothing is written."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar.vendor import VENDOR_MODALITIES
from dreamdb_arrow.history.manifests import MANIFESTS
from dreamdb_arrow.objects.manifest import encode_manifest, order_tracks
from dreamdb_arrow.store.batch import Batch

T0 = 1_700_000_000_000_000_000
DIM = 2
VECTOR = pa.list_(pa.float32(), DIM)


@pytest.fixture
def ds(tmp_path):
    schema = (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_float("x", required=False)
        .add_scalar_string("s", required=False)
        .add_scalar_categorical("c", required=False)
        .add_scalar_bool("ok", required=False)
        .add_scalar_timestamp("at", required=False)
        .add_image("img", mime="png", required=False)
        .add_embedding("v", dim=DIM, lsh_bits=2, required=False)
        .add_embedding("l", dim=DIM, algorithm="dreamdb.lsh-l2", required=False)
    )
    made = vd.Dataset.create("x", schema, tmp_path / "space", cache_dir=tmp_path / "cache", durability="os")
    made.append({"_anchor": [T0, T0 + 5], "n": [1, 2]})
    made.delete([T0 + 7])
    return made


def listing(ds):
    return sorted(str(p) for p in (ds.space.cache.root.parent / "space").rglob("*"))


def refused(ds, write, error, *words):
    before, version = listing(ds), ds.current_manifest()
    with pytest.raises(error) as caught:
        write()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    assert listing(ds) == before
    assert ds.current_manifest() == version
    assert ds.space.resolve("x") == ds._version


def null_in_a_dictionary():
    return pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None]))


def broken_text():
    buffers = [None, pa.py_buffer(np.array([0, 1, 3], "i4")), pa.py_buffer(b"a\xff\xfe")]
    return pa.Array.from_buffers(pa.string(), 2, buffers)


N = [1, 2]

TABLES = {
    "a missing required column": ({"x": [1.0]}, ["'n' is required", "row 0"]),
    "a missing required value": ({"n": [1, None]}, ["'n' is required", "row 1"]),
    "an unknown column": ({"n": N, "typo": N}, ["unknown field 'typo'", "fields:"]),
    "columns of two lengths": ({"n": N, "x": [1.0]}, ["different numbers of rows", "'n' 2", "'x' 1"]),
    "text for int": ({"n": ["1", "2"]}, ["'n'", "string is no int"]),
    "bool for int": ({"n": [True, False]}, ["'n'", "bool is no int"]),
    "a fraction for int": ({"n": [1.0, 1.5]}, ["'n', row 1"]),
    "NaN for int": ({"n": np.array([1, np.nan])}, ["'n', row 1"]),
    "an int of 65 bits": ({"n": [1, 2**64]}, ["'n', row 1"]),
    "an unsigned int beyond 63 bits": ({"n": pa.array([1, 2**63], pa.uint64())}, ["'n', row 1"]),
    "NaN": ({"n": N, "x": [1.0, float("nan")]}, ["'x', row 1", "not a finite number"]),
    "infinity": ({"n": N, "x": [float("-inf"), 1.0]}, ["'x', row 0", "not a finite number"]),
    "an int that no float has": ({"n": N, "x": pa.array([1, 2**53 + 1])}, ["'x', row 1"]),
    "bytes for text": ({"n": N, "s": [b"a", b"b"]}, ["'s'", "binary is no string"]),
    "text of 8193 bytes": ({"n": N, "s": ["", "é" * 4096 + "x"]}, ["'s', row 1", "8192 bytes"]),
    "text that is no UTF-8": ({"n": N, "s": broken_text()}, ["'s', row 1", "UTF8"]),
    "a lone surrogate": ({"n": N, "s": ["a", "\ud800"]}, ["'s', row 1", "surrogates"]),
    "int for bool": ({"n": N, "ok": [0, 1]}, ["'ok'", "int64 is no bool"]),
    "text for a time": ({"n": N, "at": ["2023", "2024"]}, ["'at'", "string is no timestamp"]),
    "a time beyond nanoseconds": (
        {"n": N, "at": pa.array([0, 10**15], pa.timestamp("ms"))},
        ["'at', row 1"],
    ),
    "text for an image": ({"n": N, "img": ["a", "b"]}, ["'img'", "give bytes"]),
    "vectors of another size": ({"n": N, "v": np.ones((2, 3))}, ["'v' has 2 dimensions", "3"]),
    "a vector of another size": ({"n": N, "v": [[1.0, 2.0], [1.0]]}, ["'v', row 1", "1 dimensions, expected 2"]),
    "numbers for vectors": ({"n": N, "v": N}, ["'v'", "holds no vectors"]),
    "texts for vectors": ({"n": N, "v": [["1", "2"]] * 2}, ["'v'", "holds no vectors"]),
    "a vector with a gap": ({"n": N, "v": [None, [1.0, None]]}, ["'v', row 1", "missing"]),
    "a vector with NaN": ({"n": N, "v": [[1.0, 2.0], [float("nan"), 1.0]]}, ["'v', row 1", "NaN"]),
    "a vector beyond 32 bits": ({"n": N, "v": [[1.0, 2.0], [1e300, 1.0]]}, ["'v', row 1", "infinity"]),
    "a vector whose length overflows": ({"n": N, "v": [None, [3e38, 3e38]]}, ["'v', row 1", "too long"]),
    "a vector without a direction": ({"n": N, "v": [[0.0, -0.0], [1.0, 0.0]]}, ["'v', row 0", "all zeros"]),
    "arrays of three dimensions": ({"n": N, "v": np.ones((2, 2, 2))}, ["'v'"]),
    "a lone value": ({"n": 5}, ["'n'", "not iterable"]),
    "a negative anchor": ({"_anchor": [1, -1], "n": N}, ["'_anchor', row 1", "outside 0 .."]),
    "an anchor that cannot be seen": ({"_anchor": [1, 2**63 - 1], "n": N}, ["'_anchor', row 1", "outside"]),
    "an anchor of 64 bits": ({"_anchor": pa.array([1, 2**64 - 1], pa.uint64()), "n": N}, ["'_anchor', row 1"]),
    "a missing anchor": ({"_anchor": [1, None], "n": N}, ["'_anchor'", "row 1 has none"]),
    "anchors with a fraction": ({"_anchor": [1.0, 2.0], "n": N}, ["'_anchor'", "int64 nanoseconds"]),
    "text for times": ({"_time": ["2023", "2024"], "n": N}, ["'_time'", "nanoseconds or a timestamp"]),
    "an anchor and another time": ({"_anchor": [1, 2], "_time": [1, 3], "n": N}, ["row 1", "different times"]),
}  # fmt: skip

CONFLICTS = {
    "an anchor given twice": ({"_anchor": [9, 9], "n": N}, ["anchor 9 is given twice", "rows 0 and 1"]),
    "given twice, far apart": ({"_anchor": [9, 8, 9], "n": [1, 2, 3]}, ["anchor 9", "rows 0 and 2"]),
    "an anchor that is taken": ({"_anchor": [T0 + 1, T0 + 5], "n": N}, [f"anchor {T0 + 5} of row 1 is taken"]),
    "two that are taken": ({"_anchor": [T0, T0 + 5], "n": N}, ["row 0 is taken", "1 more"]),
    "an anchor that was deleted": ({"_anchor": [T0 + 7], "n": [1]}, ["row 0 was deleted"]),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES)
def test_tables(ds, case):
    columns, words = TABLES[case]
    refused(ds, lambda: ds.append(columns), vd.InvalidInputError, *words)


@pytest.mark.parametrize("case", CONFLICTS)
def test_conflicts(ds, case):
    columns, words = CONFLICTS[case]
    refused(ds, lambda: ds.append(columns), vd.AnchorConflict, *words)


def test_a_required_dictionary_with_a_null_in_it(ds, tmp_path):
    schema = vd.Schema().add_scalar_categorical("c")
    other = vd.Dataset.create("y", schema, ds.space.store, cache_dir=tmp_path)
    with pytest.raises(vd.InvalidInputError, match="'c' is required, row 1"):
        other.append({"c": null_in_a_dictionary()})
    assert other.count() == 0


SAMPLES = {
    "no dict": ([{"n": 1}, 5], ["row 1 is int"]),
    "an unknown key": ([{"n": 1}, {"n": 1, "m": 2}], ["row 1 has unknown field 'm'"]),
    "a missing value": ([{"n": 1}, {}], ["'n' is required", "row 1"]),
    "text for int": ([{"n": 1}, {"n": "2"}], ["'n', row 1", "'2' is no int"]),
    "bool for int": ([{"n": 1}, {"n": True}], ["'n', row 1", "True is no int"]),
    "float for int": ([{"n": 1}, {"n": 2.0}], ["'n', row 1", "2.0 is no int"]),
    "an int of 65 bits": ([{"n": 1}, {"n": 2**64}], ["'n', row 1"]),
    "int for text": ([{"n": 1, "s": 5}], ["'s', row 0", "5 is no string"]),
    "a lone surrogate": ([{"n": 1, "s": "a"}, {"n": 1, "s": "\ud800"}], ["'s', row 1", "surrogates"]),
    "int for bool": ([{"n": 1, "ok": 1}], ["'ok', row 0", "1 is no bool"]),
    "a fraction for a time": ([{"n": 1, "at": 1.5}], ["'at', row 0", "1.5 is no timestamp"]),
    "a date beyond nanoseconds": ([{"n": 1, "at": dt.datetime(3000, 1, 1)}], ["'at', row 0"]),  # noqa: DTZ001
    "text for an image": ([{"n": 1, "img": "png"}], ["'img', row 0", "is no image (bytes)"]),
    "a vector of another size": ([{"n": 1, "v": [1, 2]}, {"n": 1, "v": [1]}], ["'v', row 1", "shape (1,)"]),
    "text for a vector": ([{"n": 1, "v": "vector"}], ["'v', row 0", "not a vector"]),
    "a vector with a gap": ([{"n": 1, "v": [1.0, None]}], ["'v', row 0"]),
    "a vector with NaN": ([{"n": 1}, {"n": 1, "v": [1.0, float("nan")]}], ["'v', row 1", "NaN"]),
    "a vector beyond 32 bits": ([{"n": 1, "v": [1e300, 1]}], ["'v', row 0", "infinity"]),
    "anchors for some": ([{"n": 1, "_anchor": 5}, {"n": 1}], ["either all rows have '_anchor'", "row 1"]),
    "text for an anchor": ([{"n": 1, "_anchor": "5"}], ["'_anchor'"]),
    "an anchor with a fraction": ([{"n": 1, "_anchor": 5.5}], ["'_anchor'"]),
}  # fmt: skip


@pytest.mark.parametrize("case", SAMPLES)
def test_samples(ds, case):
    samples, words = SAMPLES[case]
    refused(ds, lambda: ds.append_many(samples), vd.InvalidInputError, *words)


@pytest.mark.parametrize("data", [None, 5, "rows", [{"n": 1}], [1], np.ones(3)])
def test_what_is_no_table(ds, data):
    refused(ds, lambda: ds.append(data), vd.InvalidInputError, "cannot append", type(data).__name__)


def test_a_table_with_two_columns_of_one_name(ds):
    table = pa.table([[1], [2]], names=["n", "n"])
    refused(ds, lambda: ds.append(table), vd.InvalidInputError, "two columns of one name")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"n": N}, ["no column 'tick'", "columns: n"]),
        ({"tick": [1, None], "n": N}, ["'tick'", "row 1 has none"]),
        ({"tick": [1, -1], "n": N}, ["'tick', row 1", "outside"]),
        ({"tick": ["a", "b"], "n": N}, ["'tick'", "timestamp"]),
        ({"tick": [1, 2], "_anchor": [1, 2], "n": N}, ["time='tick'", "'_anchor'", "drop one"]),
        ({"tick": [1, 2], "_time": [1, 2], "n": N}, ["time='tick'", "'_time'", "drop one"]),
        ({"tick": [2**63 - 2] * 2, "n": N}, [str(2**63 - 1), "is above"]),
    ],
)
def test_columns_of_ticks(ds, columns, words):
    refused(ds, lambda: ds.append(columns, time="tick"), vd.InvalidInputError, *words)


# ---------------------------------------------------------------- what must get in


def test_every_form_of_a_table_gives_the_same_rows(tmp_path):
    table = pa.table({"_anchor": [1, 2], "n": [5, 6], "s": ["a", None]})
    forms = [
        table,
        table.to_batches()[0],
        table.to_reader(),
        table.to_pydict(),
        pl.from_arrow(table),
        table.to_pandas(),
        pd.concat([table.to_pandas()] * 2).iloc[[2, 1]],  # an index of 0 and 1, out of order
    ]
    schema = vd.Schema().add_scalar_int("n").add_scalar_string("s", required=False)
    for i, form in enumerate(forms):
        ds = vd.Dataset.create("x", schema, tmp_path / str(i), cache_dir=None, durability="os")
        assert ds.append(form) == 2
        assert ds.to_arrow(["_anchor", "n", "s"]).to_pydict() == table.to_pydict()


ACCEPTED = {
    "n": [pa.array([1, 2], pa.int8()), pa.array([1, 2], pa.uint64()), np.array([1.0, 2.0]), [1, 2]],
    "x": [[1, 2], pa.array([1, 2], pa.float32()), np.array([1, 2], "f2")],
    "s": [["1", "2"], pa.array(["1", "2"], pa.large_string()), pa.array(["1", "2"]).dictionary_encode()],
    "c": [["1", "2"], pa.array(["1", "2"], pa.string_view()), pa.array(["1", "2"]).dictionary_encode()],
    "at": [
        [1_000_000, 2_000_000],
        np.array([1, 2], "M8[ms]"),
        pa.array([1, 2], pa.timestamp("ms", "Asia/Kolkata")),
    ],
    "img": [[b"1", b"2"], pa.array([b"1", b"2"], pa.large_binary()), pa.array([b"1", b"2"], pa.binary_view())],
    "v": [np.array([[1, 2], [3, 4]]), [[1.0, 2.0], [3.0, 4.0]], pa.array([[1, 2], [3, 4]], pa.list_(pa.float64(), 2))],
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_columns_of_any_fitting_type(ds, name):
    for i, column in enumerate(ACCEPTED[name]):
        ds.append({"_anchor": [10 * i, 10 * i + 1], "n": [1, 2], name: column})
    found = ds.to_arrow([name], end_ns=T0)
    half = [v.as_py() for v in found[name]]
    assert half == half[:2] * len(ACCEPTED[name])


def test_samples_of_any_fitting_type(ds):
    zone = dt.timezone(dt.timedelta(hours=1))
    ds.append_many(
        [
            {
                "_anchor": 1,
                "n": np.int16(7),
                "x": 3,
                "ok": np.True_,
                "at": dt.datetime(1970, 1, 1, 1, tzinfo=zone),
            },
            {"_anchor": 2, "n": 7, "x": np.float32(3), "at": np.datetime64(0, "ms"), "img": bytearray(b"i")},
            {"_anchor": 3, "n": 7, "v": (1, 2), "at": 0, "img": memoryview(b"i")},
            {"_anchor": 4, "n": 7, "v": np.array([1, 2], "f8"), "at": pd.Timestamp(0, tz="UTC")},
        ]
    )
    rows = ds.to_arrow(end_ns=5).to_pydict()
    assert rows["n"] == [7] * 4
    assert rows["x"] == [3.0, 3.0, None, None]
    assert [t.value for t in rows["at"]] == [0] * 4
    assert rows["img"] == [None, b"i", b"i", None]
    assert rows["v"] == [None, None, [1.0, 2.0], [1.0, 2.0]]


def test_a_row_without_any_value_is_kept_or_refused_but_never_lost(tmp_path):
    schema = vd.Schema().add_scalar_int("n", required=False).add_image("img", required=False)
    ds = vd.Dataset.create("x", schema, tmp_path / "space", cache_dir=tmp_path / "cache", durability="os")
    ds.append({"_anchor": [1, 2], "n": [None, 5]})
    assert ds.to_arrow(["_anchor", "n"]).to_pydict() == {"_anchor": [1, 2], "n": [None, 5]}
    leave_tracks_only(ds)
    for rows in ({"_anchor": [3, 4], "n": [5, None]}, {"_anchor": [3, 4], "img": [b"", None]}):
        refused(
            ds, lambda rows=rows: ds.append(rows), vd.InvalidInputError, "row 1 has no value in any field"
        )
    ds.append({"_anchor": [3, 4], "n": [5, None], "img": [None, b""]})
    assert ds.count() == 2


def leave_tracks_only(ds):
    """Turn a dataset into one as the reference creates it."""
    kept = [e for e in ds.manifest.tracks.active if e.modality not in VENDOR_MODALITIES]
    registry = {key: value for key, value in ds.manifest.registry.items() if key not in VENDOR_MODALITIES}
    batch = Batch(ds.space.store)
    manifest = replace(ds.manifest, registry=registry, tracks=order_tracks(kept))
    address = batch.add(MANIFESTS, encode_manifest(manifest))
    batch.flush()
    ds.space.store.swap_ref("x", ds.space.store.read_ref("x"), address)
    ds.refresh()


def test_no_rows_are_no_commit(ds):
    before = listing(ds)
    assert ds.append_many([]) == 0
    assert ds.append({"n": pa.array([], pa.int64())}) == 0
    assert ds.append(pa.table({"n": pa.array([], pa.int64())}), time=None) == 0
    assert listing(ds) == before


def test_zero_vectors_have_a_place_where_the_metric_is_l2(ds):
    ds.append({"_anchor": [1], "n": [1], "l": [[0.0, 0.0]]})
    assert ds.to_arrow(["l"], end_ns=2)["l"].to_pylist() == [[0.0, 0.0]]
