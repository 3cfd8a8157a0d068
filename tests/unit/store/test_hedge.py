"""Hedges: late requests are made again. Spec 0005."""

import threading
import time

import pytest

from dreamdb_arrow.errors import ObjectNotFoundError
from dreamdb_arrow.store.hedge import ASKED_MAX, AT_FIRST, Hedge
from dreamdb_arrow.store.traffic import Traffic

SLOW_S = 1.0


class Server:
    """Answers each item after 10 ms; those that are `slow` after a second, the first `times` times."""

    def __init__(self, slow=(), times=1):
        self.slow, self.times = set(slow), times
        self.asked, self.lock = [], threading.Lock()

    def __call__(self, item):
        with self.lock:
            nth = self.asked.count(item)
            self.asked.append(item)
        time.sleep(SLOW_S if item in self.slow and nth < self.times else 0.01)
        return item * 2


@pytest.fixture
def traffic():
    return Traffic()


@pytest.mark.parametrize("slow", [(), (0,), (99,), (3, 50, 97)])
def test_late_answers_are_not_waited_for(traffic, slow):
    hedge, server, told = Hedge(traffic, 64), Server(slow), []
    began = time.perf_counter()
    count = sum(
        1 for _ in hedge.in_order(server, lambda item, got: told.append((item, got)), range(100), 1000)
    )
    assert time.perf_counter() - began < SLOW_S
    assert count == 100
    assert sorted(told) == [(i, i * 2) for i in range(100)]
    assert traffic.counts().get("hedge", 0) == len(server.asked) - 100 >= len(slow)


def test_a_single_call_is_hedged(traffic):
    hedge, server = Hedge(traffic, 4), Server([7], times=2)
    began = time.perf_counter()
    assert hedge.first(lambda: server(7)) == 14
    assert time.perf_counter() - began < SLOW_S
    assert server.asked == [7, 7, 7]


def test_a_server_that_is_slow_throughout_is_asked_little_more(traffic):
    hedge, server = Hedge(traffic, 64), Server(range(40), times=ASKED_MAX)
    list(hedge.in_order(server, lambda *_: None, range(40), 1000))
    assert len(server.asked) <= 40 + AT_FIRST + 40 * 0.2


def test_no_more_are_under_way_than_asked_for(traffic):
    hedge, server = Hedge(traffic, 64), Server()
    running = hedge.in_order(server, lambda *_: None, range(100), 3)
    next(running)
    time.sleep(0.1)
    assert set(server.asked) <= set(range(5))
    running.close()
    assert len(server.asked) < 10


def test_few_come_together_though_many_are_asked_for_ahead(traffic):
    hedge, server, together, most = Hedge(traffic, 64), Server(), set(), []

    def work(item):
        together.add(item)
        most.append(len(together))
        return server(item)

    running = hedge.in_order(work, lambda item, _: together.discard(item), range(60), 30, together=3)
    next(running)
    time.sleep(0.3)
    assert set(range(20)) <= set(server.asked) <= set(range(35))
    assert sum(1 for _ in running) == 59
    assert 2 <= max(most) <= 3 + traffic.counts().get("hedge", 0)


def test_errors_come_out(traffic):
    def fail(item):
        raise ObjectNotFoundError(f"x/{item}")

    hedge = Hedge(traffic, 4)
    with pytest.raises(ObjectNotFoundError, match="x/0"):
        list(hedge.in_order(fail, lambda *_: None, range(3), 10))
    with pytest.raises(ObjectNotFoundError, match="x/1"):
        hedge.first(lambda: fail(1))
    assert list(hedge.in_order(fail, lambda *_: None, [], 10)) == []


def test_what_fails_while_it_is_dealt_with_comes_out(traffic):
    def deal(item, _):
        raise OSError(f"no room for {item}")

    with pytest.raises(OSError, match="no room for 0"):
        list(Hedge(traffic, 4).in_order(Server(), deal, range(2), 10))
