"""Rows by anchor: the same rows as a scan, in the order that was asked for; every byte checked."""

import os
import shutil

import numpy as np
import pyarrow as pa
import pytest

from dreamdb_arrow import Dataset, Schema
from dreamdb_arrow.columnar import row_cache
from dreamdb_arrow.errors import DigestMismatchError, InvalidInputError, ObjectNotFoundError


def schema():
    fields = Schema().add_scalar_int("n", required=False).add_scalar_string("s", required=False)
    fields.add_scalar_timestamp("t", required=False).add_embedding("v", 3, required=False)
    fields.add_image("img", required=False, pack_items=4).add_video("clip", required=False, chunk_size=5)
    return fields.add_array("grid", "f32", [2], required=False)


def rows(anchors):
    some = [a % 3 > 0 for a in anchors]
    return {
        "_anchor": list(anchors),
        "n": [a if keep else None for a, keep in zip(anchors, some, strict=True)],
        "s": [f"row {a}" for a in anchors],
        "t": pa.array([a * 7 for a in anchors], pa.timestamp("ns")),
        "v": [[a, 1, 2] if a % 4 else None for a in anchors],
        "img": [b"i" * (a % 5) + b"%d" % a if keep else None for a, keep in zip(anchors, some, strict=True)],
        "clip": [b"c%d" % a * (a % 7) if a % 2 else None for a in anchors],
        "grid": [[a, -a] for a in anchors],
    }


@pytest.fixture(params=["files", "memory", "mapped"])
def ds(request, tmp_path, monkeypatch):
    """Stripes one after another, some that came late and reach into them, deleted rows."""
    if request.param == "mapped":
        monkeypatch.setattr(row_cache, "SMALL_BYTES", 1)
    place = f"memory://{tmp_path}" if request.param == "memory" else tmp_path / "space"
    made = Dataset.create("t", schema(), place, cache_dir=tmp_path / "cache", durability="os")
    made.append(rows(range(0, 200, 2)))
    made.append(rows(range(300, 400)))
    made.append(rows([1, 99, 205, 350_000]))
    made.append(rows([3, 201]))
    made.delete([4, 99, 399])
    return made


def expected(ds, anchors, fields=None):
    """What a scan says of these anchors."""
    batches = list(ds.iter_arrow_batches(50, fields))
    found = {row["_anchor"]: row for batch in batches for row in batch.to_pylist()}
    return [found[a] for a in anchors if a in found]


def test_take_gives_the_rows_of_a_scan(ds):
    every = [a for batch in ds.iter_arrow_batches(fields=[]) for a in batch["_anchor"].to_pylist()]
    assert len(every) == 203
    for _ in range(2):
        assert ds.take(every).to_pylist() == expected(ds, every)
    scanned = pa.Table.from_batches(list(ds.iter_arrow_batches(1000)))
    assert ds.take(every).schema.equals(scanned.schema, check_metadata=True)


def test_order_and_repetition_are_those_asked_for(ds):
    wanted = [350_000, 4, 3, 201, 8, 3, 99, 0, 12345, 399, 350, 3]
    told = [350_000, 3, 201, 8, 3, 0, 350, 3]
    for given in (wanted, np.array(wanted), pa.array(wanted), pa.chunked_array([wanted[:4], wanted[4:]])):
        assert ds.take(given)["_anchor"].to_pylist() == told
    assert ds.take(wanted).to_pylist() == expected(ds, told)


@pytest.mark.parametrize("wanted", [[], [5], [4, 99], [10**15]])
def test_anchors_without_a_live_row_are_left_out(ds, wanted):
    table = ds.take(wanted)
    assert len(table) == 0
    assert table.schema.equals(ds.take([0]).schema)


def test_some_fields(ds):
    table = ds.take([201, 0], ["img", "n"])
    assert table.column_names == ["_anchor", "img", "n"]
    assert table.to_pylist() == expected(ds, [201, 0], ["img", "n"])
    assert ds.take([201, 0], []).to_pydict() == {"_anchor": [201, 0]}
    with pytest.raises(InvalidInputError, match="nope"):
        ds.take([1], ["nope"])


def test_a_row_as_a_dict(ds, tmp_path):
    row = ds.get_by_anchor(205)
    assert row == {
        "_anchor": 205,
        "n": 205,
        "s": "row 205",
        "t": 205 * 7,
        "v": [205.0, 1.0, 2.0],
        "img": b"205",
        "clip": b"c205" * 2,
        "grid": [205.0, -205.0],
    }
    assert ds.get_by_anchor(0, ["n", "v", "img", "s"]) == {
        "_anchor": 0,
        "n": None,
        "v": None,
        "img": None,
        "s": "row 0",
    }
    assert ds.get_by_anchor(99) is ds.get_by_anchor(5) is None
    copy = Dataset.create("copy", schema(), f"memory://{tmp_path}-2", cache_dir=tmp_path / "cache")
    copy.append_many([row])
    assert copy.get_by_anchor(205) == row
    with pytest.raises(InvalidInputError, match="anchors"):
        ds.get_by_anchor("205")


def test_a_version_keeps_its_rows(ds):
    before = ds.snapshot("before")
    ds.delete([0])
    ds.append({"_anchor": [7], "n": [70]})
    assert ds.take([0, 7], ["n"])["n"].to_pylist() == [70]
    old = Dataset.open_at(before, ds.space.store, cache_dir=ds.space.cache.root)
    assert old.take([0, 7], ["s"])["s"].to_pylist() == ["row 0"]


def test_layers_fields_that_come_later_and_dropped_ones(ds):
    wanted = [205, 0, 1000]
    ds.add_scalar_layer("more", "n", "int", [(0, 5), (205, 6), (99, 7)])
    ds.add_scalar_string("late")
    ds.append({"_anchor": [1000], "late": ["here"]})
    assert ds.take(wanted, ["more", "late", "n"]).to_pylist() == [
        {"_anchor": 205, "more": 6, "late": None, "n": 205},
        {"_anchor": 0, "more": 5, "late": None, "n": None},
        {"_anchor": 1000, "more": None, "late": "here", "n": None},
    ]
    ds.decommission_modality("n")
    ds.add_scalar_string("n")
    assert ds.take(wanted, ["n"])["n"].to_pylist() == [None] * 3
    ds.flush()
    assert ds.take(wanted).to_pylist() == expected(ds, wanted)


def test_nothing_changes_when_the_local_cache_goes_away(ds):
    wanted = [205, 0, 350, 3]
    before = ds.take(wanted)
    shutil.rmtree(ds.space.cache.root)
    assert ds.take(wanted).equals(before)


# ---------------------------------------------------------------- damage


@pytest.fixture
def pack(tmp_path):
    """A dataset of one pack of images, and the file of the pack."""
    made = Dataset.create("p", Schema().add_image("img"), tmp_path / "s", cache_dir=tmp_path / "c")
    made.append({"_anchor": [1, 2, 3], "img": [b"one", b"two", b"three"]})
    (file,) = [f for f in (tmp_path / "s").rglob("*") if f.is_file() and f.read_bytes() == b"onetwothree"]
    return made, file


def test_a_bit_that_flips_after_the_pack_was_checked_is_seen(pack):  # 0002-R3
    ds, file = pack
    assert ds.get_by_anchor(2)["img"] == b"two"
    data = bytearray(file.read_bytes())
    data[0] ^= 1  # of another item of the pack
    file.chmod(0o644)
    file.write_bytes(data)
    os.utime(file, ns=(1, 1))
    for _ in range(2):
        with pytest.raises(DigestMismatchError, match=file.name):
            ds.get_by_anchor(2)
    data[0] ^= 1
    file.write_bytes(data)
    assert ds.get_by_anchor(2)["img"] == b"two"


def test_a_pack_that_is_gone_is_told(pack):
    ds, file = pack
    ds.get_by_anchor(2)
    file.unlink()
    with pytest.raises(ObjectNotFoundError, match=file.name):
        ds.get_by_anchor(2)


def test_a_pack_that_is_cut_short_is_refused(pack):
    ds, file = pack
    ds.get_by_anchor(1)
    file.chmod(0o644)
    file.write_bytes(b"onetwo")
    with pytest.raises(DigestMismatchError):
        ds.get_by_anchor(1)
