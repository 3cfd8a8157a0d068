import numpy as np
import pyarrow as pa
import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.columnar.media_refs import items_of_refs, refs_of_items
from dreamdb_arrow.columnar.stripe import MEDIA_REF
from dreamdb_arrow.errors import LayoutError

REFS = [
    {"address": bytes(address_of(b"a")), "offset": 0, "size": 3, "chunked": False},
    {"address": bytes(address_of(b"b")), "offset": 7, "size": 0, "chunked": False},
    {"address": bytes(address_of(b"c")), "offset": 0, "size": 2**40, "chunked": True},
]


def test_round_trip_whole_and_sliced():
    refs = pa.array(REFS, MEDIA_REF)
    items = items_of_refs(refs, np.array([1, 2, 3], "i8"))
    assert refs_of_items(items).equals(refs)
    assert (items.stops - items.anchors == 1).all()
    assert items.packed.tolist() == [True, True, False]
    tail = refs.slice(1, 2)
    assert refs_of_items(items_of_refs(tail, np.array([2, 3], "i8"))).to_pylist() == REFS[1:]


def test_no_refs():
    none = pa.array([], MEDIA_REF)
    assert len(refs_of_items(items_of_refs(none, np.empty(0, "i8")))) == 0


def test_a_reference_without_an_address_is_refused():  # 0021-R6
    refs = pa.array([REFS[0] | {"address": None}], MEDIA_REF)
    with pytest.raises(LayoutError, match="address"):
        items_of_refs(refs, np.array([1], "i8"))
