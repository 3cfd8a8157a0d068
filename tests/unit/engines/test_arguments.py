import pytest

from dreamdb_arrow.engines.arguments import as_time_ns, time_range
from dreamdb_arrow.errors import InvalidInputError

LAST = 2**63 - 1


@pytest.mark.parametrize(
    ("value", "time_ns"),
    [
        (None, 42),
        (5, 5),
        (-5, 0),
        (2**70, LAST),
        ("2023-11-14 22:13:20.4", 1_700_000_000_400_000_000),
        ("2023-11-15 03:43:20.4+05:30", 1_700_000_000_400_000_000),
        ("1969-12-31", 0),
        ("9999-12-31", LAST),
        ("7", 7),
        ("-7", 0),
        (str(2**70), LAST),
    ],
)
def test_times(value, time_ns):
    assert as_time_ns(value, "t0", 42) == time_ns


@pytest.mark.parametrize("value", [True, 1.5, "soon", "infinity", [], {}, "", "1.0", "9" * 5000])
def test_what_is_no_time(value):
    with pytest.raises(InvalidInputError, match="t1 must be nanoseconds or a timestamp"):
        as_time_ns(value, "t1", 0)


def test_ranges():
    assert time_range(None, None) == (0, LAST)
    assert time_range(3, "3") == (3, 3)
    with pytest.raises(InvalidInputError, match="t0 is after t1: 4 > 3"):
        time_range("4", "3")
