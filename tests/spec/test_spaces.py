"""What spec/ says of paths, tags and registries, held against the stored Spaces of the reference and one of ours."""

import re
from pathlib import Path

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.columnar.stripe import field_id
from dreamdb_arrow.dataset.inspect import operation_of
from dreamdb_arrow.history.manifests import load_manifest

CODE = re.compile(r"`([^`]*)`")
ADDRESS = "d[a-z2-7]{52}"
PARTS = {"<a>": ADDRESS, "<tl>": ADDRESS, "<m>": r"[a-zA-Z0-9_.=]+", "<t>": "[0-9a-f]{16}", "<k>": "[01]+"}
UNSEEN = {"pkindex/<a>"}  # no stored Space has one
VARIED = (
    "scalars-nulls",
    "vec-vamana",
    "vec-hybrid",
    "vec-ivf-pq",
    "arrays",
    "cmaf",
    "video-items",
    "geometry",
)
VARIED += ("hot", "entities")
METADATA = (
    "manifests/",
    "genesis/",
    "tombstones/",
    "/track/",
    "/index/",
    "/items/",
    "scalar-index/",
    "spatial-index/",
)


def pattern_of(template):
    """Return what a path of this template looks like."""
    return re.compile("".join(PARTS.get(part, re.escape(part)) for part in re.split(r"(<\w+>)", template)))


@pytest.fixture(scope="module")
def templates(documents):
    """Return the templates of paths in document 0002, but for those of Refs."""
    (table,) = documents["0002"].with_head("path", "Object")
    named = [name for row in table.rows for name in CODE.findall(row[0]) or [row[0]]]
    return [name for name in named if not name.startswith("refs/")]


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """Return a Space of ours with most kinds of Objects, and its Dataset."""
    root = tmp_path_factory.mktemp("ours")
    schema = (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_categorical("c", required=False)
        .add_image("img", mime="png", required=False, chunk_size=2)
        .add_embedding("v", 2, lsh_bits=2, rerank=True, required=False)
    )
    ds = vd.Dataset.create("demo", schema, root, cache_dir=None)
    ds.append_many([{"_anchor": i, "n": i, "c": "x", "img": b"four", "v": [1.0, i]} for i in range(1, 4)])
    ds.flush()
    ds.delete([1])
    ds.branch("other").append_many([{"_anchor": 9, "n": 9}])
    ds.append_many([{"_anchor": 8, "n": 8}])
    ds.merge("other", strategy="union-tracks")
    ds.flush()
    ds.compact()
    ds.add_scalar_int("late")
    ds.add_scalar_layer("q", "n", "float", [(2, 0.5)])
    ds.add_constant("title", "title.text", "Demo")
    ds.set_meta("dreamdb.title", "Demo")
    ds.decommission_modality("late")
    return root, ds


def paths_in(root):
    return [p.relative_to(root).as_posix() for p in Path(root).rglob("*") if p.is_file()]


def templates_of(templates, path):
    return [name for name in templates if pattern_of(name).fullmatch(path)]


def check_paths(templates, root):
    """Return the templates that a Space uses; every one of its files has one, and the content that it says."""
    seen = set()
    for path in paths_in(root):
        if path.startswith(("refs/", ".dreamdb-")):
            continue
        found = templates_of(templates, path)
        assert found, path
        seen |= set(found)
        data = (Path(root) / path).read_bytes()
        if not path.startswith("bao-outboard/"):
            assert str(address_of(data)) == path.rpartition("/")[2]
        if any(part in path for part in METADATA):
            assert encode_cbor(decode_cbor(data, repeated_prefix="array.")) == data or "manifests/" in path
    return seen


def test_paths_of_stored_spaces(templates, reference_name, reference_space):  # 0002-R1, 0002-R11
    assert check_paths(templates, reference_space(reference_name))


def test_paths_of_our_spaces(templates, ours):  # 0002-R9, 0002-R11
    root, _ = ours
    seen = check_paths(templates, root)
    assert {"genesis/<a>", "<tl>/<m>/items/<a>", "<tl>/<m>/vectors/<a>", "bao-outboard/<a>"} <= seen


def test_each_template_is_seen(templates, reference_space, ours):
    spaces = [reference_space(name) for name in VARIED]
    seen = set().union(*(check_paths(templates, root) for root in (*spaces, ours[0])))
    assert set(templates) - seen <= UNSEEN


def test_registry_keys_of_stored_spaces(documents, reference_name, reference_space, ours):
    (table,) = documents["0001"].with_head("registry key")
    known = [pattern_of_key(key) for row in table.rows for key in CODE.findall(row[0]) or [row[0]]]
    for root in (reference_space(reference_name), ours[0]):
        store = vd.open_store(root)
        for name in (ref for ref in store.list_refs() if not ref.startswith("tags/")):
            manifest = load_manifest(store, store.read_ref(name).address)
            tags = {entry.modality for entry in (*manifest.tracks.active, *manifest.tracks.lineage)}
            strange = [
                key
                for key in manifest.registry
                if key not in tags and not any(k.fullmatch(key) for k in known)
            ]
            assert strange == []


def pattern_of_key(key):
    return re.compile(re.sub(r"<\w+>", "[a-z0-9_]+", key.replace(".", r"\.")).replace("*", ".*"))


def test_keys_of_an_index_of_entities(documents, reference_space):
    (table,) = documents["0017"].with_head("index key")
    root = reference_space("entities")
    seen = [decode_cbor(path.read_bytes()) for path in (root / "entity-key-index").iterdir()]
    assert seen
    for index in seen:
        assert sorted(index) == sorted(row[0] for row in table.rows)
        assert index["version"] == 1
        keys = [encode_cbor(entry[0]) for entry in index["entries"]]
        assert keys == sorted(keys)
        assert all([len(entry[1]), len(entry[2])] == [16, 16] for entry in index["entries"])


def test_operations_of_our_verbs(documents, ours):
    (table,) = documents["0006"].with_head("verb", "operation")
    _, ds = ours
    store, pending, seen = ds.space.store, [ds.space.store.read_ref("demo").address], set()
    while pending:
        manifest = load_manifest(store, pending.pop())
        seen.add(operation_of(manifest.writer))
        assert re.fullmatch(
            r"dreamdb-writer/1;sdk=python%2Fdreamdb-arrow;version=[^;]+;operation=[a-z_-]+;depth=\d+;merges=\d+(;skip=.+)?",
            manifest.writer,
        )
        pending += manifest.parents
    assert seen == {row[1] for row in table.rows}


def test_the_lock_of_a_ref(documents, ours):  # 0005-R13
    (table,) = documents["0005"].with_head("bytes", "name of the lock")
    for name, lock in table.rows:
        assert f"{address_of(name.encode())}.lock" == lock
        assert (ours[0] / ".dreamdb-cas-locks" / lock).is_file()


def test_field_ids(documents):  # 0021-R5
    (table,) = documents["0021"].with_head("column", "Parquet field id")
    assert {name: field_id(name) for name, _ in table.rows} == {name: int(n) for name, n in table.rows}
