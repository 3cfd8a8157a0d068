"""The table macros of `sql/`: their text, and a DuckDB file that holds them ready made. ADR 0025.

To make them from text takes 10 ms, as DuckDB binds each; to copy them out of a file takes 2. The file lies in the local
cache, in a folder that only this user may write: what it says is run as the user's own SQL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.engines.plans import literal

FOLDER: Final = "macros"
PRIVATE: Final = 0o700
# Macros are bound when they are made: those that others call come first.
ORDER: Final = ("dreamdb_scan", "dreamdb_knn")
_FUNCTION: Final = re.compile(r"__dreamdb_(?=\w+\()")
_MACRO: Final = re.compile(r"(?<![\w.])dreamdb_\w+(?=\()")
_PLACE: Final = "__dreamdb_macros"

Execute = Callable[[str], object]


@cache
def macro_texts(below: str = "") -> dict[str, str]:
    """Return the SQL of each macro by name: package data in a wheel, the repository's `sql/` beside the sources.

    Those of federations lie in a folder `below`.
    """
    package = Path(__file__).parent.parent
    folder = next(f for f in (package / "sql", package.parent / "sql") if f.is_dir()) / below
    texts = {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("dreamdb_*.sql"))}
    return {name: texts[name] for name in sorted(texts, key=lambda n: (n not in ORDER, n))}


def macros_sql(prefix: str, qualified: Callable[[str], str], names: Iterable[str] | None = None) -> str:
    """Return the SQL that makes macros, all unless told, for functions whose names start with `prefix`; `qualified` tells their names."""
    texts = macro_texts()
    text = _FUNCTION.sub(prefix, "".join(texts[name] for name in (texts if names is None else names)))
    return _MACRO.sub(lambda found: qualified(found[0]), text)


def kept_macros(local: LocalCache, version: str) -> Path | None:
    """Return where the macros of this version of DuckDB are kept, or would be; None where no folder is this user's own."""
    if local.is_temporary:
        return None
    folder = local.root / FOLDER
    with suppress(OSError):
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        status = folder.lstat()
        if status.st_uid == os.geteuid() and status.st_mode & 0o777 == PRIVATE:
            texts = (text.encode() for text in macro_texts().values())
            return folder / f"{address_of(version.encode(), *texts)}.duckdb"
    return None


def copy_macros(execute: Execute, file: Path) -> None:
    """Make the macros of a file in a database in memory. Raises what DuckDB raises, and leaves no trace then."""
    attach = f"ATTACH {literal(str(file))} AS {_PLACE} (READ_ONLY)"
    try:
        execute(f"{attach}; COPY FROM DATABASE {_PLACE} TO memory (SCHEMA); DETACH DATABASE {_PLACE}")
    except BaseException:
        execute(f"DETACH DATABASE IF EXISTS {_PLACE}")
        raise


def keep_macros(execute: Execute, file: Path) -> None:
    """Keep the macros of a database in memory that has nothing else. Raises what DuckDB raises, OSError."""
    with TemporaryDirectory(dir=file.parent) as folder:
        made = Path(folder) / file.name
        attach = f"ATTACH {literal(str(made))} AS {_PLACE} (BLOCK_SIZE 16384)"
        try:
            execute(f"{attach}; COPY FROM DATABASE memory TO {_PLACE} (SCHEMA)")
        finally:
            execute(f"DETACH DATABASE IF EXISTS {_PLACE}")
        made.replace(file)
