"""Spills: rows come out place by place, whatever the order and the blocks in which they went in."""

import numpy as np
import pytest

from dreamdb_arrow.columnar import cell_spill
from dreamdb_arrow.columnar.cell_spill import Spill, SpillWriter

DIM, PLACES = 3, 5


@pytest.fixture(params=[1 << 20, 8])
def _blocks(request, monkeypatch):
    monkeypatch.setattr(cell_spill, "_BLOCK_ROWS", request.param)


def spilled(folder, anchors, places, *, exact=False):
    """Write rows whose values tell their position, a few at a time, and open them."""
    anchors, places = np.array(anchors, np.int64), np.array(places, np.int64)
    values = np.arange(len(anchors) * DIM).reshape(-1, DIM)
    with SpillWriter(folder) as writer:
        for part in np.array_split(np.arange(len(anchors)), 4):
            beside = values[part].astype("<f4") if exact else None
            payload = (values[part] % 251).astype("u1") if exact else values[part].astype("<f4")
            writer.add((anchors[part], payload, beside), places[part])
    return Spill(folder, ("u1" if exact else "<f4", DIM), DIM if exact else 0)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("exact", [False, True])
def test_rows_come_by_place(tmp_path, exact):
    drawn = np.random.default_rng(1)
    anchors, places = drawn.permutation(100), drawn.integers(0, PLACES, 100)
    spill = spilled(tmp_path, anchors, places, exact=exact)
    sizes = spill.arrange(PLACES, np.empty(0, np.int64))
    assert sizes.tolist() == np.bincount(places, minlength=PLACES).tolist()
    stop = 0
    for place in range(PLACES):
        start, stop = stop, stop + int(sizes[place])
        held, payload, beside = spill.rows(start, stop)
        at = np.flatnonzero(places == place)
        assert held.tolist() == anchors[at].tolist()
        numbers = payload if beside is None else beside
        assert numbers[:, 0].tolist() == (DIM * at).tolist()


@pytest.mark.usefixtures("_blocks")
def test_of_repeated_anchors_the_last_row_is_left(tmp_path):
    anchors = [7, 1, 2, 7, 3, 2, 7, *range(100, 120)]
    spill = spilled(tmp_path, anchors, [0] * len(anchors))
    repeated = spill.repeated()
    assert repeated.tolist() == [0, 2, 3]
    assert spill.arrange(1, repeated).tolist() == [len(anchors) - 3]
    held, payload, _ = spill.rows(0, len(anchors) - 3)
    assert held.tolist() == [1, 3, 2, 7, *range(100, 120)]
    assert payload[3, 0] == 6 * DIM


@pytest.mark.usefixtures("_blocks")
def test_no_anchor_is_repeated(tmp_path):
    assert len(spilled(tmp_path, range(50), [0] * 50).repeated()) == 0
