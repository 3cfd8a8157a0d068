"""Bit rot: one bit of an object is another. fsck names the object, and no query gives a wrong value. Must-show C of issue 6.

Every kind of object is represented: in a Space of ours with every kind of field, and in Spaces that the reference wrote.
"""

import random
import shutil
import tarfile
from collections import defaultdict
from pathlib import Path

import duckdb
import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.history.object_kinds import kind_of
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.testing.model import rows_of_table

T0 = 1_700_000_000_000_000_000
FIXTURES = Path(__file__).parents[2] / "conformance" / "spaces" / "reference-0.0.16"
REFERENCE = (
    "vec-vamana",
    "hot",
    "cmaf",
    "paged-btree",
    "paged-media",
    "vec-ivf-pq",
    "video-items",
    "geometry",
)
KINDS = {
    "ref",
    "manifest",
    "genesis",
    "track",
    "scalar index",
    "scalar page",
    "scalar bucket",
    "tombstones",
    "media",
    "media page",
    "items",
    "outboard",
    "spatial index",
    "spatial bucket",
    "vector sidecar",
    "vector compressor",
    "array item",
    "constant",
    "stripe",
    "vector stripe",
    "cover note",
    "graph index",
    "graph page",
    "hot shard",
    "initialization bytes",
}


def own_space(root):
    schema = (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_string("s", required=False)
        .add_scalar_categorical("c", required=False)
        .add_image("img", mime="png")
        .add_audio("snd", chunk_size=4)
        .add_array("a", dtype="f32", shape=(2,))
        .add_embedding("v", dim=4, lsh_bits=2, rerank=True)
    )
    ds = vd.Dataset.create("main", schema, root, cache_dir=None, durability="os")
    for start in range(0, 12, 4):
        ds.append_many([row(start + k) for k in range(4)])
        ds.flush()
    ds.add_constant("title", "title.text", "a title")
    ds.append_many([row(12 + k) for k in range(4)])
    ds.delete([T0 + 1], reason="gone")
    ds.snapshot("label")
    return root


def row(n):
    return {
        "_anchor": T0 + n,
        "n": n,
        "s": f"text {n}",
        "c": "ab"[n % 2],
        "img": b"png %d" % n,
        "snd": b"sound number %d" % n,
        "a": np.array([n, -n], np.float32),
        "v": [1.0, n, -n, n % 3],
    }


@pytest.fixture(scope="module")
def spaces(tmp_path_factory):
    """Spaces, by name."""
    made = {"ours": own_space(tmp_path_factory.mktemp("rot") / "s")}
    for name in REFERENCE:
        place = tmp_path_factory.mktemp(name)
        with tarfile.open(FIXTURES / f"{name}.tar.gz") as archive:
            archive.extractall(place, filter="data")
        made[name] = place if (place / "refs").is_dir() else next(place.iterdir())
    return made


def objects_of(root):
    """Objects and refs by kind."""
    found = defaultdict(list)
    for path in LocalStore(root).list():
        if (root / path).stat().st_size:
            found[kind_of(path)].append(path)
    found["ref"] = [f"refs/{name}" for name in LocalStore(root).list_refs()]
    return dict(found)


class Rot:
    """One bit flipped, in each of some files, until it is over."""

    def __init__(self, root, paths, drawn):
        self._whole = {root / path: (root / path).read_bytes() for path in paths}
        self._drawn = drawn

    def __enter__(self):
        for file, data in self._whole.items():
            bad = bytearray(data)
            bad[self._drawn.randrange(len(bad))] ^= 1 << self._drawn.randrange(8)
            file.write_bytes(bad)

    def __exit__(self, *_):
        for file, data in self._whole.items():
            file.write_bytes(data)


# ---------------------------------------------------------------- fsck


@pytest.mark.parametrize("name", ["ours", *REFERENCE])
def test_whole_spaces_have_no_finding(spaces, name):
    report = vd.fsck(spaces[name])
    assert report["findings"] == []
    assert report["objects"] > 8
    for ref in LocalStore(spaces[name]).list_refs():
        assert vd.verify(spaces[name], ref)["findings"] == []


def test_every_kind_is_represented(spaces):
    assert {kind for root in spaces.values() for kind in objects_of(root)} >= KINDS


@pytest.mark.parametrize("name", ["ours", *REFERENCE])
def test_one_of_each_kind_is_told_alone(spaces, name):
    drawn = random.Random(name)
    for kind, paths in objects_of(spaces[name]).items():
        path = drawn.choice(paths)
        with Rot(spaces[name], [path], drawn):
            findings = vd.fsck(spaces[name])["findings"]
        assert path in {found["path"] for found in findings}, (kind, path)
    assert vd.fsck(spaces[name])["findings"] == []


@pytest.mark.parametrize("name", ["ours", *REFERENCE])
def test_many_at_once_are_all_told(spaces, name):
    drawn = random.Random(name)
    objects = [path for paths in objects_of(spaces[name]).values() for path in paths]
    for _ in range(3):
        chosen = drawn.sample(objects, max(1, len(objects) // 4))
        with Rot(spaces[name], chosen, drawn):
            found = {each["path"] for each in vd.fsck(spaces[name])["findings"]}
        assert set(chosen) <= found


# ---------------------------------------------------------------- queries


class Reads:
    """All ways to read the refs of a Space with a new cache each time, each giving something comparable."""

    def __init__(self, root, cache):
        self._root, self._cache, self._count = root, cache, 0
        self.refs = [name for name in LocalStore(root).list_refs() if not name.startswith("tags/")][:2]
        self.truth = self.outcomes()
        assert all(error is None for _, error in self.truth.values())

    def outcomes(self):
        """What each way gives, or how it fails."""
        self._count += 1
        cache = self._cache / str(self._count)
        found = {}
        for ref in self.refs:
            for how, read in self._ways(ref, cache):
                found[ref, how] = outcome_of(read)
        shutil.rmtree(cache, ignore_errors=True)
        return found

    def _ways(self, ref, cache):
        def opened():
            return vd.Dataset.open_ref(ref, self._root, cache_dir=cache)

        def sql(text, *params):
            with vd.connect(self._root, cache_dir=cache) as con:
                return rows_of_table(con.sql(text, params=[ref, *params]).to_arrow_table())

        yield "scan", lambda: rows_of_table(opened().to_arrow())
        yield "count", lambda: opened().count()
        yield "take", lambda: rows_of_table(taken(opened()))
        yield "sql", lambda: sql("FROM dreamdb_scan(?)")
        yield "search", lambda: searched(opened(), {})
        yield "probe", lambda: searched(opened(), {"nprobe": 2})


def taken(ds):
    return ds.take(ds.to_arrow()["_anchor"].to_pylist()[::3])


def searched(ds, options):
    fields = [f for f in ds.schema.fields if f.kind == "embedding"]
    return [
        (f.name, ds.iter_vector(f.name, [1.0] * int(f.options["dim"]), 3, **options))
        for f in fields
        if f.options.get("multi_vector") is None
    ]


def outcome_of(read):
    try:
        return read(), None
    except (vd.CorruptDataError, vd.NotFoundError, vd.UnsupportedError, duckdb.Error) as error:
        return None, error


def check_no_wrong_value(reads):
    refused = 0
    for how, (found, error) in reads.outcomes().items():
        if error is None:
            assert found == reads.truth[how][0], how
        else:
            assert not isinstance(error, vd.UnsupportedError), how
            assert "\n" not in str(error)
            refused += 1
    return refused


def rot_and_read(spaces, cache, count, seed):
    """Flip one bit of one object, so many times, kinds by turns; return how many reads were refused."""
    drawn = random.Random(seed)
    objects = {name: objects_of(root) for name, root in spaces.items()}
    places = defaultdict(list)
    for name, kinds in objects.items():
        for kind in kinds:
            places[kind].append(name)
    reads = {name: Reads(root, cache / name) for name, root in spaces.items()}
    refused = 0
    for nth in range(count):
        kind = sorted(places)[nth % len(places)]
        name = drawn.choice(places[kind])
        path = drawn.choice(objects[name][kind])
        with Rot(spaces[name], [path], drawn):
            assert path in {found["path"] for found in vd.fsck(spaces[name])["findings"]}, path
            refused += check_no_wrong_value(reads[name])
    return refused


def test_no_query_gives_a_wrong_value(spaces, tmp_path):
    assert rot_and_read(spaces, tmp_path, 30, seed=1) > 20


@pytest.mark.slow
def test_a_thousand_flips(spaces, tmp_path, figure):
    refused = rot_and_read(spaces, tmp_path, 1000, seed=2)
    figure(
        "bit rot",
        "one bit of one object",
        flipped=1000,
        told_by_fsck=1000,
        reads_refused=refused,
        wrong_values=0,
    )
