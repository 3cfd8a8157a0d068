"""Stripes that overlap and share no anchor are compared once, pair by pair; those that share one are found."""

import random

import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.columnar.apart import are_apart, remember_apart
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.rowset import Stripe
from dreamdb_arrow.store.memory import MemoryStore


@pytest.fixture
def cache(tmp_path):
    return LocalCache(tmp_path)


def stripe_of(anchors):
    return Stripe(address_of(repr(anchors).encode()), anchors[0], anchors[-1] + 1)


def group_of(*held):
    stripes = {stripe_of(anchors): np.array(anchors) for anchors in held}
    return sorted(stripes, key=lambda s: (s.t0, s.t1)), stripes


def test_pairs_are_compared_once(cache, tmp_path):
    seen = []

    def look(stripe):
        seen.append(stripe)
        return anchors[stripe]

    group, anchors = group_of([0, 10, 20], [1, 11, 21], [2, 5, 90])
    assert are_apart(cache, group, look)
    assert len(seen) == 3
    assert are_apart(cache, group, look)
    assert are_apart(LocalCache(tmp_path), group, look)  # another process
    assert len(seen) == 3
    late = stripe_of([50, 60])
    more = sorted([*group, late], key=lambda s: (s.t0, s.t1))
    anchors[late] = np.array([50, 60])
    assert are_apart(cache, more, look)
    assert {s.t0 for s in seen[3:]} == {2, 50}  # only what the late one runs into


def test_what_is_shared_is_found(cache):
    group, anchors = group_of([0, 10, 20], [1, 11, 20], [2, 5, 90])
    for _ in range(2):
        assert not are_apart(cache, group, anchors.__getitem__)


def test_what_an_appender_knows_is_believed(cache):
    group, _ = group_of([0, 10], [5, 15])
    remember_apart(cache, group[1].address, [group[0].address])
    assert are_apart(cache, group, lambda _: pytest.fail("looked"))


@pytest.mark.parametrize("seed", range(20))
def test_random_groups(cache, seed):
    rng = random.Random(seed)
    held = [sorted(rng.sample(range(60), rng.randint(1, 4))) for _ in range(5)]
    group, anchors = group_of(*held)
    every = [int(a) for s in group for a in anchors[s]]
    assert are_apart(cache, group, anchors.__getitem__) == (len(every) == len(set(every)))


def test_late_appends_are_not_compared_again(monkeypatch):
    """Rows that come in between are checked by the append that brings them; reading compares nothing."""
    ds = vd.Dataset.create("x", vd.Schema().add_scalar_int("n"), MemoryStore(), cache_dir=None)
    for k in range(20):
        ds.append({"_anchor": np.arange(k, 4_000_000, 100), "n": np.zeros(40_000, np.int64)})
    monkeypatch.setattr("dreamdb_arrow.columnar.apart._share", lambda *_: pytest.fail("compared"))
    assert ds.count() == 20 * 40_000
    assert len(ds._rows.stripes) == 20
