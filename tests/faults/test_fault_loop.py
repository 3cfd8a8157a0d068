"""The n-th store call fails: the Space is as before or as after, never between, and trying again works."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.errors import RefConflictError
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing import FaultyStore
from dreamdb_arrow.testing.model import rows_of_table

T0 = 1_700_000_000_000_000_000
MODES = ("once", "forever", "after", "halfway")
STEPS_MAX = 500


def schema() -> vd.Schema:
    return (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_categorical("c", required=False)
        .add_image("img", mime="png", required=False)
        .add_embedding("v", dim=2, lsh_bits=2, required=False)
    )


def rows(start: int, n: int = 3) -> pa.Table:
    ids = range(start, start + n)
    return pa.table(
        {
            "_anchor": [T0 + i for i in ids],
            "n": list(ids),
            "c": [None if i % 2 else "even" for i in ids],
            "img": pa.array([b"%d" % i for i in ids], pa.binary()),
            "v": pa.array([[1.0, i] for i in ids], pa.list_(pa.float32(), 2)),
        }
    )


def opened(store) -> vd.Dataset:
    return vd.Dataset.open("main", backend=store, cache_dir=None)


@dataclass(frozen=True)
class Operation:
    """What is done to a store, and what doing it a second time says, once it has worked."""

    run: Callable[..., object]
    again: type[Exception] | None = None
    flush: str = "manual"  # or a key of PREPARED
    exists: bool = True
    stride: int = 1  # of calls that only read, every so many-th fails


OPERATIONS = {
    "create": Operation(
        lambda store: vd.Dataset.create("main", schema(), store, cache_dir=None),
        RefConflictError,
        exists=False,
    ),
    "append": Operation(lambda store: opened(store).append(rows(5)), vd.AnchorConflict),
    "append, flushed by each commit": Operation(
        lambda store: opened(store).append(rows(5)), vd.AnchorConflict, flush="commit"
    ),
    "delete": Operation(lambda store: opened(store).delete([T0 + 1])),
    "snapshot": Operation(lambda store: opened(store).snapshot("label")),
    "branch": Operation(lambda store: opened(store).branch("other"), RefConflictError),
    "flush": Operation(lambda store: opened(store).flush()),
    "fast-forward": Operation(lambda store: opened(store).merge("ahead"), flush="ahead", stride=5),
    "union": Operation(lambda store: opened(store).merge("side", "union-tracks"), flush="parted", stride=5),
    "compact Tracks": Operation(lambda store: opened(store).compact(stripes=False), flush="parted", stride=5),
    "compact stripes": Operation(lambda store: opened(store).compact(tracks=False), flush="parted", stride=5),
    "delete ref": Operation(lambda store: opened(store).delete_ref("side"), vd.NotFoundError, flush="parted"),
    "gc": Operation(
        lambda store: vd.gc(store, 0, dry_run=False, writers_paused=True), flush="garbage", stride=5
    ),
    "gc beside writers": Operation(lambda store: vd.gc(store, 0, dry_run=False), flush="garbage", stride=5),
}


def filled(operation: Operation) -> MemoryStore:
    store = MemoryStore()
    if operation.exists:
        mode = operation.flush if operation.flush in ("manual", "commit") else "commit"
        ds = vd.Dataset.create("main", schema(), store, flush=mode, cache_dir=None)
        ds.append(rows(0))
        ds.delete([T0])
        ds.append(rows(3, 1))
        PREPARED.get(operation.flush, vd.Dataset.refresh)(ds)
    return store


def ahead(ds: vd.Dataset) -> None:
    ds.branch("ahead").append(rows(5))


def parted(ds: vd.Dataset) -> None:
    side = ds.branch("side")
    side.append(rows(5))
    side.delete([T0 + 1])
    ds.append(rows(8))
    ds.delete([T0 + 2])


def garbage(ds: vd.Dataset) -> None:
    parted(ds)
    ds.delete_ref("side")


PREPARED = {"ahead": ahead, "parted": parted, "garbage": garbage}


def copy_of(store: MemoryStore) -> MemoryStore:
    copied = MemoryStore()
    copied._objects.update(store._objects)
    copied._refs.update(store._refs)
    return copied


def shown(store) -> dict[str, tuple]:
    """What each ref shows: its rows, its deleted anchors, and whether all stripes are in the Tracks."""
    found = {}
    for name in store.list_refs():
        ds = vd.Dataset.open(name, backend=store, cache_dir=None)
        history = [v["operation"] for v in ds.history()]
        found[name] = (rows_of_table(ds.to_arrow()), ds.tombstone_set(), history)
    return found


def calls_of(operation: Operation, store: MemoryStore) -> list[str]:
    counted = FaultyStore(copy_of(store))
    operation.run(counted)
    return counted.log


def is_worth_failing(call: str, mode: str) -> bool:
    """Whether this mode does something else to the call than "once" does."""
    writes = call.startswith(("put", "swap_ref", "freshen", "delete_aged"))
    return mode in ("once", "forever") or (
        writes and (mode == "after" or call.startswith(("put_many", "delete_aged")))
    )


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("mode", MODES)
def test_before_or_after_never_between(name, mode):  # 0005-R2, 0006-R2
    operation = OPERATIONS[name]
    origin = filled(operation)
    before = shown(origin)
    worked = copy_of(origin)
    operation.run(worked)
    after = shown(worked)
    log = calls_of(operation, origin)
    assert len(log) < STEPS_MAX
    for n in range(1, len(log) + 1):
        if not is_worth_failing(log[n - 1], mode) or (log[n - 1].startswith("get") and n % operation.stride):
            continue
        store = copy_of(origin)
        faulty = FaultyStore(store, n, mode)
        try:
            operation.run(faulty)
            acknowledged = True
        except vd.StoreError:
            acknowledged = False
        assert faulty.failed
        found = shown(store)
        assert found in (before, after), (log[n - 1], found)
        if acknowledged:
            assert found == after, log[n - 1]
        try_again(operation, store, done=found == after and before != after)
        assert shown(store) == after


def try_again(operation: Operation, store, *, done: bool) -> None:
    if done and operation.again is not None:
        with pytest.raises(operation.again):
            operation.run(store)
    else:
        operation.run(store)


def test_a_swap_whose_answer_is_lost_is_acknowledged():  # 0005-R9
    for name in ("create", "append", "delete", "snapshot", "branch", "flush"):
        operation = OPERATIONS[name]
        origin = filled(operation)
        log = calls_of(operation, origin)
        at = 1 + next(i for i, call in enumerate(log) if call.startswith("swap_ref"))
        operation.run(FaultyStore(copy_of(origin), at, "after"))
