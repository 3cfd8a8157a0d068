"""COPY: a Ref whose first version has rows already is a dataset as any other for the SDK."""

import dreamdb
import pytest

import dreamdb_arrow as vd
from tests.places import url_of


@pytest.mark.parametrize("rows", [3, 70_000])  # as any append, and as a stripe of DuckDB's own columns
def test_the_sdk_goes_on_from_what_a_copy_began(tmp_path, rows):
    root = url_of(tmp_path / "space")
    with vd.connect(root, cache_dir=tmp_path / "cache") as con:
        con.execute(f"COPY (SELECT range AS n FROM range({rows})) TO 'dreamdb://new' (FORMAT parquet)")
        con.execute("FROM dreamdb_flush('new')").fetchall()
        theirs = dreamdb.Dataset.open("new", backend=root)
        assert theirs.count() == rows
        theirs.append_many([{"_anchor": 3, "n": -1}])
        con.execute("COPY (SELECT 5 AS n) TO 'dreamdb://new' (FORMAT parquet)")
        found = con.execute("SELECT count(*), sum(n) FROM new").fetchall()
        assert found == [(rows + 2, rows * (rows - 1) // 2 + 4)]
        con.execute("FROM dreamdb_flush('new')").fetchall()
    ours = vd.Dataset.open("new", backend=root, cache_dir=tmp_path / "cache")
    ours.branch("side").append({"n": [7]})
    ours.append({"n": [8]})
    ours.merge("side", strategy="union-tracks")
    ours.flush()
    assert dreamdb.Dataset.open("new", backend=root).count() == rows + 4
    assert vd.fsck(root)["findings"] == []
