"""This store, as it is by default and as it is when the operating system may write later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Final

import duckdb
import pyarrow as pa

import dreamdb_arrow as vd
from benchmarks.measure import fresh
from benchmarks.rows import DIM
from benchmarks.store import Relation, Store

REF: Final = "bench"
OUR_FIELDS: Final[dict[str, Callable[[vd.Schema], vd.Schema]]] = {
    "category": lambda s: s.add_scalar_categorical("category"),
    "i": lambda s: s.add_scalar_int("i"),
    "f": lambda s: s.add_scalar_float("f"),
    "text": lambda s: s.add_scalar_string("text"),
    "vec": lambda s: s.add_embedding("vec", dim=DIM),
    "image": lambda s: s.add_image("image", mime="jpeg"),
}


def our_schema(names: Iterable[str]) -> vd.Schema:
    """Return the fields of a made table."""
    schema = vd.Schema()
    for name in names:
        schema = OUR_FIELDS[name](schema) if name in OUR_FIELDS else schema
    return schema


class Ours(Store):
    """This store as it is by default: each commit is on the disk before it counts."""

    name = "ours, fsync"
    durability: ClassVar[str] = "fsync"

    @property
    def cache(self) -> Path:
        """Where what was read is kept: beside it, not in it."""
        return self.path.with_name(f"{self.path.name}.cache")

    def load(self) -> None:
        for module in ("dreamdb_arrow.engines.duckdb", "dreamdb_arrow.engines.frames"):
            import_module(module)

    def options(self) -> dict[str, Any]:
        """Return the arguments that making and opening share."""
        return {"backend": str(self.path), "cache_dir": self.cache, "durability": self.durability}

    def create(self) -> None:
        fresh(self.cache)
        self.dataset = vd.Dataset.create(REF, our_schema(self.schema.names), **self.options())

    def append(self, batch: pa.Table) -> str:
        self.dataset.append(batch)
        return self.dataset.current_manifest()

    def dataset_at(self, version: Any = None) -> vd.Dataset:
        """Return it opened."""
        return vd.Dataset.open(REF, as_of=version, **self.options())

    def relation(self) -> Relation:
        return Relation(vd.connect(str(self.path), cache_dir=self.cache), f"dreamdb_scan('{REF}')")

    def program(self) -> str:
        made = f"con = vd.connect({str(self.path)!r}, cache_dir={str(self.cache)!r})"
        return f"import dreamdb_arrow as vd; {made}; print(con.sql('SELECT count(*) FROM {REF}').fetchall()[0][0])"

    def open(self, version: Any = None) -> Callable[[], int]:
        return self.dataset_at(version).count

    def delete(self, anchors: Sequence[int]) -> None:
        self.dataset_at().delete(anchors)

    def getter(self) -> Callable[[list[int]], pa.Table]:
        return self.dataset_at().take

    def one_getter(self) -> Callable[[int], dict[str, Any] | None]:
        return self.dataset_at().get_by_anchor

    def stripes(self) -> list[Path]:
        """Return the Parquet files that a scan of the latest version reads."""
        dataset = self.dataset_at()
        return dataset.space.rows(dataset.space.resolve(REF)).stripe_files(0, 2**63 - 1)


class OursUnsynced(Ours):
    """This store when the operating system may write later, as all peers but DuckDB let it."""

    name = "ours, os"
    durability = "os"


class Stripes(Store):
    """`read_parquet` over exactly the files that our scan reads, in a connection of its own. Reads only."""

    name = "read_parquet of our files"

    def relation(self) -> Relation:
        files = ", ".join(f"'{file}'" for file in Ours(self.path).stripes())
        return Relation(duckdb.connect(), f"read_parquet([{files}])")
