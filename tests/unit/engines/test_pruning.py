import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.columnar.rowset import Stripe
from dreamdb_arrow.engines.pruning import inside, may_match

SCHEMA = pa.schema([("_anchor", pa.int64()), ("_time", pa.timestamp("ns")), ("n", pa.int64())])
anchor, when, n = pc.field("_anchor"), pc.field("_time"), pc.field("n")
STRIPES = [Stripe(address_of(b"%d" % i), i * 10, i * 10 + 10) for i in range(500)]


def stamp(value):
    return pa.scalar(value, pa.timestamp("ns"))


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (None, 500),
        (inside(0, 5000), 500),
        ((anchor >= 995) & (anchor < 1005), 2),
        (anchor == 4999, 1),
        (anchor > 4999, 0),
        (anchor.isin([5, 1000, 2003]), 3),
        ((anchor < 10) | (anchor >= 4990), 2),
        (~(anchor >= 30), 3),
        ((when >= stamp(100)) & (when < stamp(110)), 1),
        (when == stamp(7), 1),
        ((anchor < 10) & (n == 3), 1),
        ((anchor < 10) | (n == 3), 500),
        (pc.scalar(False), 0),
    ],
    ids=str,
)
def test_stripes_left(wanted, left):
    assert len(may_match(STRIPES, SCHEMA, wanted)) == left


@given(
    st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 600)), max_size=3),
    st.lists(st.integers(0, 5100), max_size=3),
    st.booleans(),
)
def test_no_stripe_with_a_row_that_matches_is_left_out(ranges, values, timed):
    wanted = anchor.isin(values)
    for low, length in ranges:
        some = (when >= stamp(low)) & (when < stamp(low + length)) if timed else inside(low, low + length)
        wanted = wanted | some
    anchors = pa.array(np.arange(5000))
    table = pa.table({"_anchor": anchors, "_time": anchors.cast(pa.timestamp("ns")), "n": anchors})
    matching = set((np.asarray(table.filter(wanted)["_anchor"]) // 10).tolist())
    assert {s.t0 // 10 for s in may_match(STRIPES, SCHEMA, wanted)} >= matching
