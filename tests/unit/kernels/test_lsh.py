"""kernels.lsh: sides, margins, flips and bins."""

from itertools import combinations

import blake3
import numpy as np
import pytest

from dreamdb_arrow.kernels import lsh

SEED = blake3.blake3(b"t/v").digest()


def test_the_worked_example():  # 0004-R5, 0004-R6
    planes = lsh.hyperplanes(SEED, 4, 2)
    assert planes.astype(int).tolist() == [
        [1903346178, 467346337],
        [242993941, 1775384486],
        [-428789361, 932513960],
        [471739623, -176512333],
    ]
    assert lsh.plane_sides(planes, np.array([[1, 2], [-1, -2]], dtype=np.float32)).tolist() == [
        [True] * 4,
        [False] * 4,
    ]


def test_margins_do_not_depend_on_the_length_of_normals():
    planes, query = lsh.hyperplanes(SEED, 9, 3), np.array([1, -2, 0.5], dtype=np.float32)
    unit = planes / np.linalg.norm(planes, axis=1, keepdims=True)
    np.testing.assert_allclose(lsh.plane_margins(planes * 7, query), np.abs(unit @ query), rtol=1e-12)


@pytest.mark.parametrize(("bits", "count"), [(1, 1), (1, 9), (2, 4), (5, 3), (5, 99), (20, 32), (20, 211)])
def test_flips_are_the_cheapest_of_all_sets(bits, count):  # 0004-R7
    margins = np.random.default_rng(bits).random(bits)
    everything = [s for size in (0, 1, 2) for s in combinations(range(bits), size)]
    everything.sort(key=lambda flips: sum(margins[list(flips)]))
    found = [tuple(sorted(int(b) for b in row if b >= 0)) for row in lsh.cheapest_flips(margins, count)]
    assert found == everything[:count]


def test_line_positions_count_bins():
    axis, offset = lsh.line_axis(SEED, 4, 0.5)
    assert abs(np.linalg.norm(axis) - 1) < 1e-12
    assert 0 <= offset < 0.5
    vectors = np.stack([axis * 0, axis * 0.5, axis * -1.0]).astype(np.float32)
    positions = lsh.line_positions(axis, offset, 0.5, vectors)
    np.testing.assert_allclose(positions - positions[0], [0, 1, -2], atol=1e-6)
