"""VectorCompressor Objects: those of the reference, and ones whose parts do not agree. Bytes: conformance/vectors."""

import numpy as np
import pytest

from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.vector_compressor import (
    MAX_ROTATION_DIM,
    PQ_COSINE,
    RABITQ_COSINE,
    PqParams,
    RabitqParams,
    VectorCompressor,
    codebook_rows,
    decode_vector_compressor,
    encode_vector_compressor,
    make_pq,
    make_rabitq,
)

BOOKS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize("name", ["vec-ivf-rabitq", "vec-ivf-rabitq4", "vec-ivf-pq", "vec-hybrid"])
def test_objects_of_the_reference(name, reference_space):
    (path,) = reference_space(name).glob("vector-compressor/d*")
    data = path.read_bytes()
    assert encode_vector_compressor(decode_vector_compressor(data)) == data


@pytest.mark.parametrize(
    ("bits", "factors", "size"), [(1, False, 2), (1, True, 6), (2, False, 3), (8, False, 9)]
)
def test_size_of_a_code(bits, factors, size):  # 0010-R1
    compressor = make_rabitq(9, bits, with_correction_factors=factors)
    assert compressor.code_bytes == size
    assert decode_vector_compressor(encode_vector_compressor(compressor)) == compressor


def test_codebooks_are_a_view():
    compressor = make_pq(BOOKS)
    assert compressor.dim == 8
    assert compressor.code_bytes == 2
    assert np.array_equal(codebook_rows(compressor), BOOKS)
    assert not codebook_rows(compressor).flags.writeable
    assert decode_vector_compressor(encode_vector_compressor(compressor)) == compressor


@pytest.mark.parametrize(
    ("dim", "algorithm", "params"),
    [
        (0, RABITQ_COSINE, RabitqParams(1, bytes(32))),
        (True, RABITQ_COSINE, RabitqParams(1, bytes(32))),
        (MAX_ROTATION_DIM + 1, RABITQ_COSINE, RabitqParams(1, bytes(32))),
        (2, RABITQ_COSINE, RabitqParams(3, bytes(32))),
        (2, RABITQ_COSINE, RabitqParams(1, bytes(31))),
        (2, RABITQ_COSINE, RabitqParams(2, bytes(32), with_correction_factors=True)),
        (2, PQ_COSINE, RabitqParams(1, bytes(32))),
        (8, PQ_COSINE, PqParams(3, 3, BOOKS.tobytes(), bytes(32))),
        (8, PQ_COSINE, PqParams(3, 2, BOOKS.tobytes()[:-4], bytes(32))),
        (1, PQ_COSINE, PqParams(257, 1, bytes(4 * 257), bytes(32))),
    ],
    ids=str,
)
def test_parts_that_do_not_agree(dim, algorithm, params):  # 0010-R3
    with pytest.raises(LayoutError):
        VectorCompressor(dim, algorithm, params)


def test_unknown_algorithm():  # 0000-R4
    with pytest.raises(UnsupportedError, match="qinco"):
        VectorCompressor(2, "dreamdb.qinco", RabitqParams(1, bytes(32)))
