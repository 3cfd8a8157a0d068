"""The vector Spaces of the reference: every record, key and code as it was written, and answers as good with its options."""

import base64

import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar.projection import bucket_origin
from dreamdb_arrow.columnar.vendor import read_track
from dreamdb_arrow.dataset.spatial import load_spatial_index
from dreamdb_arrow.kernels.pq import encode_pq
from dreamdb_arrow.kernels.rabitq import encode_rabitq, rotation, stored_factors
from dreamdb_arrow.kernels.vamana import walk
from dreamdb_arrow.objects.manifest import find_entry
from dreamdb_arrow.objects.vector_compressor import FACTOR_BYTES, RabitqParams, codebook_rows
from dreamdb_arrow.spatial import graph
from dreamdb_arrow.spatial.partitioners import assign_cells
from dreamdb_arrow.tracks.cell_rows import fetch_rows
from dreamdb_arrow.tracks.cells import check_keys
from dreamdb_arrow.tracks.pages import read_index
from dreamdb_arrow.tracks.vectors import load_compressor

CELLS = ("imi", "ivf", "ivf-pq", "ivf-rabitq", "ivf-rabitq4", "lsh", "lsh-l2", "lsh-rerank", "hybrid")
CODED = ("ivf-pq", "ivf-rabitq", "ivf-rabitq4")
NPROBE = 32  # what the reference reads when nothing is said, and how many rows a result it looks at again
POOL_A_ROW = 5


def numbers(text: str, dim: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, dim)


def opened(name, reference_space, reference_expected, tmp_path):
    want = reference_expected(f"vec-{name}")
    ds = vd.Dataset.open_ref(want["ref"], reference_space(f"vec-{name}"), cache_dir=tmp_path / "c")
    return ds, want, numbers(want["vectors_f32_b64"], want["dim"])


def stored(ds, field):
    """Return the index and the compressor of a field, and for each of its buckets the key and the rows."""
    store, entry = ds.space.store, find_entry(ds.manifest.tracks, field)
    track, origin = read_track(store, entry), bucket_origin(ds.manifest, entry.modality)
    entries = check_keys(read_index(store, track))
    rows = fetch_rows(store, track, entries, range(len(entries)))
    coder = None if origin.compressor is None else load_compressor(store, origin.compressor)
    return load_spatial_index(store, origin.index), coder, list(zip(entries.keys, rows, strict=True))


def codes_as_given(compressor, vectors):
    """The codes of vectors as the reference makes them: of their own length."""
    params = compressor.params
    if isinstance(params, RabitqParams):
        turn = rotation(params.rotation_seed, compressor.dim)
        return encode_rabitq(turn, vectors, params.bits_per_dim, factors=params.with_correction_factors)
    return encode_pq(codebook_rows(compressor), vectors)


def assert_same_codes(compressor, found, wanted):
    if getattr(compressor.params, "with_correction_factors", False):
        np.testing.assert_allclose(stored_factors(found), stored_factors(wanted), rtol=1e-5)
        found, wanted = found[:, :-FACTOR_BYTES], wanted[:, :-FACTOR_BYTES]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", CELLS)
def test_records_keys_and_codes_are_read_as_they_were_written(
    name, reference_space, reference_expected, tmp_path
):  # 0004-R2, 0007-R9, 0007-R11, 0010-R1
    ds, want, vectors = opened(name, reference_space, reference_expected, tmp_path)
    index, compressor, buckets = stored(ds, want["field"])
    place = {anchor: row for row, anchor in enumerate(want["anchors"])}
    seen = []
    for key, rows in buckets:
        given = vectors[[place[anchor] for anchor in rows.anchors.tolist()]]
        assert assign_cells(index, given).keys == [key]
        if compressor is None:
            np.testing.assert_array_equal(rows.payload, given)
        else:
            assert_same_codes(compressor, rows.payload, codes_as_given(compressor, given))
        if rows.exact is not None:
            np.testing.assert_array_equal(rows.exact, given)
        seen += rows.anchors.tolist()
    assert (compressor is not None) == (name in CODED)
    assert sorted(seen) == sorted(want["anchors"])


def recall_of(want, ask):
    """Return the share of the nearest rows among the answers to the queries that a Space is known with."""
    asked = [numbers(q["query_f32_b64"], want["dim"])[0] for q in want["queries"]]
    exact = [{anchor for anchor, _ in q["exact_top10"]} for q in want["queries"]]
    return sum(len({*ask(q)} & e) for q, e in zip(asked, exact, strict=True)) / (10 * len(exact))


def options_of(name, want):
    """What the reference was asked with; what it was not told is as it does then."""
    given = want["query_options"]
    pool = {"pool": given.get("rerank_pool_size", 10 * POOL_A_ROW)} if name in CODED else {}
    return {"nprobe": given.get("nprobe", NPROBE), **pool}


@pytest.mark.parametrize("name", CELLS)
def test_answers_are_as_good_as_those_of_the_reference(name, reference_space, reference_expected, tmp_path):
    # 0006-R13
    ds, want, _ = opened(name, reference_space, reference_expected, tmp_path)
    options = options_of(name, want)
    found = recall_of(want, lambda q: ds.search(want["field"], q, 10, **options).anchors.tolist())
    assert found >= want["reference_sdk_recall_at_10"] - 1e-4


@pytest.mark.parametrize("name", CELLS)
def test_iter_vector_takes_the_options_of_the_reference(name, reference_space, reference_expected, tmp_path):
    ds, want, _ = opened(name, reference_space, reference_expected, tmp_path)
    options = {"nprobe": NPROBE} | want["query_options"]

    def ask(query):
        batches = ds.iter_vector(want["field"], query, 10, fields=[], **options)
        return [anchor for batch in batches for anchor in batch["_time_anchors"]]

    assert recall_of(want, ask) >= want["reference_sdk_recall_at_10"] - 1e-4


def test_a_walk_over_the_graph_of_the_reference(monkeypatch, reference_space, reference_expected, tmp_path):
    """As wide as its index says, as the reference walks it; so few nodes would else be compared, every one."""
    walks = []
    monkeypatch.setattr(graph, "is_cheap", lambda *_: False)
    monkeypatch.setattr(graph, "walk", lambda *given: walks.append(given) or walk(*given))
    ds, want, _ = opened("vamana", reference_space, reference_expected, tmp_path)
    assert want["query_options"] == {}
    found = recall_of(want, lambda q: ds.search("g", q, 10, recall=0.9).anchors.tolist())
    assert found >= want["reference_sdk_recall_at_10"]
    assert len(walks) == len(want["queries"])


def test_token_vectors_are_read_as_they_were_written(reference_space, reference_expected, tmp_path):
    # 0015-R3
    """Row i of the field `mv`, of twenty, has the vectors i to i + 2, each in the cell and with the code of its own."""
    ds, want, vectors = opened("hybrid", reference_space, reference_expected, tmp_path)
    index, compressor, buckets = stored(ds, "mv")
    anchors = want["anchors"][:20]
    tokens = 0
    for key, rows in buckets:
        row, number = np.divmod(rows.anchors - 4 * anchors[0], 4)
        given = vectors[row + number]
        assert assign_cells(index, given).keys == [key]
        np.testing.assert_array_equal(rows.exact, given)
        assert_same_codes(compressor, rows.payload, codes_as_given(compressor, given))
        tokens += len(row)
    assert tokens == 3 * len(anchors)
    table = ds.token_vectors("mv", want["anchors"])
    assert table["_anchor"].to_pylist() == anchors
    rows = np.arange(len(anchors))[:, None] + np.arange(3)
    np.testing.assert_array_equal(np.array(table["mv"].to_pylist(), "f4"), vectors[rows])


def test_answers_by_token_are_those_of_the_reference(reference_space, reference_expected, tmp_path):
    # 0015-R4
    ds, want, _ = opened("hybrid", reference_space, reference_expected, tmp_path)
    query, given = numbers(want["multi_vector_query_f32_b64"], want["dim"]), want["multi_vector_result"]
    found = ds.query_multi_vector("mv", query, len(given))
    assert [anchor for anchor, _ in found] == [anchor for anchor, _ in given]
    assert [score for _, score in found] == pytest.approx([score for _, score in given], abs=1e-6)
