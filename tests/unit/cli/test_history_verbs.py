"""The command line: merge, merge-many, compact and gc, run for real, and what they refuse."""

import json
import re
from pathlib import Path

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import address_of

T0 = 1_700_000_000_000_000_000


def rows(start, stop):
    return [{"_anchor": T0 + n, "label": "ab"[n % 2], "n": n, "v": [1.0, n]} for n in range(start, stop)]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A Space with `hello`, a branch `behind` without rows of its own, and two that went on."""
    place = tmp_path_factory.mktemp("cli-history") / "space"
    schema = (
        vd.Schema().add_scalar_categorical("label").add_scalar_int("n").add_embedding("v", dim=2, lsh_bits=2)
    )
    ds = vd.Dataset.create("hello", schema, backend=place, flush="commit", cache_dir=None)
    ds.append_many(rows(0, 10))
    for name, start in (("night", 20), ("day", 30)):
        ds.branch(name).append_many(rows(start, start + 2))
    ds.branch("behind")
    ds.append_many(rows(10, 15))
    return place


def opened(space, ref="hello"):
    return vd.Dataset.open_ref(ref, space, cache_dir=None)


def contents(space):
    return {
        str(f): f.read_bytes() for f in Path(space).rglob("*") if f.is_file() and "/.dreamdb" not in str(f)
    }


def test_merge_moves_a_ref_that_is_behind(ok, space):
    tip = opened(space).current_manifest()
    assert ok("merge", space, "behind", "hello") == f"behind is {tip}, with hello\n"
    assert ok("merge", space, "behind", "hello") == "behind has hello already\n"
    assert opened(space, "behind").current_manifest() == tip


def test_merge_unites_what_has_parted(ok, space):
    out = ok("merge", space, "hello", "night", "--strategy", "union-tracks", "--json")
    ds = opened(space)
    assert json.loads(out) == {
        "ref": "hello",
        "branch": "night",
        "strategy": "union-tracks",
        "manifest": ds.current_manifest(),
    }
    assert ds.count() == 17


@pytest.fixture
def failing(cli):
    """Return a function that runs a command line, which must fail with one line on stderr, and gives that."""

    def run(*words):
        code, out, err = cli(*words)
        assert (code, out, err.count("\n")) == (1, "", 1)
        return err

    return run


def test_a_policy_decides_where_both_have_a_row(ok, failing, space):
    for ref, n in (("night", 500), ("day", 600)):
        opened(space, ref).append_many([{"_anchor": T0 + 50, "label": "a", "n": n, "v": [1.0, 1.0]}])
    union = ("merge", space, "day", "night", "--strategy", "union-tracks")
    assert "500 there" in failing(*union)
    ok(*union, "--conflicts", "theirs")
    assert opened(space, "day").get_by_anchor(T0 + 50)["n"] == 500


def test_a_branch_begins_at_the_tip_or_at_an_older_version(ok, space):
    opened(space).snapshot("first")
    opened(space).append_many(rows(60, 61))
    made = json.loads(ok("branch", space, "hello", "draft", "--json"))
    assert made == {"ref": "draft", "branch_of": "hello", "manifest": opened(space).current_manifest()}
    assert ok("branch", space, "hello", "old", "--as-of", "first").startswith("old is d")
    assert (opened(space, "draft").count(), opened(space, "old").count()) == (16, 15)


def test_revert_brings_back_what_an_older_version_had(ok, space):
    ds = opened(space)
    ds.snapshot("first")
    ds.delete([T0])
    made = json.loads(ok("revert", space, "hello", "first", "--json"))
    assert made == {"ref": "hello", "version": "first", "manifest": opened(space).current_manifest()}
    assert opened(space).count() == 15
    assert ok("revert", space, "hello", "first").endswith("as first was\n")


def test_delete_ref_takes_a_branch_away_and_not_the_one_it_stands_on(ok, failing, space):
    assert json.loads(ok("delete-ref", space, "hello", "night", "--json")) == {
        "ref": "hello",
        "deleted": "night",
    }
    assert "night" not in opened(space).list_refs()
    assert ok("delete-ref", space, "hello", "day") == "day is deleted\n"
    before = contents(space)
    assert "open another ref" in failing("delete-ref", space, "hello", "hello")
    assert "night" in failing("delete-ref", space, "hello", "night")
    assert contents(space) == before


def test_merge_many_takes_all_refs_that_are_named(ok, space):
    out = ok("merge-many", space, "hello", "night", "day")
    ds = opened(space)
    assert out == f"hello is {ds.current_manifest()}, with 2 branches\n"
    assert ds.count() == 19
    out = ok("merge-many", "--backend", space, "--ref-name", "hello", "night", "--json")
    assert json.loads(out)["branches"] == ["night"]


def test_compact_tells_what_it_did(ok, space):
    count = opened(space).count()
    assert re.fullmatch(
        r"compacted \d+ cells of Tracks, which had \d+ entries\n",
        ok("compact", space, "hello", "--tracks-only"),
    )
    assert ok("compact", space, "hello", "--tracks-only") == "hello has nothing to compact\n"
    assert re.fullmatch(
        r"4 stripes became 1: \d+ B written\n", ok("compact", space, "hello", "--stripes-only")
    )
    assert ok("compact", space, "hello") == "hello has nothing to compact\n"
    opened(space).delete([opened(space).to_arrow()["_anchor"][0].as_py()])
    report = json.loads(ok("compact", space, "hello", "--json"))
    assert (report["stripes_before"], report["stripes_after"], report["rows_dropped"]) == (1, 1, 1)
    count -= 1
    report = json.loads(
        ok("compact", space, "hello", "--modality", "scalar.i64.field=n", "--threshold", "2", "--json")
    )
    assert (report["ref"], report["manifest"], report["cells_examined"]) == ("hello", None, 15)
    assert opened(space).count() == count


def test_gc_tells_first_and_removes_when_asked(ok, space):
    opened(space).delete_ref("night")
    before = contents(space)
    told = ok("gc", space, "--keep-manifests", "0", "--writers-paused")
    assert re.fullmatch(r"would remove \d+ objects, [\d.]+ KB; 3 refs keep \d+\n", told)
    assert contents(space) == before
    report = json.loads(ok("gc", space, "--keep-manifests", "0", "--writers-paused", "--json"))
    assert (report["dry_run"], report["deleted"]) == (True, 0)
    done = ok("gc", space, "--keep-manifests", "0", "--delete", "--writers-paused")
    assert done == told.replace("would remove", "removed")
    assert len(before) - len(contents(space)) == report["deletable"] == len(report["paths"])
    assert opened(space).count() == 15


def test_gc_keeps_the_young_and_named_versions(ok, space):
    ds = opened(space)
    version = ds.current_manifest()
    ds.delete([T0])
    lost = address_of(b"lost")
    ds.space.store.put(f"lost/{lost}", b"lost")
    young = ok("gc", space, "--keep-manifests", "0")
    assert re.fullmatch(r"would remove 0 objects, 0 B; 4 refs keep \d+, 1 object too young\n", young)
    kept = json.loads(
        ok("gc", space, "--keep-manifests", "0", "--root", version, "--writers-paused", "--json")
    )["paths"]
    assert f"manifests/{version}" not in kept


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (
            ["merge", "SPACE", "hello", "night"],
            1,
            r"'hello' cannot be fast-forwarded: d\w{52} does not descend",
        ),
        (["merge", "SPACE", "hello", "nope"], 1, r"ref 'nope' does not exist; known refs: .*night"),
        (["merge", "SPACE", "hello"], 2, r"BRANCH is missing \(see dreamdb merge --help\)"),
        (["merge", "SPACE", "hello", "night", "--strategy", "rebase"], 2, r".*invalid choice: 'rebase'.*"),
        (["merge-many", "SPACE", "hello"], 2, r"BRANCHES is missing \(see dreamdb merge-many --help\)"),
        (["merge-many", "SPACE", "hello", "nope"], 1, r"ref 'nope' does not exist"),
        (
            ["compact", "SPACE", "hello", "--modality", "image.png"],
            1,
            r"no Track of modality 'image.png' can be",
        ),
        (
            ["compact", "SPACE", "hello", "--stripes-only", "--tracks-only"],
            2,
            r"argument --tracks-only: not allowed with argument --stripes-only",
        ),
        (["compact", "SPACE", "hello", "--threshold", "0"], 1, r"threshold must be at least 1, not 0"),
        (
            ["compact", "SPACE", "hello", "--threshold", "-1"],
            2,
            r".*whole number.*|.*expected one argument.*",
        ),
        (
            ["gc", "SPACE", "--delete", "--keep-since-secs", "0"],
            1,
            r"to remove .*, stop all writers .* writers_paused=True",
        ),
        (["gc", "SPACE", "--shard", "0/4"], 1, r"not a shard: 0/4"),
        (["gc", "SPACE", "--shard", "3"], 2, r".*'3' is no part of all"),
        (["gc", "SPACE", "--root", "zz"], 1, r"not a version: 'zz'"),
        (["gc", "SPACE", "--keep-manifests", "many"], 2, r".*'many' is no whole number"),
        (["gc"], 2, r"BACKEND is missing"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_and_nothing_changes(cli, space, words, code, line):
    before = contents(space)
    found, out, err = cli(*(space if word == "SPACE" else word for word in words))
    assert (found, out) == (code, "")
    assert re.fullmatch(rf"dreamdb: (?:{line}).*\n", err)
    assert contents(space) == before
