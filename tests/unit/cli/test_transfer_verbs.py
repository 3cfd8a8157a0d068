"""The command line: clone, push, pull, mirror, cache and --offline, run for real."""

import json

import obstore
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.store.bucket import BucketStore

T0 = 1_700_000_000_000_000_000


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A Space with `hello`, its snapshot, and a branch."""
    place = tmp_path_factory.mktemp("cli-transfer") / "space"
    ds = vd.Dataset.create("hello", vd.Schema().add_scalar_int("n"), backend=place, cache_dir=None)
    ds.append_many([{"_anchor": T0 + n, "n": n} for n in range(10)])
    ds.snapshot("first")
    ds.branch("side").append_many([{"_anchor": T0 + 100, "n": 100}])
    return place


def append(place, n, ref="hello"):
    vd.Dataset.open_ref(ref, place, cache_dir=None).append_many([{"_anchor": T0 + n, "n": n}])


def refs(place):
    store = vd.open_store(place)
    return {name: str(store.read_ref(name).address) for name in store.list_refs()}


def test_clone_tells_what_it_did(ok, space, tmp_path):
    out = ok("clone", space, tmp_path / "copy")
    tips = refs(space)
    assert out.splitlines()[:3] == [f"{name} is {tips[name]}" for name in ("hello", "hello@first", "side")]
    assert out.splitlines()[3].startswith("3 versions: ")
    assert ok("clone", space, tmp_path / "copy") == "up to date\n"
    assert refs(tmp_path / "copy") == tips


def test_clone_of_some_refs_as_json(ok, space, tmp_path):
    done = json.loads(ok("clone", space, tmp_path / "copy", "side", "--depth", "0", "--json"))
    assert (done["versions"], list(done["refs"]), done["present"], done["removed"]) == (1, ["side"], 0, [])
    assert done["objects"] == len(list(vd.open_store(tmp_path / "copy").list()))


def test_push_and_pull(ok, cli, space, tmp_path):
    copy = tmp_path / "copy"
    ok("push", space, copy, "--all")
    append(space, 20)
    ok("push", space, copy, "hello")
    append(copy, 30)
    code, _, err = cli("push", space, copy, "hello")
    assert (code, "has commits that" in err) == (1, True)
    ok("pull", space, copy, "hello")
    assert refs(space) == refs(copy)
    append(copy, 40)
    ok("push", space, copy, "hello", "--force")
    assert refs(space) == refs(copy)


def test_refs_must_be_named(cli, space, tmp_path):
    for words in ((), ("hello", "--all")):
        code, _, err = cli("push", space, tmp_path / "copy", *words)
        assert (code, "name refs, or say --all" in err) == (2, True)
    assert not (tmp_path / "copy").exists()


def test_mirror_removes_refs_only_when_told(ok, cli, space, tmp_path):
    copy = tmp_path / "copy"
    ok("clone", space, copy)
    vd.Dataset.open("hello", backend=copy, cache_dir=None).branch("extra")
    assert ok("mirror", space, copy, "--dry-run") == "extra would be removed\n"
    code, _, err = cli("mirror", space, copy)
    assert (code, "--yes says so" in err) == (1, True)
    assert "extra" in refs(copy)
    assert ok("mirror", space, copy, "--yes").splitlines()[0] == "extra is removed"
    assert refs(copy) == refs(space)


def test_the_cache_is_shown_and_made_smaller(ok, cli, tmp_path):
    folder = tmp_path / "cache"
    (folder / "objects").mkdir(parents=True)
    (folder / "objects" / "x").write_bytes(bytes(5000))
    shown = ok("cache", "--cache-dir", folder)
    assert shown.startswith(f"{folder}: 5 KB; ")
    assert [line.split()[:3] for line in shown.splitlines() if line.startswith("objects")] == [
        ["objects", "1", "5"]
    ]
    done = json.loads(ok("cache", "--cache-dir", folder, "--limit", "6kB", "--json"))
    assert done["removed_files"] == 0
    assert ok("cache", "--cache-dir", folder, "--clear").startswith("removed 1 file, ")
    assert not (folder / "objects" / "x").exists()
    code, _, err = cli("cache", "--limit", "much")
    assert (code, "no size such as" in err) == (2, True)


def test_a_space_is_not_cleared_as_a_cache(cli, space):
    code, _, err = cli("cache", "--cache-dir", space, "--clear")
    assert (code, "is a Space, not a cache" in err) == (1, True)
    assert refs(space)


def test_offline_answers_from_the_cache_or_says_what_is_missing(space, tmp_path):
    client = obstore.store.MemoryStore()
    bucket = BucketStore(client, "s3://memory/offline")
    vd.clone(space, bucket, cache_dir=None)
    cache = tmp_path / "cache"
    with pytest.raises(vd.StoreError, match="offline=True asks for nothing"):
        vd.connect(bucket, cache_dir=cache, offline=True)
    with vd.connect(bucket, cache_dir=cache) as con:
        assert con.sql("SELECT sum(n) FROM hello").fetchall() == [(45,)]
    away = vd.Dataset.open("hello", backend=bucket, cache_dir=cache, offline=True)
    assert away.to_arrow()["n"].to_pylist() == list(range(10))
    with pytest.raises(vd.StoreError, match=r"is not in .*, and offline=True asks for nothing"):
        vd.Dataset.open("side", backend=bucket, cache_dir=cache, offline=True).to_arrow()
    with pytest.raises(vd.StoreError, match="offline"):
        away.append_many([{"n": 1}])


def test_sql_on_a_federation(cli, ok, space, tmp_path):
    members = {"a": {"url": space, "ref": "hello"}, "b": {"url": tmp_path / "gone", "ref": "hello"}}
    vd.Federation.create(tmp_path / "all.json", members)
    query = "SELECT _source, count(*) AS n FROM federation GROUP BY 1"
    code, out, err = cli("sql", tmp_path / "all.json", query, "--csv")
    assert (code, out) == (0, '"_source","n"\n"a",10\n')
    assert err == "without b: FROM dreamdb_federation_members() tells why\n"
    ok("clone", space, tmp_path / "gone")
    assert json.loads(ok("sql", tmp_path / "all.json", f"{query} ORDER BY 1", "--json"))[1] == {
        "_source": "b",
        "n": 10,
    }
