import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.columnar.vectors import encode_vectors, gather_vectors, open_vectors, vector_parts
from dreamdb_arrow.errors import LayoutError


def stored(path, anchors, vectors):
    path.write_bytes(encode_vectors(np.array(anchors, "i8"), np.array(vectors, "f4")))
    return path


def test_vectors_are_stored_bit_for_bit(tmp_path):  # 0021-R7
    odd = np.array([[-0.0, 1e-45, 3.4e38], [np.nan, np.inf, -1]], "f4")
    found = open_vectors(stored(tmp_path / "v", [5, 2**63 - 2], odd), 3)
    assert found.vectors.tobytes() == odd.tobytes()
    assert found.anchors.tolist() == [5, 2**63 - 2]
    assert not found.vectors.flags.writeable


def test_no_rows(tmp_path):
    assert open_vectors(stored(tmp_path / "v", [], np.empty((0, 3))), 3).vectors.shape == (0, 3)


def test_another_dimension_is_refused(tmp_path):
    with pytest.raises(LayoutError, match="4 dimensions"):
        open_vectors(stored(tmp_path / "v", [1], [[1, 2, 3]]), 4)


@pytest.mark.parametrize("anchors", [[2, 1], [1, 1]])
def test_anchors_out_of_order_are_refused(tmp_path, anchors):
    with pytest.raises(LayoutError, match="not ascending"):
        open_vectors(stored(tmp_path / "v", anchors, [[1, 2, 3]] * 2), 3)


VECTOR = pa.list_(pa.float32(), 3)


@pytest.mark.parametrize(
    "batch",
    [
        pa.record_batch({"_anchor": pa.array([1]), "vector": pa.array([None], VECTOR)}),
        pa.record_batch({"_anchor": pa.array([1]), "vector": pa.array([[1, None, 2]], VECTOR)}),
        pa.record_batch({"_anchor": pa.array([None], pa.int64()), "vector": pa.array([[1, 2, 3]], VECTOR)}),
        pa.record_batch({"_anchor": pa.array([1], pa.uint64()), "vector": pa.array([[1, 2, 3]], VECTOR)}),
        pa.record_batch({"_anchor": pa.array([1]), "vector": pa.array([[1, 2, 3]], pa.list_(pa.float32()))}),
        pa.record_batch({"_anchor": pa.array([1]), "vector": pa.array([[1, 2, 3]], pa.list_(pa.int32(), 3))}),
        pa.record_batch({"vector": pa.array([[1, 2, 3]], VECTOR)}),
    ],
)
def test_other_columns_and_nulls_are_refused(tmp_path, batch):
    with pa.ipc.new_file(str(tmp_path / "v"), batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(LayoutError):
        open_vectors(tmp_path / "v", 3)


def test_more_than_one_batch_is_refused(tmp_path):
    batch = pa.record_batch({"_anchor": pa.array([1]), "vector": pa.array([[1, 2, 3]], VECTOR)})
    with pa.ipc.new_file(str(tmp_path / "v"), batch.schema) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch)
    with pytest.raises(LayoutError):
        open_vectors(tmp_path / "v", 3)


GOOD = bytes(encode_vectors(np.array([1, 7], "i8"), np.ones((2, 3), "f4")))


@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(1, 255)), max_size=3), st.integers(0, 40)
)
def test_bytes_of_an_enemy_are_refused_or_harmless(tmp_path_factory, flips, cut):
    data = bytearray(GOOD[: len(GOOD) - cut])
    for at, mask in flips:
        if at < len(data):
            data[at] ^= mask
    file = tmp_path_factory.getbasetemp() / "hostile"
    file.write_bytes(data)
    try:
        found = open_vectors(file, 3)
    except LayoutError:
        return
    assert found.vectors.shape == (2, 3)
    assert (np.diff(found.anchors) > 0).all()


def test_gathering_finds_each_anchor_in_any_order(tmp_path):
    stripes = [
        open_vectors(stored(tmp_path / "a", [1, 5, 9], [[1], [5], [9]]), 1),
        open_vectors(stored(tmp_path / "b", [2, 6], [[2], [6]]), 1),
        open_vectors(stored(tmp_path / "c", [], np.empty((0, 1))), 1),
    ]
    anchors = np.array([9, 3, 2, 2, 100, 1, -4], "i8")
    vectors, found = gather_vectors(stripes, anchors, 1)
    assert vectors[:, 0].tolist() == [9, 0, 2, 2, 0, 1, 0]
    assert found.tolist() == [True, False, True, True, False, True, False]
    assert gather_vectors(stripes, np.empty(0, "i8"), 1)[0].shape == (0, 1)


def test_the_parts_are_the_file_and_hold_the_very_vectors():
    vectors = np.random.default_rng(1).standard_normal((100, 8), dtype=np.float32)
    anchors = np.arange(100)
    parts = vector_parts(anchors, vectors)
    assert b"".join(parts) == bytes(encode_vectors(anchors, vectors))
    sink = pa.BufferOutputStream()
    batch = pa.record_batch(
        [anchors, pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), 8)], names=["_anchor", "vector"]
    )
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    assert b"".join(parts) == bytes(sink.getvalue())
    assert any(np.shares_memory(np.frombuffer(part, np.uint8), vectors) for part in parts if len(part))
