import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.columnar.rowset import Stripe
from dreamdb_arrow.columnar.units import END, plan_units

NONE = np.empty(0, np.int64)


def stripe(t0, t1):
    return Stripe(address_of(b"%d %d" % (t0, t1)), t0, t1)


def planned(spans, weights, due=(), extra=NONE):
    stripes = [stripe(*span) for span in spans]
    by_address = {s.address: w for s, w in zip(stripes, weights, strict=True)}
    units = plan_units(stripes, by_address, {stripes[i].address for i in due}, extra, 0.1)
    return [([(s.t0, s.t1) for s in u.stripes], u.parts) for u in units]


@pytest.mark.parametrize(
    ("spans", "weights", "due", "wanted"),
    [
        ([], [], [], []),
        ([(0, 5)], [0.1], [], []),
        ([(0, 5)], [0.1], [0], [([(0, 5)], 1)]),
        ([(0, 5), (5, 9)], [0.1, 0.1], [], [([(0, 5), (5, 9)], 1)]),
        ([(0, 5), (5, 9)], [0.5, 0.1], [], []),  # what is half full stays as it is
        ([(0, 5), (5, 9), (9, 12)], [0.1, 0.9, 0.1], [], []),
        ([(0, 5), (4, 9)], [0.9, 0.9], [], [([(0, 5), (4, 9)], 2)]),  # what overlaps comes together
        ([(0, 2), (2, 4), (4, 6)], [0.4, 0.4, 0.4], [], [([(0, 2), (2, 4)], 1)]),
        ([(0, 2)], [2.5], [0], [([(0, 2)], 3)]),
    ],
)
def test_what_comes_together(spans, weights, due, wanted):
    assert planned(spans, weights, due) == wanted


def test_rows_of_tracks_go_to_the_stripe_before_them():
    stripes = [stripe(10, 20), stripe(30, 40)]
    weights = {s.address: 0.9 for s in stripes}
    units = plan_units(stripes, weights, set(), np.array([3, 25]), 0.01)
    assert [(u.low, u.high, len(u.stripes)) for u in units] == [(0, 30, 1)]
    units = plan_units(stripes, weights, set(), np.array([3, 31]), 0.01)
    assert [(u.low, u.high) for u in units] == [(0, 30), (30, END)]
    assert [(u.low, u.high, u.stripes) for u in plan_units([], {}, set(), np.array([7]), 0.01)] == [
        (0, END, ())
    ]


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 40), st.floats(0.001, 1.2)), max_size=30),
    st.sets(st.integers(0, 29)),
)
def test_a_second_plan_finds_nothing_to_do(drawn, due):
    """Whatever is planned, once it is done nothing is left; each stripe is taken once, each anchor is owned once."""
    spans = {(t0, t0 + width): weight for t0, width, weight in drawn}
    stripes = sorted((stripe(*span) for span in spans), key=lambda s: (s.t0, s.t1))
    weights = {s.address: spans[s.t0, s.t1] for s in stripes}
    dirty = {s.address for i, s in enumerate(stripes) if i in due}
    units = plan_units(stripes, weights, dirty, NONE, 0.1)
    taken = [s for unit in units for s in unit.stripes]
    assert len(taken) == len(set(taken))
    assert dirty <= {s.address for s in taken}
    assert all(a.high <= b.low for a, b in itertools.pairwise(units))
    after = [s for s in stripes if s not in taken]
    for unit in units:
        low, high = min(s.t0 for s in unit.stripes), max(s.t1 for s in unit.stripes)
        cuts = np.linspace(low, high, unit.parts + 1)
        weight = sum(weights[s.address] for s in unit.stripes) / unit.parts
        for a, b in itertools.pairwise(cuts.tolist()):
            made = Stripe(address_of(b"%r %r" % (a, b)), a, b)
            weights[made.address] = weight
            after.append(made)
    after.sort(key=lambda s: (s.t0, s.t1))
    assert plan_units(after, weights, set(), NONE, 0.1) == []
