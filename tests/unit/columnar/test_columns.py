"""The columns of many stripes: read once, kept in a note, read again when the note is lost or damaged."""

import numpy as np
import pyarrow as pa
import pytest

from dreamdb_arrow.columnar import cache as local_cache
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.columns import NOTED_MIN, columns_of
from dreamdb_arrow.columnar.stripe import encode_stripe
from dreamdb_arrow.store.memory import MemoryStore


@pytest.fixture
def footers(monkeypatch):
    """Return a list that grows by one for each footer that is read."""
    read, real = [], local_cache.stripe_columns
    monkeypatch.setattr(local_cache, "stripe_columns", lambda path: read.append(path) or real(path))
    return read


def kept(root, count):
    """Return the addresses of stripes in a cache, every second with a column more, and their columns."""
    cache, names = LocalCache(root), [("_anchor", *(["n"] if nth % 2 else [])) for nth in range(count)]
    tables = [pa.table({name: np.array([nth]) for name in each}) for nth, each in enumerate(names)]
    return [cache.put(encode_stripe(table)) for table in tables], [frozenset(each) for each in names]


def ask(root, addresses):
    cache = LocalCache(root)  # as another process would
    files = cache.hold_all(MemoryStore(), [("", a) for a in addresses])
    return list(columns_of(cache, files, addresses))


@pytest.mark.parametrize("count", [0, 1, NOTED_MIN - 1, NOTED_MIN, NOTED_MIN + 3])
def test_a_note_spares_the_footers_of_many(tmp_path, footers, count):
    addresses, expected = kept(tmp_path, count)
    for _ in range(2):
        footers.clear()
        assert ask(tmp_path, addresses) == expected
    assert len(footers) == (0 if count >= NOTED_MIN else count)
    assert ask(tmp_path, addresses[::-1]) == expected[::-1]


def test_a_damaged_note_is_made_again(tmp_path, footers):
    addresses, expected = kept(tmp_path, NOTED_MIN)
    assert ask(tmp_path, addresses) == expected
    for bad in (b"", b"damaged"):
        next((tmp_path / "notes").iterdir()).write_bytes(bad)
        assert ask(tmp_path, addresses) == expected
    footers.clear()
    assert ask(tmp_path, addresses) == expected
    assert footers == []
