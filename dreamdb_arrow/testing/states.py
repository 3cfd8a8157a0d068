"""The states that a Space may be found in when a verb is interrupted: those that its commits leave. Specs 0005 and 0006."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.engines.frames import Dataset
from dreamdb_arrow.store.interface import Absent, Ref, Store
from dreamdb_arrow.testing.faulty import FaultyStore
from dreamdb_arrow.testing.model import rows_of_table
from dreamdb_arrow.testing.verbs import Place, Verb

Shown = tuple[Any, ...]
State = dict[str, Shown]


def state_of(store: Store) -> State:
    """Return what each ref shows: its rows, its deleted anchors, what was done, its fields and their cells.

    Two runs of one verb on copies of one Space end in equal states, though the time is another.
    """
    return {name: shown_by(store, name) for name in store.list_refs()}


def shown_by(store: Store, ref: str) -> Shown:
    """Return what one ref shows, as `state_of` does. Raises DreamDBError where what it needs is damaged."""
    ds = Dataset.open(ref, backend=store, cache_dir=None)
    done = [version["operation"] for version in ds.history()]
    return rows_of_table(ds.to_arrow()), ds.tombstone_set(), done, _fields(ds)


def _fields(ds: Dataset) -> dict[str, Any]:
    """Return of each entry of the registry the index of its cells: what else is in there tells the time."""
    entries = ds.manifest.registry.items()
    return {name: entry.get("spatial_index") if isinstance(entry, dict) else None for name, entry in entries}


@dataclass(slots=True)
class States:
    """The states of an undisturbed run.

    states  the one before, and one after each change of a ref
    marks   of each number of acknowledged steps, beginning with 0, the place of the state then
    loose   whether histories need not be equal
    """

    states: list[State]
    marks: list[int]
    loose: bool

    def admits(self, found: State, acknowledged: int) -> bool:
        """Whether the Space may be like this once so many steps were acknowledged, and perhaps the next one begun."""
        end = self.marks[min(acknowledged + 1, len(self.marks) - 1)]
        allowed = self.states[self.marks[acknowledged] : end + 1]
        return any(self._equal(found, state) for state in allowed)

    def knows(self, ref: str, shown: Shown) -> bool:
        """Whether the ref showed this at any time."""
        return any(ref in state and self._equal({ref: shown}, {ref: state[ref]}) for state in self.states)

    def is_last(self, found: State) -> bool:
        """Whether all is done."""
        return self._equal(found, self.states[-1])

    def _equal(self, found: State, state: State) -> bool:
        return _without_past(found) == _without_past(state) if self.loose else found == state


def _without_past(state: State) -> State:
    return {name: (rows, deleted, rest) for name, (rows, deleted, _, rest) in state.items()}


class _Watched(FaultyStore):
    """Takes down the state after each change of a ref."""

    def __init__(self, store: Store, changed: Callable[[], object]) -> None:
        super().__init__(store)
        self._changed = changed

    def swap_ref(self, name: str, expect: Ref | Absent, new: Address | Absent) -> Ref | Absent:
        found = super().swap_ref(name, expect, new)
        self._changed()
        return found


def states_of(verb: Verb, store: Store, cache_dir: str | None = None) -> States:
    """Run a verb undisturbed on this store, and return the states it goes through."""
    states, marks = [state_of(store)], [0]
    watched = _Watched(store, lambda: states.append(state_of(store)))
    verb.run(Place(watched, cache_dir), said=lambda: marks.append(len(states) - 1))
    if states[-1] != (now := state_of(store)):  # a collector changes no ref
        states.append(now)
        marks[-1] += 1
    return States(states, marks, verb.loose)
