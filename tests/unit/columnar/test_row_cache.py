"""Decoded row groups: found by anchor, kept in memory or mapped, checked, bounded."""

import os
import shutil
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.columnar import row_cache
from dreamdb_arrow.columnar.row_cache import RowCache, read_footer
from dreamdb_arrow.columnar.stripe import open_stripe
from dreamdb_arrow.errors import LayoutError

ANCHORS = np.arange(100, dtype=np.int64) * 10
TABLE = pa.table({"_anchor": ANCHORS, "n": np.arange(100), "grid": [[i, i] for i in range(100)]})


class Stripe:
    """A stripe of four row groups on the disk; counts how often it is opened."""

    def __init__(self, folder, table=TABLE, **options):
        self.file = folder / "stripe.parquet"
        pq.write_table(table, self.file, row_group_size=25, **options)
        self.address, self.opened = address_of(self.file.read_bytes()), 0

    def locate(self):
        self.opened += 1
        return self.file

    def find(self, cache, wanted, columns=("n",)):
        found = list(cache.find(self.address, self.locate, np.array(wanted, np.int64), columns))
        at = [i for _, where in found for i in where.tolist()]
        return at, [row for table, _ in found for row in table.to_pylist()]


@pytest.fixture
def stripe(tmp_path):
    return Stripe(tmp_path)


@pytest.fixture
def on_disk(monkeypatch):
    monkeypatch.setattr(row_cache, "SMALL_BYTES", 1)


def kept(folder):
    return sorted(path for path in folder.glob("*/*") if path.is_file())


def test_rows_are_found_by_anchor_once_decoded(stripe, tmp_path):
    cache = RowCache(tmp_path / "rows")
    wanted = [-5, 10, 10, 15, 500, 990, 991]
    rows = [{"_anchor": a, "n": a // 10} for a in (10, 10, 500, 990)]
    for _ in range(2):
        assert stripe.find(cache, wanted) == ([1, 2, 4, 5], rows)
        assert stripe.opened == 1 + 3  # the footer, and the groups that may have one of them
    assert stripe.find(cache, [1, 2000]) == ([], [])
    assert stripe.find(cache, []) == ([], [])
    assert kept(tmp_path / "rows") == []


def test_arrays_are_decoded_when_they_are_asked_for(stripe, tmp_path):
    cache = RowCache(tmp_path / "rows")
    assert stripe.find(cache, [30], ["n", "grid", "other"])[1] == [{"_anchor": 30, "n": 3, "grid": [3, 3]}]
    assert stripe.find(cache, [30], [])[1] == [{"_anchor": 30}]
    assert stripe.opened == 1 + 2
    assert cache.footer(stripe.address, stripe.locate).parts == (("_anchor", "n"), ("grid",))


def test_large_groups_are_mapped_by_the_next_process_too(stripe, tmp_path, on_disk):
    folder = tmp_path / "rows"
    first = stripe.find(RowCache(folder), [30, 980])
    assert len(kept(folder)) == 2
    opened = stripe.opened
    assert stripe.find(RowCache(folder), [30, 980]) == first
    assert stripe.opened == opened + 1  # the footer only


@pytest.mark.parametrize("bad", [b"", b"x" * 10, b"x" * 5000])
def test_a_damaged_file_is_made_anew(stripe, tmp_path, on_disk, bad):
    folder = tmp_path / "rows"
    cache = RowCache(folder)
    good = stripe.find(cache, [30])
    (file,) = kept(folder)
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(bad)
    assert stripe.find(cache, [30]) == stripe.find(RowCache(folder), [30]) == good
    assert file.read_bytes() == data


def test_a_flipped_bit_is_seen(stripe, tmp_path, on_disk):
    folder = tmp_path / "rows"
    good = stripe.find(RowCache(folder), [30])
    (file,) = kept(folder)
    data = bytearray(file.read_bytes())
    for at in (8, len(data) // 2, len(data) - 1):
        changed = data.copy()
        changed[at] ^= 1
        file.unlink()
        file.write_bytes(changed)
        assert stripe.find(RowCache(folder), [30]) == good


def test_a_folder_that_goes_away_comes_again(stripe, tmp_path, on_disk):
    folder = tmp_path / "rows"
    cache = RowCache(folder)
    good = stripe.find(cache, [30])
    shutil.rmtree(folder)
    assert stripe.find(cache, [30]) == good
    assert len(kept(folder)) == 1


def test_without_a_place_for_files_rows_stay_in_memory(stripe, tmp_path, on_disk):
    (tmp_path / "rows").write_bytes(b"no folder")
    cache = RowCache(tmp_path / "rows")
    assert stripe.find(cache, [30]) == stripe.find(cache, [30])
    assert stripe.opened == 2


def test_what_is_in_memory_is_bounded(stripe, tmp_path):
    cache = RowCache(tmp_path / "rows", memory_bytes=900)  # two groups of 25 rows have 800
    for anchor in (0, 250, 500, 0):
        stripe.find(cache, [anchor])
    assert stripe.opened == 1 + 4
    stripe.find(cache, [500])
    assert stripe.opened == 1 + 4
    cache.forget()
    stripe.find(cache, [0])
    assert stripe.opened == 1 + 4 + 2


def test_what_is_on_the_disk_is_bounded(stripe, tmp_path, on_disk):
    folder = tmp_path / "rows"
    stripe.find(RowCache(folder), [0])
    size = kept(folder)[0].stat().st_size
    cache = RowCache(folder, disk_bytes=3 * size + 100)
    for anchor in (0, 250, 500):
        stripe.find(cache, [anchor])
    first = kept(folder)
    assert len(first) == 3
    stripe.find(RowCache(folder), [0])  # used last
    stripe.find(cache, [750])
    left = {int(path.name.split("-")[1]) for path in kept(folder)}
    assert left == {0, 3}


def test_groups_without_statistics_may_hold_anything(tmp_path):
    stripe = Stripe(tmp_path, write_statistics=False)
    cache = RowCache(tmp_path / "rows")
    assert stripe.find(cache, [10, 990, 995]) == (
        [0, 1],
        [{"_anchor": 10, "n": 1}, {"_anchor": 990, "n": 99}],
    )
    assert read_footer(open_stripe(stripe.file)).rows == 100


def test_anchors_out_of_order_are_refused(tmp_path):  # 0021-R4
    stripe = Stripe(tmp_path, TABLE.take(pa.array([1, 0])))
    with pytest.raises(LayoutError, match="not ascending"):
        stripe.find(RowCache(tmp_path / "rows"), [0])


def test_a_stripe_that_is_cut_short_is_refused(tmp_path):
    stripe = Stripe(tmp_path)
    cache = RowCache(tmp_path / "rows")
    cache.footer(stripe.address, stripe.locate)
    data = stripe.file.read_bytes()
    stripe.file.write_bytes(b"PAR1" + bytes(len(data) // 2) + data[4 + len(data) // 2 :])
    with pytest.raises(LayoutError, match="not a stripe"):
        stripe.find(cache, [0], ["n", "grid"])


def test_no_file_stays_open(stripe, tmp_path, on_disk):
    cache = RowCache(tmp_path / "rows")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208
    if not before:
        pytest.skip("this system does not tell which files are open")
    stripe.find(cache, [0, 250, 500, 750])
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_threads_may_share_it(stripe, tmp_path, on_disk):
    cache, answers = RowCache(tmp_path / "rows", memory_bytes=500), []
    wanted = ANCHORS.tolist()
    threads = [
        threading.Thread(target=lambda: answers.append(stripe.find(cache, wanted)[1])) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [TABLE.select(["_anchor", "n"]).to_pylist()] * 6


def test_a_file_that_appears_while_it_is_looked_for(stripe, tmp_path, on_disk, monkeypatch):
    folder = tmp_path / "rows"
    good = stripe.find(RowCache(folder), [30])
    real, looked = row_cache._identity, []

    def missing_at_first(file):
        looked.append(file)
        return () if len(looked) == 1 else real(file)

    monkeypatch.setattr(row_cache, "_identity", missing_at_first)
    assert stripe.find(RowCache(folder), [30]) == good
