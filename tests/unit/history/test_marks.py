"""Marks: blocks of versions behind a version. Spec 0008."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.schema import Schema
from dreamdb_arrow.history.commit import Change, commit
from dreamdb_arrow.history.marks import BASE, NO_MARKS, Mark, marks_after, marks_of, marks_text, newest_with
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.far import NO_DELAY, FarStore


def line(times, placed=lambda _: True):
    """Return the marks of each version of a line, and one more."""
    made = [NO_MARKS]
    for nth, ts in enumerate(times):
        made.append(marks_after(made[-1], Mark(ts, name(nth)), has_marks=placed(nth)))
    return made


def name(nth):
    return address_of(b"%d" % nth)


def found(made, nth, time_ns, times):
    """Return the newest version before `nth` that is not after a time, and how many versions were looked into."""
    numbers = {name(i): i for i in range(nth)}
    for steps in range(1, 10):
        mark = newest_with(made[nth], time_ns)
        if mark is None:
            return None, steps
        nth = numbers[mark.address]
        if times[nth] <= time_ns:
            return nth, steps
    raise AssertionError("the walk does not end")


def test_four_levels_reach_any_of_20_000_versions():
    times = range(20_000)
    made = line(times)
    for time_ns in (0, 1, BASE - 1, BASE, 575, 576, 9_999, 13_823, 13_824, 19_998):
        at, steps = found(made, 20_000, time_ns, times)
        assert (at, steps <= 4) == (time_ns, True)
    assert max(len(level) for marks in made for level in marks) == BASE - 1
    assert max(len(marks_text(marks)) for marks in made) < 5_000


@given(st.lists(st.integers(0, 50), min_size=1, max_size=2 * BASE**2), st.integers(0, 50))
def test_times_need_not_rise(times, time_ns):  # 0008-R21
    wanted = max((nth for nth, ts in enumerate(times) if ts <= time_ns), default=None)
    at, _ = found(line(times), len(times), time_ns, times)
    assert at == wanted


@given(st.lists(st.booleans(), max_size=600))
def test_text_tells_all(placed):
    for marks in line(range(len(placed)), placed.__getitem__)[-3:]:
        assert marks_of(marks_text(marks)) == marks


def test_blocks_end_where_there_are_marks():
    made = line(range(1000), lambda nth: nth % 3 == 0)
    ends = {mark.address for marks in made for level in marks[1:] for mark in level}
    assert ends
    assert ends <= {name(nth) for nth in range(0, 1000, 3)}


@pytest.mark.parametrize("text", ["", "A", "AA!", "AQ", "-" * 50])
def test_other_text_is_no_marks(text):  # 0008-R21
    assert sum(map(len, marks_of(text))) == 0


@pytest.mark.slow
def test_a_time_among_10_000_versions():
    """Must show C: at most 6 GET."""
    _check_times(10_000)


def test_a_time_among_1_000_versions():
    _check_times(1_000)


def _check_times(count):
    store, now = MemoryStore(), iter(range(10, 10 * count + 100, 10))
    ds = Dataset.create("d", Schema().add_scalar_int("a"), store, clock=lambda: next(now), cache_dir=None)
    made = [ds.current_manifest()]
    for nth in range(count):
        build = lambda *_: Change("commit", registry={"x": nth})  # noqa: E731, B023 - called at once
        made.append(str(commit(store, "d", build, clock=lambda: next(now))[0]))
    far = FarStore(store, NO_DELAY)
    for nth in (0, 1, count // 3, count // 2, count - 600, count - 25, count - 1, count):
        far.clear()
        opened = Dataset.open("d", backend=far, as_of=10 * (nth + 1) + 5, cache_dir=None)
        assert opened.current_manifest() == made[nth]
        assert opened.manifest.ts == 10 * (nth + 1)
        assert far.count("get") <= 6
