import os
import signal
import threading

import pytest

from dreamdb_arrow.store.interface import NewObject
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.threads import Threads


def test_all_work_is_done_together_and_the_last_by_the_caller():
    threads, seen, gate = Threads(4), {}, threading.Barrier(3, timeout=10)

    def work(item):
        gate.wait()
        seen[item] = threading.current_thread()

    threads.run_all(work, [1, 2, 3])
    assert sorted(seen) == [1, 2, 3]
    assert seen[3] is threading.current_thread()
    assert len(set(seen.values())) == 3


def test_the_same_threads_do_the_next_work():
    threads, seen = Threads(2), set()
    for _ in range(20):
        threads.run_all(lambda _: seen.add(threading.current_thread()), [1, 2, 3])
    assert len(seen) <= 3


@pytest.mark.parametrize("limit", [1, 3])
def test_what_goes_wrong_is_raised_once_all_is_done(limit):
    done = []

    def work(item):
        if item == 1:
            raise OSError("first")
        done.append(item)

    with pytest.raises(OSError, match="first"):
        Threads(limit).run_all(work, [0, 1, 2, 3])
    assert sorted(done) == ([0] if limit == 1 else [0, 2, 3])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only Unix forks")
def test_a_store_writes_on_in_a_forked_process(tmp_path):
    store = LocalStore(tmp_path)
    store.put_many([NewObject(f"a/{i}", b"x") for i in range(9)])
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        store.put_many([NewObject(f"b/{i}", b"x") for i in range(9)])
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert sorted(store.list("b/")) == [f"b/{i}" for i in range(9)]


def test_an_object_may_come_in_parts(tmp_path):
    store = LocalStore(tmp_path)
    item = NewObject("a/b", (b"one", b"", memoryview(b"two")))
    assert item.size == 6
    store.put_many([item])
    assert store.get("a/b") == b"onetwo"
