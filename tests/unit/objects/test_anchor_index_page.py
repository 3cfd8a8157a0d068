"""Pages of anchor indexes. The bytes that the reference wrote, and broken ones, are in conformance/vectors."""

import numpy as np
import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.anchor_index_page import (
    AnchorLeaf,
    AnchorRoot,
    decode_anchor_leaf,
    decode_anchor_root,
    encode_anchor_leaf,
    encode_anchor_root,
)

ADDRESSES = np.stack([np.frombuffer(address_of(b"%d" % n), np.uint8) for n in range(3)])
ANCHORS = np.array([5, 5, (1 << 64) - 1], np.uint64)


def test_leaf_comes_back():
    data = encode_anchor_leaf(AnchorLeaf(ANCHORS, ADDRESSES, np.array([0, 7, (1 << 32) - 1], np.uint32)))
    assert len(data) == 4 + 3 * 45
    leaf = decode_anchor_leaf(data)
    assert leaf.anchors.tolist() == ANCHORS.tolist()
    assert np.array_equal(leaf.sidecars, ADDRESSES)
    assert leaf.rows.tolist() == [0, 7, (1 << 32) - 1]


def test_root_comes_back():
    data = encode_anchor_root(AnchorRoot(ANCHORS, ADDRESSES))
    assert len(data) == 4 + 3 * 41
    root = decode_anchor_root(data)
    assert root.firsts.tolist() == ANCHORS.tolist()
    assert np.array_equal(root.leaves, ADDRESSES)


@pytest.mark.parametrize("length", [0, 3, 5, 48, 50])
def test_lengths_that_no_count_gives(length):  # 0000-R2
    with pytest.raises(LayoutError):
        decode_anchor_leaf(b"\0\0\0\1" + bytes(length)[:length] if length > 4 else bytes(length))
