"""Versions told apart by times: only where these leave no doubt."""

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset.apart import lie_apart
from dreamdb_arrow.store.memory import MemoryStore


@pytest.fixture(params=["manual", "commit"])
def trunk(request):
    schema = vd.Schema().add_scalar_int("n").add_embedding("v", dim=2, lsh_bits=2, required=False)
    return vd.Dataset.create("trunk", schema, MemoryStore(), flush=request.param, cache_dir=None)


def branches(trunk, *anchors):
    made = []
    for nth, held in enumerate(anchors):
        branch = trunk.branch(f"b{nth}")
        branch.append_many([{"_anchor": a, "n": a, "v": [1.0, a]} for a in held]) if held else None
        made.append(branch.manifest)
    return made


def apart(trunk, *anchors):
    return lie_apart(trunk.space.store, trunk.manifest, branches(trunk, *anchors))


def test_stretches_of_time_lie_apart(trunk):
    assert apart(trunk, (10, 19), (), (20, 30), (1, 9))


@pytest.mark.parametrize("other", [(19,), (12,), (5, 40)])
def test_stretches_that_meet_do_not(trunk, other):
    assert not apart(trunk, (10, 19), other)


def test_above_rows_that_were_there_stripes_tell_and_tracks_do_not(trunk):
    trunk.append_many([{"_anchor": 1, "n": 1}])
    only_stripes = trunk.manifest.registry["org.dreamdb.arrow.stripe.v1"]["flush"] == "manual"
    assert apart(trunk, (10,), (20,)) == only_stripes
