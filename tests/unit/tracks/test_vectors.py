"""tracks.vectors: the stored Spaces read bit for bit, and written again under the same names; pages; refusals."""

import base64
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dreamdb_arrow.codec.address import address_of, parse_address
from dreamdb_arrow.codec.cbor import encode_cbor
from dreamdb_arrow.errors import (
    CorruptDataError,
    DigestMismatchError,
    InvalidInputError,
    LayoutError,
    ObjectNotFoundError,
    UnsupportedError,
)
from dreamdb_arrow.kernels.distance import unit_rows
from dreamdb_arrow.objects import spatial_bucket as sb
from dreamdb_arrow.objects import spatial_index as si
from dreamdb_arrow.objects.track import Track, decode_track, encode_track
from dreamdb_arrow.objects.vector_compressor import encode_vector_compressor, make_pq, make_rabitq
from dreamdb_arrow.spatial.compressors import decode_codes, encode_vectors
from dreamdb_arrow.spatial.partitioners import assign_cells
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks import placing
from dreamdb_arrow.tracks import vectors as tv
from dreamdb_arrow.tracks.cells import Origin, iterate_cells
from dreamdb_arrow.tracks.pages import read_index

SPACES = Path(__file__).parents[3] / "conformance/spaces/reference-0.0.16"
RAW = ["vec-lsh", "vec-lsh-rerank", "vec-lsh-l2", "vec-ivf", "vec-imi"]
CODED = ["vec-ivf-pq", "vec-ivf-rabitq"]
TIMELINE = address_of(b"timeline")


class Space:
    """A stored Space in memory: what was put in, its index, and its Tracks from empty to newest."""

    def __init__(self, name):
        self.expected = json.loads((SPACES / f"{name}.json").read_text())
        self.dim = self.expected["dim"]
        data = base64.b64decode(self.expected["vectors_f32_b64"])
        self.vectors = np.frombuffer(data, dtype="<f4").reshape(-1, self.dim)
        self.anchors = np.array(self.expected["anchors"], dtype=np.int64)
        self.store, self.paths, self.tracks = MemoryStore(), set(), []
        with tarfile.open(SPACES / f"{name}.tar.gz") as tar:
            for member in filter(tarfile.TarInfo.isfile, tar):
                self._keep(member.name.removeprefix("./"), tar.extractfile(member).read())
        self.tracks.sort(key=lambda track: len(track.object_index))

    def _keep(self, path, data):
        path = path.removeprefix("store/")
        if path.startswith(("refs/", ".")):
            return
        self.paths.add(path)
        self.store.put(path, data)
        if "/track/" in path:
            self.tracks.append(decode_track(data))
        if path.startswith("spatial-index/"):
            self.index, self.index_address = si.decode_spatial_index(data), parse_address(path.split("/")[1])


@pytest.fixture(scope="module", params=RAW + CODED)
def space(request):
    return Space(request.param)


def rows_of(space, track):
    """Return which of the input rows a Track holds."""
    return np.flatnonzero(np.isin(space.anchors, tv.read_vectors(space.store, track, space.dim).anchors))


def test_every_vector_comes_back_bit_for_bit(space):
    found = tv.read_vectors(space.store, space.tracks[-1], space.dim)
    order = np.argsort(space.anchors)
    assert found.anchors.dtype == np.int64
    assert np.array_equal(found.anchors, space.anchors[order])
    assert found.vectors.tobytes() == space.vectors[order].tobytes()


def test_cells_come_back_by_their_keys(space):
    cells = assign_cells(space.index, space.vectors)
    for code in range(0, len(cells.keys), 7):
        wanted = [cells.keys[code], cells.keys[-1], "0" * 200]
        found = tv.read_cells(space.store, space.tracks[-1], space.dim, wanted)
        rows = np.flatnonzero(np.isin(cells.codes, [code, len(cells.keys) - 1]))
        assert sorted(found.anchors.tolist()) == sorted(space.anchors[rows].tolist())


def test_known_buckets_are_left_out(space):  # 0021-R10
    buckets = [entry.bucket for entry in iterate_cells(space.store, space.tracks[-1])]
    rest = tv.read_vectors(space.store, space.tracks[-1], space.dim, known=frozenset(buckets[1:]))
    assert 0 < len(rest) < len(space.anchors)
    assert len(tv.read_vectors(space.store, space.tracks[-1], space.dim, known=frozenset(buckets))) == 0


@pytest.mark.parametrize("name", RAW)
def test_the_same_appends_write_the_same_objects(name):
    # 0000-R5, 0002-R9, 0002-R11, 0006-R7, 0007-R7, 0007-R11
    space = Space(name)
    mine, track = MemoryStore(), space.tracks[0]
    held = np.empty(0, dtype=np.int64)
    for wanted in space.tracks[1:]:
        rows = np.setdiff1d(rows_of(space, wanted), held)
        held = np.union1d(held, rows)
        batch = Batch(mine)
        written = tv.write_vectors(
            mine,
            batch,
            track,
            space.index,
            space.index_address,
            space.anchors[rows],
            space.vectors[rows],
            rerank=name == "vec-lsh-rerank",
        )
        track = written.track
        assert encode_track(track) == encode_track(wanted)
        batch.add(f"{track.timeline}/{track.modality}/track", encode_track(track))
        batch.flush()
    folders = ("spatial-index/", "genesis/", "manifests/")
    empty = f"{track.timeline}/{track.modality}/track/{address_of(encode_track(space.tracks[0]))}"
    assert set(mine.list()) == {path for path in space.paths if not path.startswith(folders)} - {empty}
    for path in mine.list():
        assert mine.get(path) == space.store.get(path)


def test_codes_without_exact_vectors_say_roughly_where_they_were():  # 0010-R6
    space = Space("vec-ivf-rabitq4")
    found = tv.read_vectors(space.store, space.tracks[-1], space.dim)
    exact = np.asarray(space.vectors)[np.argsort(space.anchors)]
    cosines = (
        (found.vectors * exact).sum(1) / np.linalg.norm(found.vectors, axis=1) / np.linalg.norm(exact, axis=1)
    )
    assert len(found) == len(exact)
    assert cosines.min() > 0.95


# --- Tracks of our own --------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
INDEX = si.make_lsh_cosine(4, bytes(range(32)), 6)
INDEX_ADDRESS = address_of(si.encode_spatial_index(INDEX))
EMPTY = Track((0, 1), "embedding.f32.dim=4.bucketed", TIMELINE, [])
VECTORS = RNG.standard_normal((300, 4)).astype(np.float32)
ANCHORS = RNG.permutation(300).astype(np.int64) * 7


def write(store, track, anchors, vectors, **options):
    batch = Batch(store)
    written = tv.write_vectors(store, batch, track, INDEX, INDEX_ADDRESS, anchors, vectors, **options)
    batch.flush()
    return written


def assert_holds(store, track, anchors=ANCHORS, vectors=VECTORS):
    found = tv.read_vectors(store, track, 4)
    order = np.argsort(anchors)
    assert np.array_equal(found.anchors, anchors[order])
    assert np.array_equal(found.vectors, vectors[order])


@pytest.mark.parametrize("rerank", [False, True])
@pytest.mark.parametrize("parts", [1, 2, 5])
def test_what_was_written_is_read(parts, rerank):
    store, track = MemoryStore(), EMPTY
    for rows in np.array_split(np.arange(300), parts):
        written = write(store, track, ANCHORS[rows], VECTORS[rows], rerank=rerank)
        track = written.track
        assert set(written.payloads) <= {e.bucket for e in iterate_cells(store, track)}
    assert_holds(store, track)
    assert track.coverage == (0, 299 * 7 + 1)
    assert {len(entry) for entry in track.object_index} == {7 if rerank else 5}
    assert track.object_index == sorted(track.object_index, key=lambda entry: entry[:2])


def test_pages_when_the_track_would_be_too_large(monkeypatch):
    store = MemoryStore()
    inline = write(store, EMPTY, ANCHORS[:200], VECTORS[:200]).track
    monkeypatch.setattr(placing, "INLINE_BYTES_MAX", 1000)
    paged = write(store, EMPTY, ANCHORS[:200], VECTORS[:200]).track
    assert paged.object_index["form"] == "paged"
    assert paged.object_index["total_items"] == len(inline.object_index)
    grown = write(store, inline, ANCHORS[200:], VECTORS[200:]).track
    assert grown == write(store, paged, ANCHORS[200:], VECTORS[200:]).track
    assert_holds(store, grown)
    keys = assign_cells(INDEX, VECTORS).keys[:3]
    assert len(tv.read_cells(store, grown, 4, keys)) > 0


def many_cells(store):
    """Return a paged Track of several levels: 20 bits and 3000 rows, almost each a cell of its own."""
    index = si.make_lsh_cosine(16, bytes(32), 20)
    vectors, anchors = RNG.standard_normal((3000, 16)).astype(np.float32), np.arange(3000)
    batch = Batch(store)
    empty = replace(EMPTY, modality="embedding.f32.dim=16.bucketed")
    written = tv.write_vectors(store, batch, empty, index, INDEX_ADDRESS, anchors, vectors)
    batch.flush()
    return written.track, assign_cells(index, vectors), vectors


class CountingStore(MemoryStore):
    """Remembers what was read."""

    def __init__(self):
        super().__init__()
        self.read = []

    def get(self, path):
        self.read.append(path)
        return super().get(path)


def test_only_pages_that_can_hold_a_wanted_key_are_read(monkeypatch):
    monkeypatch.setattr(placing, "INLINE_BYTES_MAX", 1000)
    store = CountingStore()
    track, cells, vectors = many_cells(store)
    assert track.object_index["tree_height"] >= 2
    assert track.object_index["page_count"] >= 10
    for code in (0, 1500, len(cells.keys) - 1):
        store.read.clear()
        found = tv.read_cells(store, track, 16, [cells.keys[code], "1" * 19 + "2"])
        rows = np.flatnonzero(cells.codes == code)
        assert np.array_equal(found.anchors, rows)
        assert np.array_equal(found.vectors, vectors[rows])
        assert sum("/index/" in path for path in store.read) <= track.object_index["tree_height"] + 1
    assert len(tv.read_cells(store, track, 16, [])) == 0


def test_a_full_cell_gets_several_buckets():  # 0007-R10
    store = MemoryStore()
    same = np.repeat(VECTORS[:1], 10, axis=0)
    track = write(store, EMPTY, np.arange(10), same, bucket_max_bytes=3 * 24 + 5).track
    assert [entry[3] - 160 for entry in track.object_index] == [72, 72, 72, 24]
    assert [entry[1:3] for entry in track.object_index] == [[0, 3], [3, 6], [6, 9], [9, 10]]
    assert_holds(store, track, np.arange(10), same)
    assert len(write(store, EMPTY, np.arange(3), same[:3], bucket_max_bytes=1).track.object_index) == 3


def test_of_an_anchor_that_is_there_twice_the_later_entry_wins():
    store = MemoryStore()
    first = write(store, EMPTY, ANCHORS, VECTORS).track
    second = write(store, first, ANCHORS[:50], VECTORS[:50] * np.float32(2)).track
    newest = VECTORS.copy()
    newest[:50] *= 2
    turned = [entry for entry in second.object_index if entry not in first.object_index]
    assert_holds(store, replace(second, object_index=first.object_index + turned), ANCHORS, newest)
    assert_holds(store, replace(second, object_index=turned + first.object_index), ANCHORS, VECTORS)


def test_only_the_first_table_is_read():  # 0007-R8
    store = MemoryStore()
    track = write(store, EMPTY, ANCHORS, VECTORS).track
    tables = [[*entry, table] for table in (0, 1) for entry in track.object_index]
    missing = [[*entry[:4], address_of(b"not there"), 1] for entry in track.object_index]
    assert_holds(store, replace(track, object_index=tables + missing))


def test_nothing_to_write_changes_nothing():
    written = write(MemoryStore(), EMPTY, ANCHORS[:0], VECTORS[:0])
    assert (written.track, written.payloads) == (EMPTY, ())
    assert tv.read_vectors(MemoryStore(), EMPTY, 4).vectors.shape == (0, 4)


def test_anchors_that_nobody_can_see_are_left_out():  # 0003-R2
    store = MemoryStore()
    bucket = sb.SpatialBucket(
        INDEX_ADDRESS, EMPTY.modality, np.array([-1, 2**63 - 1, 2**63 - 2, 0]), VECTORS[:4]
    )
    data = sb.encode_spatial_bucket(bucket)
    address = address_of(data)
    store.put(f"{TIMELINE}/{EMPTY.modality}/0/{address}", data)
    track = replace(EMPTY, object_index=[["0", 0, 2**64 - 1, len(data), address]])
    assert tv.read_vectors(store, track, 4).anchors.tolist() == [0, 2**63 - 2]


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_a_vector_without_a_cell_is_refused_by_row(value):  # 0004-R3
    vectors = VECTORS.copy()
    vectors[42] = value
    with pytest.raises(InvalidInputError, match="vector 42 "):
        write(MemoryStore(), EMPTY, ANCHORS, vectors)


@pytest.mark.parametrize(
    "anchors",
    [
        ANCHORS[:-1],
        ANCHORS[:, None],
        ANCHORS.astype(np.float64),
        ANCHORS - 1,
        ANCHORS + (2**63 - 1 - 299 * 7),
        ANCHORS.astype(np.uint64) + np.uint64(2**63),
    ],
    ids=["too few", "matrix", "floats", "negative", "too late", "unsigned"],
)
def test_anchors_that_do_not_fit(anchors):
    with pytest.raises(InvalidInputError, match="anchor"):
        write(MemoryStore(), EMPTY, anchors, VECTORS)


@pytest.mark.parametrize(
    "compressor",
    [make_rabitq(4, 8), make_pq(unit_rows(RNG.standard_normal((32, 2)).astype("f4")).reshape(2, 16, 2))],
)
def test_compressed_buckets_hold_the_codes_of_unit_vectors(compressor):  # 0010-R6
    store = MemoryStore()
    data = encode_vector_compressor(compressor)
    address = address_of(data)
    store.put(f"{tv.COMPRESSORS}/{address}", data)
    written = write(store, EMPTY, ANCHORS, VECTORS, compressor=address)
    order = np.argsort(ANCHORS)
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    wanted = decode_codes(compressor, encode_vectors(compressor, VECTORS * 3))
    found = tv.read_vectors(store, written.track, 4)
    assert np.array_equal(found.anchors, ANCHORS[order])
    assert np.allclose(found.vectors, wanted[order])
    assert np.abs(found.vectors - unit[order]).max() < (0.02 if compressor.code_bytes == 4 else 1)
    exact = write(store, EMPTY, ANCHORS, VECTORS, compressor=address, rerank=True).track
    assert_holds(store, exact)


# --- Tracks that lie ----------------------------------------------------------------------------------------


def test_buckets_of_another_index_or_compressor_are_refused():  # 0007-R9
    store = MemoryStore()
    track = write(store, EMPTY, ANCHORS, VECTORS).track
    other = address_of(b"another")
    assert len(tv.read_vectors(store, track, 4, origin=Origin(INDEX_ADDRESS))) == len(ANCHORS)
    for origin in (Origin(other), Origin(INDEX_ADDRESS, other)):
        with pytest.raises(LayoutError, match=f"{INDEX_ADDRESS} .*{other}"):
            tv.read_vectors(store, track, 4, origin=origin)
        with pytest.raises(LayoutError, match=f"{INDEX_ADDRESS} .*{other}"):
            tv.read_cells(store, track, 4, [track.object_index[0][0]], origin=origin)


def test_no_outboard_is_needed_to_read():  # 0002-R10
    store = MemoryStore()
    track = write(store, EMPTY, ANCHORS, VECTORS, rerank=True).track
    for path in list(store.list("bao-outboard/")):
        store.delete(path)
    assert_holds(store, track)


def test_an_object_that_is_not_its_address_is_refused():
    store, lying = MemoryStore(), MemoryStore()
    track = write(store, EMPTY, ANCHORS, VECTORS).track
    for path in store.list():
        data = bytearray(store.get(path))
        data[-1] ^= 1
        lying.put(path, bytes(data))
    with pytest.raises(DigestMismatchError):
        tv.read_vectors(lying, track, 4)
    with pytest.raises(ObjectNotFoundError):
        tv.read_vectors(MemoryStore(), track, 4)


def test_another_dimension_is_refused():
    store = MemoryStore()
    track = write(store, EMPTY, ANCHORS, VECTORS).track
    with pytest.raises(LayoutError, match="field of 5"):
        tv.read_vectors(store, track, 5)


def test_a_sidecar_of_another_length_is_refused():  # 0007-R11
    store = MemoryStore()
    codes = sb.SpatialBucket(
        INDEX_ADDRESS, EMPTY.modality, np.arange(3), None, INDEX_ADDRESS, np.zeros((3, 2), dtype=np.uint8)
    )
    objects = [sb.encode_spatial_bucket(codes)]
    objects += [sb.encode_vector_sidecar(sb.VectorSidecar("m", VECTORS[:rows])) for rows in (3, 2)]
    names = [address_of(data) for data in objects]
    store.put(f"{TIMELINE}/{EMPTY.modality}/01/{names[0]}", objects[0])
    for name, data in zip(names[1:], objects[1:], strict=True):
        store.put(f"{TIMELINE}/{EMPTY.modality}/vectors/{name}", data)
    fine, wrong = (
        replace(EMPTY, object_index=[["01", 0, 3, len(objects[0]), names[0], 0, name]]) for name in names[1:]
    )
    assert np.array_equal(tv.read_vectors(store, fine, 4).vectors, VECTORS[:3])
    with pytest.raises(LayoutError, match="3 anchors"):
        tv.read_vectors(store, wrong, 4)


@pytest.mark.parametrize(
    "entry",
    [
        ["../../refs", 0, 1, 1, INDEX_ADDRESS],
        ["", 0, 1, 1, INDEX_ADDRESS],
        ["0\u0661", 0, 1, 1, INDEX_ADDRESS],
        ["01", 0, 1, 1],
        ["01", 0, 1, 1, b"no address"],
        ["01", 0, 1, 1, INDEX_ADDRESS, 0, INDEX_ADDRESS, 0],
        ["01", 5, 1, 1, INDEX_ADDRESS],
        [b"01", 0, 1, 1, INDEX_ADDRESS],
        "01",
    ],
)
def test_entries_that_are_none(entry):  # 0004-R2
    with pytest.raises(LayoutError):
        tv.read_vectors(MemoryStore(), replace(EMPTY, object_index=[entry]), 4)


def test_indexes_of_other_forms():
    for read in (tv.read_vectors, lambda *args: tv.read_cells(*args, ["0"])):
        with pytest.raises(UnsupportedError, match="hot-overlay"):
            read(MemoryStore(), replace(EMPTY, object_index={"form": "hot-overlay-v1"}), 4)
        with pytest.raises(CorruptDataError):
            read(MemoryStore(), replace(EMPTY, object_index={"form": "paged"}), 4)


def test_a_tree_of_another_height_is_refused(monkeypatch):
    monkeypatch.setattr(placing, "INLINE_BYTES_MAX", 1000)
    store = MemoryStore()
    track, cells, _ = many_cells(store)
    for height in (1, track.object_index["tree_height"] + 1, 0, 1 << 40):
        lying = replace(track, object_index={**track.object_index, "tree_height": height})
        with pytest.raises(LayoutError):
            tv.read_cells(store, lying, 16, cells.keys[:2])


def test_a_tree_that_folds_back_on_itself_stays_small():
    store = MemoryStore()
    held = write(store, EMPTY, ANCHORS[:1], VECTORS[:1]).track
    ((key, *_),) = held.object_index
    batch = Batch(store)
    directory = f"{TIMELINE}/{EMPTY.modality}/index"
    page = {"type": "leaf", "t_min": 0, "t_max": 9999, "modality": EMPTY.modality}
    (entry,) = held.object_index
    leaf = [entry[0], entry[1], entry[2] - entry[1], *entry[3:]]
    child = batch.add(directory, encode_cbor({**page, "entries": [leaf]}))
    for level in range(1, 20):
        entries = [[0, 9999, child, 2 ** (level - 1), key, key]] * 2
        child = batch.add(directory, encode_cbor({**page, "type": "internal", "entries": entries}))
    batch.flush()
    counts = {"fanout": 2, "page_count": 2**20 - 1, "total_items": 2**19, "tree_height": 20}
    track = replace(held, object_index={"form": "paged", "root": child, **counts})
    assert len(tv.read_cells(store, track, 4, [key])) == 1
    assert len(read_index(store, track)) == 1
