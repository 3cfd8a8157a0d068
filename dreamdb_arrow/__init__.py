"""SQL over DreamDB: Arrow datasets and DuckDB table functions over a content-addressed, versioned store.

import dreamdb_arrow as vd

schema = vd.Schema().add_image("image").add_embedding("embedding", dim=512).add_scalar_categorical("label")
ds = vd.Dataset.create("hello", schema, backend="file:///data/space")
ds.append_many([{"image": jpeg, "embedding": vector, "label": "cat"}])

con = vd.connect("file:///data/space")
con.sql("SELECT label, count(*) FROM hello GROUP BY label")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from dreamdb_arrow._version import __version__
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

if TYPE_CHECKING:
    from dreamdb_arrow.dataset.collect import gc
    from dreamdb_arrow.dataset.publish import (
        publish_rabitq_compressor,
        train_and_publish_imi_centroids,
        train_and_publish_ivf_centroids,
        train_and_publish_pq_compressor,
    )
    from dreamdb_arrow.dataset.schema import Schema
    from dreamdb_arrow.dataset.transfer import clone, mirror, pull, push
    from dreamdb_arrow.engines.catalog import enable_attach
    from dreamdb_arrow.engines.duckdb import attach, connect
    from dreamdb_arrow.engines.federation import Federation
    from dreamdb_arrow.engines.frames import Dataset
    from dreamdb_arrow.store.urls import open_store

__all__ = [
    "AnchorConflict",
    "ConflictError",
    "CorruptDataError",
    "Dataset",
    "DreamDBError",
    "Federation",
    "InvalidInputError",
    "NotFoundError",
    "Schema",
    "StoreError",
    "UnsupportedError",
    "__version__",
    "attach",
    "clone",
    "connect",
    "enable_attach",
    "fsck",
    "gc",
    "mirror",
    "open_store",
    "publish_rabitq_compressor",
    "pull",
    "purge",
    "push",
    "train_and_publish_imi_centroids",
    "train_and_publish_ivf_centroids",
    "train_and_publish_pq_compressor",
    "verify",
]

# Loaded when they are asked for: engines take half a second, which `dreamdb --help` has no use for.
_LATE: Final = {
    "Dataset": "dreamdb_arrow.engines.frames",
    "Federation": "dreamdb_arrow.engines.federation",
    "Schema": "dreamdb_arrow.dataset.schema",
    "attach": "dreamdb_arrow.engines.duckdb",
    "clone": "dreamdb_arrow.dataset.transfer",
    "connect": "dreamdb_arrow.engines.duckdb",
    "enable_attach": "dreamdb_arrow.engines.catalog",
    "fsck": "dreamdb_arrow.dataset.fsck",
    "gc": "dreamdb_arrow.dataset.collect",
    "mirror": "dreamdb_arrow.dataset.transfer",
    "open_store": "dreamdb_arrow.store.urls",
    "publish_rabitq_compressor": "dreamdb_arrow.dataset.publish",
    "pull": "dreamdb_arrow.dataset.transfer",
    "purge": "dreamdb_arrow.dataset.purge",
    "push": "dreamdb_arrow.dataset.transfer",
    "train_and_publish_imi_centroids": "dreamdb_arrow.dataset.publish",
    "train_and_publish_ivf_centroids": "dreamdb_arrow.dataset.publish",
    "train_and_publish_pq_compressor": "dreamdb_arrow.dataset.publish",
    "verify": "dreamdb_arrow.dataset.fsck",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for the first time."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATE[name]), name)
    return value


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return __all__
