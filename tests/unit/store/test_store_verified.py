import os

import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import DigestMismatchError, ObjectNotFoundError
from dreamdb_arrow.store import verified
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.store.verified import Verifier, fetch_many


@pytest.fixture
def hashed(monkeypatch):
    """How many files were hashed."""
    seen, real = [], verified._address_of_file
    monkeypatch.setattr(verified, "_address_of_file", lambda fd, size: seen.append(size) or real(fd, size))
    return seen


def put(store: Store, data: bytes):
    address = address_of(data)
    store.put(f"d/{address}", data)
    return f"d/{address}", address


@pytest.mark.parametrize("data", [b"", b"x", bytes(5_000_000)], ids=["empty", "one", "5 MB"])
def test_a_file_is_hashed_once(tmp_path, hashed, data):
    store, verifier = LocalStore(tmp_path), Verifier()
    path, address = put(store, data)
    for _ in range(3):
        assert verifier.verified_path(store, path, address) == tmp_path / path
    assert hashed == [len(data)]
    Verifier().verified_path(store, path, address)
    assert len(hashed) == 2  # what one found out, another does not know


def test_a_changed_file_is_hashed_again(tmp_path, hashed):
    store, verifier = LocalStore(tmp_path), Verifier()
    path, address = put(store, b"the bytes")
    verifier.verified_path(store, path, address)
    os.utime(tmp_path / path, ns=(0, 1))
    verifier.verified_path(store, path, address)
    assert len(hashed) == 2
    (tmp_path / path).write_bytes(b"the bytEs")
    with pytest.raises(DigestMismatchError, match=path) as raised:
        verifier.verified_path(store, path, address)
    assert (raised.value.expected, raised.value.found) == (str(address), str(address_of(b"the bytEs")))
    (tmp_path / path).write_bytes(b"the byt")
    with pytest.raises(DigestMismatchError, match=path):
        verifier.verified_path(store, path, address)
    (tmp_path / path).unlink()
    with pytest.raises(ObjectNotFoundError, match=path):
        verifier.verified_path(store, path, address)


def test_a_file_is_verified_for_one_address(tmp_path):
    store, verifier = LocalStore(tmp_path), Verifier()
    path, address = put(store, b"the bytes")
    verifier.verified_path(store, path, address)
    with pytest.raises(DigestMismatchError):
        verifier.verified_path(store, path, address_of(b"others"))


def test_the_longest_unused_is_forgotten(tmp_path, hashed):
    store, verifier = LocalStore(tmp_path), Verifier(capacity=2)
    one, two, three = (put(store, data) for data in (b"1", b"2", b"3"))
    for wanted in (one, two, one, three, one):
        verifier.verified_path(store, *wanted)
    assert len(hashed) == 3
    verifier.verified_path(store, *two)
    assert len(hashed) == 4
    assert len(verifier._seen) == 2


def test_without_files_there_is_no_path():
    store = MemoryStore()
    assert Verifier().verified_path(store, *put(store, b"x")) is None


def test_slow_reads_are_shared_between_threads(monkeypatch):
    monkeypatch.setattr(verified, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(verified, "_SLOW_S", 0.0)
    store = MemoryStore()
    datas = [b"%d" % i for i in range(50)]
    wanted = [put(store, data) for data in datas]
    assert fetch_many(store, wanted, threads=3) == datas
    store._objects[wanted[30][0]] = b"flipped"
    with pytest.raises(DigestMismatchError, match=wanted[30][0]):
        fetch_many(store, wanted)


def read(verifier, store, path, address, *spans):
    """Read (start, length) parts of an object; None without files."""
    out = [bytearray(length) for _, length in spans]
    sizes = []

    def cut(size):
        sizes.append(size)
        return [(start, memoryview(buffer)) for (start, _), buffer in zip(spans, out, strict=True)]

    done = verifier.read_parts(store, path.rpartition("/")[0], address, cut)
    return (sizes[-1], [bytes(buffer) for buffer in out]) if done else None


def test_parts_are_read_of_a_file_that_is_hashed_once(tmp_path, hashed):
    store, verifier = LocalStore(tmp_path), Verifier()
    path, address = put(store, b"0123456789")
    assert not verifier.has_read(store, "d", address)
    for _ in range(3):
        assert read(verifier, store, path, address, (7, 3), (0, 2), (4, 0)) == (10, [b"789", b"01", b""])
    assert hashed == [10]
    assert verifier.has_read(store, "d", address)


def test_no_part_is_read_of_a_file_that_has_changed(tmp_path, hashed):  # 0002-R3
    store, verifier = LocalStore(tmp_path), Verifier()
    path, address = put(store, b"0123456789")
    read(verifier, store, path, address, (0, 1))
    (tmp_path / path).write_bytes(b"0123456780")
    os.utime(tmp_path / path, ns=(0, 1))
    for _ in range(2):
        with pytest.raises(DigestMismatchError, match=path):
            read(verifier, store, path, address, (0, 1))
    (tmp_path / path).unlink()
    with pytest.raises(ObjectNotFoundError):
        read(verifier, store, path, address, (0, 1))
    put(store, b"0123456789")
    assert read(verifier, store, path, address, (9, 1)) == (10, [b"9"])


def test_a_store_without_files_reads_no_parts():
    store = MemoryStore()
    path, address = put(store, b"0123456789")
    assert read(Verifier(), store, path, address, (0, 1)) is None


def test_a_file_that_is_made_young_while_it_is_read_is_read(tmp_path, monkeypatch):
    """As an object is that a writer puts again: its times change, its bytes do not."""
    store, verifier = LocalStore(tmp_path), Verifier()
    path, address = put(store, b"0123456789")
    left = [3]
    real = Verifier.verified_path

    def verified_path(self, *arguments):
        found = real(self, *arguments)
        if left[0]:
            left[0] -= 1
            os.utime(found, ns=(0, left[0]))
        return found

    monkeypatch.setattr(Verifier, "verified_path", verified_path)
    assert read(verifier, store, path, address, (7, 3)) == (10, [b"789"])
    assert left == [0]
