"""Plans with time as the key: several fields on one grid, the rows around events. Spec 0006."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dreamdb_arrow.columnar.stripe import ANCHOR, TIME
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.delete import check_anchors
from dreamdb_arrow.dataset.scan import TIME_MAX
from dreamdb_arrow.engines.plans import identifier
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.schema import Field

RANGES_MAX: Final = 64  # that a scan is told; what lies between them is read for nothing
NUMBERS: Final = frozenset({"int", "float"})
LINEAR: Final = "linear"


# ---------------------------------------------------------------- the rows around events


def window_ranges(anchors: Any, before_ns: Any, after_ns: Any) -> list[tuple[int, int]]:
    """Return closed ranges that hold all [anchor - before, anchor + after], ascending and apart, at most RANGES_MAX.

    Raises InvalidInputError.
    """
    if not isinstance(anchors, list):
        raise InvalidInputError(f"anchors must be a list of integers, not {anchors!s:.60}")
    before, after = _span("before", before_ns), _span("after", after_ns)
    if not anchors:
        return []
    events = np.sort(check_anchors(anchors))
    lows = np.maximum(events, before) - before
    highs = np.minimum(events, TIME_MAX - after) + after
    return _merged(lows, highs)


def _merged(lows: I64, highs: I64) -> list[tuple[int, int]]:
    gaps = lows[1:] - highs[:-1]
    widest = np.argsort(gaps, kind="stable")[::-1][: RANGES_MAX - 1]
    cuts = np.sort(widest[gaps[widest] > 1])
    starts, ends = np.r_[0, cuts + 1], np.r_[cuts, len(lows) - 1]
    return [(int(lows[a]), int(highs[b])) for a, b in zip(starts, ends, strict=True)]


def _span(name: str, value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < TIME_MAX:
        raise InvalidInputError(f"{name} must be an INTERVAL of 0 or more, not {value!r:.40} ns")
    return value


def window_sql(scan: str, ranges: Sequence[tuple[int, int]]) -> str:
    """Return a scan less the rows outside some ranges."""
    told = " OR ".join(f"{ANCHOR} BETWEEN {low} AND {high}" for low, high in ranges)
    return f"SELECT * FROM ({scan}) WHERE {told or 'false'}"


# ---------------------------------------------------------------- fields on one grid


@dataclass(frozen=True, slots=True)
class Grid:
    """The ticks t0, t0 + step, ... below t1, in nanoseconds."""

    t0: int
    t1: int
    step: int

    @property
    def sql(self) -> str:
        """The ticks as a table of `_anchor`."""
        return f"(SELECT range AS {ANCHOR} FROM range({self.t0}::BIGINT, {self.t1}::BIGINT, {self.step}::BIGINT))"


@dataclass(frozen=True, slots=True)
class Alignment:
    """What is asked for: fields by Ref (None: all that can be), the step in nanoseconds, how gaps are filled."""

    fields: tuple[tuple[str, str | None], ...]
    step: int
    fill: str


def read_alignment(text: str | None) -> Alignment:
    """Return what the JSON of the macro asks for. Raises InvalidInputError."""
    asked = json.loads(text or "{}")
    refs, step, fill = asked.get("refs"), asked.get("every"), asked.get("fill")
    if not isinstance(refs, list) or not refs or not all(isinstance(name, str) for name in refs):
        raise InvalidInputError("refs must be a list of names, such as ['weather', 'flights.delay']")
    if not isinstance(step, int) or not 0 < step < TIME_MAX:
        raise InvalidInputError("every must be an INTERVAL above 0")
    if fill not in FILLS:
        raise InvalidInputError(f"fill must be one of {', '.join(FILLS)}, not {fill!r:.40}")
    parts = (name.partition(".") for name in refs)
    return Alignment(tuple((ref, field if dot else None) for ref, dot, field in parts), step, fill)


def aligned_fields(fields: Sequence[Field], ref: str, name: str | None, fill: str) -> list[str]:
    """Return which scalar fields of a Ref go on the grid. Raises InvalidInputError where one cannot be filled so."""
    scalars = {f.name: str(f.options["value_type"]) for f in fields if f.kind == "scalar"}
    fit = [n for n, kind in scalars.items() if fill != LINEAR or kind in NUMBERS]
    if name is None:
        return fit
    if name not in scalars:
        raise InvalidInputError(
            f"{ref!r} has no scalar field {name!r}; it has {', '.join(scalars) or 'none'}"
        )
    if name not in fit:
        raise InvalidInputError(
            f"{ref}.{name} is no number, and has nothing in between: use fill := 'previous'"
        )
    return [name]


def grid_of(asked: Alignment, t0: int, t1: int) -> Grid:
    """Return the multiples of the step that lie in [t0, t1)."""
    return Grid(-(-t0 // asked.step) * asked.step, t1, asked.step)


def align_sql(grid: Grid, columns: Sequence[tuple[str, str]], fill: str) -> str:
    """Return the SELECT of a grid and, by name, of columns that are SELECTs of `_anchor` and `value` themselves."""
    shown = [f"g.{ANCHOR}", f"make_timestamp_ns(g.{ANCHOR}) AS {TIME}"]
    joins = ""
    for nth, (name, select) in enumerate(columns):
        value, join = FILLS[fill](f"c{nth}", f"(SELECT {ANCHOR}, value FROM ({select}))", grid.step)
        shown.append(f"{value} AS {identifier(name)}")
        joins += join
    return f"SELECT {', '.join(shown)} FROM {grid.sql} g{joins} ORDER BY g.{ANCHOR}"


def _previous(at: str, rows: str, _: int) -> tuple[str, str]:
    return f"{at}.value", f" ASOF LEFT JOIN {rows} {at} ON g.{ANCHOR} >= {at}.{ANCHOR}"


def _within(at: str, rows: str, step: int) -> tuple[str, str]:
    value, join = _previous(at, rows, step)
    return f"CASE WHEN g.{ANCHOR} - {at}.{ANCHOR} < {step} THEN {value} END", join


def _linear(at: str, rows: str, step: int) -> tuple[str, str]:
    value, join = _previous(at, rows, step)
    share = f"(g.{ANCHOR} - {at}.{ANCHOR}) / ({at}n.{ANCHOR} - {at}.{ANCHOR})::DOUBLE"
    between = f"{value} + ({at}n.value - {value}) * {share}"
    exact = f"CASE WHEN {at}.{ANCHOR} = g.{ANCHOR} THEN {value}::DOUBLE ELSE {between} END"
    return exact, f"{join} ASOF LEFT JOIN {rows} {at}n ON g.{ANCHOR} <= {at}n.{ANCHOR}"


FILLS: Final[Mapping[str, Callable[[str, str, int], tuple[str, str]]]] = {
    "previous": _previous,
    "linear": _linear,
    "null": _within,
}
