"""The power fails at any moment of any verb: with fsync, what was acknowledged is there; without, nothing wrong is shown."""

import random
import shutil
import time
from functools import cache
from itertools import product
from pathlib import Path

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.errors import DreamDBError
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.testing.disk_log import DiskLog, Said, recorded
from dreamdb_arrow.testing.power_loss import POLICIES, crash_state, latest, said_before, write_folder
from dreamdb_arrow.testing.states import States, shown_by, state_of, states_of
from dreamdb_arrow.testing.verbs import SPACES, VERBS, Place

MOMENTS_SOAK = 6  # beside those right after an acknowledgement, which are the hardest


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


def moments(name: str, log: DiskLog) -> list[int]:
    """When the power fails: right after each acknowledgement, and at random."""
    chance = random.Random(name)
    told = [n for n, event in enumerate(log.events, 1) if isinstance(event, Said)]
    return told + [chance.randint(0, len(log.events)) for _ in range(MOMENTS_SOAK)]


def few(name: str, log: DiskLog) -> list[tuple[int, str]]:
    """Right after the last acknowledgement nothing more comes; and anywhere, anything."""
    *_, told, anywhere = moments(name, log)[: 1 - MOMENTS_SOAK]
    return [(told, "lost"), (anywhere, "torn")]


def told(name: str, log: DiskLog) -> list[tuple[int, str]]:
    """Right after the last acknowledgement."""
    return list(product(moments(name, log)[-1 - MOMENTS_SOAK :][:1], POLICIES))


def many(name: str, log: DiskLog) -> list[tuple[int, str]]:
    return list(product(moments(name, log), POLICIES))


def cut(log: DiskLog, folder: Path, at: int, policy: str) -> Path:
    """Write what a power cut leaves; return the root of the Space."""
    write_folder(crash_state(log, at, policy), folder)
    return folder / "space"


def check_durable(runs, folder: Path, name: str, choose) -> int:
    """Cut the power in a run with fsync; return how many states were checked."""
    log, states = runs(name, "fsync")
    chosen = choose(name, log)
    for at, policy in chosen:
        root, done = cut(log, folder / "disk", at, policy), said_before(log, at)
        check_state(root, states, done, f"{policy} after {at} events")
        VERBS[name].run(Place(str(root), str(folder / "cache")), again_from(name, done))
        assert states.is_last(state_of(LocalStore(root, sync=False))), (policy, at)
        clear(folder)
    return len(chosen)


def again_from(name: str, done: int) -> int:
    """Stages of a rebalancing share a local cache, which promises nothing: they begin again, unless all is done."""
    return done if name != "balance cells" or done == len(VERBS[name].steps) else 0


def check_state(root: Path, states: States, done: int, where: str) -> None:
    root.mkdir(exist_ok=True)
    assert states.admits(state_of(LocalStore(root, sync=False)), done), where
    assert vd.fsck(root, unreachable=True)["findings"] == [], where


def check_detected(runs, folder: Path, name: str, choose) -> tuple[int, int]:
    """Cut the power in a run without fsync: each ref is gone, shows what it did once, or is told to be damaged.

    Return how many states were checked, and in how many of them something was damaged.
    """
    log, states = runs(name, "os")
    chosen, damaged = choose(name, log), 0
    for at, policy in chosen:
        root = cut(log, folder / "disk", at, policy)
        root.mkdir(exist_ok=True)
        errors = [error for ref in LocalStore(root).list_refs() if (error := error_of(root, ref, states))]
        assert not errors or vd.fsck(root)["findings"], errors
        damaged += bool(errors)
        clear(folder)
    return len(chosen), damaged


def error_of(root: Path, ref: str, states: States) -> DreamDBError | None:
    try:
        shown = shown_by(LocalStore(root), ref)
    except DreamDBError as error:
        return error
    assert states.knows(ref, shown)
    return None


def clear(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path)


@pytest.mark.parametrize("name", VERBS)
def test_what_was_acknowledged_survives(runs, tmp_path, name):  # 0005-R2, 0005-R8, 0005-R11
    assert check_durable(runs, tmp_path, name, few) == 2


@pytest.mark.parametrize("name", ["day", "flush", "union"])
def test_without_fsync_damage_is_detected(runs, tmp_path, name):  # 0005-R16
    checked, damaged = check_detected(runs, tmp_path, name, told)
    assert 0 < damaged < checked == len(POLICIES)


def test_the_simulation_finds_what_was_not_flushed(runs):
    log, _ = runs("append", "os")
    lost = crash_state(log, len(log.events), "lost")
    assert lost != latest(log)
    assert lost == crash_state(log, 0, "kept")


def test_what_a_collector_removed_stays_removed(runs):  # 0005-R17
    log, _ = runs("gc", "fsync")
    gone = log.entries.keys() - latest(log).keys()
    assert len(gone) > 10
    assert not gone & crash_state(log, len(log.events), "lost").keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", VERBS)
def test_what_was_acknowledged_survives_many_cuts(runs, tmp_path, name, figure):
    began = time.monotonic()
    count = check_durable(runs, tmp_path, name, many)
    figure("power cuts, fsync", name, states=count, seconds=time.monotonic() - began)


@pytest.mark.slow
@pytest.mark.parametrize("name", VERBS)
def test_without_fsync_damage_is_detected_in_many_cuts(runs, tmp_path, name, figure):
    began = time.monotonic()
    count, damaged = check_detected(runs, tmp_path, name, many)
    figure("power cuts, os", name, states=count, damaged=damaged, seconds=time.monotonic() - began)
