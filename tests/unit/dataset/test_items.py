import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.store.memory import MemoryStore

ROWS = [
    {"_anchor": 5, "img": b"five", "n": 5},
    {"_anchor": 3, "img": b"", "n": 3, "snd": bytes(250)},
    {"_anchor": 9, "n": 9},
    {"_anchor": 8, "img": b"eight", "n": 8},
]


@pytest.fixture
def ds():
    schema = (
        vd.Schema()
        .add_image("img", required=False, pack_items=2)
        .add_audio("snd", required=False, chunk_size=100)
        .add_scalar_int("n")
        .add_video("clip", required=False)
    )
    made = vd.Dataset.create("main", schema, backend=MemoryStore(), cache_dir=None)
    made.append_many(ROWS)
    made.delete([8])
    return made


@pytest.mark.parametrize("flushed", [False, True])
def test_items_of_media(ds, flushed):
    if flushed:
        ds.flush()
    images = ds.items("img").to_pylist()
    assert [(i["_anchor"], i["t1"], i["size"]) for i in images] == [(3, 4, 0), (5, 6, 4)]
    assert images[0]["object"] == images[1]["object"]  # one pack
    assert [(i["_anchor"], i["size"]) for i in ds.items("snd").to_pylist()] == [(3, 250)]
    assert ds.items("clip").num_rows == 0
    assert {i["init"] for i in images} == {i["key"] for i in images} == {None}


def test_init_segment_of_a_field_without(ds):
    assert ds.init_segment("clip") is None


@pytest.mark.parametrize(
    "call", [lambda d: d.items("n"), lambda d: d.init_segment("img"), lambda d: d.items("x")]
)
def test_fields_that_have_none(ds, call):
    with pytest.raises(vd.InvalidInputError, match="field"):
        call(ds)
