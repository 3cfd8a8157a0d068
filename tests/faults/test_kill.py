"""Killed at any moment of any verb: the Space opens, what was acknowledged is there, and the verb can be run again."""

import random
import shutil
import time
from functools import cache
from pathlib import Path

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.testing import check_objects
from dreamdb_arrow.testing.kills import Killer, Moment
from dreamdb_arrow.testing.states import States, state_of, states_of
from dreamdb_arrow.testing.verbs import SPACES, VERBS, Place
from tests.places import copy_space, url_of

KILLS = 3  # of each verb
KILLS_SOAK = 25
CHAIN = 3  # kills of one run and of those that take it up again, before it is left alone


@pytest.fixture(scope="module")
def killer():
    with Killer() as killer:
        yield killer


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A Space that a verb begins with, and the states it goes through."""

    @cache
    def begin(name: str) -> tuple[Path, States]:
        folder = tmp_path_factory.mktemp("begun")
        root, calm = folder / "space", folder / "calm"
        SPACES[VERBS[name].space](Place(url_of(root)))
        copy_space(root, calm)
        states = states_of(VERBS[name], LocalStore(calm, sync=False), str(folder / "cache"))
        return root, states

    return begin


def kill_often(killer, undisturbed, folder: Path, name: str, kills: int) -> int:
    """Kill a verb so often, check the Space each time, and let it end once in a while; return how many kills hit."""
    origin, states = undisturbed(name)
    chance, hits, tries = random.Random(name), 0, 0
    whole = measure(killer, origin, folder / "whole", name)
    while hits < kills and tries < 10 * kills:
        root = folder / f"{tries}" / "space"
        copy_space(origin, root)
        place, done = Place(url_of(root), str(root.parent / "cache")), 0
        for _ in range(CHAIN):
            tries += 1
            life = killer.run(name, place, done, moment_of(chance, whole, states, done))
            assert life.error == ""
            hits, done = hits + (not life.ended), life.said
            check(name, root, states, done)
            if life.ended or hits == kills:
                break
        last = killer.run(name, place, done)
        assert (last.error, last.said) == ("", len(VERBS[name].steps))
        assert states.is_last(state_of(LocalStore(root, sync=False)))
        shutil.rmtree(root.parent, ignore_errors=True)
    return hits


def measure(killer, origin: Path, root: Path, name: str):
    """How long a verb takes that nobody kills, the second time: the first one loads what comes late."""
    for nth in ("0", "1"):
        copy_space(origin, root / nth)
        life = killer.run(name, Place(url_of(root / nth), str(root / f"cache{nth}")))
        assert life.ended
        assert life.error == ""
    return life


def moment_of(chance: random.Random, whole, states: States, done: int) -> Moment:
    """A moment of what is left to do: every other one by the clock, the others by what is done to files."""
    left = 1 - done / (len(states.marks) - 1)
    if chance.random() < 0.5:
        return Moment(seconds=chance.uniform(0, whole.seconds * left))
    return Moment(operation=chance.randint(1, max(1, int(whole.operations * left))))


def check(name: str, root: Path, states: States, done: int) -> None:
    """The Space opens, shows what it may, and nothing is wrong with any of its objects."""
    assert states.admits(state_of(LocalStore(root, sync=False)), done), f"{name} after {done} steps"
    assert vd.fsck(root, unreachable=True)["findings"] == []


@pytest.mark.parametrize("name", VERBS)
def test_killed_at_any_moment(killer, undisturbed, tmp_path, name):  # 0005-R2, 0006-R2
    assert kill_often(killer, undisturbed, tmp_path, name, KILLS) == KILLS


@pytest.mark.slow
@pytest.mark.parametrize("name", VERBS)
def test_killed_often_at_any_moment(killer, undisturbed, tmp_path, name, figure):
    began = time.monotonic()
    hits = kill_often(killer, undisturbed, tmp_path, name, KILLS_SOAK)
    assert hits == KILLS_SOAK
    figure("kill -9", name, kills=hits, seconds=time.monotonic() - began)


def test_a_killed_process_says_what_it_did(killer, undisturbed, tmp_path):
    origin, _ = undisturbed("day")
    copy_space(origin, tmp_path / "space")
    place = Place(url_of(tmp_path / "space"))
    assert not killer.run("day", place, moment=Moment(seconds=0)).ended
    whole = killer.run("day", place)
    assert (whole.ended, whole.said) == (True, len(VERBS["day"].steps))
    assert whole.operations > 100
    broken = killer.run("flush", Place(str(tmp_path / "nowhere")))
    assert "NotFoundError" in broken.error


def test_the_check_finds_damage(tmp_path):
    ds = vd.Dataset.create("main", vd.Schema().add_scalar_int("n"), tmp_path, cache_dir=None)
    ds.append({"n": [1]})
    assert check_objects(ds.space.store) > 5
    stripe = next(tmp_path.glob("*/org.dreamdb.arrow.stripe.v1/0*/*"))
    data = stripe.read_bytes()
    stripe.write_bytes(data[:-1])
    with pytest.raises(vd.CorruptDataError, match=stripe.name):
        check_objects(ds.space.store)
    stripe.unlink()
    with pytest.raises(vd.CorruptDataError, match=stripe.name):
        check_objects(ds.space.store)
