import sys

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset import scan
from dreamdb_arrow.dataset.columns import media_column
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


OTHER = pa.table({"n": [2, 3, 15], "x": ["two", "three", "fifteen"]})


def test_a_dataset_is_joined_filtered_sorted_and_grouped_by_arrow(ds):
    rows, other = ds.to_dataset(), pads.dataset(OTHER)
    for joined in (rows.join(other, "n", join_type="inner"), rows.join(rows, "n", right_suffix="_")):
        assert isinstance(joined, pads.InMemoryDataset)
    joined = rows.join(other, "n", join_type="inner").to_table().sort_by("n")
    assert joined.select(["n", "img", "x"]).to_pylist() == [
        {"n": 2, "img": b"2", "x": "two"},
        {"n": 15, "img": b"15", "x": "fifteen"},
    ]
    assert rows.sort_by([("n", "descending")]).to_table()["n"].to_pylist()[:2] == [19, 18]
    near = rows.join_asof(other, "n", [], 1).to_table()
    assert near["x"].to_pylist()[:5] == [None, "two", "two", None, None]
    grouped = rows.to_table(columns=["n", "label"]).group_by("label").aggregate([("n", "count")])
    assert sorted(grouped.to_pylist(), key=str) == [
        {"label": "a", "n_count": 10},
        {"label": "b", "n_count": 9},
    ]


def test_late_columns_are_fetched_for_rows_that_are_left(ds, monkeypatch):
    fetched = []

    def count(rows, name, refs):
        fetched.append(len(refs))
        return media_column(rows, name, refs)

    monkeypatch.setattr(scan, "media_column", count)
    rows = ds.to_dataset()
    assert rows.to_table(columns=["img"], filter=pc.field("n") == 12)["img"].to_pylist() == [b"12"]
    assert duckdb.sql("SELECT img FROM rows WHERE n = 14").fetchall() == [(b"14",)]
    assert sum(fetched) == 2
    doubled = rows.to_table(
        columns={"m": pc.field("n") * 2, "l": pc.field("label")}, filter=pc.field("n") < 2
    )
    assert doubled.to_pylist() == [{"m": 0, "l": "a"}, {"m": 2, "l": "b"}]
    assert sum(fetched) == 2
    sizes = rows.to_table(columns={"size": pc.binary_length(pc.field("img"))}, filter=pc.field("n") > 8)
    assert sizes["size"].to_pylist() == [1] + [2] * 10
    assert sum(fetched) == 13


def test_a_filtered_dataset_is_a_dataset(ds):
    few = ds.to_dataset(2, 18).filter(pc.field("n") > 3).filter(pc.field("label") == "a")
    assert few.to_table(columns=["n"])["n"].to_pylist() == [4, 6, 8, 10, 12, 14, 16]
    assert few.to_table(columns=["img"], filter=pc.field("n") < 7)["img"].to_pylist() == [b"4", b"6"]
    assert (few.count_rows(), few.count_rows(pc.field("n") == 8)) == (7, 1)
    assert few.take([1, 0], columns=["n"])["n"].to_pylist() == [6, 4]
    assert duckdb.sql("SELECT sum(n) FROM few WHERE n < 11").fetchall() == [(28,)]
    assert ds.to_dataset().count_rows() == 19


def test_what_arrow_would_read_behind_our_back_is_refused(ds):
    """Arrow's plans take a dataset's C++ side, which holds no rows; an error is better than a crash."""
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="give Arrow its to_table"):
            pads.dataset(OTHER).join(ds.to_dataset(), "n").to_table()
    with pytest.raises(NotImplementedError, match="cast the table"):
        ds.to_dataset().replace_schema(pa.schema([("n", pa.int32())]))
    with pytest.raises(NotImplementedError, match="cast the table"):
        pads.dataset([ds.to_dataset()])


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


def test_pandas_has_the_types_of_arrow_unless_numpy_is_asked_for():
    schema = (
        vd.Schema()
        .add_scalar_int("n", required=False)
        .add_scalar_timestamp("at")
        .add_embedding("v", dim=2, algorithm="dreamdb.lsh-l2")
    )
    ds = vd.Dataset.create("x", schema, MemoryStore(), cache_dir=None)
    ds.append({"_anchor": [1, 2], "n": [2**53 + 1, None], "at": [5, 6], "v": [[1.0, 2.0], [3.0, 4.0]]})
    frame = ds.to_pandas()
    assert [t.pyarrow_dtype for t in frame.dtypes] == ds.arrow_schema.types
    assert frame["n"].iloc[0] == 2**53 + 1
    assert frame["n"].isna().tolist() == [False, True]
    assert pa.Table.from_pandas(frame, schema=ds.arrow_schema).equals(ds.to_arrow())
    old = ds.to_pandas(dtype_backend="numpy")
    assert [str(t) for t in old.dtypes] == ["int64", "datetime64[ns]", "datetime64[ns]", "float64", "object"]
    assert old["v"][1].tolist() == [3.0, 4.0]
    with pytest.raises(vd.InvalidInputError, match="dtype_backend must be 'pyarrow' or 'numpy', not 'arrow'"):
        ds.to_pandas(dtype_backend="arrow")


def test_what_pandas_gives_is_appended_again(ds):
    copied = vd.Dataset.create("y", ds.schema, MemoryStore(), cache_dir=None)
    assert copied.append(ds.to_pandas()) == 19
    assert copied.to_arrow().equals(ds.to_arrow())


def test_duckdb_finds_a_dataset_by_its_name(ds):
    assert duckdb.sql("SELECT count(*), sum(n) FROM ds").fetchall() == [(19, 187)]
    assert duckdb.sql("SELECT label, count(*) FROM ds GROUP BY 1 ORDER BY 1").fetchall() == [
        ("a", 10),
        ("b", 9),
    ]
    assert duckdb.sql("DESCRIBE FROM ds").fetchall()[0][:2] == ("_anchor", "BIGINT")


def test_a_dataset_goes_into_another_as_it_is(ds):
    copied = vd.Dataset.create("y", ds.schema, MemoryStore(), cache_dir=None)
    assert copied.append(ds) == 19
    assert copied.append(ds.to_dataset().scanner(filter=pc.field("n") < 0).to_reader()) == 0
    assert copied.to_arrow().equals(ds.to_arrow())
