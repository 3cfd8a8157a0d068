"""A dataset in other processes: pickled, spawned, forked, and forked while another thread holds every lock."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import Counter

import duckdb
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.dataset import scan
from dreamdb_arrow.store import forks
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.store.threads import Threads
from dreamdb_arrow.store.verified import Verifier

METHODS = pytest.mark.parametrize("method", ["fork", "spawn"])


def rows(ids):
    return {
        "_anchor": list(ids),
        "n": [i % 7 for i in ids],
        "img": [b"%d" % i for i in ids],
        "v": [[float(i), 0.0] for i in ids],
    }


@pytest.fixture
def ds(tmp_path):
    schema = (
        vd.Schema().add_scalar_int("n").add_image("img").add_embedding("v", dim=2, algorithm="dreamdb.lsh-l2")
    )
    url = f"file://{tmp_path / 'space'}"
    made = vd.Dataset.create("x", schema, url, cache_dir=tmp_path / "cache", durability="os")
    for start in range(0, 60, 20):
        made.append(rows(range(start, start + 20)))
    made.delete([7, 33])
    return made


def test_a_dataset_pickles_to_its_address(ds):
    kept = pickle.loads(pickle.dumps(ds))
    ds.append(rows([100]))
    assert type(kept) is vd.Dataset
    assert (len(ds), len(kept)) == (59, 58)
    assert (kept.ref_name(), kept.space.store.url) == ("x", ds.space.store.url)
    assert kept.space.cache.root == ds.space.cache.root
    assert kept.space.__reduce__()[1][2] == "os"
    assert kept.refresh().to_arrow().equals(ds.to_arrow())
    kept.append(rows([101]))
    assert len(ds.refresh()) == 60
    assert len(pickle.dumps(ds)) < 1000


def test_copies_share_the_space(ds):
    for nth, other in enumerate((copy.copy(ds), copy.deepcopy({"held": ds})["held"])):
        assert other.space is ds.space
        other.append(rows([100 + nth]))
        assert (len(ds), len(other)) == (58, 59 + nth)


def test_a_space_in_memory_is_copied_and_not_pickled():
    schema = vd.Schema().add_scalar_int("n")
    ds = vd.Dataset.create("x", schema, MemoryStore("here"), cache_dir=None)
    assert len(copy.copy(ds)) == len(copy.deepcopy(ds)) == 0
    with pytest.raises(
        vd.InvalidInputError,
        match=r"^memory://here ends with this process; a Space in files or in a bucket is pickled$",
    ):
        pickle.dumps(ds)


def test_a_temporary_cache_is_not_shared(tmp_path):
    ds = vd.Dataset.create("x", vd.Schema().add_scalar_int("n"), f"file://{tmp_path}/space", cache_dir=None)
    assert pickle.loads(pickle.dumps(ds)).space.cache.root != ds.space.cache.root


# ---------------------------------------------------------------- workers


def work(job):
    """What a worker of a loader does: its own part of the rows, a batch at a time."""
    ds, part, parts = job
    anchors = ds.to_arrow(["_anchor"])["_anchor"].to_pylist()
    low, high = (anchors[len(anchors) * p // parts] if p < parts else 10**9 for p in (part, part + 1))
    seen = []
    for batch in ds.iter_arrow_batches(8, start_ns=low, end_ns=high):
        seen += zip(
            batch["_anchor"].to_pylist(), batch["img"].to_pylist(), batch["v"].to_pylist(), strict=True
        )
    total = ds.sql("SELECT sum(n)::BIGINT AS n FROM self WHERE _anchor >= ? AND _anchor < ?", [low, high])
    return os.getpid(), seen, total["n"].to_pylist()[0]


@METHODS
def test_loader_workers_iterate_their_ranges(ds, method):
    before = ds.sql("SELECT sum(n)::BIGINT AS n FROM self")["n"].to_pylist()[0]
    assert len(ds.to_arrow()) == 58
    with multiprocessing.get_context(method).Pool(2) as pool:
        done = pool.map(work, [(ds, i, 3) for i in range(3)], chunksize=1)
    assert os.getpid() not in {pid for pid, _, _ in done}
    seen = [row for _, part, _ in done for row in part]
    wanted = [i for i in range(60) if i not in (7, 33)]
    assert seen == [(i, b"%d" % i, [float(i), 0.0]) for i in wanted]
    assert sum(total for _, _, total in done) == before == sum(i % 7 for i in wanted)


def inherit(queue):
    queue.put(work((INHERITED[0], 0, 1)))


INHERITED = []


def test_a_forked_child_uses_what_it_inherits(ds):
    """Not pickled: the very objects of the parent, its maps, plans and open database among them."""
    assert len(ds.sql("SELECT v, img FROM self")) == len(ds.to_arrow()) == 58
    INHERITED[:] = [ds]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=inherit, args=(queue,))
    child.start()
    _, seen, total = queue.get(timeout=60)
    child.join(60)
    assert (child.exitcode, len(seen), total) == (0, 58, sum(i % 7 for i in range(60) if i not in (7, 33)))
    assert len(ds.sql("SELECT * FROM self")) == 58


def write(queue):
    ds = INHERITED[0]
    queue.put(ds.append(rows(range(200, 205))))


def test_a_forked_child_appends(ds):
    ds = vd.Dataset.open("x", backend=ds.space.store.url, cache_dir=ds.space.cache.root)
    ds.append(rows([150]))
    INHERITED[:] = [ds]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=write, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == 5
    child.join(60)
    assert len(ds.refresh()) == 64


# ---------------------------------------------------------------- locks


def locks_of(ds):
    """Every lock that a dataset's objects share between threads."""
    owners = [ds.space, ds.space.cache, ds.space.cache.verifier]
    return [o._lock for o in owners] + [ds.space.cache.making]


def test_a_fork_while_all_locks_are_held_does_not_hang(ds):
    held, done = threading.Event(), threading.Event()

    def hold():
        locks = locks_of(ds)
        for lock in locks:
            lock.acquire()
        held.set()
        done.wait(60)
        for lock in locks:
            lock.release()

    ds.sql("SELECT 1")
    INHERITED[:] = [ds]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = context.Process(target=inherit, args=(queue,))
    child.start()
    try:
        _, seen, _ = queue.get(timeout=60)
    finally:
        done.set()
        thread.join()
        child.kill()
        child.join()
    assert len(seen) == 58


def test_every_owner_of_a_lock_renews_it(tmp_path):
    for owner in (Verifier(), MemoryStore(), LocalCache(tmp_path), Threads(2)):
        assert owner in forks._OWNERS
        before = owner._lock
        owner.after_fork()
        assert owner._lock is not before


def test_threads_are_started_again_in_a_child():
    threads, seen = Threads(2), Counter()
    threads.run_all(lambda i: seen.update([i]), range(4))
    threads.after_fork()
    threads.run_all(lambda i: seen.update([i]), range(4))
    assert seen == dict.fromkeys(range(4), 2)


# ---------------------------------------------------------------- ends

SCRIPT = """
import os, sys, dreamdb_arrow as vd
ds = vd.Dataset.open("x", backend=sys.argv[1], cache_dir=None)
con = vd.connect(sys.argv[1], cache_dir=None)
assert len(ds.sql("SELECT * FROM self")) == con.sql("SELECT count(*) FROM x").fetchall()[0][0] == 58
reader = ds.to_reader()
reader.read_next_batch()
root = ds.space.cache.root
(root / "kept").write_text("kept")
pid = os.fork()
if pid == 0:
    assert ds.sql("SELECT count(*) AS n FROM self")["n"].to_pylist() == [58]
    sys.exit(7)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert (root / "kept").exists(), "the child has taken the parent's temporary folder away"
assert len(ds.sql("SELECT * FROM self")) == 58
sys.exit(code)
"""


def test_a_child_that_ends_in_the_ordinary_way_leaves_the_parent_alone(ds):
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, ds.space.store.url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 7, ran.stderr


def test_a_stream_that_is_left_half_read_ends_with_the_interpreter(ds):
    script = (
        "import sys, dreamdb_arrow as vd\n"
        "ds = vd.Dataset.open('x', backend=sys.argv[1])\n"
        "stored, late = ds.to_reader(['n']), ds.to_reader(['img', 'v'])\n"
        "assert stored.read_next_batch().num_rows and late.read_next_batch().num_rows\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, ds.space.store.url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.fixture
def fetched(monkeypatch):
    """How many images were fetched."""
    seen = Counter()
    column = scan.media_column

    def count(rows, name, refs):
        seen[name] += len(refs)
        return column(rows, name, refs)

    monkeypatch.setattr(scan, "media_column", count)
    return seen


def test_a_stream_fetches_what_is_pulled(ds, fetched):
    reader = pa.RecordBatchReader.from_stream(ds)
    assert reader.read_next_batch().num_rows == 19
    time.sleep(0.05)  # nobody reads on in the background
    assert fetched["img"] == 19


def test_a_limit_of_duckdb_stops_a_stream(ds, fetched):
    with duckdb.connect() as con:
        con.register("held", ds.to_dataset())
        assert len(con.execute("SELECT img FROM held LIMIT 3").fetchall()) == 3
    assert fetched["img"] <= 19 * 2
    fetched.clear()
    assert len(duckdb.sql("SELECT img FROM ds LIMIT 3").fetchall()) == 3
    assert fetched["img"] <= 19 * 2
