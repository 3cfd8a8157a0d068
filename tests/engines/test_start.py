"""What a program pays before its first row: modules that opening and scanning a Space do without are not loaded."""

import subprocess
import sys

import dreamdb_arrow as vd
from tests.places import url_of

PROGRAM = """
import sys
import dreamdb_arrow as vd

with vd.connect(sys.argv[1], cache_dir=sys.argv[2]) as con:
    rows = con.execute("SELECT label, count(*) FROM rows WHERE n < 90 GROUP BY ALL ORDER BY ALL").fetchall()
print(rows)
print(*sys.modules)
"""
# pandas and what imports it (0.2 s where it is installed), all that writes, all that searches.
WITHOUT = {
    "pandas",
    "polars",
    "pyarrow.dataset",
    "dreamdb_arrow.dataset.append",
    "dreamdb_arrow.dataset.dataset",
    "dreamdb_arrow.engines.effects",
    "dreamdb_arrow.engines.knn",
}


def test_a_first_query_loads_nothing_that_it_does_without(tmp_path):
    schema = vd.Schema().add_scalar_int("n").add_scalar_string("label")
    ds = vd.Dataset.create("rows", schema, tmp_path / "s", cache_dir=tmp_path / "c")
    for at in range(0, 100, 10):  # so many stripes that a function names their files
        ds.append({"_anchor": range(at, at + 10), "n": range(at, at + 10), "label": [f"l{at % 20}"] * 10})
    command = [sys.executable, "-c", PROGRAM, url_of(tmp_path / "s"), str(tmp_path / "c")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, modules = done.stdout.splitlines()
    assert rows == "[('l0', 50), ('l10', 40)]"
    assert WITHOUT.isdisjoint(modules.split())
    assert "dreamdb_arrow.engines.duckdb" in modules.split()
