import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dreamdb_arrow as vd
from dreamdb_arrow.columnar.rowset import Stripe
from dreamdb_arrow.dataset import scan
from dreamdb_arrow.engines import polars as engine
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
    for ids in (range(20, 30), range(0, 20, 2), range(1, 20, 2)):  # the last two interleave
        made.append(
            {
                "_anchor": list(ids),
                "n": [i % 7 for i in ids],
                "s": [None if i % 3 else f"s{i}" for i in ids],
                "img": [b"%d" % (i % 5) for i in ids],
                "v": [[float(i), 0.0] if i % 4 else None for i in ids],
            }
        )
    made.delete([4, 15])
    return made


@pytest.fixture(scope="module")
def truth(ds):
    return pl.from_arrow(ds.to_arrow()).lazy()


QUERIES = {
    "all": lambda lf: lf,
    "a projection": lambda lf: lf.select("n", "_anchor"),
    "a predicate": lambda lf: lf.filter(pl.col("n") > 3),
    "a predicate on another column": lambda lf: lf.filter(pl.col("s").is_not_null()).select("n"),
    "a predicate on a late column": lambda lf: lf.filter(pl.col("img") == b"3").select("n"),
    "a predicate on both": lambda lf: lf.filter((pl.col("img") == b"3") & (pl.col("n") < 4)).select("s"),
    "a predicate on an embedding": lambda lf: lf.filter(pl.col("v").is_null()).select("_anchor"),
    "a late column": lambda lf: lf.filter(pl.col("n") == 2).select("img", "v"),
    "the first rows": lambda lf: lf.head(12),
    "the first rows, then a predicate": lambda lf: lf.head(12).filter(pl.col("n") > 3),
    "the first rows, then a late predicate": lambda lf: lf.head(12).filter(pl.col("img") == b"3").select("n"),
    "a predicate, then the first rows": lambda lf: lf.filter(pl.col("n") > 3).head(4),
    "a late predicate, then the first rows": lambda lf: lf.filter(pl.col("img") == b"3").head(2),
    "a slice": lambda lf: lf.slice(5, 9).select("n"),
    "the last rows": lambda lf: lf.tail(3),
    "a length": lambda lf: lf.select(pl.len()),
    "a group": lambda lf: lf.group_by("n").agg(pl.len(), pl.col("s").max()).sort("n"),
    "a sort": lambda lf: lf.sort("n", "_anchor", descending=True).head(3),
    "a join": lambda lf: lf.join(lf.filter(pl.col("n") == 1), on="_anchor", how="semi").sort("_anchor"),
    "a window": lambda lf: lf.with_columns(pl.col("n").cum_sum().alias("c")).filter(pl.col("c") > 20),
    "no rows": lambda lf: lf.filter(pl.col("_anchor") > 1000),
    "the time": lambda lf: lf.filter(pl.col("_time").dt.nanosecond() < 5).select("_time"),
}


@pytest.mark.parametrize("name", QUERIES)
def test_queries_are_those_on_a_plain_frame(ds, truth, name):
    assert QUERIES[name](ds.to_polars()).collect().equals(QUERIES[name](truth).collect())


@given(st.integers(0, 35), st.integers(0, 35), st.integers(-1, 7), st.booleans())
def test_limits_before_and_after_predicates(ds, truth, first, second, n, late):
    wanted = (pl.col("img") == b"3") if late else (pl.col("n") > n)

    def query(lf):
        return lf.head(first).filter(wanted).head(second).select("_anchor", "s")

    assert query(ds.to_polars()).collect().equals(query(truth).collect())


def test_small_batches(ds, truth, monkeypatch):
    source = engine._Source(ds._rows, 0, 2**63 - 1)
    frames = list(source.read(None, pl.col("img") == b"3", 12, 4))
    assert max(map(len, frames)) <= 4
    assert pl.concat(frames).equals(truth.head(12).filter(pl.col("img") == b"3").collect())


def test_late_columns_are_fetched_for_the_rows_that_are_left(ds, monkeypatch):
    fetched = []
    column = engine.media_column

    def counted(rows, name, refs):
        fetched.append(len(refs))
        return column(rows, name, refs)

    monkeypatch.setattr(engine, "media_column", counted)
    ds.to_polars().select("n", "v").collect()
    assert fetched == []
    assert ds.to_polars().filter(pl.col("_anchor").is_in([3, 9, 15])).select("img").collect().height == 2
    assert sum(fetched) == 2


@pytest.fixture(scope="module")
def plain():
    """No embeddings, no media: six stripes, of which two overlap, some rows deleted, and a field that came later."""
    made = vd.Dataset.create("x", vd.Schema().add_scalar_int("n"), MemoryStore(), cache_dir=None)
    for ids in (range(10), range(20, 30), range(40, 60, 2), range(41, 60, 2), range(80, 90)):
        made.append({"_anchor": list(ids), "n": [i % 7 for i in ids]})
    made.add_scalar_string("later")
    made.append({"_anchor": list(range(90, 95)), "n": [0] * 5, "later": list("abcde")})
    made.delete([3, 44, 81])
    return made


PLAIN = {
    **{name: q for name, q in QUERIES.items() if not {"img", "v", "s"} & set(q.__code__.co_consts)},
    "a later column": lambda lf: lf.filter(pl.col("later") == "c"),
    "a range of times": lambda lf: lf.filter(pl.col("_time") >= pl.lit(80).cast(pl.Datetime("ns"))).select(
        "n"
    ),
    "a slice from the end": lambda lf: lf.slice(-7, 3),
    "rows far in": lambda lf: lf.slice(30, 4),
}


@pytest.mark.parametrize("few", [0, 64])
@pytest.mark.parametrize("collect", ["in-memory", "streaming"])
@pytest.mark.parametrize("name", PLAIN)
def test_queries_by_plugin_and_by_scan(plain, monkeypatch, few, collect, name):
    monkeypatch.setattr(engine, "FEW", few)
    monkeypatch.setattr(engine, "AT_ONCE", 0)
    truth = pl.from_arrow(plain.to_arrow()).lazy()
    assert PLAIN[name](plain.to_polars()).collect(engine=collect).equals(PLAIN[name](truth).collect())
    part = pl.from_arrow(plain.to_arrow(None, 5, 50)).lazy()
    assert PLAIN[name](plain.to_polars(5, 50)).collect(engine=collect).equals(PLAIN[name](part).collect())


@pytest.mark.parametrize(
    ("wanted", "opened"),
    [
        (pl.col("_anchor") < 5, 1),
        (pl.col("_anchor").is_between(25, 45), 3),
        (pl.col("_anchor").is_in([2, 93]), 2),
        (pl.col("_anchor") == 70, 0),
        ((pl.col("_anchor") > 85) & (pl.col("n") == 1), 2),
        ((pl.col("_anchor") < 5) | (pl.col("n") == 1), 6),
        (pl.col("_time") < pl.lit(25).cast(pl.Datetime("ns")), 2),
        (pl.col("later").is_null(), 6),
        (pl.col("n") > 3, 6),
        (pl.col("_anchor") % 2 == 0, 6),
    ],
    ids=str,
)
def test_a_predicate_leaves_stripes_out(plain, monkeypatch, wanted, opened):
    monkeypatch.setattr(engine, "FEW", 0)
    seen = []
    local = Stripe.local
    monkeypatch.setattr(Stripe, "local", lambda s, *args: (seen.append(s.t0), local(s, *args))[1])
    found = plain.to_polars().filter(wanted).collect()
    monkeypatch.undo()
    assert len(set(seen)) == opened
    assert found.equals(pl.from_arrow(plain.to_arrow()).filter(wanted))


def test_the_first_rows_open_the_first_stripes(plain, monkeypatch):
    monkeypatch.setattr(engine, "FEW", 0)
    seen = []
    local = Stripe.local
    monkeypatch.setattr(Stripe, "local", lambda s, *args: (seen.append(s.t0), local(s, *args))[1])
    assert plain.to_polars().head(11).collect().height == 11
    assert set(seen) == {0, 20}


def test_without_the_private_method_nothing_is_left_out(plain, monkeypatch):
    monkeypatch.setattr(engine, "FEW", 0)
    monkeypatch.delattr(pl.Expr, "_skip_batch_predicate")
    assert plain.to_polars().filter(pl.col("_anchor") < 5).collect()["_anchor"].to_list() == [0, 1, 2, 4]


def test_few_stripes_are_a_plain_scan_with_the_slice_in_it(plain):
    told = plain.to_polars(90).slice(3, 4).explain()
    assert "Parquet SCAN" in told
    assert "SLICE" in told
    assert "PYTHON" not in told


def test_pieces_of_large_values_are_cut(ds, truth, monkeypatch):
    monkeypatch.setattr(scan, "LATE_BYTES", 16)
    source = engine._Source(ds._rows, 0, 2**63 - 1)
    frames = list(source.read(["v"], None, None, 1000))
    assert max(map(len, frames)) <= 2
    assert pl.concat(frames).equals(truth.select("v").collect())


def test_a_query_that_is_left_half_read(plain, monkeypatch):
    monkeypatch.setattr(engine, "FEW", 0)
    monkeypatch.setattr(engine, "AT_ONCE", 0)
    frames = engine._Source(plain._rows, 0, 2**63 - 1).read(["n"], None, None, 5)
    assert next(frames).height == 5
    del frames
    assert plain.to_polars().select(pl.len()).collect().item() == 52
