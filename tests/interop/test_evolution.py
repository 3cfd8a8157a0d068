"""Schema evolution beside the reference SDK: what either side adds or takes away, the other sees."""

import dreamdb
import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.errors import InvalidInputError
from tests.places import url_of

VALUES = {
    "int": [1, -2],
    "float": [0.5, -1.25],
    "string": ["a", "ü"],
    "categorical": ["x", "y"],
    "bool": [True, False],
    "timestamp": [1_700_000_000_000_000_000, 5],
}


def their_rows(backend, name):
    found = {}
    for batch in dreamdb.Dataset.open(name, backend=backend).iter_all_batches():
        for nth, anchor in enumerate(batch["_time_anchors"]):
            row = {k: v[nth] for k, v in batch.items() if k != "_time_anchors"}
            found[anchor] = {k: _plain(v) for k, v in row.items() if v is not None}
    return found


def our_rows(backend, name, tmp_path):
    ds = vd.Dataset.open(name, backend=backend, cache_dir=tmp_path / "cache")
    found = {}
    for batch in ds.iter_stream():
        for nth, anchor in enumerate(batch["_time_anchors"]):
            row = {k: v[nth] for k, v in batch.items() if k not in ("_time_anchors", "_time")}
            found[anchor] = {k: _plain(v) for k, v in row.items() if v is not None}
    return found


def _plain(value):
    if isinstance(value, list | np.ndarray):
        return [float(x) for x in value]
    return value.value if hasattr(value, "value") else value


@pytest.fixture(params=["ours-manual", "ours-commit", "theirs"])
def space(request, tmp_path):
    """A Space of four rows, made by either side: backend, and a function that opens it with our SDK."""
    backend = url_of(tmp_path / "space")
    (tmp_path / "space").mkdir(exist_ok=True)
    rows = [{"_anchor": at, "n": at, "im": b"image %d" % at} for at in range(4)]
    if request.param == "theirs":
        schema = dreamdb.Schema().add_scalar_int("n").add_image("im", mime="png", required=False)
        dreamdb.Dataset.create("s", schema, backend=backend).append_many(rows)
    else:
        schema = vd.Schema().add_scalar_int("n").add_image("im", mime="png", required=False)
        mode = request.param.removeprefix("ours-")
        ds = vd.Dataset.create("s", schema, backend, flush=mode, cache_dir=tmp_path / "cache")
        ds.append_many(rows)
        ds.flush()
    return backend, lambda: vd.Dataset.open("s", backend=backend, cache_dir=tmp_path / "cache")


def test_they_read_fields_that_we_add(space, tmp_path):  # 0017-R1
    backend, ours = space
    ds = ours()
    for kind in VALUES:
        getattr(ds, f"add_scalar_{kind}")(f"x_{kind}")
    ds.add_image("im2").add_video("vid").add_embedding("v", 4, lsh_bits=2)
    row = {f"x_{kind}": values[0] for kind, values in VALUES.items()}
    ds.append_many([{"_anchor": 9, "n": 9, "im2": b"j", "vid": b"k", "v": [1.0, 2.0, 3.0, 4.0], **row}])
    ds.flush()
    assert their_rows(backend, "s") == our_rows(backend, "s", tmp_path)
    assert our_rows(backend, "s", tmp_path)[9]["x_string"] == "a"
    theirs = dreamdb.Dataset.open("s", backend=backend)
    theirs.append_many([{"_anchor": 10, "n": 1, "x_bool": False, "v": [1.0, 0.0, 0.0, 0.0]}])
    theirs.compact()
    assert their_rows(backend, "s") == our_rows(backend, "s", tmp_path)
    assert theirs.query_scalar("x_int", "==", 1) == [9]


@pytest.mark.parametrize("kind", VALUES)
def test_layers_of_scalars(space, tmp_path, kind):
    backend, ours = space
    ds = ours()
    ds.add_scalar_layer("q", "n", kind, list(zip([0, 2], VALUES[kind], strict=True)))
    assert [r.get("q") for r in our_rows(backend, "s", tmp_path).values()] == [
        VALUES[kind][0],
        None,
        VALUES[kind][1],
        None,
    ]
    assert their_rows(backend, "s") == our_rows(backend, "s", tmp_path)
    ds.append_scalar_layer("q", [(1, VALUES[kind][1])])
    ds.append_many([{"_anchor": 9, "n": 7, "q": VALUES[kind][0]}])
    ds.flush()
    assert their_rows(backend, "s") == our_rows(backend, "s", tmp_path)
    theirs = dreamdb.Dataset.open("s", backend=backend)
    theirs.append_many([{"_anchor": 10, "n": 7, "q": VALUES[kind][1]}])
    theirs.add_scalar_layer("q2", "q", "int", [(0, 1)])
    assert their_rows(backend, "s") == our_rows(backend, "s", tmp_path)


def test_layers_of_images_are_made_anew(space, tmp_path):
    backend, ours = space
    ds = ours()
    ds.add_image_layer("thumb", "im", [(0, b"a"), (1, b"b")])
    ds.append_many([{"_anchor": 9, "n": 1, "thumb": b"late"}])
    ds.append_image_layer("thumb", [(3, b"d")])
    ds.flush()
    assert their_rows(backend, "s") == our_rows(backend, "s", tmp_path)
    ds.refresh().add_image_layer("thumb", "im", [(0, b"new")], mime="png")
    found = our_rows(backend, "s", tmp_path)
    assert {at: r["thumb"] for at, r in found.items() if "thumb" in r} == {0: b"new"}
    assert their_rows(backend, "s") == found
    dreamdb.Dataset.open("s", backend=backend).append_image_layer("thumb", [(2, b"c")])
    assert their_rows(backend, "s") == our_rows(backend, "s", tmp_path)


def test_layers_of_vectors(space, tmp_path):
    backend, ours = space
    ds = ours()
    ds.add_embedding_layer(
        "v", "n", 4, lsh_bits=2, rerank=True, samples=[(0, [1, 2, 3, 4]), (1, [4, 3, 2, 1])]
    )
    ds.append_embedding_layer("v", [(2, [1.0, 0.0, 0.0, 0.0])])
    assert their_rows(backend, "s") == our_rows(backend, "s", tmp_path)
    theirs = dreamdb.Dataset.open("s", backend=backend)
    theirs.append_many([{"_anchor": 9, "n": 3, "v": [0.0, 0.0, 1.0, 0.0]}])
    assert their_rows(backend, "s") == our_rows(backend, "s", tmp_path)
    (hit,) = theirs.iter_vector("v", [0.0, 0.0, 1.0, 0.1], top_k=1)
    assert list(hit["_time_anchors"]) == [9]
    assert ours().iter_vector("v", [0.0, 0.0, 1.0, 0.1], top_k=1)[0]["_time_anchors"] == [9]


def test_a_field_that_is_taken_away_is_gone_for_both(space, tmp_path):
    backend, ours = space
    before = ours()
    ds = ours()
    ds.add_scalar_layer("q", "n", "int", [(0, 5)])
    ds.decommission_modality("n")
    assert "n" not in ds.schema.names
    assert their_rows(backend, "s") == our_rows(backend, "s", tmp_path)
    assert before.count() == 4
    assert before.take([0], ["n"])["n"].to_pylist() == [0]
    ds.add_scalar_int("n")
    found = our_rows(backend, "s", tmp_path)
    assert not any("n" in row for row in found.values())
    assert their_rows(backend, "s") == found
    ds.append_many([{"_anchor": 9, "n": 3}])
    ds.flush()
    assert {at: r["n"] for at, r in our_rows(backend, "s", tmp_path).items() if "n" in r} == {9: 3}
    assert their_rows(backend, "s") == our_rows(backend, "s", tmp_path)


def test_a_field_that_comes_back_before_a_flush_has_no_old_values(tmp_path):
    ds = vd.Dataset.create(
        "s",
        vd.Schema().add_scalar_int("n").add_scalar_int("m"),
        url_of(tmp_path / "s"),
        cache_dir=tmp_path / "c",
    )
    ds.append_many([{"_anchor": 1, "n": 1, "m": 2}])
    ds.decommission_modality("n")
    ds.add_scalar_string("n")
    assert our_rows(url_of(tmp_path / "s"), "s", tmp_path) == {1: {"m": 2}}
    ds.flush()
    assert their_rows(url_of(tmp_path / "s"), "s") == {1: {"m": 2}}


def test_constants_and_metadata(space):
    backend, ours = space
    ds = ours()
    values = {"title.text": "Größe", "source.uri": "https://x.test", "author.json": {"b": [1], "a": "ü"}}
    for nth, (modality, value) in enumerate(values.items()):
        ds.add_constant(f"c{nth}", modality, value)
    ds.set_meta("dreamdb.title", "A title")
    ds.set_description("What it is")
    theirs = dreamdb.Dataset.open("s", backend=backend)
    for nth, value in enumerate(values.values()):
        assert theirs.get_constant(f"c{nth}") == ds.get_constant(f"c{nth}") == value
    assert theirs.meta() == ds.meta() == {"dreamdb.title": "A title", "dreamdb.description": "What it is"}
    assert theirs.description() == "What it is"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda ds: ds.add_scalar_int("n"), "'n' is there already"),
        (lambda ds: ds.add_scalar_int("N"), "a-z"),
        (lambda ds: ds.add_constant("n", "title.text", "x"), "'n' is there already"),
        (lambda ds: ds.add_constant("c", "source.uri", "ü"), "source.uri"),
        (lambda ds: ds.add_scalar_layer("q", "zz", "int", [(0, 1)]), "no field 'zz'"),
        (lambda ds: ds.add_scalar_layer("q", "n", "int", [(0, "x")]), "'q'"),
        (lambda ds: ds.add_scalar_layer("q", "n", "int", [(0, 1), (0, 2)]), "anchor 0"),
        (lambda ds: ds.add_scalar_layer("q", "n", "number", [(0, 1)]), "unknown type 'number'"),
        (lambda ds: ds.add_scalar_layer("q", "n", "int", [0]), "sample 0"),
        (lambda ds: ds.append_scalar_layer("n", [(0, 1)]), "no layer"),
        (lambda ds: ds.decommission_modality("zz"), "no field 'zz'"),
        (lambda ds: ds.set_meta("title", "x"), "dreamdb."),
        (lambda ds: ds.set_meta("dreamdb.schema", "x"), "dreamdb.schema"),
        (lambda ds: ds.set_meta("dreamdb.title", 5), "text"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(tmp_path, wrong, told):
    schema = vd.Schema().add_scalar_int("n")
    ds = vd.Dataset.create("s", schema, url_of(tmp_path / "s"), cache_dir=tmp_path / "c")
    version = ds.current_manifest()
    with pytest.raises((InvalidInputError, vd.DreamDBError), match=told):
        wrong(ds)
    assert ds.refresh().current_manifest() == version


@pytest.mark.parametrize("flush", ["manual", "commit"])
@pytest.mark.parametrize("kind", ["int", "string", "image"])
def test_the_reference_takes_a_field_away_and_brings_back_its_name(tmp_path, kind, flush):  # 0021-R13
    """What our stripes hold of the old field does not come back, whatever the new one is of."""
    backend = url_of(tmp_path / "s")
    schema = (
        vd.Schema().add_scalar_int("m").add_scalar_int("n").add_image("im", mime="png").add_embedding("v", 2)
    )
    ds = vd.Dataset.create("s", schema, backend, flush=flush, cache_dir=tmp_path / "cache")
    ds.append_many([{"_anchor": at, "m": at, "n": at, "im": b"%d" % at, "v": [1.0, at]} for at in range(4)])
    ds.flush()
    theirs = dreamdb.Dataset.open("s", backend=backend)
    for name in ("n", "im", "v"):
        theirs.decommission_modality(name)
    new = {"int": 7, "string": "seven", "image": b"seven"}[kind]
    theirs.add_image("n") if kind == "image" else getattr(theirs, f"add_scalar_{kind}")("n")
    theirs.add_image("im", mime="png")
    wanted = {at: {"m": at} for at in range(4)}
    assert our_rows(backend, "s", tmp_path) == their_rows(backend, "s") == wanted
    theirs.append_many([{"_anchor": 9, "m": 9, "n": new}])
    wanted[9] = {"m": 9, "n": new}
    assert our_rows(backend, "s", tmp_path) == their_rows(backend, "s") == wanted
    ds.refresh().append_many([{"_anchor": 10, "m": 10, "n": new, "im": b"ten"}])
    ds.flush()
    wanted[10] = {"m": 10, "n": new, "im": b"ten"}
    assert our_rows(backend, "s", tmp_path) == their_rows(backend, "s") == wanted
    theirs = dreamdb.Dataset.open("s", backend=backend)
    theirs.append_many([{"_anchor": 11, "m": 11, "n": new}])
    theirs.compact()
    wanted[11] = {"m": 11, "n": new}
    assert our_rows(backend, "s", tmp_path) == their_rows(backend, "s") == wanted
    with vd.connect(backend, cache_dir=tmp_path / "cache") as con:
        assert con.sql("SELECT count(*), count(n), count(im) FROM s").fetchall() == [(7, 3, 1)]


@pytest.mark.parametrize("name", ["n", "im"])
def test_the_new_field_has_the_very_track_of_the_old_one_before_its_first_row(tmp_path, name):  # 0021-R13
    """The reference appends between our append and our flush, so the note of the flush lists no Track of the field."""
    backend = url_of(tmp_path / "s")
    schema = (
        vd.Schema().add_scalar_int("m").add_scalar_int("n").add_image("im", mime="png").add_embedding("v", 2)
    )
    ds = vd.Dataset.create("s", schema, backend, flush="manual", cache_dir=tmp_path / "cache")
    ds.append_many([{"_anchor": at, "m": at, "n": at, "im": b"%d" % at, "v": [1.0, at]} for at in range(4)])
    theirs = dreamdb.Dataset.open("s", backend=backend)
    theirs.append_many([{"_anchor": 9, "m": 9, "n": 9, "im": b"nine", "v": np.ones(2, "f4")}])
    ds.refresh().flush()
    theirs = dreamdb.Dataset.open("s", backend=backend)
    theirs.decommission_modality(name)
    theirs.add_scalar_int("n") if name == "n" else theirs.add_image("im", mime="png")
    found = our_rows(backend, "s", tmp_path)
    assert found == their_rows(backend, "s")
    assert found.keys() == {0, 1, 2, 3, 9}
    assert not any(name in row for row in found.values())
    ds.refresh().append_many([{"_anchor": 10, "m": 10, "n": 10, "im": b"ten", "v": [1.0, 10]}])
    ds.flush()
    found = our_rows(backend, "s", tmp_path)
    assert found == their_rows(backend, "s")
    assert [at for at, row in found.items() if name in row] == [10]


@pytest.mark.parametrize("flushed", [False, True])
def test_a_name_that_comes_back_with_another_type(tmp_path, flushed):
    """Also where no flush had brought the old values into a Track: a column of another type is not the field's."""
    backend = url_of(tmp_path / "s")
    schema = vd.Schema().add_scalar_int("m").add_scalar_string("n")
    ds = vd.Dataset.create("s", schema, backend, cache_dir=tmp_path / "cache")
    ds.append_many([{"_anchor": 1, "m": 1, "n": "one"}])
    if flushed:
        ds.flush()
    theirs = dreamdb.Dataset.open("s", backend=backend)
    theirs.decommission_modality("n")
    theirs.add_scalar_int("n")
    theirs.append_many([{"_anchor": 2, "m": 2, "n": 2}])
    wanted = {1: {"m": 1}, 2: {"m": 2, "n": 2}}
    assert our_rows(backend, "s", tmp_path) == wanted
    with vd.connect(backend, cache_dir=tmp_path / "cache") as con:
        assert con.sql("SELECT m, n FROM s ORDER BY m").fetchall() == [(1, None), (2, 2)]
    ds.refresh().flush()
    assert our_rows(backend, "s", tmp_path) == their_rows(backend, "s") == wanted


def test_a_text_comes_back_as_a_category(tmp_path):  # 0021-R13
    """Both are text in stripes; only the Tracks tell that the field is new."""
    backend = url_of(tmp_path / "s")
    schema = vd.Schema().add_scalar_int("m").add_scalar_string("n")
    ds = vd.Dataset.create("s", schema, backend, flush="commit", cache_dir=tmp_path / "cache")
    ds.append_many([{"_anchor": at, "m": at, "n": str(at)} for at in range(3)])
    theirs = dreamdb.Dataset.open("s", backend=backend)
    theirs.append_many([{"_anchor": 5, "m": 5, "n": "5"}])
    theirs.decommission_modality("n")
    theirs.add_scalar_categorical("n")
    wanted = {at: {"m": at} for at in (0, 1, 2, 5)}
    assert our_rows(backend, "s", tmp_path) == their_rows(backend, "s") == wanted


@pytest.mark.parametrize("flush", ["manual", "commit"])
def test_we_bring_back_a_name_that_the_reference_took_away(tmp_path, flush):
    backend = url_of(tmp_path / "s")
    schema = vd.Schema().add_scalar_int("m").add_scalar_int("n").add_scalar_int("o")
    ds = vd.Dataset.create("s", schema, backend, flush=flush, cache_dir=tmp_path / "cache")
    ds.append_many([{"_anchor": at, "m": at, "n": at, "o": at} for at in range(3)])
    theirs = dreamdb.Dataset.open("s", backend=backend)
    theirs.decommission_modality("n")
    theirs.decommission_modality("o")
    ds.refresh().add_scalar_int("n")
    ds.add_scalar_layer("o", "m", "int", [(1, 5)])
    wanted = {at: {"m": at} for at in range(3)}
    wanted[1]["o"] = 5
    assert our_rows(backend, "s", tmp_path) == wanted
    ds.append_many([{"_anchor": 9, "m": 9, "n": 9}])
    ds.flush()
    wanted[9] = {"m": 9, "n": 9}
    assert our_rows(backend, "s", tmp_path) == their_rows(backend, "s") == wanted
