"""SQL functions with effects: what each does to a Space, and what it tells. Spec 0006.

Each is a macro over one volatile function, within a list that `unnest` opens. So DuckDB calls it when a statement runs, once
for each row that the arguments come from, not when it binds, plans or explains one; and it keeps the call where nobody
asks for the columns. What was done stays done when the transaction is rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import DreamDBError, InvalidInputError

DONE_SQL: Final = "STRUCT(ref VARCHAR, version VARCHAR, rows BIGINT, error VARCHAR)"

Arguments = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Done:
    """What was done: the Ref, the version it names now, and how many rows it was about, where that is known."""

    ref: str
    version: str
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Effects:
    """The effects on one Space."""

    space: Space

    def do(self, kind: str, arguments: Arguments) -> dict[str, Any]:
        """Do what a macro asks for, and return one value of DONE_SQL; an error comes back as a line of text."""
        try:
            done = EFFECTS[kind](self.space, arguments)
        except (DreamDBError, OSError) as error:
            line = " ".join(f"dreamdb: {error}".split())
            return {"ref": None, "version": None, "rows": None, "error": line}
        return {"ref": done.ref, "version": done.version, "rows": done.rows, "error": None}


def dataset_at(space: Space, ref: str | None, as_of: str | None = None) -> Dataset:
    """Return a handle on a Ref. Raises InvalidInputError without one, RefNotFoundError."""
    return Dataset(space, named("ref", ref), space.resolve(named("ref", ref), as_of))


def named(what: str, text: str | None) -> str:
    """Return an argument that must not be NULL. Raises InvalidInputError."""
    if text is None:
        raise InvalidInputError(f"{what} must not be NULL")
    return text


def _branch(space: Space, arguments: Arguments) -> Done:
    ref, name, as_of = arguments
    made = dataset_at(space, ref, as_of).branch(named("name", name))
    return Done(made.ref_name(), made.current_manifest())


def _snapshot(space: Space, arguments: Arguments) -> Done:
    ref, label, as_of = arguments
    made = dataset_at(space, ref, as_of).snapshot(named("label", label))
    return Done(made["label"], made["manifest"])


def _merge(space: Space, arguments: Arguments) -> Done:
    ref, branch, strategy = arguments
    ds = dataset_at(space, ref)
    return Done(ds.ref_name(), ds.merge(named("branch", branch), named("strategy", strategy)))


def _revert(space: Space, arguments: Arguments) -> Done:
    ref, version = arguments
    ds = dataset_at(space, ref)
    return Done(ds.ref_name(), ds.revert(named("version", version)))


EFFECTS: Final[Mapping[str, Callable[[Space, Arguments], Done]]] = {
    "branch": _branch,
    "snapshot": _snapshot,
    "merge": _merge,
    "revert": _revert,
}
