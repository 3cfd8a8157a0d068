import math

import pyarrow as pa

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.columnar.overlaps import drop_repeated, fold_tables, overlapping, shared_anchors
from dreamdb_arrow.columnar.projection import merge_rows
from dreamdb_arrow.columnar.rowset import Stripe
from dreamdb_arrow.columnar.stripe import MEDIA_REF, stripe_schema
from dreamdb_arrow.objects.schema import Field

A, B = ({"address": bytes(address_of(t)), "offset": 0, "size": 1, "chunked": False} for t in (b"a", b"b"))
TYPES = {"n": "int", "x": "float", "s": "string", "ok": "bool", "at": "timestamp"}
FIELDS = [Field("scalar", name, False, {"value_type": t}) for name, t in TYPES.items()]
FIELDS.append(Field("image", "img", False, {"mime": "png"}))


def table(anchors, **columns) -> pa.Table:
    schema = stripe_schema(FIELDS)
    values = {"_anchor": anchors, "_time": anchors} | columns
    made = [pa.array(values.get(f.name, [None] * len(anchors)), f.type) for f in schema]
    return pa.Table.from_arrays(made, schema=schema)


def test_a_missing_value_is_filled_and_of_two_the_larger_stays():  # 0001-R17
    stripe = table(
        [1, 2, 3],
        n=[5, None, 7],
        x=[0.5, None, 1.0],
        s=["b", None, "b"],
        ok=[True, None, False],
        at=[9, None, 9],
    )
    extra = table(
        [1, 2, 9], n=[4, 4, 4], x=[2.0, 2.0, 2.0], s=["a", "a", "a"], ok=[False, False, True], at=[8, 8, 8]
    )
    merged = merge_rows(stripe, extra).to_pydict()
    assert merged["_anchor"] == [1, 2, 3]
    assert merged["n"] == [5, 4, 7]
    assert merged["x"] == [2.0, 2.0, 1.0]
    assert merged["s"] == ["b", "a", "b"]
    assert merged["ok"] == [True, False, False]
    assert [t.value for t in merged["at"]] == [9, 8, 9]


def test_of_two_media_items_that_of_the_track_stays():
    stripe = table([1, 2, 3], img=[A, A, None])
    extra = table([1, 3], img=[B, B])
    assert merge_rows(stripe, extra)["img"].to_pylist() == [B, A, B]
    assert merge_rows(stripe, extra).schema.field("img").type.equals(stripe_schema(FIELDS).field("img").type)
    assert merge_rows(stripe, table([1], img=[None]))["img"].to_pylist() == [A, A, None]
    assert MEDIA_REF.num_fields == 4


def test_negative_zero_does_not_take_the_place_of_zero():
    merged = merge_rows(table([1], x=[0.0]), table([1], x=[-0.0]))
    assert math.copysign(1, merged["x"][0].as_py()) == 1


def test_merging_with_nothing_changes_nothing():
    stripe = table([1, 2], n=[1, None])
    assert merge_rows(stripe, table([])).equals(stripe)
    assert merge_rows(table([]), stripe).equals(table([]))


# ---------------------------------------------------------------- stripes of branches that were merged


def stripe(t0, t1):
    return Stripe(address_of(b"%d %d" % (t0, t1)), t0, t1)


def test_overlapping_stripes_are_grouped():
    held = [stripe(0, 5), stripe(3, 4), stripe(4, 9), stripe(9, 10), stripe(20, 30)]
    assert [len(group) for group in overlapping(held)] == [3, 1, 1]
    assert list(overlapping([])) == []


def test_shared_anchors_stay_in_the_first_table_and_values_add_up():
    tables = [
        table([1, 3], n=[1, None]),
        table([2, 3], n=[2, 33]),
        table([1, 3, 4], n=[None, 44, 4], s=["a", None, None]),
    ]
    held = [t["_anchor"].to_numpy() for t in tables]
    shared = shared_anchors(held)
    assert shared.tolist() == [1, 3]
    folded = fold_tables(tables, shared)
    assert [t["_anchor"].to_pylist() for t in folded] == [[1, 3], [2], [4]]
    assert [t["n"].to_pylist() for t in folded] == [[1, 44], [2], [4]]
    assert folded[0]["s"].to_pylist() == ["a", None]
    kept = drop_repeated(held, shared)
    assert [h[k].tolist() for h, k in zip(held, kept, strict=True)] == [[1, 3], [2], [4]]
