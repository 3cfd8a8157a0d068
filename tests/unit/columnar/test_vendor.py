import random
from dataclasses import replace

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.columnar.vendor import (
    INLINE_ENTRIES_MAX,
    MEDIA,
    STRIPE,
    VENDOR_MODALITIES,
    Fragment,
    VendorTrack,
    flush_mode,
    has_columnar_layer,
    read_fragments,
    registry_entries,
    write_fragments,
)
from dreamdb_arrow.objects.manifest import order_tracks
from dreamdb_arrow.objects.track import EMPTY_COVERAGE
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore


@pytest.fixture
def ds():
    return vd.Dataset.create("x", vd.Schema().add_scalar_int("n"), MemoryStore(), cache_dir=None)


def test_the_registry_of_a_new_space(ds):  # 0021-R1
    assert set(registry_entries("manual")) == set(VENDOR_MODALITIES)
    for modality, entry in registry_entries("commit").items():
        assert (entry["kind"], entry["object_kind"]) == ("continuous", "fragment")
        assert entry.get("flush") == ("commit" if modality == STRIPE else None)
    assert has_columnar_layer(ds.manifest)
    assert flush_mode(ds.manifest) == "manual"


def test_flush_modes_of_other_spaces(ds):
    def mode_of(registry):
        return flush_mode(replace(ds.manifest, registry=registry))

    assert mode_of({}) == "commit"
    assert mode_of({STRIPE: {"flush": "commit"}}) == "commit"
    assert mode_of({STRIPE: {}}) == "manual"
    assert mode_of({STRIPE: {"flush": "sometimes"}}) == "manual"


@pytest.mark.parametrize("n", [0, 1, INLINE_ENTRIES_MAX, INLINE_ENTRIES_MAX + 1, 700])
def test_fragments_inline_and_paged(ds, n):  # 0021-R8
    """A number of fragments that needs pages is read as one that does not: by first anchor, each once."""
    store, timeline = ds.space.store, ds.manifest.timelines[0]
    made = [Fragment(i * 10, i * 10 + 25, i, address_of(b"%d" % i)) for i in range(n)]
    batch = Batch(store)
    entry = write_fragments(batch, timeline, MEDIA, [*reversed(made), *made[:3]])
    batch.flush()
    kept = [e for e in ds.manifest.tracks.active if e.field != MEDIA]
    manifest = replace(ds.manifest, tracks=order_tracks([*kept, entry]))
    assert read_fragments(store, manifest, MEDIA) == made
    assert entry.coverage == ((0, made[-1].t1) if n else (0, 1))
    pages = [path for path in store.list() if f"{MEDIA}/index/" in path]
    assert bool(pages) == (n > INLINE_ENTRIES_MAX)


def test_a_vendor_track_that_is_not_there_has_no_fragments(ds):
    assert read_fragments(ds.space.store, ds.manifest, STRIPE, "nobody") == []


def _with(manifest, entry):
    kept = [e for e in manifest.tracks.active if e.field != entry.field]
    return replace(manifest, tracks=order_tracks([*kept, entry]))


@pytest.mark.parametrize("seed", range(6))
def test_fragments_come_and_go_as_in_a_set(ds, seed):  # 0021-R8
    """Random additions and removals, late ones and equal times among them, as a set has them."""
    rng, store, manifest = random.Random(seed), ds.space.store, ds.manifest
    held, made = set(), 0
    for _ in range(25):
        new = set()
        for _ in range(rng.choice([0, 1, 1, 3, 200])):
            made += 1
            t0 = rng.choice([made * 10, made * 10, rng.randrange(made * 10), 40])
            new.add(Fragment(t0, t0 + rng.choice([5, 15, 400]), made, address_of(b"%d" % made)))
        count = min(len(held), rng.choice([0, 0, 1, 7, 150]))
        gone = set(rng.sample(sorted(held, key=lambda f: f.size), count))
        batch = Batch(store)
        entry = VendorTrack(store, manifest, MEDIA).swap(batch, new, gone)
        batch.flush()
        held, manifest = (held | new) - gone, _with(manifest, entry)
        assert set(read_fragments(store, manifest, MEDIA)) == held
        assert entry.coverage == (
            (min(f.t0 for f in held), max(f.t1 for f in held)) if held else EMPTY_COVERAGE
        )
        low = rng.randrange(made * 10 + 1)
        near = read_fragments(store, manifest, MEDIA, near=(low, low + 100))
        assert {f for f in held if f.t0 < low + 100 and low < f.t1} <= set(near) <= held


def test_a_fragment_more_costs_a_page_or_two(ds):  # 0021-R8
    """Into 20,000 fragments one goes by writing the last leaf, the root and the Track; reading is as cheap."""
    store, timeline = ds.space.store, ds.manifest.timelines[0]
    made = [Fragment(i * 10, i * 10 + 9, i, address_of(b"%d" % i)) for i in range(20_000)]
    batch = Batch(store)
    manifest = _with(ds.manifest, write_fragments(batch, timeline, MEDIA, made))
    batch.flush()
    before = set(store.list())
    batch = Batch(store)
    new = Fragment(10**9, 10**9 + 1, 1, address_of(b"new"))
    VendorTrack(store, manifest, MEDIA).swap(batch, [new], made[-3:])
    batch.flush()
    assert len(set(store.list()) - before) <= 3
    assert len(read_fragments(store, manifest, MEDIA, near=(10**9, 10**9 + 1))) < 500
