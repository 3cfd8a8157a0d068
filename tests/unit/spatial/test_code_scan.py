"""Scans of codes by cell: the rows that whole matrices give, one query or many, and their exact order."""

import base64
from functools import partial

import numpy as np
import pytest

from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.kernels.distance import METRICS
from dreamdb_arrow.objects.vector_compressor import make_pq, make_rabitq
from dreamdb_arrow.spatial import batch, code_scan
from dreamdb_arrow.spatial.code_field import code_field, prepare_codes
from dreamdb_arrow.spatial.compressors import decode_codes, encode_vectors
from dreamdb_arrow.spatial.rerank import narrow

RNG = np.random.default_rng(5)
DIM, ROWS, CELLS = 20, 3000, 40


def unit_vectors(count, dim=DIM):
    vectors = RNG.normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


VECTORS = unit_vectors(ROWS)
TAKE = partial(VECTORS.take, axis=0)
STARTS = np.concatenate(
    [[0, 0], np.sort(RNG.integers(0, ROWS, CELLS - 2)), [ROWS]]
)  # the first cell is empty
COMPRESSORS = {
    "one bit": make_rabitq(DIM),
    "one bit, factors": make_rabitq(DIM, with_correction_factors=True),
    "two bits": make_rabitq(DIM, 2),
    "four bits": make_rabitq(DIM, 4, bytes(range(32))),
    "eight bits": make_rabitq(DIM, 8),
    "pq": make_pq(unit_vectors(5 * 16, 4).reshape(5, 16, 4)),
}


def some_cells(queries, count=12):
    return [RNG.permutation(CELLS)[: RNG.integers(1, count + 1)] for _ in range(queries)]


def scan_codes(codes, prepared, compressor, queries, cells, starts, pool, live=None, threads=2):
    """Scan one segment; a last cell without rows fills up the wishes of queries that have fewer."""
    begins, ends = np.append(starts[:-1], 0)[None, :], np.append(starts[1:], 0)[None, :]
    wanted = np.full((len(cells), max(map(len, cells), default=0)), -1)
    for nth, mine in enumerate(cells):
        wanted[nth, : len(mine)] = mine
    field = code_field(compressor, codes, prepared, live)
    return code_scan.scan_codes([field], begins, ends, wanted, queries, pool, threads)


def by_whole_matrices(compressor, codes, queries, cells, pool, scaled, live=None):
    """Return the rows of each query's pool, a set each, and all scores."""
    made = decode_codes(compressor, codes).astype(np.float64)
    if scaled:
        made /= np.linalg.norm(made, axis=1, keepdims=True)
    scores = queries.astype(np.float64) @ made.T
    rows = []
    for mine, row in zip(cells, scores, strict=True):
        among = np.concatenate([np.arange(STARTS[c], STARTS[c + 1]) for c in mine])
        among = among if live is None else among[live[among]]
        rows.append(among[np.lexsort((among, -row[among]))][:pool])
    return rows, scores


def assert_same_pool(found, want, scores):
    rows, values = found
    for nth, expected in enumerate(want):
        real = rows[nth] >= 0
        mine = rows[nth][real]
        assert len(mine) == len(set(mine.tolist())) == len(expected)
        assert np.isneginf(values[nth][~real]).all()
        assert np.allclose(values[nth][real], scores[nth][mine], atol=2e-3)  # scales are float16
        # float32 may take the one or the other of rows whose scores hardly differ
        assert np.allclose(np.sort(scores[nth][mine]), np.sort(scores[nth][expected]), atol=2e-3)


@pytest.mark.parametrize("queries", [1, 3, 30])
@pytest.mark.parametrize("name", COMPRESSORS)
def test_pools_are_those_of_whole_matrices(name, queries):
    compressor = COMPRESSORS[name]
    codes, asked, cells = encode_vectors(compressor, VECTORS), unit_vectors(queries), some_cells(queries)
    prepared = prepare_codes(compressor, codes)
    for scales, pool in ((prepared, 25), ({}, 25), (prepared, 5000)):
        want = by_whole_matrices(compressor, codes, asked, cells, pool, "bits" in name and "scales" in scales)
        found = scan_codes(codes, scales, compressor, asked, cells, STARTS, pool)
        assert found[0].shape == found[1].shape
        assert found[0].shape[1] <= pool
        assert_same_pool(found, *want)


@pytest.mark.parametrize("name", ["two bits", "one bit, factors"])
def test_rows_that_do_not_count(name):
    compressor = COMPRESSORS[name]
    codes, asked, cells = encode_vectors(compressor, VECTORS), unit_vectors(20), some_cells(20)
    live = RNG.random(ROWS) < 0.3
    prepared = prepare_codes(compressor, codes)
    want = by_whole_matrices(compressor, codes, asked, cells, 30, name == "two bits", live)
    assert_same_pool(scan_codes(codes, prepared, compressor, asked, cells, STARTS, 30, live), *want)
    assert_same_pool(
        scan_codes(codes, prepared, compressor, asked[:1], cells[:1], STARTS, 30, live), want[0][:1], want[1]
    )


def test_batches_find_what_single_queries_find(monkeypatch):
    compressor = COMPRESSORS["one bit"]  # whose scores have many equals
    codes, asked, cells = encode_vectors(compressor, VECTORS), unit_vectors(40), some_cells(40)
    asked = np.round(asked * 4) / 4
    alone = [
        set(scan_codes(codes, {}, compressor, asked[i : i + 1], cells[i : i + 1], STARTS, 60)[0][0].tolist())
        for i in range(40)
    ]
    for group, piece, threads in ((1 << 17, 512, 2), (1 << 9, 16, 3), (1 << 17, 7, 1)):
        monkeypatch.setattr(batch, "_GROUP", group)
        monkeypatch.setattr(batch, "_PIECE", piece)
        rows, _ = scan_codes(codes, {}, compressor, asked, cells, STARTS, 60, threads=threads)
        same = sum(set(row[row >= 0].tolist()) == want for row, want in zip(rows, alone, strict=True))
        assert same >= 36  # float32 sums differ in their last bit, which parts what was equal


def test_scales_find_more_of_the_nearest():
    compressor = make_rabitq(DIM, 2)
    codes, asked = encode_vectors(compressor, VECTORS), unit_vectors(60)
    true = np.argsort(-(asked @ VECTORS.T), axis=1)[:, :10]
    cells = [np.arange(CELLS)] * 60
    shares = []
    for prepared in (prepare_codes(compressor, codes), {}):
        rows, _ = scan_codes(codes, prepared, compressor, asked, cells, STARTS, 60)
        shares.append(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, true, strict=True)]))
    assert shares[0] > shares[1] + 0.05


def test_what_is_laid_out_beside_codes():
    sizes = {"two bits": 2, "four bits": 2, "eight bits": 2, "one bit, factors": 4}  # bytes a row
    for name, compressor in COMPRESSORS.items():
        codes = encode_vectors(compressor, VECTORS[:50])
        prepared = prepare_codes(compressor, codes)
        assert {key: array.nbytes for key, array in prepared.items()} == (
            {"scales": sizes[name] * 50} if name in sizes else {}
        )


@pytest.mark.parametrize("queries", [1, 20])
def test_factors_that_are_no_numbers(queries):
    compressor = COMPRESSORS["one bit, factors"]
    codes, asked, cells = encode_vectors(compressor, VECTORS), unit_vectors(queries), some_cells(queries)
    bad = [5, 700, 1500, 2999]
    for row, factor in zip(bad, (np.nan, np.inf, -np.inf, 3e38), strict=True):
        codes[row, -4:] = np.float32([factor]).view(np.uint8)
    live = np.ones(ROWS, bool)
    live[bad] = False
    for prepared in ({}, prepare_codes(compressor, codes)):
        rows, scores = scan_codes(codes, prepared, compressor, asked, cells, STARTS, 30)
        others, _ = scan_codes(codes, prepared, compressor, asked, cells, STARTS, 30, live)
        for mine, want in zip(rows, others, strict=True):
            assert len(set(want.tolist()) - set(mine.tolist())) <= len(bad)
        assert not np.isnan(scores).any()


def test_bad_codes_are_refused():
    with pytest.raises(LayoutError, match="codes of 3 bytes"):
        prepare_codes(make_rabitq(DIM, 2), np.zeros((4, 3), np.uint8))
    with pytest.raises(LayoutError, match="row 16 of a codebook of 16"):  # 0010-R5
        prepare_codes(COMPRESSORS["pq"], np.full((4, 5), 16, np.uint8))


def test_no_queries_and_no_rows():
    compressor = COMPRESSORS["two bits"]
    codes = encode_vectors(compressor, VECTORS)
    rows, scores = scan_codes(codes, {}, compressor, np.empty((0, DIM), np.float32), [], STARTS, 5)
    assert rows.shape == scores.shape == (0, 0)
    for count in (1, 6):
        rows, _ = scan_codes(codes, {}, compressor, unit_vectors(count), [np.array([0])] * count, STARTS, 5)
        assert rows.shape == (count, 0)
        assert narrow(rows, TAKE, unit_vectors(count), 3, "cosine").shape == (count, 0)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("queries", [1, 7])
def test_narrowed_to_the_nearest(metric, queries, monkeypatch):
    vectors = VECTORS * RNG.uniform(0.5, 2, (ROWS, 1)).astype(np.float32)
    asked = unit_vectors(queries)
    rows = np.stack([RNG.permutation(ROWS)[:100] for _ in range(queries)])
    rows[:, 2] = -1
    exact = METRICS[metric].exact(asked, vectors[rows])
    exact[rows < 0] = np.inf
    want = np.sort(np.take_along_axis(rows, np.argsort(exact, axis=1)[:, :10], axis=1), axis=1)
    for held in (1 << 18, 1):
        monkeypatch.setattr("dreamdb_arrow.spatial.rerank._CACHED", held)
        found = narrow(rows, partial(vectors.take, axis=0), asked, 10, metric)
        assert np.array_equal(np.sort(found, axis=1), want)


def test_narrowing_unit_vectors_and_few():
    asked, rows = unit_vectors(5), np.stack([RNG.permutation(ROWS)[:60] for _ in range(5)])
    plain, unit = (
        np.sort(narrow(rows, TAKE, asked, 8, "cosine", unit=unit), axis=1) for unit in (False, True)
    )
    assert np.array_equal(plain, unit)
    assert np.array_equal(narrow(rows[:, :3], TAKE, asked, 8, "cosine"), rows[:, :3])


@pytest.mark.parametrize("name", ["vec-ivf-rabitq", "vec-ivf-rabitq4", "vec-ivf-pq"])
def test_ranks_as_the_reference_does(name, reference_expected):  # 0010-R4
    want = reference_expected(name)
    dim = want["dim"]
    vectors = np.frombuffer(base64.b64decode(want["vectors_f32_b64"]), "<f4").reshape(-1, dim)
    queries = np.stack([np.frombuffer(base64.b64decode(q["query_f32_b64"]), "<f4") for q in want["queries"]])
    compressor = {
        "vec-ivf-rabitq": make_rabitq(dim, with_correction_factors=True),
        "vec-ivf-rabitq4": make_rabitq(dim, 4),
        "vec-ivf-pq": make_pq(unit_vectors(dim // 2 * 8, 2).reshape(dim // 2, 8, 2)),
    }[name]
    codes = encode_vectors(compressor, vectors)
    starts, cells = np.array([0, len(codes)]), [np.array([0])] * len(queries)
    _, scores = scan_codes(codes, {}, compressor, queries, cells, starts, 10)
    whole = queries @ decode_codes(compressor, codes).T
    assert np.allclose(np.sort(scores, axis=1), np.sort(whole, axis=1)[:, -10:], rtol=1e-4, atol=1e-5)
