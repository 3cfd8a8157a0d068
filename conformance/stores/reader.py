"""What a store must do for somebody who may read and not write. Spec 0005.

The tests ask for `written`, a store of somebody who may write, and `reader`, the same place for one who may not.
"""

import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import ObjectNotFoundError, StoreError
from dreamdb_arrow.store.interface import Absent, NewObject, holds

ONE, TWO = address_of(b"one"), address_of(b"two")
WRITES = {
    "put": lambda store: store.put("d/new", b"x"),
    "put_many": lambda store: store.put_many([NewObject(f"d/{n}", b"x") for n in range(3)]),
    "freshen": lambda store: store.freshen(["d/one"]),
    "delete": lambda store: store.delete("d/one"),
    "delete_aged": lambda store: store.delete_aged(["d/one"], 1 << 62),
    "swap_ref": lambda store: store.swap_ref("demo", store.read_ref("demo"), TWO),
    "create ref": lambda store: store.swap_ref("new", Absent(), TWO),
    "delete ref": lambda store: store.swap_ref("demo", store.read_ref("demo"), Absent()),
}


@pytest.fixture(autouse=True)
def filled(written):
    written.put("d/one", b"one")
    written.swap_ref("demo", Absent(), ONE)


def test_a_reader_reads(reader):
    assert reader.get("d/one") == b"one"
    assert reader.get_ranges("d/one", [(1, 2), (0, 1)]) == [b"ne", b"o"]
    assert reader.size("d/one") == 3
    assert reader.exists("d/one")
    assert not reader.exists("d/two")
    with pytest.raises(ObjectNotFoundError):
        reader.get("d/two")
    assert list(reader.list()) == ["d/one"]
    assert [aged.path for aged in reader.list_aged("d/")] == ["d/one"]
    assert holds(reader.read_ref("demo"), ONE)
    assert reader.read_ref("none") == Absent()
    assert reader.list_refs() == ["demo"]


@pytest.mark.parametrize("name", WRITES)
def test_what_a_reader_writes_is_refused_in_a_line(written, reader, name):
    with pytest.raises(StoreError) as raised:
        WRITES[name](reader)
    assert "\n" not in str(raised.value)
    assert not raised.value.retryable
    assert list(written.list()) == ["d/one"]
    assert written.get("d/one") == b"one"
    assert holds(written.read_ref("demo"), ONE)
    assert written.list_refs() == ["demo"]
