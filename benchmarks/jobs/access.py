"""Access: random anchors to whole rows, each with a vector and a 20 KB image; all at once, and one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.measure import Figure, alternate, disk_use, fresh, median, milliseconds
from benchmarks.ours import Ours
from benchmarks.peers import STORES
from benchmarks.rows import IMAGE_SCHEMA, all_anchors, image_batch, pick_anchors
from benchmarks.sizes import Setup, folder
from benchmarks.store import Store

JOB: Final = "access"
STORES_ASKED: Final = (Ours.name, "lance, btree", "parquet", "duckdb")
COMMITS: Final = 20
SINGLES: Final = 100


def run(setup: Setup) -> Iterator[Figure]:
    """Yield rows a second of one request for all keys, and milliseconds of requests for one."""
    names = setup.taking_part(STORES_ASKED)
    yield from _write(setup, names)
    stores = {name: STORES[name](folder(setup.work, JOB, name), IMAGE_SCHEMA) for name in names}
    anchors, keys = all_anchors(setup.sizes.access_rows, COMMITS), setup.sizes.access_keys
    yield from _all_at_once(setup, stores, pick_anchors(anchors, keys))
    yield from _one_by_one(setup, stores, pick_anchors(anchors, min(SINGLES, keys), seed=9))


def _write(setup: Setup, names: list[str]) -> Iterator[Figure]:
    rows = setup.sizes.access_rows
    stores = {name: STORES[name](fresh(folder(setup.work, JOB, name)), IMAGE_SCHEMA) for name in names}
    times = {name: milliseconds(store.create) for name, store in stores.items()}
    for nth in range(COMMITS):
        setup.say(f"{JOB}: commit {nth + 1} of {COMMITS}")
        batch = image_batch(nth, rows // COMMITS)
        for name, store in stores.items():
            times[name] += milliseconds(lambda s=store, b=batch: s.append(b))
    for name, store in stores.items():
        times[name] += milliseconds(store.close)
        yield Figure(JOB, "ingest, rows a second", name, rows / times[name] * 1e3, "rows/s")
        yield Figure(JOB, "bytes a row on disk", name, disk_use(store.path)[0] / rows, "bytes")


def _all_at_once(setup: Setup, stores: dict[str, Store], keys: list[int]) -> Iterator[Figure]:
    setup.say(f"{JOB}: {len(keys)} keys at once")
    getters = {name: store.getter() for name, store in stores.items()}
    calls = {
        name: (lambda g=get: check_images(g(keys)["image"].to_pylist(), len(keys)))
        for name, get in getters.items()
    }
    note = f"{len(keys):,} of {setup.sizes.access_rows:,}"
    for name, taken in alternate(calls, setup.sizes.rounds).items():
        yield Figure(JOB, "random rows at once", name, len(keys) / median(taken) * 1e3, "rows/s", note)


def _one_by_one(setup: Setup, stores: dict[str, Store], keys: list[int]) -> Iterator[Figure]:
    setup.say(f"{JOB}: one by one")
    for name, store in stores.items():
        get = store.one_getter()
        for key in keys:
            get(key)  # warm, as the rows at once are
        taken = [milliseconds(lambda g=get, k=key: check_images([g(k)["image"]], 1)) for key in keys]
        yield Figure(JOB, "one random row, as a dict", name, median(taken), "ms")


def check_images(images: list[bytes], wanted: int) -> None:
    """Raise RuntimeError when an image is missing."""
    if len(images) != wanted or not all(images):
        raise RuntimeError(f"{wanted} rows with images were asked for, {sum(map(bool, images))} came")
