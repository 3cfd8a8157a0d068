"""Versions of both SDKs on one line: theirs tell no place, ours point over them, and times are found all the same."""

import random

import dreamdb
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.history.ancestry import first_parents, is_ancestor, merge_base
from dreamdb_arrow.history.refs import resolve_as_of, resolve_ref
from dreamdb_arrow.history.writer import place_of
from tests.places import url_of


class Mixed:
    """A Space to which both write."""

    def __init__(self, root):
        self.backend, self.anchor = url_of(root), 0
        root.mkdir(exist_ok=True)
        vd.Dataset.create(
            "main", vd.Schema().add_scalar_int("n"), self.backend, flush="commit", cache_dir=None
        )

    def ours(self, ref="main"):
        return vd.Dataset.open(ref, backend=self.backend, cache_dir=None)

    def theirs(self, ref="main"):
        return dreamdb.Dataset.open_ref(ref, self.backend)

    def append(self, who, ref="main"):
        self.anchor += 1
        who(ref).append_many([{"_anchor": self.anchor, "n": self.anchor}])

    def check(self, ref="main"):
        """Each version of the line is found by its own time, and by the last moment before the next."""
        store, later = self.ours(ref).space.store, 2**63
        line = list(first_parents(store, resolve_ref(store, ref)))
        for address, manifest in line:
            assert resolve_as_of(store, ref, manifest.ts) == resolve_as_of(store, ref, later - 1) == address
            later = manifest.ts
        return line


@pytest.fixture
def mixed(tmp_path):
    return Mixed(tmp_path / "space")


def test_the_sdk_reads_our_places_and_both_write_on(mixed):  # 0008-R16
    rng = random.Random(4)
    for _ in range(40):
        mixed.append(rng.choice([mixed.ours, mixed.ours, mixed.theirs]))
    line = mixed.check()
    places = [place_of(manifest.writer) for _, manifest in line]
    assert [p.depth for p in places if p] == [40 - nth for nth, p in enumerate(places) if p]
    assert places.count(None) > 5
    assert sum(p is not None and p.skip is not None for p in places) == 40 - places.count(None)
    told = mixed.theirs().history()
    assert [v["manifest"] for v in told] == [str(address) for address, _ in line]
    assert [v["writer"] for v in told] == [manifest.writer for _, manifest in line]
    assert mixed.theirs().count() == mixed.ours().count() == 40


@pytest.mark.parametrize("merger", ["ours", "theirs"])
def test_unions_of_both_are_walked_over_by_first_parents(mixed, merger):
    for _ in range(6):
        mixed.append(mixed.ours)
    mixed.theirs().branch("side")
    parted = resolve_ref(mixed.ours().space.store, "side")
    for who in (mixed.ours, mixed.theirs, mixed.ours):
        mixed.append(who)
        mixed.append(who, "side")
    store, side = mixed.ours().space.store, resolve_ref(mixed.ours().space.store, "side")
    assert merge_base(store, resolve_ref(store, "main"), side) == parted
    getattr(mixed, merger)().merge("side", "union-tracks")
    for who in (mixed.ours, mixed.theirs, mixed.ours):
        mixed.append(who)
    tip = resolve_ref(store, "main")
    assert place_of(mixed.check()[0][1].writer).merges == 1
    assert merge_base(store, tip, side) == side
    assert is_ancestor(store, side, tip)
    assert mixed.theirs().count() == mixed.ours().count() == 15


def test_their_collector_follows_no_pointers(mixed):  # 0008-R17, 0008-R18
    for _ in range(30):
        mixed.append(mixed.ours)
    whole = mixed.check()
    told = vd.gc(mixed.backend, keep_manifests=5, writers_paused=True)
    dreamdb.gc(mixed.backend, keep_manifests=5, dry_run=False, writers_paused=True)
    assert vd.gc(mixed.backend, keep_manifests=5, writers_paused=True)["deletable"] == 0 < told["deletable"]
    kept = mixed.check()
    assert [address for address, _ in kept] == [address for address, _ in whole[:6]]
    with pytest.raises(vd.NotFoundError, match="no version as old"):
        resolve_as_of(mixed.ours().space.store, "main", kept[-1][1].ts - 1)
    mixed.append(mixed.theirs)
    mixed.append(mixed.ours)
    assert len(mixed.check()) == 8
