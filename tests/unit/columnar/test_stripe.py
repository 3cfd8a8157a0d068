import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dreamdb_arrow.columnar.stripe import (
    ANCHOR,
    MEDIA_REF,
    SCALAR_TYPES,
    anchors_of,
    conform,
    decode_stripe,
    encode_stripe,
    field_id,
    find_clash,
    stored_type,
    stripe_schema,
)
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.schema import Field

FIELDS = [Field("scalar", t, False, {"value_type": t}) for t in SCALAR_TYPES] + [
    Field("image", "img", False, {"mime": "png"}),
    Field("embedding", "v", False, {"dim": 3}),
]
VALUES = {
    "_anchor": [3, 5, 2**63 - 2],
    "_time": [3, 5, 2**63 - 2],
    "int": [1, None, -(2**63)],
    "float": [0.1, -0.0, None],
    "string": ["", None, "日本 'q' \0"],
    "categorical": ["a", "a", None],
    "bool": [True, None, False],
    "timestamp": [None, -1, 2**63 - 1],
    "img": [{"address": b"\x1e" * 33, "offset": 0, "size": 7, "chunked": False}, None, None],
}


def table() -> pa.Table:
    schema = stripe_schema(FIELDS)
    return pa.Table.from_arrays([pa.array(VALUES[f.name], f.type) for f in schema], schema=schema)


def test_what_is_written_is_read_bit_for_bit():
    found = conform(decode_stripe(encode_stripe(table())), stripe_schema(FIELDS))
    assert found.equals(table())
    assert np.signbit(found["float"][1].as_py())
    assert anchors_of(found).tolist() == VALUES["_anchor"]


def test_every_column_and_member_has_the_field_id_of_its_name():  # 0021-R5
    schema = pq.ParquetFile(encode_stripe(table())).schema_arrow
    ids = {f.name: int(f.metadata[b"PARQUET:field_id"]) for f in schema}
    assert ids == {name: field_id(name) for name in schema.names}
    members = {f.name: int(f.metadata[b"PARQUET:field_id"]) for f in schema.field("img").type}
    assert members == {f.name: field_id(f"img.{f.name}") for f in MEDIA_REF}


def test_field_ids_are_fixed_for_ever():
    assert (field_id("_anchor"), field_id("label")) == (509_802_238, 245_846_248)


def test_embeddings_and_unknown_kinds_have_no_column():
    assert stored_type(Field("embedding", "v", True, {"dim": 3})) is None
    assert stored_type(Field("scalar", "x", True, {"value_type": "decimal"})) is None
    assert stripe_schema([]).names == ["_anchor", "_time"]


def test_some_columns_can_be_read_and_those_missing_are_left_out_or_null():  # 0021-R5
    stripe = encode_stripe(table().select(["_anchor", "_time", "int"]))
    found = decode_stripe(stripe, ["_anchor", "int", "string"])
    assert found.column_names == ["_anchor", "int"]
    assert conform(found, stripe_schema(FIELDS))["string"].null_count == 3


GOOD = bytes(encode_stripe(table()))


@pytest.mark.parametrize("data", [b"", b"PAR1" * 20, GOOD[:-9], GOOD[4:], GOOD[:20] + bytes(20) + GOOD[40:]])
def test_what_is_no_stripe_is_refused(data, tmp_path):
    file = tmp_path / "named"
    file.write_bytes(data)
    with pytest.raises(LayoutError, match="named"):
        decode_stripe(file)


def test_parquet_without_anchors_is_no_stripe():
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [1]}), sink)
    with pytest.raises(LayoutError, match="_anchor"):
        decode_stripe(sink.getvalue())


def test_names_that_engines_confuse():
    assert find_clash(["a", "b", "anchor", "_distance"]) is None
    assert find_clash(["img", "Img"]) == ("img", "Img")
    assert find_clash(["_TIME"]) == ("_time", "_TIME")
    assert field_id("f3985819") == field_id("f4420602")
    assert find_clash(["f3985819", "f4420602"]) == ("f3985819", "f4420602")


def told(table):
    """What Parquet says of each leaf: its encodings without those of levels, and its compression."""
    group = pq.ParquetFile(pa.BufferReader(encode_stripe(table))).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    return {c.path_in_schema: (set(c.encodings) - {"RLE"}, c.compression) for c in columns}


def test_each_column_has_the_settings_that_were_measured():
    n, rng = 5000, np.random.default_rng(1)
    table = pa.table(
        {
            ANCHOR: np.arange(n),
            "noise": rng.standard_normal(n),
            "degrees": np.round(rng.standard_normal(n) * 300) / 10,
            "stars": rng.integers(1, 6, n).astype(float),
            "gaps": pa.array([None if i % 2 else i / 3 for i in range(n)], pa.float64()),
            "name": [f"name {i}" for i in rng.permutation(n)],
            "label": [f"label {i % 7}" for i in range(n)],
            "lists": pa.array([[i, i + 1] for i in range(n)], pa.list_(pa.int32())),
            "parts": pa.array([{"values": [[1.5], []]} for _ in range(n)]),
        }
    )
    found = told(table)
    assert found[ANCHOR] == ({"DELTA_BINARY_PACKED"}, "UNCOMPRESSED")
    assert found["noise"] == ({"PLAIN"}, "UNCOMPRESSED")
    assert found["name"] == ({"DELTA_LENGTH_BYTE_ARRAY"}, "ZSTD")
    for name in ("degrees", "stars", "label"):
        assert "RLE_DICTIONARY" in found[name][0]
        assert found[name][1] == "ZSTD"
    assert {found[name][1] for name in found if name.startswith(("lists", "parts"))} == {"ZSTD"}
    assert decode_stripe(pa.BufferReader(encode_stripe(table))).equals(table)


def test_a_stripe_may_have_no_rows_and_no_values():
    schema = pa.schema([(ANCHOR, pa.int64()), ("x", pa.float64()), ("s", pa.string())])
    empty = schema.empty_table()
    assert decode_stripe(pa.BufferReader(encode_stripe(empty))).equals(empty)
    nulls = pa.Table.from_arrays(
        [pa.array([1, 2]), pa.nulls(2, pa.float64()), pa.nulls(2, pa.string())], schema=schema
    )
    assert decode_stripe(pa.BufferReader(encode_stripe(nulls))).equals(nulls)
