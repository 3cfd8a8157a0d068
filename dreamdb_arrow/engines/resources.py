"""ATTACH TO NEW TEMPORARY EXTERNAL RESOURCE 'dreamdb': a Space as a catalog of its own, by DuckDB's SQL alone.

DuckDB asks three table functions, which are macros over ours, to make a resource, to tell its state, and to end it. What
we make is a small database file with a view for each Ref, which DuckDB attaches; it goes with DETACH.
"""

from __future__ import annotations

import itertools
import shutil
import weakref
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Final

from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.engines.duckdb import Session, bare_function
from dreamdb_arrow.engines.plans import identifier
from dreamdb_arrow.errors import DreamDBError

if TYPE_CHECKING:
    import duckdb

KIND: Final = "dreamdb"
_NAMES: Final = itertools.count(1)
MACROS: Final = """
CREATE OR REPLACE MACRO __dreamdb_make_catalog(params) AS TABLE
  SELECT MAP {'path': CASE WHEN starts_with(made, '!') THEN error(made[2:]) ELSE made END} AS handle
  FROM (SELECT __dreamdb_catalog(params['store']) AS made);
CREATE OR REPLACE MACRO __dreamdb_catalog_state(handle) AS TABLE
  SELECT 'ready' AS state, MAP {'uri': handle['path'], 'attached_db_type': 'duckdb'} AS result;
CREATE OR REPLACE MACRO __dreamdb_end_catalog(handle) AS TABLE SELECT __dreamdb_no_catalog(handle['path']) AS ended;
CALL register_external_resource_type('dreamdb', kind := 'catalog', create_function := '__dreamdb_make_catalog',
  status_function := '__dreamdb_catalog_state', destroy_function := '__dreamdb_end_catalog');
"""


def enable_attach(con: duckdb.DuckDBPyConnection, **options: Any) -> None:
    """Let SQL attach Spaces: `ATTACH TO NEW TEMPORARY EXTERNAL RESOURCE 'dreamdb' (store '...') AS d`.

    The catalog has a view for each Ref that there is then; to see later ones, detach it and attach it again.

    Args:
        con: the connection.
        options: as for `attach`.
    """
    catalogs = _Catalogs(con.cursor(), options)
    for name, function, kind in (
        ("catalog", catalogs.make, "VARCHAR"),
        ("no_catalog", catalogs.end, "BOOLEAN"),
    ):
        con.create_function(
            f"__dreamdb_{name}",
            bare_function(function, 1),
            [con.sqltype("VARCHAR")],
            con.sqltype(kind),
            null_handling="special",
            side_effects=True,
        )
    con.execute(MACROS)


class _Catalogs:
    """The Spaces that are attached, by the files of their catalogs."""

    def __init__(self, aux: duckdb.DuckDBPyConnection, options: dict[str, Any]) -> None:
        self._aux, self._options = aux, options
        self._folder = Path(mkdtemp(prefix="dreamdb-catalogs-"))
        self._finalizer = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._open: dict[str, tuple[duckdb.DuckDBPyConnection, Session]] = {}

    def make(self, store: str | None) -> str:
        """Return the file of a new catalog; an error comes back as `!` and a line of text."""
        try:
            space = Space(store or "", **self._options)
            name = f"__dreamdb_space_{next(_NAMES)}"
            file = str(self._folder / f"{name}.duckdb")
            con = self._aux.cursor()  # functions go with the connection that made them
            session = Session(con, space, name)
            session.fill_catalog(con, file)
        except (DreamDBError, OSError) as error:
            return f"!dreamdb: {' '.join(str(error).split())}"
        self._open[file] = (con, session)
        return file

    def end(self, file: str) -> bool:
        """Let go of a catalog. Return whether there was one."""
        held = self._open.pop(file, None)
        if held is not None:
            con, session = held
            session.close()
            con.execute(f"DROP SCHEMA IF EXISTS {identifier(session.schema or '')} CASCADE")
            Path(file).unlink(missing_ok=True)
        return held is not None
