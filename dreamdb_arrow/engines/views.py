"""Views: one for each Ref of a Space that is attached, and how a thousand of them are made in a third of a second. ADR 0044."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from dreamdb_arrow.engines.macros import macros_sql
from dreamdb_arrow.engines.planner import Outlines, Planner
from dreamdb_arrow.engines.plans import identifier, literal

if TYPE_CHECKING:
    import duckdb

NO_REFS: Final = Outlines()
VIEWS_MIN: Final = 16  # of the same columns, from which on a stand-in for the macro saves more than it takes
SCAN: Final = "dreamdb_scan"
SCAN_ARGUMENTS: Final = "(ref, as_of := NULL, t0 := NULL, t1 := NULL)"
STAND_IN: Final = "__dreamdb_stand_in"
THREADS: Final = 2


@dataclass(slots=True)
class Place:
    """Where the names of a session are.

    schema   of its macros; None for `main`
    catalog  the database whose `main` takes the views instead, if any
    home     the database of the macros, where it is not the current one
    """

    schema: str | None
    catalog: str | None
    home: str | None

    @property
    def view_schema(self) -> str:
        """The schema of the views."""
        return "main" if self.schema is None or self.catalog else self.schema

    def view(self, name: str) -> str:
        """Return the name of a Ref's view, as SQL says it."""
        place = f"{identifier(self.view_schema)}.{identifier(name)}"
        return place if self.catalog is None else f"{identifier(self.catalog)}.{place}"

    def macro(self, name: str) -> str:
        """Return the name of a macro, as SQL says it."""
        if self.schema is None:
            return name
        place = f"{identifier(self.schema)}.{name}"
        return place if self.home is None else f"{identifier(self.home)}.{place}"

    def scan(self, ref: str) -> str:
        """Return the call that a Ref's view is of."""
        return f"{self.macro(SCAN)}({literal(ref)})"


class Views:
    """The views of one session; `error` is what DuckDB raises."""

    def __init__(self, planner: Planner, place: Place, error: type[Exception]) -> None:
        self._planner, self._place, self._error = planner, place, error
        self._bound: dict[str, tuple[str, str]] = {}  # what they are made of

    def make(
        self, con: duckdb.DuckDBPyConnection, outlines: Outlines, made: Collection[str] = frozenset()
    ) -> None:
        """Make the views of Refs, but for those that are made."""
        names = [name for name, plan in outlines.plans.items() if plan and name not in made]
        texts = [self._view_sql(name) + self._comment_sql(name, outlines) for name in names]
        with self._planner.showing(outlines):
            if self._place.catalog is None or not self._execute_together(con, texts):
                for text in texts:
                    with suppress(self._error):  # as for a Ref that is named like a table of the user's
                        con.execute(text)
        self._bound |= {name: outlines.of(name) for name in outlines.plans}

    def renew(self, con: duckdb.DuckDBPyConnection, outlines: Outlines) -> None:
        """Make those of Refs that are new or have other fields now, and drop those of Refs that are gone."""
        there = self._find(con)
        same = {name for name in there & outlines.plans.keys() if self._bound.get(name) == outlines.of(name)}
        self.make(con, outlines, same)
        for name in there - set(outlines.plans):
            con.execute(f"DROP VIEW IF EXISTS {self._place.view(name)}")

    def _find(self, con: duckdb.DuckDBPyConnection) -> set[str]:
        """Return the names of the views that are as `make` makes them, in an earlier session perhaps."""
        found = con.execute(
            "SELECT view_name, sql FROM duckdb_views() WHERE schema_name = ? "
            "AND database_name = coalesce(?, current_database())",
            [self._place.view_schema, self._place.catalog],
        ).fetchall()
        ends = {name: f" AS SELECT * FROM {self._place.scan(name)};" for name, _ in found}
        return {name for name, text in found if text.replace('"', "").endswith(ends[name].replace('"', ""))}

    def _view_sql(self, name: str) -> str:
        return f"CREATE OR REPLACE VIEW {self._place.view(name)} AS FROM {self._place.scan(name)};"

    def _comment_sql(self, name: str, outlines: Outlines) -> str:
        if self._place.schema is None:
            return ""  # `connect` is to be quick
        return f"COMMENT ON VIEW {self._place.view(name)} IS {literal(outlines.comments[name])};"

    # ---------------------------------------------------------------- many at once

    def can_stand_in(self, con: duckdb.DuckDBPyConnection, outlines: Outlines) -> bool:
        """Whether views may be made by `make_alike`: nobody can be using our macros yet, and threads see what others make.

        Asked before the macros are made, and only for so many Refs that it matters, as it takes milliseconds.
        """
        if len(outlines.plans) < VIEWS_MIN or (self._place.catalog is None and _in_transaction(con)):
            return False
        asked = "SELECT 1 FROM duckdb_functions() WHERE schema_name = ? AND function_name = ? AND database_name = current_database()"
        return not con.execute(asked, [self._place.schema or "main", SCAN]).fetchall()

    def make_alike(self, con: duckdb.DuckDBPyConnection, outlines: Outlines) -> set[str]:
        """Make the views of Refs of which many have the same columns, and return whose.

        DuckDB binds each view when it is made, and most of that is the macro and our function. So meanwhile the macro reads a
        table with these columns. The table is temporary: to others the views are errors until the macro is back.
        """
        made: set[str] = set()
        for names in _alike(outlines):
            plan = outlines.plans[names[0]]
            try:
                self._stand_in(con, plan)
                with ThreadPoolExecutor(THREADS) as threads:
                    parts = [names[nth::THREADS] for nth in range(THREADS)]
                    made.update(*threads.map(partial(self._make_part, con, plan, outlines), parts))
            finally:
                self._restore(con)
        return made

    def _make_part(
        self, con: duckdb.DuckDBPyConnection, plan: str, outlines: Outlines, names: Sequence[str]
    ) -> Sequence[str]:
        """Make views while the stand-in is there; return whose: none where one of them cannot be made."""
        # Each kind of statement on its own: that is a fifth quicker than taking turns.
        texts = [*map(self._view_sql, names), *(self._comment_sql(name, outlines) for name in names)]
        with con.cursor() as cursor:  # which has temporary tables of its own
            cursor.execute(f"CREATE TEMP TABLE {STAND_IN} AS {plan}")
            return names if self._execute_together(cursor, texts) else ()

    def _execute_together(self, con: duckdb.DuckDBPyConnection, texts: Iterable[str]) -> bool:
        """Execute statements in one transaction, which is quicker in a file; False when one fails, and nothing is done then.

        The connection is ours alone: in an open transaction of the user's, to begin another would break it off.
        """
        con.begin()
        try:
            con.execute("".join(texts) or "SELECT 1")
            con.commit()
        except self._error:
            con.rollback()
            return False
        return True

    def _stand_in(self, con: duckdb.DuckDBPyConnection, plan: str) -> None:
        """Let the macro of scans be one that is quick to bind, over an empty table with the columns of a plan."""
        con.execute(f"CREATE TEMP TABLE {STAND_IN} AS {plan}")
        macro = f"{self._place.macro(SCAN)}{SCAN_ARGUMENTS}"
        con.execute(f"CREATE OR REPLACE MACRO {macro} AS TABLE FROM temp.{STAND_IN}")

    def _restore(self, con: duckdb.DuckDBPyConnection) -> None:
        """Make the macro of scans again. The table goes first: without it, a macro that stays is an error, not empty."""
        con.execute(f"DROP TABLE IF EXISTS temp.{STAND_IN}")
        with self._planner.showing(NO_REFS):
            con.execute(macros_sql(self._planner.prefix, self._place.macro, [SCAN]))


def _alike(outlines: Outlines) -> list[list[str]]:
    """Return the Refs that have the same columns, together; those of which there are too few to gain by it are left out."""
    by_plan: dict[str, list[str]] = {}
    for name, plan in outlines.plans.items():
        by_plan.setdefault(plan, []).append(name)
    by_plan.pop("", None)
    return [names for names in by_plan.values() if len(names) >= VIEWS_MIN]


def _in_transaction(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the user has begun a transaction."""
    asked = (con.execute("SELECT current_transaction_id()").fetchall() for _ in range(2))
    return bool(next(asked) == next(asked))
