import pytest

from dreamdb_arrow.errors import InvalidInputError, NotFoundError, StoreError
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.memory import NAMED_SPACES, MemoryStore, named_space
from dreamdb_arrow.store.urls import is_far, open_store


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data/space").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    "url", ["file://data/space", "file://./data/space", "data/space", "data/../data/space/", "~/data/space"]
)
def test_one_directory_many_ways_to_say_it(here, url):
    assert open_store(url).url == f"file://{here}/data/space"


def test_absolute(here):
    for url in (f"file://{here}/data/space", f"{here}/data/space", here / "data/space"):
        assert open_store(url).url == f"file://{here}/data/space"


def test_a_url_is_taken_literally_as_the_reference_sdk_takes_it(here):
    assert open_store("file://a%20b?x#y", create=True).url == f"file://{here}/a%20b?x#y"
    assert (here / "a%20b?x#y").is_dir()


def test_the_url_opens_the_same_store(here):
    store = open_store("file://data/space")
    store.put("a/b", b"x")
    assert open_store(store.url).get("a/b") == b"x"


def test_create(here):
    for url in ("file://not/there", "not/there"):
        with pytest.raises(
            NotFoundError, match=f"no Space at {here}/not/there: the directory does not exist"
        ):
            open_store(url)
    assert not (here / "not").exists()
    assert isinstance(open_store("not/there", create=True), LocalStore)
    assert isinstance(open_store("not/there", create=True), LocalStore)
    assert isinstance(open_store("not/there"), LocalStore)


def test_no_directory(here):
    (here / "file").write_bytes(b"")
    (here / "loop").symlink_to("loop")
    for create in (False, True):
        with pytest.raises(InvalidInputError, match="it is a file"):
            open_store("file", create=create)
        with pytest.raises(StoreError, match="cannot open file/below"):
            open_store("file/below", create=True)
        with pytest.raises(StoreError, match="cannot open loop"):
            open_store("loop", create=create)


@pytest.mark.parametrize("url", ["", "file://", "a\0b", "~nobody-of-this-name/x"])
def test_no_path(here, url):
    with pytest.raises(InvalidInputError, match="not the path of a Space"):
        open_store(url, create=True)


@pytest.mark.parametrize(
    "url",
    ["http://host:9000/bucket", "https://host/bucket/a/b", "s3://bucket/prefix", "s3://bucket?lock=object"],
)
def test_a_bucket_is_opened_without_a_request(url, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = open_store(url)
    assert store.url == url
    assert is_far(store)
    assert not any(store.traffic.counts().values())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://host:9000", "say http://host:port/bucket"),
        ("http:///bucket", "say http://host:port/bucket"),
        ("http://user:secret@host/bucket", "credentials do not belong into a URL"),
        ("s3://", "say s3://bucket/prefix"),
        ("s3://bucket?lock=file", "lock in .* must be one of object"),
        ("s3://bucket?colour=red", "unknown option 'colour'"),
    ],
)
def test_no_bucket(url, said):
    with pytest.raises(InvalidInputError, match=said):
        open_store(url)


@pytest.mark.parametrize("url", ["ftpx://x", "FILE://x", "://", "duckdb://x"])
def test_unknown_schemes(url):
    with pytest.raises(InvalidInputError, match=r"unknown scheme in .*; use one of file://, memory://, "):
        open_store(url, create=True)


def test_a_store_is_itself():
    store = MemoryStore()
    assert open_store(store) is store


def test_memory_is_shared_by_name():
    try:
        assert open_store("memory://test-urls/a") is open_store("memory://test-urls/a")
        assert open_store("memory://test-urls/a") is not open_store("memory://test-urls/b")
        assert open_store("memory://test-urls/a").url == "memory://test-urls/a"
        assert open_store("memory://") is not open_store("memory://")
        assert named_space("") is not named_space("")
        assert repr(open_store("memory://test-urls/a")) == "MemoryStore('memory://test-urls/a')"
    finally:
        for name in ("test-urls/a", "test-urls/b"):
            NAMED_SPACES.pop(name, None)


@pytest.mark.parametrize("url", ["data/space", "memory://test-durability"])
def test_an_unknown_durability_is_refused(here, url):
    with pytest.raises(InvalidInputError, match="durability must be one of fsync, os, not 'maybe'"):
        open_store(url, durability="maybe")


def test_a_durable_store_flushes(here, monkeypatch):
    flushed = []
    monkeypatch.setattr("os.fsync", flushed.append)
    open_store("data/space").put("a/b", b"x")
    assert flushed


def test_durability_is_passed_on(here, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _fd: pytest.fail("flushed"))
    open_store("data/space", durability="os").put("a/b", b"x")
    monkeypatch.undo()
