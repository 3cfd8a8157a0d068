"""SQL over DreamDB: Arrow datasets and DuckDB table functions over a content-addressed, versioned store.

import dreamdb_arrow as vd

schema = vd.Schema().add_image("image").add_embedding("embedding", dim=512).add_scalar_categorical("label")
ds = vd.Dataset.create("hello", schema, backend="file:///data/space")
ds.append_many([{"image": jpeg, "embedding": vector, "label": "cat"}])

con = vd.connect("file:///data/space")
con.sql("SELECT label, count(*) FROM hello GROUP BY label")
"""

from dreamdb_arrow._version import __version__
from dreamdb_arrow.dataset.schema import Schema
from dreamdb_arrow.engines.duckdb import attach, connect
from dreamdb_arrow.engines.frames import Dataset
from dreamdb_arrow.errors import (
    AnchorConflict,
    ConflictError,
    CorruptDataError,
    DreamDBError,
    InvalidInputError,
    NotFoundError,
    StoreError,
    UnsupportedError,
)
from dreamdb_arrow.store.urls import open_store

__all__ = [
    "AnchorConflict",
    "ConflictError",
    "CorruptDataError",
    "Dataset",
    "DreamDBError",
    "InvalidInputError",
    "NotFoundError",
    "Schema",
    "StoreError",
    "UnsupportedError",
    "__version__",
    "attach",
    "connect",
    "open_store",
]
