"""`log`, `diff` and `completions`: what they print, and that a real bash completes with it."""

import json
import shutil
import subprocess

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.cli import main
from dreamdb_arrow.cli.verbs import VERBS


@pytest.fixture
def space(tmp_path):
    """Two branches that part and meet again, and a snapshot."""
    root = tmp_path / "s"
    ds = vd.Dataset.create("x", vd.Schema().add_scalar_int("n"), root, cache_dir=tmp_path / "c")
    ds.append({"_anchor": [1, 2], "n": [1, 2]})
    ds.snapshot("first")
    side = ds.branch("side")
    side.append({"_anchor": [3], "n": [3]})
    ds.append({"_anchor": [4], "n": [4]})
    ds.merge("side", "union")
    ds.delete([2])
    ds.add_scalar_int("m")
    return str(root)


@pytest.fixture
def ok(capsys, tmp_path):
    def run(*words):
        assert (
            main([*words, *(["--cache-dir", str(tmp_path / "c")] if words[0] != "completions" else [])]) == 0
        )
        return capsys.readouterr().out

    return run


def test_log_follows_first_parents(ok, space):
    lines = ok("log", space, "x").splitlines()
    assert [line.split("  ")[2] for line in lines] == [
        "add_field",
        "delete",
        "union-merge of 2",
        "commit",
        "commit",
        "create",
    ]
    assert lines[0].endswith("(x)")
    assert lines[4].endswith("(x@first)")
    assert len(ok("log", space, "x", "--max-depth", "2").splitlines()) == 2


def test_log_draws_what_was_merged(ok, space):
    lines = ok("log", space, "x", "--graph").splitlines()
    assert len(lines) == 7
    assert [line[:3] for line in lines] == ["*  ", "*  ", "*  ", "* |", "| *", "* +", "*  "]
    assert "(side)" in lines[4]


def test_log_as_json_has_all_parents(ok, space):
    told = json.loads(ok("log", space, "x", "--graph", "--json"))
    assert [version["parents_count"] for version in told] == [1, 1, 2, 1, 1, 1, 0]
    assert min(parent for version in told for parent in version["parents"]).startswith("d")
    assert told[0]["refs"] == ["x"]


def test_diff_tells_rows_and_fields(ok, space):
    printed = ok("diff", space, "x@first", "x")
    assert printed.splitlines()[-1] == "x@first to x: 1 field added, 1 deleted, 2 added"
    rows = [json.loads(line) for line in ok("diff", space, "x@first", "x", "--json").splitlines()]
    assert [(row["_anchor"], row["change"], row["fields"]) for row in rows] == [
        (None, "field added", ["m"]),
        (2, "deleted", []),
        (3, "added", []),
        (4, "added", []),
    ]
    assert ok("diff", space, "x", "x") == "x to x: nothing changed\n"
    assert ok("diff", space, "x@first", "x", "--max-rows", "1").splitlines()[-1].endswith("; 1 line shown")


def test_diff_in_sql(space, tmp_path):
    with vd.connect(space, cache_dir=tmp_path / "c") as con:
        found = con.sql(
            "SELECT change, count(*) FROM dreamdb_diff('x', 'x', as_of := 'first') GROUP BY 1 ORDER BY 1"
        )
        assert found.fetchall() == [("added", 2), ("deleted", 1), ("field added", 1)]


def test_what_cannot_be_compared(capsys, space):
    assert main(["diff", space, "x", "nope"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def complete(script, *words):
    """What bash offers for the last of these words."""
    line = " ".join(f'"{word}"' for word in words)
    asked = f"{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _dreamdb; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_verbs_and_options(ok):
    script = ok("completions", "bash")
    assert set(VERBS) <= set(complete(script, "dreamdb", ""))
    assert complete(script, "dreamdb", "merge-") == ["merge-many"]
    assert complete(script, "dreamdb", "gc", "--dele") == ["--delete"]
    assert "--where" in complete(script, "dreamdb", "delete", "space", "hello", "--")


@pytest.mark.parametrize(("shell", "check"), [("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])])
def test_other_shells_take_theirs(ok, tmp_path, shell, check):
    script = tmp_path / "completions"
    script.write_text(ok("completions", shell))
    assert all(verb in script.read_text() for verb in VERBS)
    if shutil.which(check[0]):
        subprocess.run([*check, str(script)], check=True)


def test_a_shell_that_is_not_known(capsys):
    assert main(["completions", "tcsh"]) == 2
    assert "'tcsh' is no shell that is known: bash, zsh, fish" in capsys.readouterr().err
