"""Writer tags: what we write is what we read, and text of others tells no place."""

import math

import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.history.writer import FIRST, Place, Skip, place_of, skip_depth, writer_tag

TARGET = address_of(b"target")
PLACE = Place(17, 2, Skip(14, 1_700_000_000_000_000_000, TARGET))
TAG = writer_tag("commit", PLACE)


@pytest.mark.parametrize(
    "place",
    [FIRST, Place(1, 0, Skip(0, 0, TARGET)), PLACE, Place(10**19, 10**19, Skip(0, 2**64 - 1, TARGET))],
)
def test_a_place_is_read_as_it_was_written(place):  # 0008-R16
    assert place_of(writer_tag("union-merge", place)) == place


def test_what_follows_is_for_later():
    assert place_of(f"{TAG};application=x") == PLACE
    assert place_of(f"{writer_tag('create')};application=x") == FIRST


@pytest.mark.parametrize(
    "text",
    [
        "",
        "somebody",
        TAG[1:],
        f" {TAG}",
        TAG.replace("dreamdb-arrow", "dreamdb"),
        TAG.replace("writer/1", "writer/2"),
        TAG.replace("depth=17;", ""),
        TAG.replace("merges=2;", ""),
        TAG.replace("depth=17", "depth=017"),
        TAG.replace("depth=17", "depth=-17"),
        TAG.replace("depth=17", "depth=14"),
        TAG.replace("depth=17", "depth=1"),
        TAG.replace("depth=17", "depth=\N{ARABIC-INDIC DIGIT ONE}7"),
        TAG.replace("depth=17", f"depth={'1' * 21}"),
        TAG.replace("skip=14:", "skip="),
        TAG.replace("skip=14:", "skip=14::"),
        f"{TAG}x",
        TAG[:-1],
        TAG.replace(str(TARGET), str(TARGET).upper()),
        TAG[:-1] + "7",  # a bit too many
    ],
)
def test_anything_else_tells_no_place(text):  # 0008-R16
    assert place_of(text) is None


def test_where_pointers_point():
    assert [skip_depth(depth) for depth in range(1, 16)] == [0, 1, 0, 3, 4, 3, 0, 7, 8, 7, 10, 11, 10, 7, 0]


def test_any_older_version_is_a_few_steps_away():
    size = 4096
    for wanted in range(0, size, 61):
        here, steps = size, 0
        while here > wanted:
            far = skip_depth(here)
            here, steps = (far if far >= wanted else here - 1), steps + 1
        assert steps <= 3 * math.log2(size)
