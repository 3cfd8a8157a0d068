"""Macros out of a file: the same as from text, only from a folder of the user's own, and never a reason to fail."""

from concurrent.futures import ThreadPoolExecutor

import duckdb
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.engines import duckdb as engine
from dreamdb_arrow.engines import macros
from dreamdb_arrow.engines.macros import kept_macros, macro_texts

MADE = """SELECT function_name, parameters, macro_definition FROM duckdb_functions()
    WHERE function_name LIKE 'dreamdb\\_%' ESCAPE '\\' ORDER BY 1, 2::VARCHAR"""


@pytest.fixture
def space(tmp_path):
    ds = vd.Dataset.create(
        "x", vd.Schema().add_scalar_int("n"), tmp_path / "space", cache_dir=tmp_path / "cache"
    )
    ds.append({"_anchor": [1, 2], "n": [10, 20]})
    return tmp_path / "space"


@pytest.fixture
def cache_dir(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def from_text(monkeypatch):
    """A list that grows each time macros are made from text."""
    made, real = [], engine.macros_sql
    monkeypatch.setattr(engine, "macros_sql", lambda *how: made.append(1) or real(*how))
    return made


def answers(con):
    """Return that the functions of a connection work, and close it."""
    try:
        assert con.sql("SELECT sum(n) FROM x").fetchall() == [(30,)]
        assert con.sql("SELECT count(*) FROM dreamdb_history('x')").fetchall() == [(2,)]
        return con.sql(MADE).fetchall()
    finally:
        con.close()


def kept_files(cache_dir):
    return list((cache_dir / "macros").iterdir())


def test_the_file_gives_what_the_text_gives(space, cache_dir, from_text):
    first = answers(vd.connect(space, cache_dir=cache_dir))
    second = answers(vd.connect(space, cache_dir=cache_dir))
    assert first == second
    assert {name for name, _, _ in second} == set(macro_texts())
    assert from_text == [1]
    (file,) = kept_files(cache_dir)
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_dataset_uses_the_file_too(space, cache_dir, from_text):
    vd.connect(space, cache_dir=cache_dir).close()
    ds = vd.Dataset.open("x", backend=space, cache_dir=cache_dir)
    assert ds.sql("SELECT sum(n) AS s FROM self").to_pylist() == [{"s": 30}]
    assert from_text == [1]


def test_a_damaged_file_is_made_anew(space, cache_dir, from_text):
    vd.connect(space, cache_dir=cache_dir).close()
    (file,) = kept_files(cache_dir)
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], bytes(len(whole))):
        file.write_bytes(damaged)
        assert answers(vd.connect(space, cache_dir=cache_dir))
        assert len(file.read_bytes()) == len(whole)
    assert len(from_text) == 4
    answers(vd.connect(space, cache_dir=cache_dir))
    assert len(from_text) == 4


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o755])
def test_a_folder_that_is_not_the_users_own_is_not_used(space, cache_dir, from_text, mode):
    vd.connect(space, cache_dir=cache_dir).close()
    (cache_dir / "macros").chmod(mode)
    assert answers(vd.connect(space, cache_dir=cache_dir))
    assert len(from_text) == 2


def test_a_folder_of_another_user_is_not_used(tmp_path, monkeypatch):
    cache = LocalCache(tmp_path / "cache")
    assert kept_macros(cache, "1") is not None
    monkeypatch.setattr(macros.os, "geteuid", lambda: (tmp_path / "cache").stat().st_uid + 1)
    assert kept_macros(cache, "1") is None


def test_each_version_of_duckdb_has_a_file_of_its_own(tmp_path):
    cache = LocalCache(tmp_path / "cache")
    assert kept_macros(cache, "1") != kept_macros(cache, "2")
    assert kept_macros(LocalCache(None), "1") is None


def test_without_a_folder_macros_are_made_from_text(space, cache_dir, from_text):
    (cache_dir / "macros").write_text("a file where the folder should be")
    for _ in range(2):
        assert answers(vd.connect(space, cache_dir=cache_dir))
    assert len(from_text) == 2


def test_a_database_in_a_file_is_left_alone(space, cache_dir, tmp_path, from_text):
    vd.connect(space, cache_dir=cache_dir).close()
    for _ in range(2):
        assert answers(vd.connect(space, str(tmp_path / "own.duckdb"), cache_dir=cache_dir))
    assert len(from_text) == 3


def test_the_file_is_not_left_attached(space, cache_dir):
    for _ in range(2):
        con = vd.connect(space, cache_dir=cache_dir)
        assert [
            name
            for (name,) in con.sql(
                "SELECT database_name FROM duckdb_databases() WHERE NOT internal"
            ).fetchall()
        ] == ["memory"]
        con.close()


def test_threads_connect_at_once(space, cache_dir):
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: answers(vd.connect(space, cache_dir=cache_dir)), range(12)))
    assert all(found == made[0] for found in made)
    assert len(kept_files(cache_dir)) == 1


def test_a_database_that_cannot_be_opened_says_so(space, cache_dir, tmp_path):
    with pytest.raises(duckdb.IOException, match="nowhere"):
        vd.connect(space, str(tmp_path / "nowhere" / "own.duckdb"), cache_dir=cache_dir)
    with pytest.raises(vd.NotFoundError):
        vd.connect(tmp_path / "no space", cache_dir=cache_dir)
