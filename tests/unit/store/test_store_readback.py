import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import StoreError
from dreamdb_arrow.store.interface import Absent, holds
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.store.readback import swap_confirmed
from dreamdb_arrow.testing.faulty import FaultyStore

ONE, TWO, THREE = (address_of(text) for text in (b"one", b"two", b"three"))


@pytest.fixture
def below():
    store = MemoryStore()
    store.swap_ref("demo", Absent(), ONE)
    return store


def test_won_and_lost(below):
    one = below.read_ref("demo")
    assert swap_confirmed(below, "demo", one, TWO) is True
    assert swap_confirmed(below, "demo", one, THREE) is False
    assert holds(below.read_ref("demo"), TWO)


def test_a_lost_answer_is_not_a_lost_race(below):  # 0005-R9
    one = below.read_ref("demo")
    assert swap_confirmed(FaultyStore(below, 1, "after"), "demo", one, TWO) is True
    assert holds(below.read_ref("demo"), TWO)


def test_a_retry_below_that_met_its_own_write(below):
    one = below.read_ref("demo")
    below.swap_ref("demo", one, TWO)  # the request that landed; its repetition finds the ref moved
    assert swap_confirmed(below, "demo", one, TWO) is True


def test_an_answer_lost_after_a_removal(below):
    assert swap_confirmed(FaultyStore(below, 1, "after"), "demo", below.read_ref("demo"), Absent()) is True


def test_a_broken_line_without_effect_goes_up(below):  # 0005-R9
    one = below.read_ref("demo")
    with pytest.raises(StoreError, match="injected fault: call 1, swap_ref demo"):
        swap_confirmed(FaultyStore(below, 1, "once"), "demo", one, TWO)
    with pytest.raises(StoreError):
        swap_confirmed(FaultyStore(below, 1, "forever"), "demo", one, TWO)
    assert below.read_ref("demo") == one


def test_a_broken_line_and_somebody_else_goes_up(below):
    one = below.read_ref("demo")
    below.swap_ref("demo", one, THREE)
    with pytest.raises(StoreError):
        swap_confirmed(FaultyStore(below, 1, "once"), "demo", one, TWO)
