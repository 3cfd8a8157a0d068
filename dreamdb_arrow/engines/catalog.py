"""Spaces attached in SQL: `ATTACH TO NEW TEMPORARY EXTERNAL RESOURCE 'dreamdb' (store '...') AS d`.

DuckDB 2.0 makes a catalog of what three table macros say of a resource: how it is created, where it is, how it goes. Ours
write a database file that holds a view for each Ref, over macros in a schema of the user's database. DETACH removes both.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.engines.duckdb import DuckDBError, Session, leave_open
from dreamdb_arrow.engines.planner import outline_refs
from dreamdb_arrow.engines.plans import identifier, literal
from dreamdb_arrow.errors import DreamDBError, InvalidInputError

if TYPE_CHECKING:
    import duckdb

RESOURCE: Final = "dreamdb"
STORE: Final = "store"
OPTIONS: Final = (STORE, "cache_dir", "offline")
_PREFIX: Final = "__dreamdb_resource"
_NUMBERS: Final = itertools.count(1)

_REGISTER: Final = f"""
CREATE OR REPLACE MACRO {_PREFIX}_create(params) AS TABLE
  SELECT MAP {{'path': {_PREFIX}_make(map_keys(params), map_values(params)::VARCHAR[])}} AS handle;
CREATE OR REPLACE MACRO {_PREFIX}_status(handle) AS TABLE
  SELECT 'ready' AS state, MAP {{'uri': handle['path'], 'attached_db_type': 'duckdb'}} AS result;
CREATE OR REPLACE MACRO {_PREFIX}_destroy(handle) AS TABLE
  SELECT {_PREFIX}_remove(handle['path']) AS ok;
CALL register_external_resource_type('{RESOURCE}', kind := 'catalog', create_function := '{_PREFIX}_create',
  status_function := '{_PREFIX}_status', destroy_function := '{_PREFIX}_destroy');
"""


def enable_attach(con: duckdb.DuckDBPyConnection, **options: Any) -> Catalogs:
    """Have a connection know `ATTACH TO NEW TEMPORARY EXTERNAL RESOURCE 'dreamdb' (store 'file:///data/space') AS d`.

    Then `FROM d.hello` and `FROM d."hello@v1"` are the rows of a Ref and of a snapshot, `SHOW TABLES FROM d` lists them, and the
    comments of the views tell what fields are. In the parentheses there may also be `cache_dir` and `offline`.

    Args:
        con: the connection.
        options: of each Space, where the statement says nothing else: `cache_dir`, `offline`.

    Raises InvalidInputError when this DuckDB has no external resources.
    """
    return Catalogs(con, options)


class Catalogs:
    """The Spaces that a connection attached in SQL."""

    def __init__(self, con: duckdb.DuckDBPyConnection, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        self._aux = con.cursor()  # a callback may not use the connection that it is called from
        self._folder = Path(tempfile.mkdtemp(prefix="dreamdb-arrow-"))
        self._sessions: dict[str, Session] = {}
        self._functions = {f"{_PREFIX}_make": self._make, f"{_PREFIX}_remove": self._remove}
        con.create_function(f"{_PREFIX}_make", self._make, ["VARCHAR[]"] * 2, "VARCHAR", side_effects=True)
        con.create_function(f"{_PREFIX}_remove", self._remove, ["VARCHAR"], "BOOLEAN", side_effects=True)
        try:
            con.execute(_REGISTER)
        except DuckDBError as error:
            raise InvalidInputError(
                f"this DuckDB has no external resources: {str(error).splitlines()[0]}"
            ) from None
        self._finalizer = weakref.finalize(con, self.close)

    def after_fork(self) -> None:
        """Leave the connection and the files to the parent."""
        self._finalizer.detach()
        leave_open(self._aux)

    def refresh(self) -> None:
        """Make views for new Refs in all attached Spaces, and drop those of Refs that are gone."""
        rows = self._aux.execute("SELECT path, database_name FROM duckdb_databases()").fetchall()
        names = dict(rows)
        for path, session in self._sessions.items():
            session.refresh(names[path])

    def close(self) -> None:
        """Take functions and files away; what is still attached says so when it is used."""
        for path in list(self._sessions):
            self._forget(path)
        self._aux.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    # ---------------------------------------------------------------- callbacks

    def _make(self, names: list[str], values: list[str]) -> str:
        """Write the file of a Space, and return its path. What is wrong is told in one line."""
        try:
            store, options = _options(dict(zip(names, values, strict=True)))
            return self._attach(Space(store, **{**self._options, **options}))
        except (DreamDBError, OSError) as error:
            raise InvalidInputError(f"dreamdb: {str(error).splitlines()[0]}") from None

    def _attach(self, space: Space) -> str:
        number = next(_NUMBERS)
        path, catalog = self._folder / f"{number}.duckdb", f"{_PREFIX}_{number}"
        self._aux.execute(f"ATTACH {literal(str(path))} AS {identifier(catalog)}")
        try:
            session = Session(self._aux, space, catalog, catalog=catalog, outlines=outline_refs(space))
        finally:
            self._aux.execute(f"DETACH {identifier(catalog)}")
        space.renew_in_child(self)
        self._sessions[str(path)] = session
        return str(path)

    def _remove(self, path: str) -> bool:
        self._forget(path)
        Path(path).unlink(missing_ok=True)
        return True

    def _forget(self, path: str) -> None:
        session = self._sessions.pop(path, None)
        if session is not None:
            session.close()
            with suppress(DuckDBError):
                self._aux.execute(f"DROP SCHEMA IF EXISTS {identifier(session.schema or '')} CASCADE")


def _options(given: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Return the store of a statement's options, and what else they say. Raises InvalidInputError."""
    found = {name.lower(): value for name, value in given.items()}
    if unknown := sorted(found.keys() - set(OPTIONS)):
        raise InvalidInputError(f"a Space has no option {unknown[0]!r}; options: {', '.join(OPTIONS)}")
    if not found.get(STORE):
        raise InvalidInputError(f"say where the Space is: ({STORE} 'file:///data/space')")
    options: dict[str, Any] = {n: v for n, v in found.items() if n not in (STORE, "offline")}
    return found[STORE], options | ({"offline": found["offline"] == "true"} if "offline" in found else {})
