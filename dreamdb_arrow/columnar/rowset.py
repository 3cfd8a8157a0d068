"""Row sets: which files hold the rows of one version, and which anchors are hidden. Spec 0021."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.projection import (
    dim_of,
)
from dreamdb_arrow.columnar.vectors import I64, VectorStripe
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.store.interface import Store

T = TypeVar("T")

RECENT_BYTES: Final = 32 << 20  # of what was asked for last, such as the anchors that satisfy a condition,
RECENT_MAX: Final = 32  # and how many, of each kind


@dataclass(frozen=True, slots=True)
class Stripe:
    """A file of rows: in which directory of the store it is, none if in the local cache; `size` in bytes, if known."""

    address: Address
    t0: int
    t1: int
    directory: str = ""
    size: int = 0

    @property
    def path(self) -> str:
        """Where it is in the store; empty if it is in the local cache."""
        return f"{self.directory}/{self.address}" if self.directory else ""

    def local(self, store: Store, cache: LocalCache) -> Path:
        """Return a verified local file of it."""
        return cache.hold(store, self.path, self.address) if self.directory else cache.local(self.address)

    def meets(self, t0: int, t1: int) -> bool:
        """Whether it may hold an anchor in [t0, t1)."""
        return self.t0 < t1 and t0 < self.t1


class LateStripes(Mapping[str, tuple[Stripe, ...]]):
    """Vector stripes by field, of which some are worked out when they are first asked for.

    Args:
        listed: those that are there already; a vector that they have counts.
        later: for some of these fields, what gives all stripes.
    """

    __slots__ = ("_found", "_later", "listed")

    def __init__(
        self, listed: Mapping[str, tuple[Stripe, ...]], later: Mapping[str, Callable[[], tuple[Stripe, ...]]]
    ) -> None:
        self.listed = listed
        self._later = later
        self._found: dict[str, tuple[Stripe, ...]] = {}

    def __getitem__(self, name: str) -> tuple[Stripe, ...]:
        if name not in self._later:
            return self.listed[name]
        if name not in self._found:
            self._found[name] = self._later[name]()
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.listed)

    def __len__(self) -> int:
        return len(self.listed)

    def is_waiting(self, name: str) -> bool:
        """Whether stripes of a field have still to be worked out."""
        return name in self._later and name not in self._found

    def found(self) -> dict[str, tuple[Stripe, ...]]:
        """Return those that were asked for."""
        return dict(self._found)


@dataclass(frozen=True, slots=True)
class RowSet:
    """Everything needed to read the rows of one version.

    `vectors` has the vector stripes by field; those that cells are projected to are made when a field is asked for.
    """

    store: Store
    cache: LocalCache
    manifest: Manifest
    address: Address
    fields: tuple[Field, ...]
    stripes: tuple[Stripe, ...]
    vectors: Mapping[str, tuple[Stripe, ...]]
    hidden: I64
    unavailable: Mapping[str, str] = field(default_factory=dict)
    _worked_out: dict[Any, Any] = field(init=False, default_factory=dict, compare=False, repr=False)

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """Return what the function gives, which depends on this version and the key alone, and is kept with it."""
        found = self._worked_out.get(key)
        if found is None:
            found = self._worked_out[key] = make()
        return cast("T", found)

    def recently(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        """Return what depends on this version and the key alone, and has `nbytes`; the last few are kept, up to a size."""
        held: OrderedDict[Hashable, tuple[Any, int]] = self.once(kind, OrderedDict)
        found = held.pop(key, None)
        if found is None:
            made: Any = make()
            found = made, made.nbytes
            while len(held) >= RECENT_MAX or (
                held and sum(size for _, size in [*held.values(), found]) > RECENT_BYTES
            ):
                held.popitem(last=False)
        held[key] = found
        return cast("T", found[0])

    @property
    def timeline(self) -> Address:
        """The Space's first timeline."""
        return self.manifest.timeline

    def stripe_files(self, t0: int, t1: int) -> list[Path]:
        """Return verified local files of the stripes that meet [t0, t1), by first anchor."""
        return [s.local(self.store, self.cache) for s in self.stripes if s.meets(t0, t1)]

    def vector_stripes(self, name: str, t0: int, t1: int) -> list[VectorStripe]:
        """Return the mapped vector stripes of one field that meet [t0, t1), by first anchor."""
        dim = next(dim_of(f) for f in self.fields if f.name == name)
        held = (s for s in self.vectors.get(name, ()) if s.meets(t0, t1))
        return [self.cache.vectors(self.store, s.path, s.address, dim) for s in held]

    def waits_for_vectors(self, name: str) -> bool:
        """Whether vector stripes of a field have still to be made."""
        return isinstance(self.vectors, LateStripes) and self.vectors.is_waiting(name)

    def stored_vectors(self, name: str) -> list[Stripe]:
        """Return the vector stripes of a field that lie in the store; none are made."""
        return [s for s in self.listed_vectors(name) if s.directory]

    def listed_vectors(self, name: str) -> tuple[Stripe, ...]:
        """Return the vector stripes of a field that are known already; none are made."""
        held = self.vectors.listed if isinstance(self.vectors, LateStripes) else self.vectors
        return held.get(name, ())

    def holders(self, wanted: I64, name: str = "", *, listed: bool = False) -> list[tuple[Stripe, int, int]]:
        """Return the stripes, or the vector stripes of a field, that may hold some of these anchors, int64 (n,) ascending.

        With `listed`, no vector stripes are made for it. (stripe, low, high): the anchors in question are wanted[low:high].
        """
        if name:
            stripes = self.listed_vectors(name) if listed else self.vectors.get(name, ())
        else:
            stripes = self.stripes
        key = ("spans", name, listed)
        spans = self.once(key, lambda: np.array([(s.t0, s.t1) for s in stripes]).reshape(-1, 2))
        lows, highs = np.searchsorted(wanted, spans).T
        met = np.flatnonzero(highs > lows)
        return [(stripes[i], int(lows[i]), int(highs[i])) for i in met.tolist()]

    @property
    def whole(self) -> bool:
        """Whether the local cache still has what was put there for this version; all of it may be deleted."""
        late, vectors = {}, self.vectors
        if isinstance(vectors, LateStripes):
            late, vectors = vectors.found(), vectors.listed
        stripes = itertools.chain(self.stripes, *vectors.values(), *late.values())
        local = self.once(("local", *late), lambda: tuple(s.address for s in stripes if not s.directory))
        return all(map(self.cache.has_whole, local))

    def hidden_between(self, t0: int, t1: int) -> I64:
        """Return the deleted anchors in [t0, t1), ascending."""
        low, high = np.searchsorted(self.hidden, [t0, min(t1, 2**63 - 1)])
        return self.hidden[low:high]


def keep_local(cache: LocalCache, data: Any, anchors: I64) -> Stripe:
    """Keep a stripe in the local cache, with the range of its ascending anchors; an empty one has an empty range."""
    low, high = (int(anchors[0]), int(anchors[-1]) + 1) if len(anchors) else (0, 0)
    return Stripe(cache.put(data), low, high)
