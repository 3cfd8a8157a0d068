"""A flush of a thousand rows into Tracks of many: few pages a field, whatever the kind, and notes that stay small."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar.cover_note import CoverNote
from dreamdb_arrow.columnar.notes import read_notes
from dreamdb_arrow.columnar.projection import project, row_entry
from dreamdb_arrow.columnar.vendor import read_track
from dreamdb_arrow.store.memory import MemoryStore

T0 = 1_700_000_000_000_000_000
ROWS, MORE, DIM = 40_000, 1000, 4
PAGES_MAX = 40


class CountingStore(MemoryStore):
    """Counts index pages by modality."""

    def __init__(self):
        super().__init__()
        self.read, self.written = Counter(), Counter()

    def get(self, path):
        if "/index/" in path:
            self.read[path.split("/")[1]] += 1
        return super().get(path)

    def put_many(self, items):
        self.written.update(item.path.split("/")[1] for item in items if "/index/" in item.path)
        super().put_many(items)


def table(first, count):
    rng = np.random.default_rng(first)
    numbers = first + np.arange(count)
    return {
        "_anchor": T0 + numbers * 1000,
        "n": numbers if first else rng.permutation(numbers),
        "x": numbers * 1.1,
        "s": pa.array([f"{n:09d}" for n in numbers]),
        "at": pa.array(T0 + numbers),
        "c": pa.array([f"c{n % 100}" for n in numbers]),
        "ok": pa.array(numbers % 2 == 0),
        "img": pa.array([int(n).to_bytes(4, "big") for n in numbers]),
        "v": pa.FixedSizeListArray.from_arrays(rng.standard_normal(count * DIM, dtype=np.float32), DIM),
    }


@pytest.fixture(scope="module")
def flushed():
    """A Space of many rows, flushed, that got a thousand more; and what the second flush read and wrote."""
    made = (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_float("x")
        .add_scalar_string("s")
        .add_scalar_timestamp("at")
    )
    made = made.add_scalar_categorical("c").add_scalar_bool("ok").add_image("img", mime="png")
    made = made.add_embedding("v", dim=DIM, lsh_bits=4)
    store = CountingStore()
    ds = vd.Dataset.create("main", made, backend=store, cache_dir=None)
    ds.append(table(0, ROWS))
    ds.flush()
    ds.append(table(ROWS, MORE))
    store.read.clear()
    store.written.clear()
    ds.flush()
    return ds


def test_each_field_takes_few_pages(flushed):
    store = flushed.space.store
    assert set(store.written) >= {
        "image.png",
        "scalar.f64.field=x",
        "scalar.i64.field=n",
        "scalar.str.field=s",
    }
    assert max(store.written.values()) <= 8 < PAGES_MAX
    assert max(store.read.values()) <= 8


def test_the_tracks_hold_all_rows(flushed):
    store, manifest = flushed.space.store, flushed.manifest
    found = project(store, manifest, flushed.schema.fields, CoverNote({}, {}))
    assert len(found.table) == len(found.vectors["v"][0]) == ROWS + MORE
    later = found.table.slice(ROWS)
    expected = table(ROWS, MORE)
    for name in ("n", "s", "c", "ok"):
        assert later[name].combine_chunks().equals(pa.array(expected[name]))
    for field in flushed.schema.fields:
        if field.name in ("n", "x", "s", "at"):
            index = read_track(store, row_entry(manifest, field.name)).object_index
            assert index["total_entries"] == ROWS + MORE


def test_a_note_lists_buckets_and_no_media(flushed):  # 0021-R9, 0021-R10
    notes = read_notes(flushed.space.store, flushed.manifest)
    assert len(notes) == 3
    for note in notes[1:]:
        assert set(note.payloads) == {"n", "x", "s", "at", "c", "ok", "v"}
        assert all(len(listed) <= 16 for listed in note.payloads.values())
        assert set(note.tracks) >= {"img", "n"}
