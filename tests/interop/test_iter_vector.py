"""`iter_vector` beside the reference SDK's: the same rows for the same options, and an error where it has one."""

import base64

import dreamdb
import numpy as np
import pytest

import dreamdb_arrow as vd

RAW = ("imi", "ivf", "lsh", "lsh-l2", "lsh-rerank", "hybrid")
K = 10
ALONE = {"rerank_mode": "approximate"}


@pytest.fixture
def both(reference_space, reference_expected, tmp_path):
    """Return a function from the name of a stored Space to what both sides opened, the field, and queries."""

    def opened(name):
        want, space = reference_expected(f"vec-{name}"), reference_space(f"vec-{name}")
        ours = vd.Dataset.open_ref(want["ref"], space, cache_dir=tmp_path / "c")
        asked = [np.frombuffer(base64.b64decode(q["query_f32_b64"]), "<f4") for q in want["queries"]]
        return (ours, dreamdb.Dataset.open_ref(want["ref"], f"file://{space}")), want["field"], asked

    return opened


def answers(datasets, field, queries, **options):
    """Return for each side the anchors of each query."""
    return [
        [
            [a for batch in ds.iter_vector(field, q, K, fields=[], **options) for a in batch["_time_anchors"]]
            for q in queries
        ]
        for ds in datasets
    ]


def rows_in_common(ours, theirs):
    return sum(len({*a} & {*b}) for a, b in zip(ours, theirs, strict=True)) / (K * len(ours))


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("options", [{}, ALONE, {"rerank_pool_size": K}], ids=str)
def test_raw_vectors_have_no_pool(both, name, options):
    datasets, field, queries = both(name)
    ours, theirs = answers(datasets, field, queries, nprobe=4, **options)
    assert ours == theirs


@pytest.mark.parametrize("name", ["ivf-pq", "ivf-rabitq"])
@pytest.mark.parametrize("options", [*({"rerank_pool_size": n} for n in (K, 50, 200)), ALONE], ids=str)
def test_codes_choose_the_same_rows(both, name, options):
    """With ALONE the order among them is that of the exact vectors here, and of the codes there."""
    datasets, field, queries = both(name)
    ours, theirs = answers(datasets, field, queries, nprobe=8, **options)
    # Two codes may be as good as each other; of such a pair the reference takes now one, now the other.
    assert rows_in_common(ours, theirs) >= 0.98


@pytest.mark.parametrize("options", [{}, {"rerank_pool_size": 200}, ALONE], ids=str)
def test_codes_of_four_bits_choose_better_rows(both, reference_expected, options):
    """The reference takes their product with the query for the cosine, although what they stand for is not of length one."""
    datasets, field, queries = both("ivf-rabitq4")
    exact = [[a for a, _ in q["exact_top10"]] for q in reference_expected("vec-ivf-rabitq4")["queries"]]
    ours, theirs = (rows_in_common(found, exact) for found in answers(datasets, field, queries, **options))
    assert ours >= theirs > 0.7


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ivf-rabitq4", {"rerank_mode": "exact"}),
        ("ivf", {"rerank_mode": "bad"}),
        ("ivf", {"rerank_pool_size": K - 1}),
        ("ivf", {"spec_id": b"\x1e" + bytes(32)}),
        ("vamana", {"rerank_pool_size": 2 * K}),
        ("vamana", {"rerank_mode": "exact"}),
    ],
)
def test_both_refuse(both, name, options):
    (ours, theirs), field, (query, *_) = both(name)
    for ds, kind in ((ours, vd.InvalidInputError), (theirs, (ValueError, RuntimeError))):
        with pytest.raises(kind):
            ds.iter_vector(field, query, K, **options)
