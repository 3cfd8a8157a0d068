import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.store.memory import MemoryStore


@pytest.fixture(scope="module")
def ds():
    schema = (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_string("s", required=False)
        .add_scalar_timestamp("at", required=False)
        .add_scalar_bool("ok", required=False)
        .add_embedding("v", dim=2, algorithm="dreamdb.lsh-l2")
    )
    made = vd.Dataset.create("x", schema, MemoryStore(), cache_dir=None)
    for start in (5, 0):
        ids = range(start, start + 5)
        made.append(
            {
                "_anchor": list(ids),
                "n": list(ids),
                "s": [None if i % 3 else f"s{i}" for i in ids],
                "at": pa.array([None if i % 2 else i for i in ids], pa.int64()),
                "ok": [i > 4 for i in ids],
                "v": [[float(i), 0.0] for i in ids],
            }
        )
    made.delete([7])
    return made


def found(ds, **options):
    batches = ds.iter_vector("v", [0.0, 0.0], 100, **options)
    return [a for batch in batches for a in batch["_time_anchors"]]


@pytest.mark.parametrize(
    ("conditions", "anchors"),
    [
        ([], [0, 1, 2, 3, 4, 5, 6, 8, 9]),
        ([("n", "==", 7)], []),
        ([("n", "!=", 7)], [0, 1, 2, 3, 4, 5, 6, 8, 9]),
        ([("n", "<", 2)], [0, 1]),
        ([("n", "<=", 2)], [0, 1, 2]),
        ([("n", ">", 7)], [8, 9]),
        ([("n", ">=", 6)], [6, 8, 9]),
        ([("n", "in", [1, 8, 100])], [1, 8]),
        ([("n", "in", [])], []),
        ([("s", "==", "s3")], [3]),
        ([("s", "!=", "s3")], [0, 6, 9]),
        ([("s", "==", None)], []),
        ([("at", ">", 3)], [4, 6, 8]),
        ([("ok", "==", True)], [5, 6, 8, 9]),
        ([("n", ">", 2), ("n", "<", 6), ("ok", "==", False)], [3, 4]),
    ],
)
def test_conditions(ds, conditions, anchors):
    assert found(ds, where=conditions) == anchors


def test_values_and_conditions_must_all_hold(ds):
    assert found(ds, where_eq={"ok": True, "s": "s6"}) == [6]
    assert found(ds, where_eq={"ok": True}, where=[("n", "<", 7)]) == [5, 6]


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (("nope", "==", 1), "no field 'nope'"),
        (("v", "==", 1), "is of kind embedding, wanted scalar"),
        (("n", "~", 1), "unknown operator '~'; use one of == !="),
        (("n", "==", "1"), "'n' is int64, not comparable with '1'"),
        (("n", "==", 2**70), "'n' is int64, not comparable"),
        (("n", "in", 5), "'n' is int64, not comparable with 5"),
        (("s", "==", "\ud800"), "'s' is string, not comparable"),
        (("n", "=="), "a condition is \\(field, op, value\\)"),
        ("n == 1", "a condition is \\(field, op, value\\)"),
    ],
)
def test_conditions_that_make_no_sense(ds, condition, words):
    with pytest.raises(vd.InvalidInputError, match=words):
        found(ds, where=[condition])
