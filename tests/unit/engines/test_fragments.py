"""Fragments: what engines that spread work over processes ask a dataset for."""

import multiprocessing
import pickle

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.store.memory import MemoryStore


@pytest.fixture(scope="module", params=["file", "memory"])
def ds(request, tmp_path_factory):
    """Late data, deleted rows, and a field that came later."""
    schema = (
        vd.Schema()
        .add_scalar_int("n")
        .add_image("img", required=False)
        .add_embedding("v", dim=2, algorithm="dreamdb.lsh-l2", required=False)
    )
    folder = tmp_path_factory.mktemp("space")
    store = MemoryStore() if request.param == "memory" else f"file://{folder / 'space'}"
    made = vd.Dataset.create("x", schema, store, cache_dir=folder / "cache")
    for ids in (range(20), range(40, 60, 2), range(41, 60, 2), range(80, 90)):
        made.append(rows(ids))
    made.add_scalar_string("later")
    made.append({**rows(range(90, 95)), "later": [f"l{i}" for i in range(90, 95)]})
    made.delete([3, 4, 44, 81])
    return made


def rows(ids):
    return {
        "_anchor": list(ids),
        "n": [i % 7 for i in ids],
        "img": [b"%d" % i for i in ids],
        "v": [[float(i), 0.0] for i in ids],
    }


def test_fragments_hold_every_row_once(ds):
    fragments = list(ds.to_dataset().get_fragments())
    assert [len(f.to_table()) for f in fragments] == [18, 19, 9, 5]
    assert pa.concat_tables(f.to_table() for f in fragments).equals(ds.to_arrow())
    assert [f.count_rows() for f in fragments] == [18, 19, 9, 5]


def test_a_fragment_tells_what_its_rows_satisfy(ds):
    for fragment in ds.to_dataset().get_fragments():
        held = fragment.to_table(columns=["_anchor"])
        assert held.filter(fragment.partition_expression).equals(held)
        others = ds.to_arrow(["_anchor"]).filter(~fragment.partition_expression)
        assert len(others) == 51 - len(held)
    first = next(ds.to_dataset().get_fragments())
    assert str(first.partition_expression) == "((_anchor >= 0) and (_anchor <= 19))"


@pytest.mark.parametrize(
    ("wanted", "fragments"),
    [
        (pc.field("_anchor") < 20, 1),
        (pc.field("_anchor").isin([5, 82]), 2),
        (pc.field("_time") >= pa.scalar(80, pa.timestamp("ns")), 2),
        ((pc.field("_anchor") > 60) & (pc.field("_anchor") < 70), 0),
        (pc.field("n") == 3, 4),
    ],
    ids=str,
)
def test_a_filter_leaves_fragments_out(ds, wanted, fragments):
    left = list(ds.to_dataset().get_fragments(filter=wanted))
    assert len(left) == fragments
    found = [f.to_table(columns=["_anchor", "n"], filter=wanted) for f in left]
    assert sum(map(len, found)) == len(ds.to_arrow().filter(wanted))


def test_a_fragment_has_the_methods_of_arrow(ds):
    second = next(ds.to_dataset(start_ns=42).filter(pc.field("n") != 0).get_fragments())
    wanted = [i for i in range(42, 60) if i % 7 and i != 44]
    assert second.to_table(columns=["_anchor"])["_anchor"].to_pylist() == wanted
    assert second.head(3, columns=["_anchor"])["_anchor"].to_pylist() == wanted[:3]
    assert second.take([2, 0], columns=["_anchor"])["_anchor"].to_pylist() == [wanted[2], wanted[0]]
    assert second.take([2, 0, 2])["img"].to_pylist() == [b"%d" % wanted[i] for i in (2, 0, 2)]
    assert sum(b.num_rows for b in second.to_batches(batch_size=4)) == len(wanted)
    assert second.count_rows(filter=pc.field("n") == 1) == sum(i % 7 == 1 for i in wanted)
    assert second.scanner(columns=["n"]).to_reader().schema.names == ["n"]
    assert second.schema == second.physical_schema == ds.arrow_schema
    assert second.to_table(second.schema, columns=["later"])["later"].null_count == len(wanted)
    with pytest.raises(vd.InvalidInputError, match="the schema of its version"):
        second.to_table(pa.schema([("n", pa.int32())]))
    with pytest.raises(IndexError):
        second.take([99], columns=["img"])


def read(job):
    fragment, columns, wanted = job
    return fragment.to_table(columns=columns, filter=wanted)


@pytest.mark.parametrize("ds", ["file"], indirect=True)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_fragments(ds, method):
    """What Ray and Dask do: the driver lists fragments, workers read them."""
    wanted, columns = pc.field("n") < 4, ["_anchor", "img", "v", "later"]
    jobs = [(f, columns, wanted) for f in ds.to_dataset().get_fragments(filter=wanted)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        tables = pool.map(read, jobs, chunksize=1)
    assert pa.concat_tables(tables).equals(ds.to_arrow().filter(wanted).select(columns))


@pytest.mark.parametrize("ds", ["file"], indirect=True)
def test_a_fragment_pickles_to_an_address(ds):
    fragments = [pickle.loads(pickle.dumps(f)) for f in ds.to_dataset().get_fragments()]
    assert pa.concat_tables(f.to_table() for f in fragments).equals(ds.to_arrow())
    assert max(len(pickle.dumps(f)) for f in fragments) < 4000
    assert len({id(f._part._space) for f in fragments}) == 1


@pytest.mark.parametrize("ds", ["memory"], indirect=True)
def test_a_space_in_memory_stays_where_it_is(ds):
    for held in (ds, ds.to_dataset(), next(ds.to_dataset().get_fragments())):
        with pytest.raises(vd.InvalidInputError, match="ends with this process; a Space in files or in a bucket"):
            pickle.dumps(held)
