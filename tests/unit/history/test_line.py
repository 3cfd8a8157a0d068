"""The line of first parents in large steps: what a plain walk finds, with a handful of Manifests loaded."""

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.dataset import inspect
from dreamdb_arrow.history.ancestry import is_ancestor, merge_base
from dreamdb_arrow.history.line import STEPS_MAX, UNPLACED_MAX, load_version, newest_until, place_after
from dreamdb_arrow.history.manifests import MANIFESTS, manifest_path
from dreamdb_arrow.history.marking import mark
from dreamdb_arrow.history.refs import resolve_as_of
from dreamdb_arrow.history.writer import FIRST, Place, Skip, place_of, writer_tag
from dreamdb_arrow.objects.manifest import Manifest, encode_manifest, order_tracks
from dreamdb_arrow.store.interface import Absent
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing import FaultyStore

LONG = 5_000
LOADS_MAX = 40
TIMELINE = address_of(b"timeline")
THEIRS = "dreamdb-writer/1;sdk=python%2Fdreamdb;version=0.0.16;operation=commit"


@dataclass
class Histories:
    """Versions in a store, each with its time and parents; `store` counts what is read."""

    store: FaultyStore = field(default_factory=lambda: FaultyStore(MemoryStore()))
    versions: dict[Address, tuple[int, tuple[Address, ...]]] = field(default_factory=dict)

    def add(self, ts: int, *parents: Address, placed: bool = True, writer: str = "") -> Address:
        """Write a version: of ours, with a place; or as others write it; or with a tag that is given."""
        if placed and not writer:
            parent = load_version(self.store, parents[0]) if parents else None
            place = FIRST if parent is None else place_after(self.store, parent, joins=len(parents) > 1)
            writer = writer_tag("commit", place)
        empty = {"dreamdb.schema": {"v": 1, "fields": [], "nth": len(self.versions)}}
        manifest = Manifest(ts, order_tracks([]), writer or THEIRS, parents, empty, (TIMELINE,))
        data = encode_manifest(manifest)
        address = address_of(data)
        self.store.put(f"{MANIFESTS}/{address}", data)
        self.versions[address] = (ts, parents)
        return address

    def line(self, count: int, placed=lambda _nth: True) -> list[Address]:
        """Write a line of versions at 10, 20, 30 and so on; return them, the oldest first."""
        made: list[Address] = []
        for nth in range(count):
            made.append(self.add(10 * (nth + 1), *made[-1:], placed=placed(nth)))
        return made

    def name(self, ref: str, address: Address) -> None:
        self.store.swap_ref(ref, Absent(), address)

    def collect(self, address: Address) -> None:
        self.store.delete(manifest_path(address))

    def loads(self) -> int:
        """How many Manifests were read since this was asked last."""
        found = sum(call.startswith(f"get {MANIFESTS}/") for call in self.store.log)
        self.store.log.clear()
        return found

    # --- what is right ---------------------------------------------------------------------------------------

    def walk(self, tip: Address, time_ns: int, gone: frozenset[Address] = frozenset()) -> Address | None:
        """The newest version of a line up to a time, found one by one."""
        here: Address | None = tip
        while here is not None and here not in gone:
            ts, parents = self.versions[here]
            if ts <= time_ns:
                return here
            here = parents[0] if parents else None
        return None

    def behind(self, tip: Address) -> set[Address]:
        """A version and all that it descends from."""
        found, pending = set(), [tip]
        while pending:
            if (address := pending.pop()) not in found:
                found.add(address)
                pending += self.versions[address][1]
        return found

    def bases(self, ours: Address, theirs: Address) -> set[Address]:
        """What lies behind both, and behind nothing else that does."""
        common = self.behind(ours) & self.behind(theirs)
        return common - {a for c in common for a in self.behind(c) - {c}}


@pytest.fixture(scope="module")
def long():
    """A line of 5,000 versions of ours, the oldest first."""
    histories = Histories()
    return histories, histories.line(LONG)


# --- few loads ----------------------------------------------------------------------------------------------


def test_any_time_of_a_long_history_is_found_with_few_loads(long):  # 0008-R16
    histories, made = long
    histories.name("x", made[-1])
    rng = random.Random(5)
    for nth in [0, 1, 2, LONG - 2, LONG - 1, *(rng.randrange(LONG) for _ in range(300))]:
        histories.loads()
        assert resolve_as_of(histories.store, "x", 10 * (nth + 1) + rng.randrange(10)) == made[nth]
        assert histories.loads() <= LOADS_MAX
    with pytest.raises(vd.NotFoundError, match="no version as old as 9 ns"):
        resolve_as_of(histories.store, "x", 9)
    assert histories.loads() <= LOADS_MAX


def test_a_commit_loads_its_parent_and_one_more(long):
    histories, made = long
    for tip in made[-200:]:
        parent = load_version(histories.store, tip)
        histories.loads()
        assert place_after(histories.store, parent, joins=False).depth == parent.place.depth + 1
        assert histories.loads() <= 1


def test_branches_that_parted_long_ago_are_compared_with_few_loads(long):
    histories, made = long
    parted = [made[17]]
    for nth in range(300):
        parted.append(histories.add(1000 + nth, parted[-1]))
    histories.loads()
    for old, new, base in [
        (made[-1], parted[-1], made[17]),
        (made[-1], made[3], made[3]),
        (parted[9], parted[-1], parted[9]),
    ]:
        assert merge_base(histories.store, old, new) == base
        assert is_ancestor(histories.store, base, new)
        assert not is_ancestor(histories.store, made[-1], parted[-1])
        assert histories.loads() <= 3 * 3 * LOADS_MAX


def test_alternating_writers_cost_little_more():
    histories = Histories()
    made = histories.line(1000, placed=lambda nth: nth % 7 in (0, 3))
    for nth in range(0, 1000, 13):
        histories.loads()
        assert newest_until(histories.store, made[-1], 10 * (nth + 1)) == made[nth]
        assert histories.loads() <= 100


def test_history_loads_what_it_tells_and_refs_load_nothing(long):
    histories, made = long
    histories.name("y", made[-1])
    histories.loads()
    assert len(inspect.history(histories.store, made[-1], 7)) == 7
    assert histories.loads() == 7
    assert {row["manifest"] for row in inspect.refs(histories.store)} == {str(made[-1])}
    assert histories.loads() == 0


# --- the same answers ---------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 2]),  # the branch
        st.sampled_from(["ours", "ours", "ours", "theirs", "merge", "their merge", "merge many", "branch"]),
        st.integers(-3, 3),  # how far the clock of others goes
        st.integers(0, 3),  # the other branch
    ),
    max_size=60,
)


def played(steps, *, steady):
    """Build a history; `steady` keeps the clocks of others from standing still or going back."""
    histories = Histories()
    tips = [histories.add(100)]
    for at, kind, by, to in steps:
        tip, other = tips[at % len(tips)], tips[to % len(tips)]
        if kind == "branch":
            tips.append(tip)
            continue
        joined = tips if kind == "merge many" else [other] if "merge" in kind else []
        parents = (tip, *(each for each in dict.fromkeys(joined) if each not in histories.behind(tip)))
        newest = max(histories.versions[p][0] for p in parents)
        ours = "their" not in kind
        ts = newest + (abs(by) + 1 if steady or ours else by)
        tips[at % len(tips)] = histories.add(ts, *parents, placed=ours)
    return histories, tips


@given(STEPS, st.randoms(use_true_random=False), st.integers(0, 8))
def test_times_are_found_as_by_a_plain_walk(steps, rng, losses):  # 0008-R3, 0008-R16, 0008-R17
    histories, tips = played(steps, steady=False)
    older = sorted(histories.versions.keys() - set(tips))
    gone = frozenset(rng.sample(older, min(losses, len(older))))
    for address in gone:
        histories.collect(address)
    for tip in tips:
        for time_ns in {ts + by for ts, _ in histories.versions.values() for by in (-1, 0)}:
            found = newest_until(histories.store, tip, time_ns)
            wanted = histories.walk(tip, time_ns, gone)
            if wanted is None:  # a pointer may still lead over what is gone, to the right one
                assert found in (None, histories.walk(tip, time_ns))
            else:
                assert found == wanted


@pytest.mark.parametrize("seed", range(4))
def test_clocks_of_others_that_go_wrong_hide_no_version(seed):  # 0001-R3
    rng, histories = random.Random(seed), Histories()
    tip = histories.add(1000)
    for _ in range(150):
        ours = rng.random() < 0.8
        newest = histories.versions[tip][0]
        tip = histories.add(newest + (1 if ours else rng.randrange(-40, 40)), tip, placed=ours)
    for time_ns in rng.sample(range(900, 1200), 100):
        assert newest_until(histories.store, tip, time_ns) == histories.walk(tip, time_ns)


@given(STEPS)
def test_bases_are_those_of_the_whole_history(steps):
    histories, tips = played(steps, steady=True)
    for ours in (*tips, *list(histories.versions)[::5]):
        for theirs in tips:
            assert merge_base(histories.store, ours, theirs) in histories.bases(ours, theirs)
            assert is_ancestor(histories.store, ours, theirs) == (ours in histories.behind(theirs))


def test_a_merge_may_bring_the_base_nearer_than_the_lines_meet():
    histories = Histories()
    start = histories.line(20)[-1]
    trunk, side = histories.add(300, start), histories.add(301, start)
    merged = histories.add(400, trunk, side)
    later, further = histories.add(500, merged), histories.add(501, side)
    assert merge_base(histories.store, later, further) == side
    assert is_ancestor(histories.store, side, later)


@pytest.mark.parametrize("placed", [True, False])
def test_after_merges_both_ways_and_of_many_the_base_is_a_newest_one(placed):  # 0008-R24
    histories = Histories()
    start = histories.add(1)
    one, two, three = (histories.add(10 + nth, start, placed=placed) for nth in range(3))
    left, right = histories.add(20, one, two, placed=placed), histories.add(21, two, one, placed=placed)
    assert merge_base(histories.store, left, right) in (one, two)
    many = histories.add(30, left, right, three, placed=placed)
    further = histories.add(40, three, placed=placed)
    assert merge_base(histories.store, many, further) == three
    assert merge_base(histories.store, histories.add(50, many, placed=placed), right) == right
    assert is_ancestor(histories.store, three, many)


# --- pointers that do not hold ------------------------------------------------------------------------------


def test_a_pointer_that_its_target_contradicts_counts_for_nothing():  # 0008-R17
    histories = Histories()
    made = histories.line(8)
    strangers = [
        (Skip(4, 20, histories.add(45, writer=tag_of(3))), "another depth"),
        (Skip(4, 20, histories.add(45, writer=tag_of(4, merges=9))), "more merges than there are"),
        (Skip(4, 25, histories.add(5, writer=tag_of(4))), "older than it says"),
        (Skip(4, 20, histories.add(45, placed=False)), "no place"),
        (Skip(4, 20, address_of(b"nothing")), "not there"),
    ]
    for skip, what in strangers:
        tip = histories.add(90, made[-1], writer=tag_of(8, skip))
        for nth, version in enumerate(made):
            assert newest_until(histories.store, tip, 10 * (nth + 1) + 4) == version, what
            assert merge_base(histories.store, tip, version) == version, what
        assert place_after(histories.store, load_version(histories.store, tip), joins=False).depth == 9


def tag_of(depth, skip=None, merges=0):
    return writer_tag("commit", Place(depth, merges, skip))


def test_a_damaged_target_is_no_obstacle_for_what_is_newer():
    histories = Histories()
    made = histories.line(64)
    skip = place_of(load_version(histories.store, made[-1]).manifest.writer).skip
    path = manifest_path(skip.address)
    data = histories.store.get(path)
    histories.store.delete(path)
    histories.store.put(path, data[:-1] + bytes([data[-1] ^ 1]))
    for nth in range(made.index(skip.address) + 1, 64):
        assert newest_until(histories.store, made[-1], 10 * (nth + 1)) == made[nth]
    assert histories.add(1000, made[-1])
    with pytest.raises(vd.CorruptDataError, match=str(skip.address)):
        newest_until(histories.store, made[-1], 10 * (made.index(skip.address) + 1))


def test_counting_begins_anew_after_many_versions_of_others():
    histories = Histories()
    (ours,) = histories.line(1)
    tip = ours
    for nth in range(UNPLACED_MAX + 1):
        tip = histories.add(20 + nth, tip, placed=False)
        place = place_after(histories.store, load_version(histories.store, tip), joins=False)
        assert place == (Place(nth + 2, 0, Skip(0, 10, ours)) if nth + 1 <= UNPLACED_MAX else FIRST)
    again = histories.add(100, tip)
    newer = histories.add(101, again)
    assert load_version(histories.store, newer).place == Place(1, 0, Skip(0, 100, again))
    assert newest_until(histories.store, newer, 10) == ours
    assert merge_base(histories.store, newer, ours) == ours
    assert UNPLACED_MAX < STEPS_MAX


# --- with a dataset -----------------------------------------------------------------------------------------


def committed(store, count):
    ticks = iter(range(1000, 10**9, 10))
    ds = vd.Dataset.create(
        "x", vd.Schema().add_scalar_int("n"), store, cache_dir=None, clock=lambda: next(ticks)
    )
    for nth in range(count):
        ds.set_meta("dreamdb.title", str(nth))
    return ds, [(v["ts_ns"], v["manifest"]) for v in ds.history()]


def test_our_commits_point_back_and_merges_count():
    store = FaultyStore(MemoryStore())
    ds, versions = committed(store, 30)
    places = [place_of(v["writer"]) for v in ds.history()][::-1]
    assert [p.depth for p in places] == list(range(31))
    assert places[0] == FIRST
    assert places[15].skip == Skip(0, versions[-1][0], load_version(store, places[15].skip.address).address)
    side = ds.branch("side")
    side.append({"_anchor": [1], "n": [1]})
    ds.append({"_anchor": [2], "n": [2]})
    ds.merge("side", "union-tracks")
    place = place_of(ds.manifest.writer)
    assert (place.depth, place.merges) == (32, 1)
    for ts, version in versions:
        assert str(resolve_as_of(store, "x", ts)) == version


@pytest.mark.parametrize("keep", [0, 5])
def test_a_collector_follows_no_pointers_and_times_are_found_afterwards(keep):  # 0008-R17, 0008-R18
    ds, versions = committed(MemoryStore(), 40)
    store = ds.space.store
    kept = {
        address for address in mark(store, [ds._version], keep).live if store.exists(manifest_path(address))
    }
    assert {str(address) for address in kept} == {v for _, v in versions[: keep + 1]}
    vd.gc(store, keep, dry_run=False, writers_paused=True)
    for _ in range(8):
        for ts, version in versions[: keep + 1]:
            assert str(resolve_as_of(store, "x", ts)) == version
        for ts, _ in versions[keep + 1 :]:
            with pytest.raises(vd.NotFoundError, match="no version as old"):
                resolve_as_of(store, "x", ts)
        ds.set_meta("dreamdb.title", f"later {len(ds.history())}")


# --- what is remembered -------------------------------------------------------------------------------------


def test_what_was_decoded_is_remembered_but_not_that_it_is_there():  # 0002-R3, 0008-R3
    histories, other = Histories(), MemoryStore()
    (made,) = histories.line(1)
    first = load_version(histories.store, made).manifest
    assert load_version(histories.store, made).manifest is first
    with pytest.raises(vd.NotFoundError, match="no such version"):
        load_version(other, made)
    other.put(manifest_path(made), b"something else")
    with pytest.raises(vd.CorruptDataError):
        load_version(other, made)
    histories.collect(made)
    with pytest.raises(vd.NotFoundError, match="no such version"):
        load_version(histories.store, made)
    assert replace(first, ts=5) != first
