"""SQL functions with effects: what each does to a Space, and what it tells. Spec 0006.

Each is a macro over one volatile function, within a list that `unnest` opens. So DuckDB calls it when a statement runs, once
for each row that the arguments come from, not when it binds, plans or explains one; and it keeps the call where nobody
asks for the columns. What was done stays done when the transaction is rolled back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.create import create_dataset
from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.delete import as_anchors
from dreamdb_arrow.dataset.inferred import declared_schema
from dreamdb_arrow.dataset.scan import TIME_MAX
from dreamdb_arrow.dataset.scope import EVERYTHING, Scope
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import DreamDBError, InvalidInputError, RefNotFoundError, UnsupportedError

Arguments = Sequence[str | None]
Matching = Callable[[str, Address, str, int, int], I64]  # of a Ref, a version, a condition, t0 and t1


@dataclass(frozen=True, slots=True)
class Done:
    """What was done: the Ref, the version it names now, and how many rows, stripes or cells it was about."""

    ref: str
    version: str
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Effects:
    """The effects on one Space.

    matching  finds the anchors of the rows of a version that satisfy a condition, in a range
    made      is told the name of each new dataset
    """

    space: Space
    matching: Matching
    made: Callable[[str], None]
    scope: Scope = EVERYTHING

    def do(self, kind: str, arguments: Arguments) -> dict[str, Any]:
        """Do what a macro asks for, and return one value of DONE_SQL; an error comes back as a line of text."""
        try:
            self._check_scope(kind, arguments)
            done = EFFECTS[kind](self, arguments)
        except (DreamDBError, OSError) as error:
            told = RefNotFoundError(error.name) if isinstance(error, RefNotFoundError) else error
            line = " ".join(f"dreamdb: {error if self.scope.has_all_refs else told}".split())
            return {"ref": None, "version": None, "rows": None, "error": line}
        return {"ref": done.ref, "version": done.version, "rows": done.rows, "error": None}

    def _check_scope(self, kind: str, arguments: Arguments) -> None:
        """Raise UnsupportedError for an effect outside of the scope, or that is not known to stay inside (0023-R9)."""
        if not self.scope.has_all_time or not (self.scope.has_all_refs or kind in NAMES_REFS):
            raise UnsupportedError(f"dreamdb_{kind} is not available to this token")
        for ref in (arguments[place] for place in NAMES_REFS.get(kind, ())):
            if ref is not None:
                self.scope.check_ref(ref)

    def at(self, ref: str | None, as_of: str | None = None) -> Dataset:
        """Return a handle on a Ref. Raises InvalidInputError without one, RefNotFoundError."""
        name = named("ref", ref)
        return Dataset(self.space, name, self.scope.resolve(self.space, name, as_of))


def named(what: str, text: str | None) -> str:
    """Return an argument that must not be NULL. Raises InvalidInputError."""
    if text is None:
        raise InvalidInputError(f"{what} must not be NULL")
    return text


def _branch(effects: Effects, arguments: Arguments) -> Done:
    ref, name, as_of = arguments
    made = effects.at(ref, as_of).branch(named("name", name))
    return Done(made.ref_name(), made.current_manifest())


def _snapshot(effects: Effects, arguments: Arguments) -> Done:
    ref, label, as_of = arguments
    made = effects.at(ref, as_of).snapshot(named("label", label))
    return Done(made["label"], made["manifest"])


def _merge(effects: Effects, arguments: Arguments) -> Done:
    ref, branch, strategy = arguments
    ds = effects.at(ref)
    return Done(ds.ref_name(), ds.merge(named("branch", branch), named("strategy", strategy)))


def _revert(effects: Effects, arguments: Arguments) -> Done:
    ref, version = arguments
    ds = effects.at(ref)
    back = effects.scope.resolve(effects.space, ds.ref_name(), named("version", version))
    return Done(ds.ref_name(), ds.revert(str(back)))


def _delete(effects: Effects, arguments: Arguments) -> Done:
    ref, condition, anchors, t0, t1, reason = arguments
    ds = effects.at(ref)
    span = int(t0 or 0), TIME_MAX if t1 is None else int(t1)
    if (anchors is None) == (condition is None and t0 is None and t1 is None):
        raise InvalidInputError("name the rows to delete: by anchors, or by filter, t0 and t1")
    if anchors is not None:
        wanted = as_anchors(json.loads(anchors))
        rows = ds.take(wanted, fields=[]).num_rows
    else:
        wanted = effects.matching(ds.ref_name(), ds.version, condition or "true", *span)
        rows = len(wanted)
    version = ds.delete(wanted, reason) if len(wanted) else ds.current_manifest()
    return Done(ds.ref_name(), version, rows)


def _create(effects: Effects, arguments: Arguments) -> Done:
    ref, schema, mode = arguments
    name, space = named("ref", ref), effects.space
    fields = declared_schema(json.loads(named("schema", schema))).fields
    version = create_dataset(space.store, name, fields, named("flush", mode), time.time_ns)
    effects.made(name)
    return Done(name, str(version))


def _flush(effects: Effects, arguments: Arguments) -> Done:
    (ref,) = arguments
    ds = effects.at(ref)
    stripes = ds.flush()
    return Done(ds.ref_name(), ds.current_manifest(), stripes)


def _compact(effects: Effects, arguments: Arguments) -> Done:
    (ref,) = arguments
    ds = effects.at(ref)
    told = ds.compact()
    return Done(ds.ref_name(), ds.current_manifest(), told["stripes_before"] - told["stripes_after"])


def _index(effects: Effects, arguments: Arguments) -> Done:
    ref, field, k, seed = arguments
    ds = effects.at(ref)
    cells = None if k is None else int(k)
    told = ds.rebuild_ivf(named("field", field), k=cells, seed=int(named("seed", seed)))
    return Done(ds.ref_name(), ds.current_manifest(), told["cells_after"])


EFFECTS: Final[Mapping[str, Callable[[Effects, Arguments], Done]]] = {
    "delete": _delete,
    "create": _create,
    "flush": _flush,
    "compact": _compact,
    "index": _index,
    "branch": _branch,
    "snapshot": _snapshot,
    "merge": _merge,
    "revert": _revert,
}
# Which arguments of an effect name Refs; one that stands here reaches no other Ref.
NAMES_REFS: Final[Mapping[str, tuple[int, ...]]] = {
    "delete": (0,),
    "branch": (0, 1),
    "snapshot": (0,),
    "merge": (0, 1),
    "revert": (0,),
    "create": (0,),
    "flush": (0,),
    "compact": (0,),
    "index": (0,),
}
