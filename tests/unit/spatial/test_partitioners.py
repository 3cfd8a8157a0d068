"""spatial.partitioners: cells and probes of the stored Spaces, each algorithm by its definition, refusals."""

import base64
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects import spatial_index as si
from dreamdb_arrow.objects.spatial_bucket import decode_spatial_bucket, decode_vector_sidecar
from dreamdb_arrow.spatial.partitioners import MAX_NPROBE, assign_cells, probe_cells
from dreamdb_arrow.spatial.search import nearest

SPACES = Path(__file__).parents[3] / "conformance/spaces/reference-0.0.16"
RNG = np.random.default_rng(0)
RAW = ["vec-lsh", "vec-lsh-rerank", "vec-lsh-l2", "vec-ivf", "vec-imi"]
CODED = ["vec-ivf-pq", "vec-ivf-rabitq", "vec-ivf-rabitq4"]


def floats(text, dim):
    return np.frombuffer(base64.b64decode(text), dtype="<f4").reshape(-1, dim)


def load(name):
    """Return what the reference was given and answered, its index, its buckets by key, and its sidecars."""
    expected = json.loads((SPACES / f"{name}.json").read_text())
    index, buckets, sidecars = None, {}, []
    with tarfile.open(SPACES / f"{name}.tar.gz") as tar:
        for member in filter(tarfile.TarInfo.isfile, tar):
            folder, data = member.name.split("/")[-2], tar.extractfile(member).read()
            if folder == "spatial-index":
                index = si.decode_spatial_index(data)
            elif folder == "vectors":
                sidecars.append(decode_vector_sidecar(data).vectors)
            elif set(folder) <= {"0", "1"}:
                buckets.setdefault(folder, []).append(decode_spatial_bucket(data))
    return expected, index, buckets, sidecars


@pytest.mark.parametrize("name", RAW + CODED)
def test_every_stored_record_lies_in_our_cell(name):  # 0004-R2, 0004-R6, 0004-R8, 0004-R10, 0004-R12
    expected, index, buckets, sidecars = load(name)
    vectors = floats(expected["vectors_f32_b64"], expected["dim"])
    row_of = {anchor: row for row, anchor in enumerate(expected["anchors"])}
    cells = assign_cells(index, vectors)
    assert cells.keys == sorted(buckets)
    seen = 0
    for key, bucket in ((key, bucket) for key, found in buckets.items() for bucket in found):
        rows = [row_of[anchor] for anchor in bucket.anchors.tolist()]
        assert {cells.keys[code] for code in cells.codes[rows]} == {key}
        if bucket.vectors is not None:
            assert bucket.vectors.tobytes() == vectors[rows].tobytes()
        seen += len(rows)
    assert seen == len(vectors)
    if sidecars:
        assert sorted(row.tobytes() for part in sidecars for row in part) == sorted(
            row.tobytes() for row in vectors
        )


@pytest.mark.parametrize("name", RAW)
def test_probing_the_same_cells_gives_the_answers_of_the_reference(name):
    # 0004-R7, 0004-R9, 0004-R11, 0004-R13
    expected, index, buckets, _ = load(name)
    for query in expected["queries"]:
        vector = floats(query["query_f32_b64"], expected["dim"])[0]
        rows = [(b.anchors, b.vectors) for key in probe_cells(index, vector) for b in buckets.get(key, [])]
        anchors, _ = nearest(rows, vector, 10, expected["metric"])
        assert anchors[0].tolist() == query["reference_sdk_top10"]


# --- by definition ------------------------------------------------------------------------------------------

INDEXES = [
    si.make_lsh_cosine(6, bytes(range(32)), 5),
    si.make_lsh_cosine(6, bytes(range(32)), 255),
    si.make_lsh_l2(6, bytes(range(32)), 0.5),
    si.make_ivf_cosine(RNG.standard_normal((11, 6)).astype("f4")),
    si.make_imi_cosine(RNG.standard_normal((5, 3)).astype("f4"), RNG.standard_normal((5, 3)).astype("f4")),
]
VECTORS = RNG.standard_normal((200, 6)).astype("f4")
BY_ALGORITHM = pytest.mark.parametrize("index", INDEXES, ids=lambda i: f"{i.algorithm}-{i.bits}")


@BY_ALGORITHM
def test_assignment_does_not_depend_on_the_batch(index):
    cells = assign_cells(index, VECTORS)
    assert cells.keys == sorted(set(cells.keys))
    assert set(map(len, cells.keys)) == {index.bits}
    assert cells.codes.dtype == np.int64
    for row in range(0, 200, 17):
        assert assign_cells(index, VECTORS[row : row + 1]).keys == [cells.keys[cells.codes[row]]]


@BY_ALGORITHM
def test_the_own_cell_is_probed_first_and_no_cell_twice(index):
    cells = assign_cells(index, VECTORS)
    for row in range(20):
        probed = probe_cells(index, VECTORS[row], 40)
        assert len(set(probed)) == len(probed) == {5: 16, 4: 11, 6: 25}.get(index.bits, 40)
        assert probed[: len(probe_cells(index, VECTORS[row], 3))] == probe_cells(index, VECTORS[row], 3)
        if (
            index.algorithm != si.IMI_COSINE
        ):  # halves are not normalised in either: equal there too, but for rounding
            assert probed[0] == cells.keys[cells.codes[row]]


@BY_ALGORITHM
def test_no_vectors_have_no_cells(index):
    cells = assign_cells(index, np.empty((0, 6), dtype=np.float32))
    assert (cells.keys, cells.codes.tolist()) == ([], [])


def test_l2_bins_nearest_first():  # 0004-R9
    index = INDEXES[2]
    keys = [int(key, 2) for key in probe_cells(index, VECTORS[0], 7)]
    own = keys[0]
    assert sorted(keys) == list(range(own - 3, own + 4))
    assert [abs(key - own) for key in keys] == [0, 1, 1, 2, 2, 3, 3]


def test_imi_names_cells_as_a_product():  # 0004-R12
    eye = np.eye(3, dtype=np.float32)
    cells = assign_cells(si.make_imi_cosine(eye, eye), np.array([[0, 0, 1, 0, 1, 0]], dtype=np.float32))
    assert cells.keys == [f"{2 * 3 + 1:04b}"]


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0, 3e38])
@pytest.mark.parametrize("index", [INDEXES[0], INDEXES[3], INDEXES[4]], ids=lambda index: index.algorithm)
def test_a_vector_without_a_cell_is_refused_by_row(index, value):  # 0004-R3
    vectors = VECTORS.copy()
    vectors[7] = value
    with pytest.raises(InvalidInputError, match="vector 7 "):
        assign_cells(index, vectors)
    with pytest.raises(InvalidInputError, match="query 0 "):
        probe_cells(index, vectors[7])


def test_l2_takes_zero_but_nothing_outside_its_bins():  # 0004-R3, 0004-R8
    assert len(assign_cells(INDEXES[2], np.zeros((1, 6), dtype=np.float32)).keys) == 1
    for value in (1e30, np.nan):
        with pytest.raises(InvalidInputError, match="vector 1 "):
            assign_cells(INDEXES[2], np.array([[0] * 6, [value] * 6], dtype=np.float32))


@pytest.mark.parametrize("shape", [(6,), (3, 5), (1, 2, 6)])
def test_vectors_of_another_shape(shape):
    with pytest.raises(InvalidInputError, match="6 numbers"):
        assign_cells(INDEXES[0], np.ones(shape, dtype=np.float32))


@pytest.mark.parametrize("nprobe", [0, -1, True, 1.5, "3", None, MAX_NPROBE + 1])
def test_nprobe_is_a_count(nprobe):
    with pytest.raises(InvalidInputError, match="nprobe"):
        probe_cells(INDEXES[0], VECTORS[0], nprobe)
