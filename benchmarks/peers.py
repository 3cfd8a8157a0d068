"""The peers: what a user would take instead. One whose package is not installed is left out, by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.ours import Ours, OursUnsynced, Stripes
from benchmarks.rows import DIM
from benchmarks.store import Relation, Store, sql_counter, sql_getter

SQL_TYPES: Final = {
    "_anchor": "BIGINT",
    "category": "VARCHAR",
    "i": "BIGINT",
    "f": "DOUBLE",
    "text": "VARCHAR",
    "vec": f"FLOAT[{DIM}]",
    "image": "BLOB",
}


# ---------------------------------------------------------------- plain Parquet


class Parquet(Store):
    """A Parquet file a commit, as pyarrow writes it."""

    name = "parquet"
    fsync: ClassVar[bool] = False

    def create(self) -> None:
        super().create()
        self.files = 0

    def append(self, batch: pa.Table) -> None:
        path = self.path / f"{self.files:06d}.parquet"
        pq.write_table(batch, path, compression="zstd")
        self.files += 1
        if self.fsync:
            flush_to_disk(path)

    def relation(self) -> Relation:
        return Relation(duckdb.connect(), f"read_parquet('{self.path}/*.parquet')")

    def program(self) -> str:
        query = f"SELECT count(*) FROM read_parquet('{self.path}/*.parquet')"
        return f"import duckdb; print(duckdb.sql({query!r}).fetchall()[0][0])"

    def getter(self) -> Callable[[list[int]], pa.Table]:
        return sql_getter(self.relation())


class ParquetSynced(Parquet):
    """The same, each file flushed to the disk."""

    name = "parquet, fsync"
    fsync = True


def flush_to_disk(path: Path) -> None:
    """Return when a file's bytes are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


# ---------------------------------------------------------------- DuckDB's own file


class DuckDB(Store):
    """One table in DuckDB's own file. It flushes to the disk, and keeps no versions."""

    name = "duckdb"

    @property
    def file(self) -> str:
        """The database."""
        return str(self.path / "table.db")

    def create(self) -> None:
        super().create()
        columns = ", ".join(f"{name} {SQL_TYPES[name]}" for name in self.schema.names)
        self.con = duckdb.connect(self.file)
        self.con.execute(f"CREATE TABLE made ({columns})")

    def append(self, batch: pa.Table) -> None:
        self.con.register("batch", batch)
        self.con.execute("INSERT INTO made SELECT * FROM batch")
        self.con.unregister("batch")

    def close(self) -> None:
        self.con.execute("CHECKPOINT")
        self.con.close()

    def relation(self) -> Relation:
        return Relation(duckdb.connect(self.file, read_only=True), "made")

    def open(self, version: Any = None) -> Callable[[], int]:
        if version is not None:
            raise NotImplementedError
        return sql_counter(self.relation())

    def delete(self, anchors: Sequence[int]) -> None:
        with duckdb.connect(self.file) as con:
            con.execute(f"DELETE FROM made WHERE _anchor IN ({', '.join(map(str, anchors))})")
            con.execute("CHECKPOINT")

    def getter(self) -> Callable[[list[int]], pa.Table]:
        return sql_getter(self.relation())


# ---------------------------------------------------------------- Lance


class Lance(Store):
    """A Lance dataset; scans go through DuckDB."""

    name = "lance"
    needs = "lance"
    indexed: ClassVar[bool] = False

    def create(self) -> None:
        self.dataset: Any = None

    def append(self, batch: pa.Table) -> int:
        mode, target = ("create", str(self.path)) if self.dataset is None else ("append", self.dataset)
        self.dataset = import_module("lance").write_dataset(batch, target, mode=mode)
        return self.dataset.version

    def close(self) -> None:
        if self.indexed:
            self.dataset.create_scalar_index("_anchor", "BTREE")

    def dataset_at(self, version: Any = None) -> Any:
        """Return it opened."""
        return import_module("lance").dataset(str(self.path), version=version)

    def relation(self) -> Relation:
        con = duckdb.connect()
        con.register("lance_rows", self.dataset_at())
        return Relation(con, "lance_rows")

    def program(self) -> str:
        opened = f"rows = lance.dataset({str(self.path)!r})"
        return (
            f"import duckdb, lance; {opened}; print(duckdb.sql('SELECT count(*) FROM rows').fetchall()[0][0])"
        )

    def open(self, version: Any = None) -> Callable[[], int]:
        return self.dataset_at(version).count_rows

    def delete(self, anchors: Sequence[int]) -> None:
        self.dataset_at().delete(f"_anchor IN ({', '.join(map(str, anchors))})")

    def getter(self) -> Callable[[list[int]], pa.Table]:
        dataset = self.dataset_at()
        return lambda keys: dataset.to_table(filter=f"_anchor IN ({', '.join(map(str, keys))})")


class LanceIndexed(Lance):
    """The same with a B-tree on the anchors."""

    name = "lance, btree"
    indexed = True


# ---------------------------------------------------------------- Delta


class Delta(Store):
    """A Delta table; scans go through DuckDB."""

    name = "delta"
    needs = "deltalake"

    def create(self) -> None:
        self.table: Any = None

    def append(self, batch: pa.Table) -> int:
        package = import_module("deltalake")
        package.write_deltalake(str(self.path) if self.table is None else self.table, batch, mode="append")
        self.table = self.table or package.DeltaTable(str(self.path))
        return self.table.version()

    def table_at(self, version: Any = None) -> Any:
        """Return it opened."""
        return import_module("deltalake").DeltaTable(str(self.path), version=version)

    def relation(self) -> Relation:
        con = duckdb.connect()
        con.register("delta_rows", self.table_at().to_pyarrow_dataset())
        return Relation(con, "delta_rows")

    def open(self, version: Any = None) -> Callable[[], int]:
        return self.table_at(version).count

    def delete(self, anchors: Sequence[int]) -> None:
        self.table_at().delete(f"_anchor IN ({', '.join(map(str, anchors))})")


INDEXES: Final = ("faiss",)  # peers that keep no rows; each is named as its module
STORES: Final[dict[str, type[Store]]] = {
    store.name: store
    for store in (Ours, OursUnsynced, Parquet, ParquetSynced, Stripes, DuckDB, Lance, LanceIndexed, Delta)
}
OUR_NAMES: Final = (Ours.name, OursUnsynced.name)


def missing(name: str) -> str | None:
    """Return the module that a peer lacks here, or None when it can run."""
    needs = name if name in INDEXES else STORES[name].needs
    return needs if needs is not None and find_spec(needs) is None else None
