"""The power fails at any moment of any verb: with fsync, what was acknowledged is there; without, nothing wrong is shown."""

import random
import shutil
import time
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.testing import check_objects
from dreamdb_arrow.testing.disk_log import DiskLog, Said, recorded
from dreamdb_arrow.testing.power_loss import POLICIES, crash_state, latest, said_before, write_folder
from dreamdb_arrow.testing.states import States, state_of, states_of
from dreamdb_arrow.testing.verbs import SPACES, VERBS, Place

MOMENTS = 1  # beside those right after an acknowledgement, which are the hardest
MOMENTS_SOAK = 6


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What a verb did to the disk, and the states it went through."""

    @cache
    def run(name: str, durability: str) -> tuple[DiskLog, States]:
        folder = tmp_path_factory.mktemp("run")
        root, cache_dir = folder / "disk" / "space", str(folder / "cache")
        root.parent.mkdir()
        if VERBS[name].space != "nothing":
            root.mkdir()
            SPACES[VERBS[name].space](Place(str(root)))
        calm = folder / "calm"
        shutil.copytree(root.parent, calm)
        (calm / "space").mkdir(exist_ok=True)
        states = states_of(VERBS[name], LocalStore(calm / "space", sync=False), str(folder / "calm-cache"))
        with recorded(root.parent) as log:
            VERBS[name].run(Place(str(root), cache_dir, durability), said=log.said)
        assert latest(log) == read_folder(root.parent), "something was written that was not seen"
        return log, states

    return run


def read_folder(folder: Path):
    found = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): None if p.is_dir() else p.read_bytes() for p in found}


def moments(log: DiskLog, more: int, chance: random.Random) -> list[int]:
    """When the power fails: right after each acknowledgement, and at random."""
    told = [n for n, event in enumerate(log.events, 1) if isinstance(event, Said)]
    return told + [chance.randint(0, len(log.events)) for _ in range(more)]


def check_durable(runs, folder: Path, name: str, more: int) -> int:
    """Cut the power in a run with fsync; return how many states were checked."""
    log, states = runs(name, "fsync")
    chance, count = random.Random(name), 0
    for at, policy in product(moments(log, more, chance), POLICIES):
        count += 1
        disk = folder / str(count)
        write_folder(crash_state(log, at, chance, policy), disk)
        done = said_before(log, at)
        check_state(name, disk / "space", states, done, f"{policy} after {at} events")
        place = Place(str(disk / "space"), str(folder / f"cache-{count}"))
        VERBS[name].run(place, again_from(name, done))
        assert states.is_last(state_of(LocalStore(disk / "space", sync=False))), (policy, at)
        shutil.rmtree(disk)
    return count


def again_from(name: str, done: int) -> int:
    """Stages of a rebalancing share a local cache, which promises nothing: they begin again, unless all is done."""
    return done if name != "balance cells" or done == len(VERBS[name].steps) else 0


def check_state(name: str, root: Path, states: States, done: int, where: str) -> None:
    store = LocalStore(root, sync=False)
    assert states.admits(state_of(store), done), where
    if store.list_refs():
        assert check_objects(store, past=not VERBS[name].loose)


@pytest.mark.parametrize("name", VERBS)
def test_what_was_acknowledged_survives(runs, tmp_path, name):  # 0005-R2, 0005-R8, 0005-R11
    assert check_durable(runs, tmp_path, name, MOMENTS) >= len(POLICIES)


@pytest.mark.slow
@pytest.mark.parametrize("name", VERBS)
def test_what_was_acknowledged_survives_many_cuts(runs, tmp_path, name, figure):
    began = time.monotonic()
    count = check_durable(runs, tmp_path, name, MOMENTS_SOAK)
    figure("power cuts, fsync", name, states=count, seconds=time.monotonic() - began)
