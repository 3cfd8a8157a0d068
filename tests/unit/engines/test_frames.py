import sys

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.store.memory import MemoryStore


@pytest.fixture(scope="module")
def ds():
    schema = vd.Schema().add_scalar_int("n").add_scalar_categorical("label").add_image("img")
    made = vd.Dataset.create("x", schema, MemoryStore(), cache_dir=None)
    for start in (0, 10):
        ids = range(start, start + 10)
        made.append(
            {
                "_anchor": list(ids),
                "n": list(ids),
                "label": ["ab"[i % 2] for i in ids],
                "img": [b"%d" % i for i in ids],
            }
        )
    made.delete([3])
    return made


@pytest.mark.parametrize("name", ["polars", "pandas"])
def test_an_engine_that_is_not_installed_is_asked_for_by_name(ds, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        vd.UnsupportedError, match=rf"{name} is not installed; pip install 'dreamdb-arrow\[{name}\]'"
    ):
        getattr(ds, f"to_{name}")()
    assert ds.to_arrow().num_rows == 19


def test_every_exit_gives_the_same_rows(ds):
    table = ds.to_arrow(["_anchor", "n", "label"])
    assert ds.to_reader(["_anchor", "n", "label"]).read_all().equals(table)
    assert ds.to_dataset().to_table(columns=["_anchor", "n", "label"]).equals(table)
    assert ds.to_polars().select("_anchor", "n", "label").collect().to_dicts() == table.to_pylist()
    assert ds.to_pandas(["_anchor", "n", "label"]).to_dict("records") == table.to_pylist()


@pytest.mark.parametrize(("start", "end"), [(0, None), (0, 0), (2, 5), (9, 12), (19, 2**62)])
def test_every_exit_keeps_to_a_range(ds, start, end):
    wanted = [i for i in range(20) if start <= i and (end is None or i < end) and i != 3]
    assert ds.to_arrow(["n"], start, end)["n"].to_pylist() == wanted
    assert ds.to_reader(["n"], start, end).read_all()["n"].to_pylist() == wanted
    assert ds.to_dataset(start, end).to_table(columns=["n"])["n"].to_pylist() == wanted
    assert ds.to_polars(start, end).select("n").collect()["n"].to_list() == wanted
    assert ds.to_pandas(["n"], start, end)["n"].tolist() == wanted


def test_acero_joins_and_groups_a_dataset(ds):
    names = pa.table({"label": ["a", "b"], "name": ["Ada", "Bob"]})
    joined = ds.to_dataset().to_table(columns=["n", "label"]).join(names, "label")
    assert sorted(joined.filter(pc.field("n") < 2)["name"].to_pylist()) == ["Ada", "Bob"]
    grouped = ds.to_dataset().to_table(columns=["n", "label"]).group_by("label").aggregate([("n", "count")])
    assert sorted(zip(*grouped.to_pydict().values(), strict=True)) == [("a", 10), ("b", 9)]


def test_a_dataset_joins_a_dataset(ds):
    other = pa.dataset.dataset(pa.table({"n": [2, 3, 15], "x": ["two", "three", "fifteen"]}))
    joined = other.join(ds.to_dataset(), "n", join_type="inner").to_table()
    assert sorted(zip(joined["n"].to_pylist(), joined["img"].to_pylist(), strict=True)) == [
        (2, b"2"),
        (15, b"15"),
    ]
    turned = ds.to_dataset().join(other, "n", join_type="inner").to_table()
    assert sorted(turned["x"].to_pylist()) == ["fifteen", "two"]


def test_a_reader_that_is_left_half_read_leaves_nothing_behind(ds):
    reader = ds.to_reader(["n"])
    assert reader.read_next_batch().num_rows > 0
    del reader
    assert next(ds.to_dataset().to_batches(columns=["n"])).num_rows > 0
    assert ds.to_dataset().head(2, columns=["n"])["n"].to_pylist() == [0, 1]


def test_unknown_columns_and_turned_ranges_are_refused(ds):
    with pytest.raises(vd.InvalidInputError, match="no field 'nope'; fields: "):
        ds.to_arrow(["nope"])
    for turned in (ds.to_arrow, ds.to_pandas):
        with pytest.raises(vd.InvalidInputError, match="t0 is after t1: 5 > 3"):
            turned(None, 5, 3)
