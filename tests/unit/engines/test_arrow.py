import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.dataset import scan
from dreamdb_arrow.engines import arrow
from dreamdb_arrow.store.memory import MemoryStore


@pytest.fixture(scope="module")
def ds():
    schema = (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_string("s", required=False)
        .add_image("img", required=False)
        .add_embedding("v", dim=2, algorithm="dreamdb.lsh-l2", required=False)
    )
    made = vd.Dataset.create("x", schema, MemoryStore(), cache_dir=None)
    for start in (20, 0, 10):
        ids = range(start, start + 10)
        made.append(
            {
                "_anchor": list(ids),
                "n": [i % 7 for i in ids],
                "s": [None if i % 3 else f"s{i}" for i in ids],
                "img": [b"%d" % i for i in ids],
                "v": [[float(i), 0.0] if i % 2 else None for i in ids],
            }
        )
    made.delete([4, 15])
    return made


@pytest.fixture(scope="module")
def truth(ds):
    return ds.to_arrow()


@pytest.fixture
def fetched(monkeypatch):
    """What late columns were asked for, and how many stripes were read."""
    seen = {"vectors": 0, "media": 0, "stripes": 0}
    vectors, media, opened = scan.vector_column, scan.media_column, LocalCache.fragment
    addresses = set()

    def count_vectors(rows, name, anchors):
        seen["vectors"] += len(anchors)
        return vectors(rows, name, anchors)

    def count_media(rows, name, refs):
        seen["media"] += len(refs)
        return media(rows, name, refs)

    def count_stripes(cache, file, address):
        addresses.add(address)
        seen["stripes"] = len(addresses)
        return opened(cache, file, address)

    monkeypatch.setattr(scan, "vector_column", count_vectors)
    monkeypatch.setattr(scan, "media_column", count_media)
    monkeypatch.setattr(LocalCache, "fragment", count_stripes)
    return seen


FILTERS = [
    pc.field("n") == 3,
    pc.field("_anchor") >= 12,
    (pc.field("_anchor") > 3) & (pc.field("_anchor") < 6),
    (pc.field("_anchor") == 4) | (pc.field("_anchor") == 29),
    pc.field("s").is_null(),
    pc.field("s").isin(["s3", "s9", "nope"]),
    pc.field("v").is_valid() & (pc.field("n") < 4),
    pc.field("img") == pa.scalar(b"13", pa.large_binary()),
    ~(pc.field("n") > 2),
    pc.scalar(False),
]


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
@pytest.mark.parametrize("columns", [None, ["n"], ["s", "_anchor"], ["v"], []])
def test_filters_and_columns_are_those_of_arrow(ds, truth, wanted, columns):
    expected = truth.filter(wanted)
    found = ds.to_dataset().to_table(columns=columns, filter=wanted)
    assert found.equals(expected if columns is None else expected.select(columns))
    assert ds.to_dataset().count_rows(filter=wanted) == len(expected)
    assert sum(map(len, ds.to_dataset().to_batches(columns=columns, filter=wanted))) == len(expected)


def test_expressions_as_columns(ds, truth):
    found = ds.to_dataset().to_table(columns={"twice": pc.field("n") * 2})
    assert found["twice"].to_pylist() == [2 * n for n in truth["n"].to_pylist()]


def test_only_what_is_asked_for_is_fetched(ds, fetched):
    ds.to_dataset().to_table(columns=["n"], filter=pc.field("s") == "s3")
    assert (fetched["vectors"], fetched["media"]) == (0, 0)
    ds.to_dataset().to_table(columns=["n"], filter=pc.field("img").is_valid())
    assert (fetched["vectors"], fetched["media"]) == (0, 28)


@pytest.mark.parametrize(
    ("wanted", "stripes"),
    [
        (pc.field("_anchor") < 5, 1),
        (pc.field("_anchor") >= 20, 1),
        ((pc.field("_anchor") >= 8) & (pc.field("_anchor") < 12), 2),
        (pc.field("_anchor") > 100, 0),
        (pc.field("_anchor").isin([3, 25]), 2),
        (pc.field("_time") < pa.scalar(5, pa.timestamp("ns")), 1),
        ((pc.field("_anchor") < 5) | (pc.field("_time") >= pa.scalar(25, pa.timestamp("ns"))), 2),
        ((pc.field("_anchor") < 5) & (pc.field("v").is_valid()), 1),
        (pc.field("n") == 1, 3),
    ],
    ids=str,
)
def test_conditions_on_the_anchor_leave_stripes_out(ds, fetched, wanted, stripes):
    ds.to_dataset().to_table(filter=wanted)
    assert fetched["stripes"] == stripes


def test_a_range_and_a_filter_both_hold(ds):
    part = ds.to_dataset(start_ns=3, end_ns=22)
    assert part.to_table(filter=pc.field("_anchor") < 6)["_anchor"].to_pylist() == [3, 5]
    assert part.count_rows() == 17


def test_counting_needs_no_columns(ds):
    dataset = ds.to_dataset()
    assert (
        dataset.scanner(columns=[]).count_rows()
        == dataset.scanner().count_rows()
        == dataset.count_rows()
        == 28
    )
    assert len(dataset.to_table(columns=[])) == 28


def test_head_and_odd_requests(ds):
    assert ds.to_dataset().head(3, columns=["_anchor"])["_anchor"].to_pylist() == [0, 1, 2]
    assert ds.to_dataset().schema == ds.arrow_schema
    with pytest.raises(pa.ArrowInvalid, match="nope"):
        ds.to_dataset().to_table(columns=["n", "nope"])
    with pytest.raises(pa.ArrowInvalid, match="nope"):
        ds.to_dataset().to_table(filter=pc.field("nope") == 1)


def test_duckdb_scans_it_as_a_dataset(ds, fetched):
    rows = ds.to_dataset()
    con = duckdb.connect()
    con.register("rows", rows)
    assert con.sql("SELECT count(*) FROM rows").fetchall() == [(28,)]
    found = con.sql("SELECT s FROM rows WHERE n = 3 AND _anchor < 20 ORDER BY _anchor").fetchall()
    assert found == [("s3",), (None,), (None,)]
    assert (fetched["vectors"], fetched["media"]) == (0, 0)
    con.close()


def test_anything_that_takes_arrow_takes_a_dataset(ds, truth):
    assert pa.RecordBatchReader.from_stream(ds).read_all().equals(truth)
    assert pl.DataFrame(ds)["n"].to_list() == truth["n"].to_pylist()
    assert duckdb.sql("SELECT sum(n) FROM ds").fetchall()[0][0] == sum(truth["n"].to_pylist())
    assert ds.to_reader(["n"]).read_all().column_names == ["n"]


def test_an_empty_dataset():
    ds = vd.Dataset.create("x", vd.Schema().add_image("img"), MemoryStore(), cache_dir=None)
    assert ds.to_arrow().schema == ds.arrow_schema
    assert ds.to_dataset().to_table(filter=pc.field("_anchor") > 5).num_rows == 0
    assert ds.to_polars().collect().shape == (0, 3)
    assert ds.to_pandas().shape == (0, 3)


def test_the_first_rows_open_the_first_stripe(ds, fetched):
    assert ds.to_dataset().head(3, columns=["n"])["n"].to_pylist() == [0, 1, 2]
    assert fetched["stripes"] == 1
    assert ds.to_dataset().head(3, columns=["img"])["img"].to_pylist() == [b"0", b"1", b"2"]
    assert fetched == {"vectors": 0, "media": 3, "stripes": 1}
    assert ds.to_dataset().head(12, columns=["_anchor"], filter=pc.field("n") == 1)[
        "_anchor"
    ].to_pylist() == [
        1,
        8,
        22,
        29,
    ]
    assert ds.to_dataset().head(0).schema == ds.arrow_schema


def test_stored_columns_never_pass_through_python(ds, monkeypatch):
    def refuse(*_):
        raise AssertionError("batches are Arrow's own")

    monkeypatch.setattr(arrow, "scan_batches", refuse)
    rows = ds.to_dataset()
    assert rows.to_table(columns=["n"], filter=pc.field("s").is_valid()).num_rows == 9
    assert ds.to_arrow(["n", "s"]).num_rows == 28
    assert len(duckdb.sql("SELECT n FROM rows WHERE s IS NULL").fetchall()) == 19
    with pytest.raises(AssertionError, match="own"):
        rows.to_table(columns=["img"])


def test_rows_of_deleted_anchors_are_counted_without_reading_them(ds, monkeypatch):
    assert ds.to_dataset().count_rows() == 28
    monkeypatch.setattr(scan, "open_stripe", None)
    assert (ds.count(), ds.to_dataset().count_rows(), ds.count(10, 20)) == (28, 28, 9)


def test_batches_of_large_values_are_cut(ds, monkeypatch):
    monkeypatch.setattr(scan, "LATE_BYTES", 16)
    read = list(ds.to_dataset().to_batches(columns=["v", "_anchor"]))
    assert max(b.num_rows for b in read) <= 2
    assert (
        pa.Table.from_batches(read)["_anchor"].to_pylist() == ds.to_arrow(["_anchor"])["_anchor"].to_pylist()
    )


def test_a_dataset_is_written_by_arrow(ds, tmp_path):
    pads.write_dataset(ds.to_dataset(), tmp_path, format="parquet")
    assert pads.dataset(tmp_path).to_table().sort_by("_anchor")["n"].equals(ds.to_arrow()["n"])


def test_polars_scans_it_as_a_dataset(ds, fetched):
    found = pl.scan_pyarrow_dataset(ds.to_dataset()).filter(pl.col("_anchor") >= 20).select("n").collect()
    assert found["n"].to_list() == [i % 7 for i in range(20, 30)]
    assert fetched == {"vectors": 0, "media": 0, "stripes": 1}


def test_anything_that_takes_a_table_takes_a_dataset(ds, truth):
    assert pa.table(ds).equals(truth)
    assert pa.schema(ds) == ds.arrow_schema
    assert pl.from_arrow(ds.to_reader(["n", "s"])).height == 28
    with pa.RecordBatchReader.from_stream(ds, schema=ds.arrow_schema) as reader:
        assert reader.read_all().equals(truth)
