"""A million tombstones stay cheap: what a delete more, a count and a scan take."""

import time

import numpy as np
import pyarrow as pa
import pytest

import dreamdb_arrow as vd


def timed(call):
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def measure(folder, count):
    ds = vd.Dataset.create(
        "x", vd.Schema().add_scalar_int("n"), folder / "s", cache_dir=folder / "c", durability="os"
    )
    anchors = np.arange(2 * count) * 1000 + 1_700_000_000_000_000_000
    ds.append(pa.table({"_anchor": anchors, "n": np.arange(2 * count)}))
    taken = {"delete": timed(lambda: ds.delete(anchors[::2]))[0]}
    taken["delete one more"] = timed(lambda: ds.delete([anchors[1]]))[0]
    fresh = vd.Dataset.open("x", backend=folder / "s", cache_dir=folder / "c")
    taken["first count"], rows = timed(lambda: len(fresh))
    assert rows == count - 1
    with vd.connect(folder / "s", cache_dir=folder / "c") as con:
        scan = lambda: con.sql("SELECT count(n), min(n) FROM dreamdb_scan('x')").fetchall()  # noqa: E731
        assert timed(scan)[1] == [(count - 1, 3)]
        fresh.delete([anchors[3]])
        taken["scan after one more"], found = timed(scan)
        assert found == [(count - 2, 5)]
    return taken


def test_one_more_of_many(tmp_path):
    taken = measure(tmp_path, 50_000)
    assert taken["delete one more"] < taken["delete"]


@pytest.mark.slow
def test_one_more_of_a_million(tmp_path, capsys):
    taken = measure(tmp_path, 1_000_000)
    with capsys.disabled():
        print({name: f"{seconds * 1000:,.0f} ms" for name, seconds in taken.items()})  # noqa: T201
    assert taken["delete one more"] < 0.1
