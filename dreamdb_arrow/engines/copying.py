"""COPY ... TO 'dreamdb://ref': the Parquet file that DuckDB writes, as rows of one commit. Spec 0006.

DuckDB is given a filesystem whose files are Refs. A file that is written is appended when DuckDB closes it: then a footer at its
end says that the query went through. A query that fails leaves a file without one, and no version.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import fsspec

from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import UnsupportedError

if TYPE_CHECKING:
    from dreamdb_arrow.dataset.upload import Upload

Made = Callable[[str], None]


class Refs(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """The Refs of a Space as files that can be written once; `made` is told the name of each Ref that is new."""

    cachable = False

    def __init__(self, space: Space, protocol: str, made: Made) -> None:
        super().__init__()
        self.protocol = protocol
        self._space, self._made = space, made

    def info(self, path: str, **_: Any) -> NoReturn:
        """Say that nothing is there: DuckDB asks so as to know whether it would write over a file."""
        raise FileNotFoundError(path)

    def ls(self, *_: Any, **__: Any) -> list[Any]:
        """Return nothing, which DuckDB asks about the folders of a partitioned COPY; `_open` refuses these."""
        return []

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Upload:
        ref = path.removeprefix(f"{self.protocol}://")
        if "w" not in mode:
            raise UnsupportedError(f"{path} is there to be written; read it by FROM dreamdb_scan('{ref}')")
        uploads: Any = import_module(
            "dreamdb_arrow.dataset.upload"
        )  # all that writes, which connecting does without
        upload: Upload = uploads.Upload(self._space, ref, self._made)
        return upload
