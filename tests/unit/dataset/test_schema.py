import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset.schema import arrow_schema, describe
from dreamdb_arrow.store.memory import MemoryStore


def refused(add, *words):
    schema = vd.Schema().add_scalar_int("n")
    with pytest.raises(vd.InvalidInputError) as caught:
        add(schema)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert schema.names == ["n"]


@pytest.mark.parametrize("name", ["_anchor", "_time", "_distance", "_time_anchors"])
def test_reserved_names(name):
    refused(lambda s: s.add_image(name), name, "reserved")


@pytest.mark.parametrize(
    "name", ["", "x" * 1000, "new\nline", "nul\0", "A", "ä", "a.b", "a/b", "a=b", 'q"', "a b"]
)
def test_names_that_no_scalar_has(name):
    for add in ("int", "float", "string", "categorical", "bool", "timestamp"):
        refused(lambda s, add=add: getattr(s, f"add_scalar_{add}")(name), "field name")


@pytest.mark.parametrize("name", ["", "new\nline", "nul\0", "\u202e"])
def test_names_that_nothing_has(name):
    refused(lambda s: s.add_image(name), "field name")
    refused(lambda s: s.add_embedding(name, dim=2), "field name")


def test_names_that_engines_confuse():
    refused(lambda s: s.add_image("n"), "'n'", "there already")
    refused(lambda s: s.add_image("N"), "'N'", "'n'", "cannot tell")
    refused(lambda s: s.add_image("_TIME"), "'_TIME'", "'_time'")
    assert vd.Schema().add_scalar_int("f3985819").names == ["f3985819"]
    with pytest.raises(vd.InvalidInputError, match="cannot tell 'f4420602' from 'f3985819'"):
        vd.Schema().add_scalar_int("f3985819").add_scalar_int("f4420602")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"dim": 0}, "dim"),
        ({"dim": -1}, "dim"),
        ({"dim": 1.5}, "dim"),
        ({"dim": True}, "dim"),
        ({"dim": 10**9}, "dim"),
        ({"dim": 2, "algorithm": "flat"}, "unknown algorithm 'flat'"),
        ({"dim": 2, "algorithm": "dreamdb.vamana-cosine"}, "unknown algorithm"),
        ({"dim": 2, "algorithm": "dreamdb.lsh-l2", "rerank": True}, "lsh-l2"),
        ({"dim": 2, "algorithm": "dreamdb.lsh-l2", "lsh_bits": 8}, "lsh-l2"),
    ],
)
def test_embeddings_that_cannot_be(options, word):
    refused(lambda s: s.add_embedding("v", **options), word)


@pytest.mark.parametrize(
    "options", [{"pack_items": 0}, {"chunk_size": -1}, {"pack_items": 1.5}, {"mime": "a/b"}]
)
def test_media_that_cannot_be(options):
    refused(lambda s: s.add_image("img", **options), "img")


def test_an_odd_dimension_has_no_halves(tmp_path):
    schema = vd.Schema().add_embedding("v", dim=3, algorithm="dreamdb.imi-cosine")
    with pytest.raises(vd.InvalidInputError, match="even dimension"):
        vd.Dataset.create("x", schema, tmp_path / "s", cache_dir=None)
    assert not any(p.is_file() for p in (tmp_path / "s").rglob("*"))


def full():
    return (
        vd.Schema()
        .add_image("img", mime="png")
        .add_embedding("v", dim=4, algorithm="dreamdb.ivf-cosine", required=False)
        .add_scalar_timestamp("at")
        .add_scalar_categorical("label", required=False)
    )


def test_what_it_says_of_itself():
    assert repr(full()) == "Schema(img: image/png, v: embedding[4]?, at: timestamp, label: categorical?)"
    assert len(full()) == 4
    assert describe(full().fields[1]) == "v: embedding[4]?"


def test_the_arrow_schema_tells_what_each_field_is():
    found = arrow_schema(full().fields)
    assert found.names == ["_anchor", "_time", "img", "v", "at", "label"]
    assert found.field("v").metadata[b"dreamdb.algorithm"] == b"dreamdb.ivf-cosine"
    assert found.field("img").metadata == {b"dreamdb.kind": b"image", b"dreamdb.mime": b"png"}
    assert arrow_schema(full().fields, {"v": "unreadable"}).names == [
        "_anchor",
        "_time",
        "img",
        "at",
        "label",
    ]


def test_a_schema_that_is_given_must_be_that_of_the_dataset():
    store = MemoryStore()
    vd.Dataset.create("x", full(), store, cache_dir=None)
    assert vd.Dataset.open("x", full(), backend=store, cache_dir=None).count() == 0
    with pytest.raises(vd.InvalidInputError, match="the schema of 'x' is"):
        vd.Dataset.open("x", vd.Schema().add_scalar_int("n"), backend=store, cache_dir=None)


def test_a_schema_without_fields_has_rows_of_anchors():
    ds = vd.Dataset.create("x", vd.Schema(), MemoryStore(), cache_dir=None)
    ds.append({"_anchor": [1, 2]})
    assert ds.to_arrow().column_names == ["_anchor", "_time"]
    assert ds.count() == 2
