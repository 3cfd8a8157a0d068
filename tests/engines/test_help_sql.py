"""What the SQL functions say of themselves: the same in `sql/`, in `dreamdb_help` and in docs/sql.md."""

import re
import runpy
from pathlib import Path

import duckdb
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.engines.help import all_help

ROOT = Path(__file__).parents[2]


@pytest.fixture
def con(tmp_path):
    with vd.connect(tmp_path / "s", create=True, cache_dir=tmp_path / "c") as made:
        yield made


@pytest.mark.parametrize("name", ["knn", "dreamdb_knn"])
def test_help_of_one_function(con, name):
    [(function, signature, about, examples)] = con.execute("FROM dreamdb_help(?)", [name]).fetchall()
    assert function == "dreamdb_knn"
    assert signature.startswith("dreamdb_knn(ref, field, query, k := 10")
    assert about.startswith("The k rows nearest to a vector")
    assert len(examples) == 2
    assert all(example in (ROOT / "sql/dreamdb_knn.sql").read_text("utf-8") for example in examples)


def test_help_of_all_functions(con):
    files = sorted(p.stem for p in ROOT.glob("sql/dreamdb_*.sql"))
    assert [name for (name,) in con.execute("SELECT function FROM dreamdb_help()").fetchall()] == files


def test_help_of_what_is_not_there(con):
    with pytest.raises(duckdb.Error, match=r"no function 'kn'; there are: .*knn"):
        con.execute("FROM dreamdb_help('kn')").fetchall()


@pytest.mark.parametrize("told", [*all_help(), *all_help("federation")], ids=lambda h: h.function)
def test_each_comment_has_all_its_parts(told):
    text = next(ROOT.glob(f"sql/**/{told.function}.sql")).read_text("utf-8")
    declared = re.search(r"MACRO (dreamdb_\w+\(.*?\))\s+AS TABLE", text, re.DOTALL)[1]
    assert told.signature == " ".join(declared.split()), "the first line is how the function is called"
    assert told.about
    assert told.examples
    assert all(example.endswith(";") and told.function in example for example in told.examples)


def test_the_page_is_current():
    page = runpy.run_path(str(ROOT / "docs/generate_sql.py"))["page"]()
    assert (ROOT / "docs/sql.md").read_text("utf-8") == page, "run: python docs/generate_sql.py --write"
