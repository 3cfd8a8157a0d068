"""The suite of `conformance/stores` over every store of this package. Spec 0005.

Another store joins by a line in a table.
"""

import pytest

from conformance.stores.suite import *  # noqa: F403 - pytest collects what is here
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.store.urls import open_store
from dreamdb_arrow.testing.faulty import FaultyStore
from tests.servers import ADMIN, signed

STORES = {
    "memory": lambda _path: MemoryStore(),
    "local": LocalStore,
    "local, unsynced": lambda path: LocalStore(path, sync=False),
    "local, relative": lambda path: open_store(f"file://{path}/../{path.name}/made", create=True),
    "faultless": lambda path: FaultyStore(LocalStore(path)),
}
BUCKETS = {
    "bucket": lambda get: open_store(get("seaweed_url")),
    "bucket with locks": lambda get: open_store(f"{get('seaweed_url')}?lock=object"),
    "bucket with credentials": lambda get: guarded(get("monkeypatch"), get("guarded_server")),
    "bucket of moto": lambda get: open_store(get("moto_url")),
}


def guarded(patch, server) -> Store:
    signed(patch, ADMIN)
    return open_store(server.fresh())


@pytest.fixture(params=[*STORES, *BUCKETS])
def store(request, tmp_path) -> Store:
    if request.param in BUCKETS:
        return BUCKETS[request.param](request.getfixturevalue)
    return STORES[request.param](tmp_path)
