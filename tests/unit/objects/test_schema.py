import pytest

from dreamdb_arrow.errors import InvalidInputError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.schema import (
    SCHEMA_KEY,
    Field,
    check_new_field,
    decode_schema,
    encode_schema,
    modality_of,
    track_kind_of,
)

DENSE = {
    "codec": "raw",
    "dtype": "f32",
    "frame": "none",
    "shape": [2, 3],
    "units": "none",
    "family": "dense-array",
} | {
    "layout": "c",
    "version": 1,
    "axis_order": "none",
    "endianness": "little",
    "codec_version": 1,
    "semantic_type": "none",
}
EVENTS = {"track_kind": "event", "object_kind": "unbucketed"}
BATCHES = {"track_kind": "continuous", "object_kind": "time-batch"}
RAGGED = {k: v for k, v in DENSE.items() if k != "shape"} | {"family": "ragged-array", "inner_shape": [2]}

# kind, options, modality, kind of the Track; those of arrays as dreamdb 0.0.16 wrote them
FIELDS = [
    ("scalar", {"value_type": "int"}, "scalar.i64.field=x", "event"),
    ("scalar", {"value_type": "float"}, "scalar.f64.field=x", "event"),
    ("scalar", {"value_type": "string"}, "scalar.str.field=x", "event"),
    ("scalar", {"value_type": "categorical"}, "scalar.cat.field=x", "event"),
    ("scalar", {"value_type": "bool"}, "scalar.bool.field=x", "event"),
    ("scalar", {"value_type": "timestamp"}, "scalar.ts.field=x", "event"),
    ("image", {"mime": "png", "pack_items": 4}, "image.png", "continuous"),
    ("audio", {"mime": "wav"}, "audio.wav", "continuous"),
    ("video", {"mime": "mp4", "chunk_size": 9}, "video.mp4", "continuous"),
    ("video_item", {"codec": "h264"}, "ai.dreamlake.media.video_item.h264.version=1", "continuous"),
    ("geometry", {"geometry_family": "mesh"}, "ai.dreamlake.spatial.geometry.mesh", "event"),
    ("constant", {"modality": "title.text"}, "title.text", "constant"),
    ("embedding", {"dim": 4}, "embedding.f32.dim=4.bucketed", "continuous"),
    (
        "embedding",
        {"dim": 4, "algorithm": "dreamdb.ivf-cosine"},
        "embedding.f32.dim=4.bucketed",
        "continuous",
    ),
    (
        "embedding",
        {"dim": 4, "algorithm": "dreamdb.lsh-l2"},
        "embedding.f32.dim=4.metric=l2.bucketed",
        "continuous",
    ),
    (
        "embedding",
        {"dim": 4, "algorithm": "dreamdb.lsh-l2", "bucket_max_bytes": 2097152},
        "embedding.f32.dim=4.metric=l2.bucketed.bucket_max_bytes=2097152",
        "continuous",
    ),
    (
        "array",
        {"item_type": DENSE, **EVENTS},
        "array.f32.kind=event.storage=unbucketed.shape=2x3.item=d3ew7lakddxm3ryyu2xak5dicz6re3mitvijs7wkzglz6ngn5hnjg",
        "event",
    ),
    (
        "array",
        {"item_type": RAGGED | {"dtype": "f64", "codec": "offsets-values"}, **EVENTS},
        "array.f64.kind=event.storage=unbucketed.shape=rx2.item=dzfhb3qg2eqitiyygdhhb4c4f4xfqc7cuh7g2u25nh32cmn5tjehq",
        "event",
    ),
]


@pytest.mark.parametrize(
    ("kind", "options", "modality", "track_kind"), FIELDS, ids=[f[2][:50] for f in FIELDS]
)
def test_modality_and_track_kind(kind, options, modality, track_kind):
    field = Field(kind, "x", required=True, options=options)
    assert modality_of(field) == modality
    assert track_kind_of(field) == track_kind
    assert check_new_field(field) is field


@pytest.mark.parametrize(
    ("item_type", "part"),
    [
        (DENSE | {"shape": []}, ".shape=0d."),
        (DENSE | {"shape": [7]}, ".shape=7."),
        (RAGGED | {"inner_shape": [], "codec": "offsets-values"}, ".shape=r."),
    ],
)
def test_shapes_in_modalities(item_type, part):
    assert part in modality_of(Field("array", "x", options={"item_type": item_type, **EVENTS}))


def test_storage_in_modalities():
    field = Field("array", "x", options={"item_type": DENSE, **BATCHES})
    assert modality_of(field).startswith("array.f32.kind=continuous.storage=time_batch.shape=2x3.item=d")
    assert track_kind_of(field) == "continuous"


def test_versions_of_embeddings():
    field = Field("embedding", "x", options={"dim": 4, "bucket_max_bytes": 2097152})
    assert modality_of(field, version=2) == "embedding.f32.dim=4.bucketed.bucket_max_bytes=2097152.version=2"
    assert modality_of(field, version=1) == "embedding.f32.dim=4.bucketed.bucket_max_bytes=2097152"


def test_schema_there_and_back():  # 0001-R15
    fields = [Field(k, f"f{i:02}", required=i % 2 == 0, options=o) for i, (k, o, _, _) in enumerate(FIELDS)]
    schema = encode_schema(reversed(fields))
    assert schema["v"] == 1
    assert decode_schema({SCHEMA_KEY: schema}) == tuple(fields)
    assert encode_schema(decode_schema({SCHEMA_KEY: schema})) == schema


def test_schema_of_version_two_keeps_its_specs():
    schema = {"v": 2, "fields": [{"kind": "image", "name": "i", "mime": "png"}], "embedding_specs": [b"spec"]}
    fields = decode_schema({SCHEMA_KEY: schema})
    assert fields == (Field("image", "i", options={"mime": "png"}),)
    assert encode_schema(fields, schema["embedding_specs"])["embedding_specs"] == [b"spec"]


def test_an_unknown_kind_makes_one_field_unavailable():  # 0000-R4
    declared = {"kind": "hologram", "name": "h", "required": False, "depth": 3}
    (field,) = decode_schema({SCHEMA_KEY: {"v": 1, "fields": [declared]}})
    assert field == Field("hologram", "h", options={"depth": 3})
    assert encode_schema([field])["fields"] == [declared]
    for refused in (modality_of, track_kind_of):
        with pytest.raises(UnsupportedError, match="hologram"):
            refused(field)


FIELD = {"kind": "scalar", "name": "n", "required": True, "value_type": "int"}


@pytest.mark.parametrize(
    "schema",
    [
        None,
        [],
        {},
        {"v": 1},
        {"fields": []},
        {"v": "1", "fields": []},
        {"v": True, "fields": []},
        {"v": 1, "fields": {}},
        {"v": 1, "fields": [], "x": 1},
        {"v": 1, "fields": [], "embedding_specs": []},
        {"v": 2, "fields": []},
        {"v": 1, "fields": [1]},
        {"v": 1, "fields": [FIELD | {"name": 1}]},
        {"v": 1, "fields": [FIELD | {"kind": None}]},
        {"v": 1, "fields": [FIELD | {"required": 1}]},
        {"v": 1, "fields": [{"kind": "scalar"}]},
        {"v": 1, "fields": [FIELD, FIELD]},
    ],
)
def test_not_a_schema(schema):
    with pytest.raises(LayoutError):
        decode_schema({SCHEMA_KEY: schema})


def test_no_schema():  # 0001-R12
    with pytest.raises(LayoutError, match="registry has no"):
        decode_schema({})


def test_newer_schemas_are_named():
    with pytest.raises(UnsupportedError, match="version 3"):
        decode_schema({SCHEMA_KEY: {"v": 3, "anything": []}})


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("scalar", {}),
        ("scalar", {"value_type": 1}),
        ("image", {}),
        ("image", {"mime": "svg+xml"}),
        ("image", {"mime": "../x"}),
        ("embedding", {}),
        ("embedding", {"dim": "4"}),
        ("embedding", {"dim": -4}),
        ("embedding", {"dim": 4, "algorithm": 5}),
        ("embedding", {"dim": 4, "bucket_max_bytes": None}),
        ("constant", {}),
        ("constant", {"modality": "x/y.z"}),
        ("geometry", {"geometry_family": []}),
        ("video_item", {"codec": None}),
        ("array", {}),
        ("array", {"item_type": {}, **EVENTS}),
        ("array", {"item_type": DENSE}),
        ("array", {"item_type": {k: v for k, v in DENSE.items() if k != "shape"}, **EVENTS}),
        ("array", {"item_type": DENSE | {"shape": ["2"]}, **EVENTS}),
    ],
)
def test_options_that_are_wrong(kind, options):
    field = Field(kind, "x", options=options)
    with pytest.raises(LayoutError):
        modality_of(field)
    with pytest.raises(InvalidInputError, match="cannot be declared"):
        check_new_field(field)


@pytest.mark.parametrize("options", [{"value_type": "complex"}, {"value_type": ""}])
def test_unknown_value_types(options):
    with pytest.raises(UnsupportedError):
        modality_of(Field("scalar", "x", options=options))


def test_graph_fields_have_their_modality_in_the_manifest_only():
    with pytest.raises(UnsupportedError, match="graph"):
        modality_of(Field("embedding", "g", options={"dim": 4, "algorithm": "dreamdb.vamana-cosine"}))


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "a=b", "é", "A", "a b", "a-b", "a\n", "..", "x" * 201])
def test_names_of_new_scalar_fields(name):  # 0001-R11
    with pytest.raises(InvalidInputError, match="field name"):
        check_new_field(Field("scalar", name, options={"value_type": "int"}))


@pytest.mark.parametrize("name", ["", "a\nb", "\x00", "x" * 201])
def test_names_of_any_new_field(name):
    with pytest.raises(InvalidInputError, match="field name"):
        check_new_field(Field("image", name, options={"mime": "png"}))


@pytest.mark.parametrize("name", ["Camera 1", "é", "a.b", "x" * 200])
def test_names_of_new_media_fields_are_freer(name):
    check_new_field(Field("image", name, options={"mime": "png"}))


def test_two_fields_of_one_name():  # 0001-R15
    with pytest.raises(InvalidInputError, match="twice"):
        encode_schema([Field("image", "x"), Field("audio", "x")])


def test_options_may_not_take_the_place_of_others():
    with pytest.raises(InvalidInputError, match="name"):
        encode_schema([Field("image", "x", options={"name": "y"})])
