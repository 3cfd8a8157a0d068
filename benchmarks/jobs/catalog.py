"""Catalog: how long it takes until a Space of very many Refs is attached, in each of the three ways, in a new process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb

import dreamdb_arrow as vd
from benchmarks.measure import Figure, fresh, in_child, median, milliseconds
from benchmarks.ours import Ours
from benchmarks.sizes import Setup

JOB: Final = "catalog"
CONNECT, ATTACH, RESOURCE = "connect(path)", "attach(con, path, 'd')", "ATTACH .. AS d"
EACH_ITS_OWN, ONE_VERSION = "each a version of its own", "branches of one version"


def run(setup: Setup) -> Iterator[Figure]:
    """Yield the milliseconds of each way, caches empty; process and connection are there already."""
    count = setup.sizes.refs
    for what in (EACH_ITS_OWN, ONE_VERSION):
        setup.say(f"{JOB}: {count:,} refs, {what}")
        path = build(setup, count, what)
        taken: dict[str, list[float]] = {how: [] for how in (CONNECT, ATTACH, RESOURCE)}
        for _ in range(setup.sizes.opens):
            for how, times in taken.items():
                times.append(in_child("benchmarks.jobs.catalog:attach_once", str(path), how))
        for how, times in taken.items():
            yield Figure(JOB, f"{count:,} refs, {what}", how, median(times), "ms")


def build(setup: Setup, count: int, what: str) -> Path:
    """Make a Space of so many empty Refs of four fields, and return where."""
    path = fresh(setup.work / JOB / what.replace(" ", "-"))
    options = {"backend": path, "cache_dir": Ours(path).cache, "durability": "os"}
    fields = vd.Schema().add_scalar_int("n").add_scalar_string("t").add_image("pic").add_embedding("e", 8)
    first = vd.Dataset.create("ref0", fields, **options)
    for nth in range(1, count):
        if what == ONE_VERSION:
            first.branch(f"ref{nth}")
        else:
            vd.Dataset.create(f"ref{nth}", fields, **options)
    return path


def attach_once(path: str, how: str) -> float:
    """Return the milliseconds until a Space is attached, of caches that are empty."""
    store = Ours(Path(path))
    store.load()
    cache = fresh(store.cache)
    if how == CONNECT:
        return milliseconds(lambda: vd.connect(path, cache_dir=cache))
    with duckdb.connect() as con:
        if how == ATTACH:
            return milliseconds(lambda: vd.attach(con, path, "d", cache_dir=cache))
        vd.enable_attach(con, cache_dir=cache)
        sql = f"ATTACH TO NEW TEMPORARY EXTERNAL RESOURCE 'dreamdb' (store '{path}') AS d"
        return milliseconds(lambda: con.execute(sql))
