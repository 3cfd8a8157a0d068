"""Spaces behind other URLs, to be read only: archives, for example. Spec 0005."""

import shutil
import tarfile

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.cli import main
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import (
    CorruptDataError,
    InvalidInputError,
    NotFoundError,
    ObjectNotFoundError,
    StoreError,
    UnsupportedError,
)
from dreamdb_arrow.store.interface import Absent, holds
from dreamdb_arrow.store.urls import open_store

ONE = address_of(b"one")


@pytest.fixture
def space(tmp_path):
    schema = (
        vd.Schema().add_scalar_int("n").add_image("img", mime="png").add_embedding("v", dim=2, lsh_bits=2)
    )
    ds = vd.Dataset.create("main", schema, tmp_path / "space", cache_dir=None)
    ds.append(
        {"_anchor": [1, 2, 3], "n": [1, 2, 3], "img": [b"a", b"b", b"c"], "v": [[1, 0], [0, 1], [1, 1]]}
    )
    ds.flush()
    ds.snapshot("first")
    ds.delete([2])
    return tmp_path / "space"


@pytest.fixture(params=["zip", "zip below a folder", "tar"])
def url(request, space, tmp_path):
    if request.param == "tar":
        with tarfile.open(tmp_path / "space.tar", "w") as archive:
            archive.add(space, "")
        return f"tar://::file://{tmp_path}/space.tar"
    below = request.param == "zip below a folder"
    shutil.make_archive(
        str(tmp_path / "space"), "zip", tmp_path if below else space, "space" if below else None
    )
    return f"zip://{'space' if below else ''}::file://{tmp_path}/space.zip"


def test_it_reads_as_the_folder_does(url, space, tmp_path, capsys):
    ours, theirs = open_store(space), open_store(url)
    assert sorted(theirs.list()) == sorted(ours.list())
    assert sorted(theirs.list("manifests/")) == sorted(ours.list("manifests/"))
    assert {a.path: a.size for a in theirs.list_aged()} == {a.path: a.size for a in ours.list_aged()}
    assert theirs.list_refs() == ["main", "main@first"]
    assert theirs.list_refs("main@") == ["main@first"]
    assert holds(theirs.read_ref("main"), ours.read_ref("main").address)
    ds = vd.Dataset.open("main", backend=url, cache_dir=tmp_path / "cache")
    assert ds.to_arrow()["n"].to_pylist() == [1, 3]
    assert ds.take([1, 3], ["img"])["img"].to_pylist() == [b"a", b"c"]
    assert ds.search("v", [1.0, 0.0], 1).anchors.tolist() == [1]
    with vd.connect(url, cache_dir=tmp_path / "cache") as con:
        assert con.execute("SELECT sum(n) FROM dreamdb_scan('main', as_of := 'first')").fetchall() == [(6,)]
    assert vd.fsck(url)["findings"] == []
    vd.clone(url, tmp_path / "copy", cache_dir=None)
    assert vd.Dataset.open("main", backend=tmp_path / "copy", cache_dir=None).append(
        {"n": [4], "img": [b"d"], "v": [[0, 1]]}
    )
    assert main(["inspect", url, "main"]) == 0
    assert "main" in capsys.readouterr().out


def test_ranges_and_what_is_missing(url):
    store = open_store(url)
    path = next(path for path in store.list("manifests/"))
    data = store.get(path)
    assert store.get_ranges(path, [(1, 5), (0, 0), (len(data) - 2, 2)]) == [data[1:6], b"", data[-2:]]
    with pytest.raises(CorruptDataError, match="ends before"):
        store.get_range(path, len(data) - 1, 2)
    for read in (store.get, store.size, lambda path: store.get_range(path, 0, 1)):
        for missing in ("manifests/none", "manifests", "none/at/all"):
            with pytest.raises(ObjectNotFoundError, match=f"object not found: {missing}"):
                read(missing)
    assert not store.exists("manifests/none")
    assert store.read_ref("none") == Absent()
    assert list(store.list("refs/")) == list(store.list("none/")) == []
    with pytest.raises(InvalidInputError, match="not an object path"):
        store.get("../x")
    with pytest.raises(InvalidInputError, match="not a ref name"):
        store.read_ref("../x")


def test_nothing_is_written(url, tmp_path):
    store = open_store(url)
    ds = vd.Dataset.open("main", backend=url, cache_dir=tmp_path / "cache")
    for write in (
        lambda: store.put("a/b", b"x"),
        lambda: store.swap_ref("main", Absent(), ONE),
        lambda: store.delete("a/b"),
        lambda: store.freshen(["a/b"]),
        lambda: ds.append({"n": [1], "img": [b"x"], "v": [[1, 1]]}),
        lambda: ds.delete([1]),
        lambda: ds.branch("side"),
        lambda: vd.gc(url, 0, dry_run=False, writers_paused=True),
        lambda: vd.Dataset.create("new", vd.Schema().add_scalar_int("n"), url, cache_dir=None),
    ):
        with pytest.raises(
            UnsupportedError, match="can be read and not written; clone it into a folder or a bucket"
        ) as raised:
            write()
        assert "\n" not in str(raised.value)


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(
        InvalidInputError, match=r"unknown scheme in 'nope://x'; use one of file://, memory://, s3://"
    ):
        open_store("nope://x")
    with pytest.raises(NotFoundError, match="nothing is there"):
        open_store(f"zip://::file://{tmp_path}/none.zip")
    (tmp_path / "x.zip").write_bytes(b"no archive")
    with pytest.raises(StoreError, match=r"cannot open zip://::file://.*not a zip file"):
        open_store(f"zip://::file://{tmp_path}/x.zip")
