"""The command line: merge, merge-many, compact and gc, run for real, and what they refuse."""

import json
import re
from pathlib import Path

import pytest

import dreamdb_arrow as vd

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
    young = ok("gc", space, "--keep-manifests", "0")
    assert re.fullmatch(r"would remove 0 objects, 0 B; 3 refs keep \d+, \d+ objects too young\n", young)
    told = ok("gc", space, "--keep-manifests", "0", "--keep-since-secs", "0")
    assert re.fullmatch(r"would remove \d+ objects, [\d.]+ KB; 3 refs keep \d+\n", told)
    assert contents(space) == before
    report = json.loads(ok("gc", space, "--keep-manifests", "0", "--keep-since-secs", "0", "--json"))
    assert (report["dry_run"], report["deleted"]) == (True, 0)
    done = ok("gc", space, "--keep-manifests", "0", "--delete", "--writers-paused")
    assert done == told.replace("would remove", "removed")
    assert len(before) - len(contents(space)) == report["deletable"] == len(report["paths"])
    assert opened(space).count() == 15


def test_gc_keeps_the_young_and_named_versions(ok, space):
    ds = opened(space)
    version = ds.current_manifest()
    ds.delete([T0])
    young = ok("gc", space, "--keep-manifests", "0", "--keep-since-secs", "3600")
    assert re.fullmatch(r"would remove 0 objects, 0 B; 4 refs keep \d+, \d+ objects? too young\n", young)
    kept = json.loads(ok("gc", space, "--keep-manifests", "0", "--root", version, "--json"))["paths"]
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
            ["gc", "SPACE", "--delete", "--keep-since-secs", "5"],
            1,
            r"keep_since_secs=5 would remove .* writers_paused=True",
        ),
        (["gc", "SPACE", "--shard", "5/4"], 2, r".*'5/4' is no shard, such as 3/16"),
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
