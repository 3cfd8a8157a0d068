"""fsck and verify as people meet them: what they print, and how they exit."""

import json
import shutil
from pathlib import Path

import pytest

import dreamdb_arrow as vd


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli-fsck") / "space"
    ds = vd.Dataset.create("hello", vd.Schema().add_scalar_int("n"), root, cache_dir=None, durability="os")
    ds.append_many([{"_anchor": n, "n": n} for n in range(5)])
    ds.flush()
    return root


def damage(root, directory):
    path = next(p for p in sorted(Path(root).rglob("*")) if p.is_file() and p.parent.name == directory)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    return path.relative_to(root).as_posix()


def test_a_whole_space(ok, space):
    assert ok("fsck", space).startswith("nothing wrong: 3 versions, ")
    assert ok("verify", space, "hello").startswith("nothing wrong: 1 version, ")
    report = json.loads(ok("fsck", space, "hello", "--json"))
    assert (report["findings"], report["restored"], report["refs"]) == ([], [], 1)


def test_findings_are_told_and_put_right(cli, space, original):
    path = damage(space, "bucket")
    code, out, err = cli("fsck", space)
    assert (code, err) == (1, "")
    assert path in out
    assert "scalar bucket" in out
    code, out, _ = cli("verify", space, "hello", "--json")
    assert code == 1
    assert path in {found["path"] for found in json.loads(out)["findings"]}
    assert cli("fsck", space, "--repair")[0] == 1
    code, out, _ = cli("fsck", space, "--repair-from", original)
    assert code == 0
    assert "nothing wrong, 1 object restored" in out


def test_outboards_need_no_source(cli, space):
    damage(space, "bao-outboard")
    assert cli("fsck", space)[0] == 1
    assert cli("fsck", space, "--repair")[0] == 0


def test_refs_that_are_not_there(cli, space):
    code, out, _ = cli("fsck", space, "none")
    assert code == 1
    assert "there is no such ref" in out
    code, _, err = cli("verify", space, "none")
    assert code == 1
    assert "known refs: hello" in err
    shutil.rmtree(space)
    assert cli("fsck", space)[0] == 1
