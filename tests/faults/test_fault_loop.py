"""The n-th store call goes wrong: the Space is as before or as after, never between, and trying again works."""

from functools import cache

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.errors import ConflictError, DreamDBError
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing import FaultyStore, check_objects
from dreamdb_arrow.testing.faulty import MODES
from dreamdb_arrow.testing.states import States, state_of, states_of
from dreamdb_arrow.testing.verbs import SPACES, VERBS, Place
from tests.places import copy_space

STEPS_MAX = 2000
WRITES = ("put", "swap_ref", "delete")
READS = ("get", "list")
MANY = (*READS, "delete")  # calls of which a verb makes many of one kind

# Which calls each mode does something else to than "once" does.
WORTH = {
    "once": ("",),
    "forever": ("",),
    "after": WRITES,
    "late": WRITES,
    "repeat": WRITES,
    "delay": WRITES,
    "halfway": ("put_many",),
    "truncate": READS,
}
# What a verb may say of such a fault.
SAYS = {"truncate": DreamDBError, "repeat": ConflictError, "delay": ()}


@cache
def prepared(name: str) -> MemoryStore:
    """The Space of this name. Nobody writes to it."""
    store = MemoryStore()
    SPACES[name](Place(store))
    return store


@pytest.fixture(scope="module", autouse=True)
def kept_for_one_place(place_of_spaces):
    """Calls are counted, and a bucket is asked for other things than a store in memory."""
    yield place_of_spaces
    prepared.cache_clear()
    undisturbed.cache_clear()


@cache
def undisturbed(name: str) -> tuple[States, list[str]]:
    """What states a verb goes through, and the calls it makes."""
    verb = VERBS[name]
    counted = FaultyStore(copy_of(prepared(verb.space)))
    return states_of(verb, copy_of(prepared(verb.space))), run_on(name, counted)


def run_on(name: str, store: FaultyStore) -> list[str]:
    VERBS[name].run(Place(store))
    return store.log


def copy_of(store: MemoryStore) -> MemoryStore:
    return copy_space(store, MemoryStore())


def moments(log: list[str], mode: str, stride: int) -> list[int]:
    """Which calls are worth to go wrong, counted from 1."""
    worth = [n for n, call in enumerate(log, 1) if call.startswith(WORTH[mode])]
    many = [n for n in worth if log[n - 1].startswith(MANY)]
    return sorted({*worth} - {*many} | {*many[::stride]})


def check_faults(name: str, mode: str, stride: int) -> int:
    """Have calls go wrong one after another, each in a run of its own; return how many did."""
    verb, (states, log) = VERBS[name], undisturbed(name)
    assert len(log) < STEPS_MAX
    numbers = moments(log, mode, stride)
    for n in numbers:
        store = copy_of(prepared(verb.space))
        faulty, said = FaultyStore(store, n, mode), []
        try:
            verb.run(Place(faulty), said=lambda said=said: said.append(1))
        except SAYS.get(mode, vd.StoreError):
            assert len(said) < len(verb.steps)
        faulty.settle()
        assert faulty.failed
        assert states.admits(state_of(store), len(said)), (log[n - 1], len(said))
        verb.run(Place(store), len(said))
        assert states.is_last(state_of(store)), log[n - 1]
        assert check_objects(store)
    return len(numbers)


# The stages of a rebalancing share a cache, which a copy of the store does not bring along: kills go over them.
NAMES = [name for name in VERBS if name != "balance cells"]
CASES = [(name, mode) for name in NAMES if name != "day" for mode in MODES]


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_before_or_after_never_between(name, mode):  # 0005-R2, 0006-R2
    checked = check_faults(name, mode, 30 * VERBS[name].stride)
    assert checked or not moments(undisturbed(name)[1], mode, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_call_goes_wrong_once(name, figure):  # 0005-R2, 0006-R2
    faults = sum(check_faults(name, mode, VERBS[name].stride) for mode in MODES)
    assert faults > len(MODES)
    figure("store faults", name, faults=faults)


def test_a_swap_whose_answer_is_lost_is_acknowledged():  # 0005-R9
    for name in ("create", "append", "delete", "snapshot", "branch", "flush"):
        verb, (states, log) = VERBS[name], undisturbed(name)
        at = 1 + next(i for i, call in enumerate(log) if call.startswith("swap_ref"))
        store = copy_of(prepared(verb.space))
        verb.run(Place(FaultyStore(store, at, "after")))
        assert states.is_last(state_of(store))
