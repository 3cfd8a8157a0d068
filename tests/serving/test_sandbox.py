"""Attacks on a server's SQL: each is refused, and nothing of the machine or of another Space comes out. ADR 0042."""

import duckdb
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import DreamDBError
from dreamdb_arrow.servers.grants import Limits
from dreamdb_arrow.servers.sandbox import Sandbox

SECRET = "the-secret-of-another"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sandbox")
    schema = vd.Schema().add_scalar_int("n").add_scalar_categorical("label")
    schema = schema.add_embedding("v", dim=2, algorithm="dreamdb.lsh-cosine")
    for name in ("own", "other"):
        ds = vd.Dataset.create("hello", schema, backend=folder / name, cache_dir=folder / f"{name}-cache")
        label = SECRET if name == "other" else "a"
        ds.append({"_anchor": [1, 2], "n": [1, 2], "label": [label, "b"], "v": [[1.0, 0.0], [0.0, 1.0]]})
    (folder / "secret.csv").write_text(f"x\n{SECRET}\n")
    (folder / "own" / "secret.csv").write_text(f"x\n{SECRET}\n")  # within the Space, but no object of it
    vd.Dataset.open("hello", backend=folder / "own", cache_dir=folder / "own-cache").snapshot("v1")
    return folder


@pytest.fixture(scope="module")
def sandbox(place):
    made = Sandbox(Space(place / "own", cache_dir=place / "own-cache"), Limits(memory_bytes=10**9))
    yield made
    made.close()


def ask(sandbox, sql, *, may_write=False):
    statement = sandbox.check(sql, may_write=may_write)
    with sandbox.cursor() as cursor:
        return cursor.sql(statement.text).fetchall()


ALLOWED = [
    "FROM hello",
    'FROM main."hello@v1"',
    "WITH x AS (FROM hello) SELECT count(*), label FROM x GROUP BY ALL",
    "FROM dreamdb_scan('hello', as_of := 'v1')",
    "FROM dreamdb_knn('hello', 'v', [1, 0], k := 1)",
    "FROM dreamdb_search('hello', 'v', [1, 0], k := 1, filter := 'n < 5')",
    "FROM dreamdb_history('hello')",
    "SELECT v, label FROM hello, range(3)",
    "DESCRIBE hello",
    "SUMMARIZE hello",
    "SHOW TABLES",
    "SELECT * FROM information_schema.tables",
    "VALUES (1)",
]


@pytest.mark.parametrize("sql", ALLOWED)
def test_queries_of_the_space_run(sandbox, sql):
    assert ask(sandbox, sql)


FILES = ["/etc/passwd", "{0}/secret.csv", "{0}/own/secret.csv", "{0}/own/*", "{0}/other/**/*.parquet"]
READERS = [
    "read_csv",
    "read_csv_auto",
    "read_text",
    "read_blob",
    "read_json",
    "read_parquet",
    "glob",
    "sniff_csv",
]
ATTACKS = [
    *[f"SELECT * FROM {reader}('{file}')" for reader in READERS for file in FILES[:2]],
    *[f"SELECT * FROM '{file}'" for file in FILES],
    'SELECT * FROM "{0}/own/secret.csv"',
    "DESCRIBE '{0}/own/secret.csv'",
    "SUMMARIZE '{0}/own/secret.csv'",
    "SELECT (SELECT x FROM '{0}/own/secret.csv')",
    "SELECT * FROM READ_CSV('{0}/own/secret.csv')",
    "SELECT * FROM \"read_csv\"('{0}/own/secret.csv')",
    "SELECT * FROM main.read_csv('{0}/own/secret.csv')",
    "SELECT * FROM system.main.read_csv('{0}/own/secret.csv')",
    "WITH x AS (FROM read_csv('{0}/own/secret.csv')) FROM x",
    "SELECT * FROM hello WHERE label IN (FROM read_csv('{0}/own/secret.csv'))",
    "SELECT * FROM query('FROM read_csv(''{0}/own/secret.csv'')')",
    "SELECT * FROM query_table('{0}/own/secret.csv')",
    "SELECT * FROM parquet_metadata('{0}/other/x.parquet')",
    "FROM parquet_schema('{0}/other/x.parquet')",
    "FROM json_execute_serialized_sql(json_serialize_sql('FROM duckdb_settings()'))",
    "ATTACH '{0}/x.db'",
    "ATTACH '{0}/x.db' AS x",
    "DETACH memory",
    "USE memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL json FROM 'http://127.0.0.1:9'",
    "COPY (FROM hello) TO '{0}/out.csv'",
    "COPY hello TO '{0}/out.parquet' (FORMAT parquet)",
    "COPY hello FROM '{0}/secret.csv'",
    "EXPORT DATABASE '{0}/out'",
    "IMPORT DATABASE '{0}/out'",
    "SET enable_external_access = true",
    "SET GLOBAL lock_configuration = false",
    "RESET allowed_directories",
    "SET VARIABLE __dreamdb = 1",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "FROM duckdb_settings()",
    "FROM duckdb_secrets()",
    "FROM pragma_database_list()",
    "FROM duckdb_databases()",
    "SELECT current_setting('allowed_directories')",
    "SELECT getenv('HOME')",
    "SELECT getvariable('__dreamdb')",
    "CREATE TABLE t AS FROM hello",
    "CREATE MACRO f() AS TABLE FROM read_csv('/etc/passwd')",
    "CREATE OR REPLACE VIEW hello AS SELECT 1",
    "CREATE SECRET (TYPE s3)",
    "DROP VIEW hello",
    "INSERT INTO hello VALUES (1)",
    "DELETE FROM hello",
    "UPDATE hello SET n = 1",
    "CHECKPOINT",
    "BEGIN",
    "PREPARE p AS FROM hello",
    "EXECUTE p",
    "EXPLAIN ANALYZE FROM hello",
    "FROM hello; FROM hello",
    "FROM hello; COPY hello TO '{0}/out.csv'",
    "SELECT * FROM duckdb_settings",
    "FROM sandbox",
    "FROM place",
    "FROM sqlite_master",
    "FROM pg_catalog.pg_settings",
    "SELECT __dreamdb_effect('snapshot', ['hello', 'evil', NULL])",
    "SELECT __DREAMDB_effect('snapshot', ['hello', 'evil', NULL])",
    "SELECT main.__dreamdb_effect('snapshot', ['hello', 'evil', NULL])",
    "SELECT __dreamdb_plan('scan', 'hello', NULL, NULL, NULL, NULL, 1, NULL)",
    "FROM dreamdb_snapshot('hello', 'evil')",
    "FROM DREAMDB_SNAPSHOT('hello', 'evil')",
    "FROM dreamdb_branch('hello', 'evil')",
    "FROM dreamdb_revert('hello', 'v1')",
    # names and texts that become SQL further in
    "FROM dreamdb_scan('hello'') UNION ALL FROM read_csv(''{0}/own/secret.csv')",
    "FROM dreamdb_scan('../other/hello')",
    "FROM dreamdb_scan('{0}/other/hello')",
    "FROM dreamdb_scan('hello', as_of := 'v1'') --')",
    "FROM dreamdb_scan('hello', t0 := '0) UNION ALL (FROM duckdb_settings()')",
    "FROM dreamdb_track('hello', 'label\" FROM read_csv(''{0}/own/secret.csv'') --')",
    "FROM dreamdb_items('hello', '../../other')",
    "FROM dreamdb_take('hello', '1] FROM duckdb_settings() --')",
    "FROM dreamdb_knn('hello', 'v'') FROM duckdb_settings() --', [1, 0])",
    "FROM dreamdb_search('hello', 'v', [1, 0], filter := 'true) FROM duckdb_settings() --')",
    "FROM dreamdb_search('hello', 'v', [1, 0], filter := 'n IN (FROM read_csv(''{0}/own/secret.csv''))')",
    "FROM dreamdb_search('hello', 'v', [1, 0], filter := 'exists (FROM \"{0}/own/secret.csv\")')",
    "FROM dreamdb_knn('hello', 'v', [1, 0], filter := 'true; COPY hello TO ''{0}/out.csv''')",
    "FROM dreamdb_knn('hello', 'v', [1, 0], filter := '__dreamdb_effect(''snapshot'', [''hello'', ''evil'', NULL]) IS NULL')",
    "FROM dreamdb_knn('hello', 'v', [1, 0], filter := 'getvariable(''x'') IS NULL')",
    "FROM dreamdb_history('hello'' UNION ALL FROM duckdb_settings() --')",
    'FROM "hello"" UNION ALL FROM duckdb_settings() --"',
]


def test_the_list_of_attacks_is_long():
    assert len(set(ATTACKS)) >= 60


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_is_refused(sandbox, place, attack):
    before = sorted(p.name for p in place.iterdir())
    refs = sandbox.space.store.list_refs()
    with pytest.raises((DreamDBError, duckdb.Error)) as refused:
        ask(sandbox, attack.replace("{0}", str(place)))
    assert SECRET not in str(refused.value)
    assert "root:" not in str(refused.value)
    assert sorted(p.name for p in place.iterdir()) == before
    assert sandbox.space.store.list_refs() == refs
    assert ask(sandbox, "SELECT label FROM hello ORDER BY 1") == [("a",), ("b",)]


BEHIND = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '{0}/secret.csv'",
    "ATTACH '{0}/x.db'",
    "COPY (SELECT 1) TO '{0}/out.csv'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET threads = 1",
    "SET enable_external_access = true",
    "FROM place",
    "SELECT * FROM read_parquet('{0}/other/**/*.parquet')",
]


@pytest.mark.parametrize("attack", BEHIND)
def test_second_wall_holds_without_the_first(sandbox, place, attack):
    with sandbox.cursor() as cursor, pytest.raises(duckdb.Error):
        cursor.execute(attack.replace("{0}", str(place))).fetchall()


def test_writers_may_write_and_new_refs_are_seen(sandbox):
    with pytest.raises(DreamDBError, match="no table"):
        ask(sandbox, 'FROM "hello@new"')
    assert ask(sandbox, "FROM dreamdb_snapshot('hello', 'new')", may_write=True)[0][0] == "hello@new"
    assert len(ask(sandbox, 'FROM "hello@new"')) == 2
