"""Damage to each kind of object: one clear error that names it, never wrong rows, and nothing written; repaired, all is well.

All objects of one kind are damaged at once, so that it does not matter which of them a read meets first.
"""

import contextlib
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar import vendor
from dreamdb_arrow.testing.model import rows_of_table

T0 = 1_700_000_000_000_000_000
KEYS = re.compile(r"(?<=/)(?!0{16}/)[01]{2,}(?=/)")
ADDRESS = re.compile(r"d[a-z2-7]{52}")


def flip(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {"flip": flip, "cut": cut}


def kinds_of(root: Path) -> dict[str, list[Path]]:
    """Files by kind: their path with addresses and cells left out."""
    kinds = defaultdict(list)
    for file in sorted(root.rglob("*")):
        path = file.relative_to(root).as_posix()
        if file.is_file() and not path.startswith(".dreamdb"):
            kind = KEYS.sub("<cell>", ADDRESS.sub("<a>", path)).removeprefix("<a>/").removesuffix("/<a>")
            kinds[kind].append(file)
    return dict(kinds)


@contextlib.contextmanager
def damaged(files: list[Path], damage: Callable[[bytes], bytes]) -> Iterator[None]:
    whole = {file: file.read_bytes() for file in files}
    for file, data in whole.items():
        file.write_bytes(damage(data))
    yield
    for file, data in whole.items():
        file.write_bytes(data)


def listing(root: Path) -> dict[str, tuple[int, int]]:
    return {str(f): (f.stat().st_size, f.stat().st_mtime_ns) for f in root.rglob("*") if f.is_file()}


class Reader:
    """All ways to read one ref of a Space, each giving something comparable."""

    def __init__(self, root: Path, cache: Path, embedding: tuple[str, int] | None):
        self.root, self.cache, self.embedding = root, cache, embedding
        self.con = vd.connect(root, cache_dir=cache)
        self.ref = "fx" if (root / "refs" / "fx").exists() else "main"

    def close(self):
        self.con.close()

    def open(self) -> vd.Dataset:
        return vd.Dataset.open(self.ref, backend=self.root, cache_dir=self.cache)

    def reads(self) -> dict[str, Callable[[], object]]:
        found = {
            "python scan": lambda: rows_of_table(self.open().to_arrow()),
            "python count": lambda: self.open().count(),
            "sql scan": lambda: rows_of_table(
                self.con.sql("FROM dreamdb_scan(?)", params=[self.ref]).to_arrow_table()
            ),
        }
        if self.embedding is not None:
            name, dim = self.embedding
            query = [1.0 + i for i in range(dim)]
            found["python knn"] = lambda: self.open().iter_vector(name, query, 3)
            knn = "FROM dreamdb_knn(?, ?, ?::FLOAT[], k := 3, nprobe := 4)"
            found["sql probed knn"] = lambda: self.con.execute(knn, [self.ref, name, query]).fetchall()
        return found


def check_damage(reader: Reader, files: list[Path], damage, truth) -> set[str]:
    """Read a damaged Space in all ways; return those that were refused."""
    paths = [file.relative_to(reader.root).as_posix() for file in files]
    refused = set()
    with damaged(files, damage):
        before = listing(reader.root)
        for how, read in reader.reads().items():
            found, error = outcome_of(read)
            if error is None:
                assert found == truth[how], f"{how} gives wrong rows"
            else:
                check_error(str(error), paths)
                refused.add(how)
        assert listing(reader.root) == before
    for how, read in reader.reads().items():
        assert read() == truth[how], f"{how} does not work again"
    return refused


def outcome_of(read: Callable[[], object]) -> tuple[object, Exception | None]:
    try:
        return read(), None
    except (vd.CorruptDataError, vd.NotFoundError, duckdb.Error) as error:
        return None, error


def check_error(message: str, paths: list[str]) -> None:
    assert "Traceback" not in message, message
    assert "\n" not in message, message
    named = [p.removeprefix("refs/") for p in paths]
    if not any(path in message for path in named):
        # A ref that names another version does not know that it is damaged; the version is missing.
        assert all(p.startswith("refs/") for p in paths), message
        assert "no such version" in message, message


# ---------------------------------------------------------------- a Space of our own


@pytest.fixture(scope="module")
def own_space(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("own")
    schema = (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_string("s", required=False)
        .add_image("img", mime="png")
        .add_audio("snd", chunk_size=4)
        .add_embedding("v", dim=4, lsh_bits=2, rerank=True)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vendor, "INLINE_ENTRIES_MAX", 1)
        ds = vd.Dataset.create("main", schema, root, cache_dir=None, durability="os")
        for start in range(0, 12, 4):
            ds.append(own_rows(start))
        ds.flush()
        ds.append(own_rows(12))
        ds.delete([T0 + 1])
    return root


def own_rows(start: int) -> pa.Table:
    ids = range(start, start + 4)
    return pa.table(
        {
            "_anchor": [T0 + i for i in ids],
            "n": list(ids),
            "s": [f"text {i}" for i in ids],
            "img": [b"png %d" % i for i in ids],
            "snd": [b"sound number %d" % i for i in ids],
            "v": pa.array([[1.0, i, -i, i % 3] for i in ids], pa.list_(pa.float32(), 4)),
        }
    )


VITAL = {"python scan", "sql scan", "python knn"}
OWN_KINDS = {
    "manifests": {*VITAL, "python count", "sql probed knn"},
    "refs/main": {*VITAL, "python count", "sql probed knn"},
    "tombstones": {*VITAL, "python count", "sql probed knn"},
    "org.dreamdb.arrow.cover.v1/0000000000000000": {*VITAL, "python count", "sql probed knn"},
    "org.dreamdb.arrow.cover.v1/track": {*VITAL, "python count", "sql probed knn"},
    "org.dreamdb.arrow.cover.v1/index": {*VITAL, "python count", "sql probed knn"},
    "org.dreamdb.arrow.stripe.v1/track": {*VITAL, "python count", "sql probed knn"},
    "org.dreamdb.arrow.stripe.v1/index": {*VITAL, "python count", "sql probed knn"},
    "org.dreamdb.arrow.stripe.v1/0000000000000000": {*VITAL, "python count"},
    "org.dreamdb.arrow.vectors.v1/track": {*VITAL, "python count", "sql probed knn"},
    "org.dreamdb.arrow.vectors.v1/index": {*VITAL, "python count", "sql probed knn"},
    "org.dreamdb.arrow.vectors.v1/0000000000000000": {*VITAL, "sql probed knn"},
    "image.png/0000000000000000": VITAL,
    "audio.wav/0000000000000000": VITAL,
    "audio.wav/items": VITAL,
    "embedding.f32.dim=4.bucketed/track": {"sql probed knn"},
    "embedding.f32.dim=4.bucketed/<cell>": {"sql probed knn"},
    "spatial-index": {"sql probed knn"},
    # What a scan of stripes has no use for: the Tracks of other fields, and what verifies ranges.
    "genesis": set(),
    "scalar-index": set(),
    "bao-outboard": set(),
    "image.png/track": set(),
    "audio.wav/track": set(),
    "scalar.i64.field=n/track": set(),
    "scalar.i64.field=n/index": set(),
    "scalar.i64.field=n/bucket": set(),
    "scalar.str.field=s/track": set(),
    "scalar.str.field=s/index": set(),
    "scalar.str.field=s/bucket": set(),
    "embedding.f32.dim=4.bucketed/vectors": set(),
    "org.dreamdb.arrow.media.v1/track": set(),
    "org.dreamdb.arrow.media.v1/index": set(),
}


@pytest.fixture(scope="module")
def own_reader(own_space, tmp_path_factory):
    reader = Reader(own_space, tmp_path_factory.mktemp("cache"), ("v", 4))
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def own_truth(own_reader):
    truth = {how: read() for how, read in own_reader.reads().items()}
    assert len(truth["python scan"]) == 15
    return truth


def test_the_kinds_of_our_own_space(own_space):
    assert kinds_of(own_space).keys() == OWN_KINDS.keys()


@pytest.mark.parametrize(
    ("damage", "kind"),
    [(damage, kind) for damage in DAMAGES for kind, by in OWN_KINDS.items() if damage == "flip" or by],
)
def test_our_own_space(own_space, own_reader, own_truth, tmp_path, kind, damage):
    # 0000-R1, 0002-R3, 0021-R11
    files = kinds_of(own_space)[kind]
    whole = [file.read_bytes() for file in files]
    with damaged(files, DAMAGES[damage]):
        fresh = Reader(own_space, tmp_path / "cache", ("v", 4))
    refused = check_damage(fresh, files, DAMAGES[damage], own_truth)
    fresh.close()
    assert refused == OWN_KINDS[kind]
    # A reader that has looked at everything already may have no need to look again, but must not be wrong.
    if damage == "flip":
        check_damage(own_reader, files, flip, own_truth)
    assert [file.read_bytes() for file in files] == whole


# ---------------------------------------------------------------- Spaces of the reference: only Tracks

FOREIGN = {
    "scalars-nulls": (
        None,
        ["scalar.i64.field=n/index", "scalar.str.field=s/bucket", "scalar.cat.field=c/track"],
    ),
    "packed-images": (
        None,
        ["image.png/track", "image.webp/0000000000000000", "scalar.cat.field=label/bucket"],
    ),
    "paged-media": (None, ["image.png/index", "image.png/track", "manifests"]),
    "paged-btree": (None, ["scalar.str.field=name/index", "scalar.f64.field=x/bucket"]),
    "append-delete": (None, ["tombstones", "image.jpeg/0000000000000000", "refs/main"]),
    "vec-lsh-rerank": (
        ("v", 16),
        ["embedding.f32.dim=16.bucketed/<cell>", "embedding.f32.dim=16.bucketed/track"],
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_space_of_the_reference(reference_space, tmp_path, name):  # 0000-R1, 0002-R3
    root = tmp_path / "space"
    shutil.copytree(reference_space(name), root)
    embedding, vital = FOREIGN[name]
    whole = Reader(root, tmp_path / "whole", embedding)
    truth = {how: read() for how, read in whole.reads().items()}
    for i, kind in enumerate(vital):
        files = kinds_of(root)[kind]
        check_damage(whole, files, flip, truth)
        with damaged(files, flip):
            fresh = Reader(root, tmp_path / f"cache-{i}", embedding)
        assert {"python scan", "sql scan"} <= check_damage(fresh, files, flip, truth), kind
        fresh.close()
    whole.close()


@pytest.mark.parametrize("name", ["scalars-nulls", "vec-lsh-rerank"])
@pytest.mark.parametrize("damage", [*DAMAGES, "gone"])
def test_a_damaged_cache_heals_itself(reference_space, tmp_path, name, damage):
    root, cache = reference_space(name), tmp_path / "cache"
    reader = Reader(root, cache, FOREIGN[name][0])
    truth = {how: read() for how, read in reader.reads().items()}
    kept = [file for file in cache.rglob("*") if file.is_file()]
    assert kept
    for how, read in reader.reads().items():
        for file in kept:
            if damage == "gone":
                file.unlink(missing_ok=True)
            else:
                file.write_bytes(DAMAGES[damage](file.read_bytes()))
        assert read() == truth[how], how
    reader.close()
