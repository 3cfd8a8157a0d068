"""Every verb that writes, and a small Space for each: one table for all that interrupt them. Specs 0006 and 0008.

A verb is a row of VERBS: its steps, each acknowledged by itself, and the Space that they begin with, a row of SPACES. What
interrupts verbs (failing calls, kills, power cuts) goes over the table, so that a new verb is one more row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.dataset.collect import gc
from dreamdb_arrow.dataset.purge import purge
from dreamdb_arrow.dataset.schema import Schema
from dreamdb_arrow.dataset.space import Backend
from dreamdb_arrow.engines.frames import Dataset
from dreamdb_arrow.errors import (
    AnchorConflict,
    ConflictError,
    DreamDBError,
    InvalidInputError,
    NotFoundError,
    RefConflictError,
)

T0: Final = 1_700_000_000_000_000_000
DIM: Final = 4
REF: Final = "main"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a Space is, and how it is opened."""

    backend: Backend
    cache_dir: str | None = None
    durability: str = "os"

    def open(self, ref: str = REF) -> Dataset:
        """Open a dataset of the Space."""
        return Dataset.open(ref, backend=self.backend, cache_dir=self.cache_dir, durability=self.durability)

    def create(self, schema: Schema, flush: str = "manual") -> Dataset:
        """Create the Space and its dataset."""
        return Dataset.create(
            REF, schema, self.backend, flush=flush, cache_dir=self.cache_dir, durability=self.durability
        )


Step = Callable[[Place], object]


@dataclass(frozen=True, slots=True)
class Verb:
    """What is done to a Space.

    steps    each is acknowledged when it returns
    space    what it begins with, a key of SPACES
    again    what a step may say that was done already, when the verb is run again
    stride   of calls that only read, every so many-th is worth a fault of its own
    loose    histories need not be equal: old versions go one by one, or a second run adds one
    """

    steps: tuple[Step, ...]
    space: str = "manual"
    again: type[DreamDBError] | None = None
    stride: int = 1
    loose: bool = False

    def run(self, place: Place, done: int = 0, said: Callable[[], object] = lambda: None) -> None:
        """Do all steps but those `done`, and call `said` after each. A step that is done already is no failure."""
        for step in self.steps[done:]:
            try:
                step(place)
            except DreamDBError as error:
                if self.again is None or not isinstance(error, self.again):
                    raise
            said()


# ---------------------------------------------------------------- Spaces


def small_schema() -> Schema:
    """Return fields of each way of storing."""
    return (
        Schema()
        .add_scalar_int("n")
        .add_scalar_categorical("c", required=False)
        .add_image("img", mime="png", required=False)
        .add_embedding("v", dim=2, lsh_bits=2, required=False)
    )


def small_rows(start: int, n: int = 3) -> pa.Table:
    """Return rows of `small_schema` at the anchors T0 + start and on."""
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


def _begun(place: Place, flush: str = "commit") -> Dataset:
    ds = place.create(small_schema(), flush)
    ds.append(small_rows(0))
    ds.delete([T0])
    ds.append(small_rows(3, 1))
    return ds


def _ahead(place: Place) -> None:
    _begun(place).branch("ahead").append(small_rows(5))


def _parted(place: Place) -> Dataset:
    ds = _begun(place)
    side = ds.branch("side")
    side.append(small_rows(5))
    side.delete([T0 + 1])
    ds.append(small_rows(8))
    ds.delete([T0 + 2])
    return ds


def _many(place: Place) -> None:
    ds = _parted(place)
    ds.branch("third").append(small_rows(20))
    ds.append(small_rows(30))


def _garbage(place: Place) -> None:
    ds = _parted(place)
    ds.delete_ref("side")
    ds.append(small_rows(40))


def _deleted(place: Place) -> None:
    ds = _begun(place, "manual")
    ds.snapshot("label")
    ds.flush()
    ds.append(small_rows(5))
    ds.delete([T0 + 1, T0 + 6])


def _skewed(place: Place) -> None:
    """Rows of which nine of ten came later, into one region of trained cells."""
    drawn = np.random.default_rng(5)
    schema = Schema().add_embedding("v", DIM, algorithm="dreamdb.ivf-cosine", rerank=True)
    ds = place.create(schema)
    for start, vectors in (
        (0, drawn.normal(size=(150, DIM))),
        (1000, np.ones(DIM) + 0.1 * drawn.normal(size=(850, DIM))),
    ):
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).reshape(-1)), DIM)
        ds.append({"_anchor": np.arange(start, start + len(vectors)), "v": flat})
        ds.flush()


def _graphed(place: Place) -> None:
    _begun(place).build_graph_index("g", "n", DIM, _nodes(0, 40), r=4)


def _nodes(start: int, n: int) -> list[tuple[int, Any]]:
    vectors = np.random.default_rng(start).normal(size=(n, DIM)).astype(np.float32)
    return [(T0 + start + i, vector) for i, vector in enumerate(vectors)]


SPACES: Final[Mapping[str, Callable[[Place], object]]] = MappingProxyType(
    {
        "nothing": lambda _: None,
        "manual": lambda place: _begun(place, "manual"),
        "commit": _begun,
        "ahead": _ahead,
        "parted": _parted,
        "many": _many,
        "garbage": _garbage,
        "deleted": _deleted,
        "skewed": _skewed,
        "graphed": _graphed,
    }
)


# ---------------------------------------------------------------- verbs


def _layer(place: Place) -> None:
    place.open().add_scalar_layer("late", "n", "int", [(T0 + 1, 7), (T0 + 2, 8)])


def _stage(stage: str) -> Step:
    return lambda place: place.open().ada_ivf_step("v", stage=stage)


# A day's work: what a writer does in turns, each acknowledged.
_DAY: Final[tuple[Step, ...]] = (
    lambda place: place.open().append(small_rows(50)),
    lambda place: place.open().flush(),
    lambda place: place.open().append(small_rows(53)),
    lambda place: place.open().delete([T0 + 50]),
    lambda place: place.open().append(small_rows(56)),
    lambda place: place.open().snapshot("evening"),
    lambda place: place.open().compact(),
    lambda place: place.open().append(small_rows(59)),
)

VERBS: Final[Mapping[str, Verb]] = MappingProxyType(
    {
        "create": Verb((lambda place: place.create(small_schema()),), "nothing", RefConflictError),
        "append": Verb((lambda place: place.open().append(small_rows(5)),), again=AnchorConflict),
        "append, flushed by each commit": Verb(
            (lambda place: place.open().append(small_rows(5)),), "commit", AnchorConflict
        ),
        "day": Verb(_DAY, again=ConflictError, stride=11),
        "delete": Verb((lambda place: place.open().delete([T0 + 1]),)),
        "snapshot": Verb((lambda place: place.open().snapshot("label"),)),
        "branch": Verb((lambda place: place.open().branch("other"),), again=RefConflictError),
        "delete ref": Verb((lambda place: place.open().delete_ref("side"),), "parted", NotFoundError),
        "flush": Verb((lambda place: place.open().flush(),)),
        "fast-forward": Verb((lambda place: place.open().merge("ahead"),), "ahead", stride=5),
        "union": Verb((lambda place: place.open().merge("side", "union-tracks"),), "parted", stride=5),
        "merge many": Verb((lambda place: place.open().merge_many(["side", "third"]),), "many", stride=7),
        "compact Tracks": Verb((lambda place: place.open().compact(stripes=False),), "parted", stride=5),
        "compact stripes": Verb((lambda place: place.open().compact(tracks=False),), "parted", stride=5),
        "gc": Verb(
            (lambda place: gc(place.backend, 0, dry_run=False, writers_paused=True),),
            "garbage",
            stride=5,
            loose=True,
        ),
        "purge": Verb(
            (lambda place: purge(place.backend, writers_paused=True, cache_dir=place.cache_dir),),
            "deleted",
            stride=5,
            loose=True,
        ),
        "add a field": Verb((lambda place: place.open().add_scalar_int("m"),), again=InvalidInputError),
        "drop a field": Verb(
            (lambda place: place.open().decommission_modality("c"),), again=InvalidInputError
        ),
        "add a layer": Verb((_layer,), "commit", InvalidInputError, stride=3),
        "set meta": Verb((lambda place: place.open().set_meta("dreamdb.k", "v"),), loose=True),
        "rebuild cells": Verb((lambda place: place.open().rebuild_ivf("v", k=9),), "skewed", stride=7),
        "balance cells": Verb(
            tuple(map(_stage, ("measure", "plan", "refile", "publish"))), "skewed", stride=7
        ),
        "build a graph": Verb(
            (lambda place: place.open().build_graph_index("g", "n", DIM, _nodes(0, 40), r=4),),
            "commit",
            InvalidInputError,
            stride=3,
        ),
        "append to a graph": Verb(
            (lambda place: place.open().append_graph_nodes("g", _nodes(50, 5)),),
            "graphed",
            InvalidInputError,
            stride=3,
        ),
    }
)
