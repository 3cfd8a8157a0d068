"""The command line: each verb run for real, what it refuses, and how it looks on a terminal."""

import io
import json
import os
import pty
import re
import runpy
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.cells import cell_len

import dreamdb_arrow as vd
from dreamdb_arrow.cli.cells import cell, size_text
from dreamdb_arrow.cli.delete import read_anchors
from dreamdb_arrow.cli.failures import failure_line
from dreamdb_arrow.cli.tables import Column, Screen, fit, print_table
from dreamdb_arrow.cli.values import interval_text, json_text, plain_values, time_text
from dreamdb_arrow.cli.verbs import VERBS
from dreamdb_arrow.errors import InvalidInputError

ROOT = Path(__file__).parents[3]
T0 = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
JPEG = b"\xff\xd8\xff" + bytes(20_000)
COMMAND = [sys.executable, "-m", "dreamdb_arrow.cli"]


def anchor(n):
    return T0 + n * SECOND


def rows(start, stop):
    vectors = np.random.default_rng(start).standard_normal((stop - start, 8), dtype=np.float32)
    return [
        {"_anchor": anchor(n), "label": f"l{n % 3}", "n": n, "img": JPEG, "v": v}
        for n, v in zip(range(start, stop), vectors, strict=True)
    ]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A Space with 60 rows, 50 of them flushed, one deleted, and a snapshot from before the deletion."""
    place = tmp_path_factory.mktemp("cli") / "space"
    schema = (
        vd.Schema()
        .add_scalar_categorical("label")
        .add_scalar_int("n")
        .add_image("img", mime="jpeg")
        .add_embedding("v", dim=8, algorithm="dreamdb.ivf-cosine")
    )
    ds = vd.Dataset.create("hello", schema, backend=place, cache_dir=None)
    ds.append_many(rows(0, 50))
    ds.flush()
    ds.append_many(rows(50, 60))
    ds.snapshot("first")
    ds.delete([anchor(7)])
    return place


def contents(place):
    return {
        str(f): f.read_bytes() for f in Path(place).rglob("*") if f.is_file() and "/.dreamdb" not in str(f)
    }


def count(space, ref="hello"):
    return vd.Dataset.open_ref(ref, space, cache_dir=None).count()


# --- sql ----------------------------------------------------------------------------------------------------


def test_sql_prints_a_table_whole_where_it_is_no_terminal(ok, space):
    table = ok("sql", space, "SELECT n, label, img, v FROM hello ORDER BY n LIMIT 2")
    head, _, first, second = table.splitlines()
    assert head.split() == ["n", "label", "img", "v"]
    assert re.fullmatch(r"0  l0     <20 KB image/jpeg>  \[-?[\d.]+, -?[\d.]+, … 8\]", first)
    assert second.startswith("1  l1 ")


def test_sql_says_in_the_table_when_it_is_cut(ok, space):
    assert ok("sql", space, "FROM range(51)").splitlines()[-1] == "… the first 50 rows; --max-rows 0 for all"
    assert ok("sql", space, "FROM range(50)").splitlines()[-1].strip() == "49"
    assert ok("sql", space, "FROM range(51)", "--max-rows", "0").splitlines()[-1].strip() == "50"
    assert (
        ok("sql", space, "FROM range(51)", "--max-rows", "1")
        .splitlines()[-1]
        .startswith("… the first 1 row;")
    )


def test_sql_json_is_one_array_a_result(ok, space):
    first, second = ok(
        "sql", space, "SELECT n, img, v FROM hello LIMIT 1; SELECT 1 WHERE false", "--json"
    ).split("]\n[")
    (row,) = json.loads(first + "]")
    assert row["n"] == 0
    assert len(row["v"]) == 8
    assert row["img"].startswith("/9j/")
    assert second == "]\n"


def test_sql_json_keeps_what_json_has_and_spells_out_the_rest(ok, space):
    query = """SELECT 12::HUGEINT AS h, 1.5::DECIMAL(5,2) AS d, 'nan'::DOUBLE AS nan, 0.1::FLOAT AS f, true AS b,
      TIMESTAMP_NS '2026-01-02 03:04:05.123456789' AS t, TIMESTAMP '2026-01-02 03:04:05' AS u, DATE '2026-01-02' AS day,
      TIME '10:00:00.5' AS tod, INTERVAL '1 month 3 seconds' AS i, MAP {'k': 1} AS m,
      {'at': [TIMESTAMP_NS '2026-01-02 03:04:05']} AS s, 'x'::ENUM('x') AS e, [0.1, NULL]::FLOAT[] AS l, NULL AS z"""
    assert json.loads(ok("sql", space, query, "--json")) == [
        {
            "h": 12, "d": 1.5, "nan": None, "f": 0.1, "b": True,
            "t": "2026-01-02 03:04:05.123456789", "u": "2026-01-02 03:04:05", "day": "2026-01-02",
            "tod": "10:00:00.5", "i": "1 months 3 s", "m": {"k": 1},
            "s": {"at": ["2026-01-02 03:04:05.000000000"]}, "e": "x", "l": [0.1, None], "z": None,
        }
    ]  # fmt: skip


def test_sql_csv(ok, space):
    query = "SELECT 1 AS n, 'a,b' AS t, NULL::VARCHAR AS z, '' AS e, [1, 2] AS l, TIMESTAMP '2026-01-02 03:04:05' AS at"
    assert ok("sql", space, query, "--csv") == (
        '"n","t","z","e","l","at"\n1,"a,b",,"","[1, 2]","2026-01-02 03:04:05"\n'
    )
    assert ok("sql", space, "SELECT 1 AS n, [1] AS l WHERE false", "--csv") == '"n","l"\n'


def test_sql_arrow_file_and_stream(ok, space, tmp_path):
    ok("sql", space, "FROM hello", "--arrow", tmp_path / "rows.arrow")
    table = pa.ipc.open_file(tmp_path / "rows.arrow").read_all()
    assert table.num_rows == 59
    assert table.schema.field("v").type.list_size == 8
    assert sorted(f.name for f in tmp_path.iterdir()) == ["rows.arrow", "space"]
    done = subprocess.run(
        [*COMMAND, "sql", space, "FROM hello", "--arrow", "-"], capture_output=True, check=True
    )
    assert pa.ipc.open_stream(done.stdout).read_all().equals(table)


def test_sql_arrow_file_appears_only_when_whole(cli, space, tmp_path):
    code, _, _ = cli("sql", space, "SELECT error('no') FROM range(5)", "--arrow", tmp_path / "rows.arrow")
    assert code == 1
    assert sorted(f.name for f in tmp_path.iterdir()) == ["space"]


def test_sql_arrow_takes_one_result(cli, space, tmp_path):
    code, out, err = cli("sql", space, "SELECT 1; SELECT 2", "--arrow", tmp_path / "rows.arrow")
    assert (code, out) == (2, "")
    assert "--arrow takes the result of one statement" in err


def test_sql_from_arguments_options_files_and_stdin(ok, space, tmp_path, monkeypatch):
    (tmp_path / "q.sql").write_text("SELECT 3 AS x;\n-- done\n")
    found = ok("sql", space, "SELECT 1 AS x", "-c", "SELECT 2 AS x", "--file", tmp_path / "q.sql", "--csv")
    assert found == '"x"\n1\n"x"\n2\n"x"\n3\n'
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 4 AS x"))
    assert ok("sql", "--backend", f"file://{space}", "--csv") == '"x"\n4\n'
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert ok("sql", space) == ""


def test_sql_options_may_stand_anywhere(ok, space):
    assert ok("sql", "--csv", space, "SELECT 1 AS x") == ok("sql", space, "--csv", "SELECT 1 AS x")
    assert ok("sql", "--csv", "SELECT 1 AS x", "--backend", space) == '"x"\n1\n'
    assert ok("sql", space, "-- a comment\nSELECT 1 AS x", "--csv") == '"x"\n1\n'


def test_sql_statements_that_answer_nothing_print_nothing(ok, space):
    text = "SET threads = 1; CREATE TABLE t(a INT); INSERT INTO t VALUES (1), (2); BEGIN; COMMIT; SELECT count(*) AS c FROM t"
    assert ok("sql", space, text, "--csv") == '"c"\n2\n'
    assert (
        ok("sql", space, "CREATE TABLE t(a INT); INSERT INTO t VALUES (1) RETURNING a", "--csv") == '"a"\n1\n'
    )


def test_sql_sees_refs_snapshots_and_searches(ok, space):
    text = """SELECT count(*) AS c FROM hello; SELECT count(*) AS c FROM "hello@first";
      SELECT count(*) AS c FROM dreamdb_search('hello', 'v', (SELECT v FROM hello LIMIT 1), k := 3)"""
    assert ok("sql", space, text, "--csv") == '"c"\n59\n"c"\n60\n"c"\n3\n'


def test_sql_explains(ok, space):
    assert "READ_PARQUET" in ok("sql", space, "EXPLAIN SELECT count(*) FROM hello")


def test_nothing_in_the_data_moves_the_cursor(ok, space):
    assert "\x1b" not in ok("sql", space, "SELECT chr(27) || '[31mred' || chr(10) AS t")


# --- inspect ------------------------------------------------------------------------------------------------


def test_inspect_lists_the_refs(ok, space):
    lines = ok("inspect", space).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["hello", "hello@first"]
    found = json.loads(ok("inspect", space, "--json"))
    assert [(r["ref"], r["is_snapshot"], r["error"]) for r in found["refs"]] == [
        ("hello", False, None),
        ("hello@first", True, None),
    ]


def test_inspect_tells_of_a_ref(ok, space):
    text = ok("inspect", space, "hello", "--max-depth", "3")
    assert "59 rows, 1 deleted, 10 not flushed yet" in text
    assert re.search(
        r"^label +string +event +scalar.cat.field=label +2023-11-14 22:13:20 to .* +10$", text, re.MULTILINE
    )
    assert re.findall(r"\b(create|commit|flush|delete)\b", text.split("parents")[1]) == [
        "delete",
        "commit",
        "flush",
    ]


def test_inspect_json_in_the_spelling_of_the_sdk(ok, space):
    facts = json.loads(
        ok("inspect", "--backend", f"file://{space}", "--ref-name", "hello", "--max-depth", "2", "--json")
    )
    assert (facts["rows"], facts["deleted"], facts["pending_rows"]) == (59, 1, 10)
    assert {t["field"]: t["pending_rows"] for t in facts["tracks"] if not t["field"].startswith("org.")} == {
        "label": 10,
        "n": 10,
        "img": 10,
        "v": 10,
    }
    assert [v["operation"] for v in facts["history"]] == ["delete", "commit"]
    assert facts["history"][0]["manifest"] == facts["manifest"]
    assert facts["history"][0]["parents"] == [facts["history"][1]["manifest"]]


def test_inspect_mixes_both_spellings(ok, space):
    assert ok("inspect", space, "--ref-name", "hello") == ok("inspect", "hello", "--backend", space)


def test_inspect_tells_what_is_unavailable(ok, reference_space):
    text = ok("inspect", reference_space("vec-hybrid"), "fx")
    assert re.search(r"^mv +embedding +\S.*ask with query_multi_vector", text, re.MULTILINE)


def test_inspect_of_a_folder_without_refs(ok, tmp_path):
    assert "has no refs" in ok("inspect", tmp_path)


# --- snapshot, delete, flush --------------------------------------------------------------------------------


def test_snapshot(ok, space):
    made = json.loads(ok("snapshot", space, "hello", "second", "--json"))
    assert made["label"] == "hello@second"
    assert vd.Dataset.open_at(made, space).count() == 59
    again = ok("snapshot", "--backend", space, "--ref-name", "hello", "--label", "second")
    assert again == f"hello@second is {made['manifest']}\n"


def test_delete_by_condition(ok, space):
    before = contents(space)
    assert ok("delete", space, "hello", "--where", "label = 'l1' AND n < 10", "--dry-run") == (
        "would delete 2 rows of hello\n"
    )
    assert contents(space) == before
    facts = json.loads(
        ok(
            "delete",
            space,
            "hello",
            "--where",
            "label = 'l1' AND n < 10",
            "--reason",
            "gdpr",
            "--yes",
            "--json",
        )
    )
    assert (facts["rows"], facts["anchors"], facts["dry_run"]) == (2, 2, False)
    assert (count(space), count(space, "hello@first")) == (57, 60)
    reasons = ok(
        "sql",
        space,
        "SELECT reason, count(*) AS c FROM dreamdb_tombstones('hello') GROUP BY 1 ORDER BY 2",
        "--csv",
    )
    assert reasons.splitlines()[1:] == [",1", '"gdpr",2']


def test_delete_that_matches_nothing_commits_nothing(ok, space):
    before = contents(space)
    assert ok("delete", space, "hello", "--where", "n > 1000") == "deleted 0 rows of hello\n"
    assert contents(space) == before


def test_delete_by_anchors(ok, space, tmp_path):
    (tmp_path / "gone.txt").write_text(f"{anchor(1)}, {anchor(2)}\n\n{anchor(3)} {anchor(1)}\n")
    told = ok(
        "delete",
        space,
        "hello",
        "--anchor",
        anchor(4),
        "--anchor",
        5,
        "--anchors-file",
        tmp_path / "gone.txt",
    )
    assert told == "deleted 4 rows of hello; 1 anchor without a live row\n"
    assert count(space) == 55


def test_anchors_are_read_strictly(tmp_path):
    (tmp_path / "gone.txt").write_text("1\n2 x\n")
    with pytest.raises(InvalidInputError, match=r"gone.txt, line 2: 'x' is no anchor"):
        read_anchors(str(tmp_path / "gone.txt"))


def test_flush(ok, space):
    assert ok("flush", space, "hello") == "flushed 1 stripe of hello\n"
    facts = json.loads(ok("flush", space, "hello", "--json"))
    assert facts["stripes"] == 0
    assert facts["manifest"] == vd.Dataset.open_ref("hello", space).current_manifest()


def test_demo_is_handed_its_arguments(ok, monkeypatch, tmp_path):
    calls = []
    module = type(sys)("dreamdb_arrow.demo")
    module.run_demo = lambda directory, query, console: calls.append((directory, query, console)) or 0
    monkeypatch.setitem(sys.modules, "dreamdb_arrow.demo", module)
    ok("demo", "--dir", tmp_path, "--query", "a lake")
    assert calls[0][:2] == (tmp_path, "a lake")


def test_demo_without_its_extra_says_how_to_get_it(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "dreamdb_arrow.demo", None)
    code, _, err = cli("demo")
    assert code == 1
    assert "pip install 'dreamdb-arrow[demo]'" in err


# --- help, versions and misuse ------------------------------------------------------------------------------


def test_version(ok):
    assert ok("--version") == f"dreamdb {vd.__version__}\n"


def test_help_names_the_verbs_and_the_exit_codes(ok):
    text = ok("--help")
    assert f"{{{','.join(VERBS)}}}" in text
    assert {"sql", "merge-many", "ada-ivf-step", "gc", "fsck", "demo"} <= VERBS.keys()
    for code in ("0 ", "1 ", "2 ", "130 "):
        assert re.search(rf"^  {code}", text, re.MULTILINE)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb_has_examples(ok, verb):
    text = ok(verb, "--help")
    assert f"usage: dreamdb {verb} " in text
    assert re.search(rf"examples:\n(.*\n)*?  dreamdb {verb}", text)


MISUSE = [
    ([], "name a verb"),
    (["inspct"], "unknown verb 'inspct'; did you mean inspect?"),
    (["zzz"], "unknown verb 'zzz'; verbs: sql, inspect"),
    (["--verson"], "unknown option --verson; did you mean --version?"),
    (["sql"], "BACKEND is missing (see dreamdb sql --help)"),
    (["sql", "s", "--jsn"], "unknown option --jsn; did you mean --json?"),
    (["sql", "s", "--json", "--csv"], "not allowed with"),
    (["sql", "s", "--max-rows", "-1"], "no whole number"),
    (["inspect", "s", "hello", "more"], "one argument too many: 'more'"),
    (["inspect", "s", "--max-depth", "x"], "'x' is no whole number of at least 0"),
    (["snapshot", "s"], "REF and LABEL are missing"),
    (["delete", "s", "hello"], "name the rows"),
    (["delete", "s", "hello", "--where", "n = 1", "--anchor", "1"], "name the rows"),
    (["delete", "s", "hello", "--anchor", "x"], "'x' is no whole number"),
]


@pytest.mark.parametrize(("words", "told"), MISUSE)
def test_misuse_is_one_line_and_exit_2(cli, words, told):
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert told in err
    assert err.startswith("dreamdb: ")
    assert err.count("\n") == 1


BAD_INPUT = [
    (
        ["sql", "SPACE", "FROM dreamdb_scan('nope')"],
        "ref 'nope' does not exist; known refs: hello, hello@first",
    ),
    (["sql", "SPACE", "FROM dreamdb_scan('../x')"], "not a ref name: '../x'"),
    (
        ["sql", "SPACE", "FROM dreamdb_search('hello', 'v', [1, 2])"],
        "field 'v' has 8 dimensions, the query has 2",
    ),
    (["sql", "SPACE", "FROM helo"], 'Table with name helo does not exist! Did you mean "hello"?'),
    (["sql", "SPACE", "SELEC 1"], 'syntax error at or near "SELEC"'),
    (["sql", "SPACE", "SELECT nope FROM hello"], 'Referenced column "nope" not found'),
    (["sql", "SPACE", "SELECT error('one\ntwo')"], "one two"),
    (["sql", "SPACE", "--file", "/nope.sql"], "/nope.sql: No such file or directory"),
    (["sql", "SPACE", "SELECT 1", "--arrow", "/nope/x.arrow"], "cannot write /nope/x.arrow: no such folder"),
    (["sql", "/nope", "SELECT 1"], "no Space at /nope"),
    (["sql", "zzz://x", "SELECT 1"], "unknown scheme"),
    (["inspect", "SPACE", "nope"], "ref 'nope' does not exist; known refs: hello"),
    (["inspect", "SPACE", "../x"], "not a ref name: '../x'"),
    (["inspect", "SPACE", "\x1b[31m"], r"not a ref name: '\x1b[31m'"),
    (["snapshot", "SPACE", "nope", "x"], "ref 'nope' does not exist"),
    (["snapshot", "SPACE", "hello", "../x"], "not a snapshot label: '../x'"),
    (["snapshot", "SPACE", "hello", "first"], "hello@first"),
    (["delete", "SPACE", "nope", "--anchor", "1"], "ref 'nope' does not exist"),
    (["delete", "SPACE", "../x", "--anchor", "1"], "not a ref name"),
    (["delete", "SPACE", "hello", "--anchor", "9" * 19], "is outside 0 .. 9223372036854775806"),
    (["delete", "SPACE", "hello", "--where", "nope = 1"], "condition 'nope = 1': Binder Error"),
    (["delete", "SPACE", "hello", "--where", "n = 1; DROP TABLE x"], "condition 'n = 1; DROP TABLE x'"),
    (["delete", "SPACE", "hello", "--where", "n = 1) OR (n = 2"], "condition"),
    (["delete", "SPACE", "hello", "--anchors-file", "/nope"], "/nope: No such file"),
    (["delete", "SPACE", "hello@first", "--anchor", "1"], "'hello@first' is a snapshot"),
    (["flush", "SPACE", "nope"], "ref 'nope' does not exist"),
    (["flush", "SPACE", "hello@first"], "'hello@first' is a snapshot"),
]


@pytest.mark.parametrize(("words", "told"), BAD_INPUT)
def test_bad_input_is_one_line_and_changes_nothing(cli, space, words, told):
    before = contents(space)
    code, out, err = cli(*(space if w == "SPACE" else w for w in words))
    assert (code, out) == (1, "")
    assert told in err
    assert err.startswith("dreamdb: ")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert contents(space) == before


def test_not_utf8(cli, space, tmp_path):
    (tmp_path / "q.sql").write_bytes(b"SELECT '\xff'")
    code, _, err = cli("sql", space, "--file", tmp_path / "q.sql")
    assert (code, err.count("\n")) == (1, 1)
    assert "q.sql is no UTF-8 text" in err


def test_debug_shows_the_traceback_too(cli, space):
    code, _, err = cli("inspect", space, "nope", "--debug")
    assert code == 1
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("dreamdb: ref 'nope'")


# --- damage -------------------------------------------------------------------------------------------------


def flip(data):
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]


def cut(data):
    return data[: len(data) // 2]


def tip(space):
    return Path(space, "manifests", vd.Dataset.open_ref("hello", space, cache_dir=None).current_manifest())


def newest_stripe(space):
    ds = vd.Dataset.open_ref("hello", space, cache_dir=None)
    return Path(space, ds.space.rows(ds._version).stripes[-1].path)


VERB_LINES = [
    ["inspect", "SPACE", "hello"],
    ["sql", "SPACE", "SELECT count(*) FROM dreamdb_scan('hello')"],
    ["delete", "SPACE", "hello", "--where", "n = 55"],
    ["flush", "SPACE", "hello"],
    ["snapshot", "SPACE", "hello", "x"],
]


@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize("words", VERB_LINES, ids=lambda words: words[0])
def test_a_damaged_manifest_is_one_line_and_nothing_changes(cli, space, damage, words):
    file = tip(space)
    refuses(cli, space, file, damage, words)


@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize("words", VERB_LINES[:4], ids=lambda words: words[0])
def test_a_damaged_stripe_is_one_line_and_nothing_changes(cli, space, damage, words):
    file = newest_stripe(space)
    refuses(cli, space, file, damage, words)


def refuses(cli, space, file, damage, words):
    file.write_bytes(damage(file.read_bytes()))
    before = contents(space)
    code, out, err = cli(*(space if w == "SPACE" else w for w in words), "--cache-dir", f"{space}-cache")
    assert (code, out) == (1, "")
    assert "corrupt object" in err
    assert file.name in err
    assert err.count("\n") == 1
    assert contents(space) == before


def test_a_damaged_ref_does_not_hide_the_others(cli, space):
    Path(space, "refs", "hello@first").write_bytes(bytes(33))
    code, out, err = cli("inspect", space)
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["hello", "hello@first"]
    assert err.startswith("dreamdb: ref 'hello@first': ")
    assert err.count("\n") == 1


# --- as a process -------------------------------------------------------------------------------------------


def test_a_closed_pipe_is_silent(space):
    with subprocess.Popen(
        [*COMMAND, "sql", space, "FROM range(1000000)", "--csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_a_full_disk_is_one_line(space):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*COMMAND, "inspect", space], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"dreamdb: No space left on device\n")


def test_ctrl_c_stops_a_query_with_130(space):
    endless = "SELECT 42; SELECT count(*) FROM range(100000000000) a, range(1000)"
    with subprocess.Popen(
        [*COMMAND, "sql", space, endless], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        while process.stdout.readline() != b"42\n":  # header first
            continue
        process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == b""


# --- on a terminal ------------------------------------------------------------------------------------------


def at_terminal(words, steps=(), state="/nonexistent"):
    """Run a command line on a terminal; each step waits for a text, then types another. Give exit code and screen."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", COLUMNS="80", XDG_STATE_HOME=str(state), NO_COLOR="1")
        os.execv(COMMAND[0], [*COMMAND, *words])
    seen, since, todo, end = b"", 0, list(steps), time.monotonic() + 40
    while time.monotonic() < end:
        if select.select([fd], [], [], 0.05)[0]:
            try:
                seen += os.read(fd, 65536)
            except OSError:  # the other side has gone
                break
        if todo and todo[0][0].encode() in seen[since:]:
            since = len(seen)
            time.sleep(0.1)  # a Ctrl-C between the prompt and the reading would be lost, as with any readline
            os.write(fd, todo.pop(0)[1].encode())
    else:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(fd)
    return code, re.sub(r"\x1b\[[\d;?]*\w", "", seen.decode()).replace("\r\n", "\n")


def test_the_prompt(space, tmp_path):
    steps = [
        ("dreamdb> ", "SELECT 'a;\n"),
        ("...> ", "b' AS x,\n"),
        ("...> ", "7 * 6 AS y;\n"),
        ("1 row in", "SELEC;\n"),
        ("syntax error", ".refs\n"),
        ("hello@first", ".schema hello\n"),
        ("label", ".nope\n"),
        ("unknown word .nope; see .help", ".help\n"),
        ("leave", "SELECT\n"),
        ("...> ", "\x03"),
        ("dreamdb> ", ".quit\n"),
    ]
    code, seen = at_terminal(["sql", space], steps, tmp_path)
    assert code == 0
    assert "Traceback" not in seen
    assert "a;\\nb" in seen
    assert "SELECT 'a;" in (tmp_path / "dreamdb" / "sql_history").read_text()


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, 59), ("y", 0, 58)])
def test_delete_asks_on_a_terminal(space, answer, code, left):
    found, seen = at_terminal(["delete", space, "hello", "--where", "n = 3"], [("[y/N]", f"{answer}\n")])
    assert found == code
    assert "delete 1 row of hello?" in seen
    assert count(space) == left


def test_a_terminal_gets_what_fits_and_is_told_the_rest(space):
    code, seen = at_terminal(["sql", space, "SELECT *, *, * FROM hello"])
    assert code == 0
    assert all(len(line) <= 80 for line in seen.splitlines())
    assert str(anchor(0)) in seen
    assert re.search(r"50 rows shown, \d+ columns not shown in [\d.]+ s", seen)


def test_flush_shows_a_bar_on_a_terminal(space):
    code, seen = at_terminal(["flush", space, "hello"])
    assert code == 0
    assert "stripes" in seen
    assert "flushed 1 stripe of hello" in seen


# --- parts --------------------------------------------------------------------------------------------------


def test_cells():
    assert [cell(v) for v in (None, True, 1.5, "a\tb", b"GIF8", [], [1.23456, 2], {"a": [None]})] == [
        "NULL", "true", "1.5", "a\\tb", "<4 B image/gif>", "[]", "[1.23, 2]", "{a: [NULL]}",
    ]  # fmt: skip
    assert cell([0.123456, -0.5, *range(254)]) == "[0.123, -0.5, … 256]"
    assert cell([("k", 1)]) == "{k: 1}"
    assert len(cell("x" * 20_000)) == 10_001


def test_sizes():
    assert [size_text(n) for n in (0, 999, 1000, 20_400, 999_999, 5 * 10**9, 7 * 10**15)] == [
        "0 B", "999 B", "1 KB", "20.4 KB", "1 MB", "5 GB", "7e+03 TB",
    ]  # fmt: skip


def test_times_keep_their_nanoseconds():
    assert time_text(T0) == "2023-11-14 22:13:20"
    assert time_text(T0 + 120) == "2023-11-14 22:13:20.00000012"
    assert time_text(2**64 - 1) == str(2**64 - 1)
    zoned = pa.array([0], pa.timestamp("us", "Europe/Berlin"))
    assert plain_values(zoned) == ["1970-01-01 01:00:00+0100"]
    assert interval_text(pa.MonthDayNano([0, 0, 0])) == "0 s"


def test_json_has_no_nan():
    assert (
        json_text({"a": float("inf"), "b": b"\x00", "c": [("k", float("nan"))]})
        == '{"a": null, "b": "AA==", "c": {"k": null}}'
    )


def columns(*names, cells=("1",)):
    return [Column(name, cells) for name in names]


def test_narrow_columns_keep_their_width():
    shown, widths = fit(
        [Column("a", ["1"]), Column("b", ["x" * 100]), Column("n", ["1234567890"], right=True)], 40
    )
    assert [c.name for c in shown] == ["a", "b", "n"]
    assert widths == [1, 23, 10]


def test_columns_in_the_middle_are_left_out():
    wide = [Column(f"column{i}", ["x" * 20]) for i in range(20)]
    shown, widths = fit(wide, 50)
    assert [c.name for c in shown] == ["column0", "column1", "…", "column18", "column19"][: len(shown)]
    assert sum(widths) + 2 * len(widths) <= 50


@pytest.mark.parametrize("width", range(5, 60, 6))
@pytest.mark.parametrize("text", ["x" * 30, "字" * 15, "e\u0301" * 30])
def test_no_line_is_wider_than_the_terminal(width, text):
    out = io.StringIO()
    console = Screen(file=out, width=width, force_terminal=True, color_system=None, soft_wrap=True)
    left_out = print_table(console, [Column(n, [text, "NULL"]) for n in "abcd"])
    assert left_out <= 3
    assert all(cell_len(line) <= max(width, 13) for line in out.getvalue().splitlines())


def test_failures_of_unknown_kind_say_so_in_one_line():
    assert failure_line(RuntimeError("a\nb")) == (
        "internal error: RuntimeError: a b; --debug shows where, please report it"
    )


# --- the page -----------------------------------------------------------------------------------------------


def test_the_page_is_current():
    page = runpy.run_path(str(ROOT / "docs/generate_cli.py"))["page"]()
    assert (ROOT / "docs/cli.md").read_text("utf-8") == page, "run: python docs/generate_cli.py --write"


def test_a_program_ends_with_its_exit_functions_and_not_with_its_threads(original, tmp_path):
    """Threads of engines may be putting things away still; nobody waits for them, and they find nothing gone."""
    code = f"""
import atexit, sys, threading
from pathlib import Path
from dreamdb_arrow.cli import program
sys.argv = ["dreamdb", "log", {str(original)!r}, "nobody"]
sys.stdout.write("so far")
atexit.register(Path({str(tmp_path)!r}, "told").touch)
threading.Thread(target=threading.Event().wait).start()
program()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stdout == "so far"
    assert done.stderr.count("\n") == 1
    assert "nobody" in done.stderr
    assert (tmp_path / "told").exists()
