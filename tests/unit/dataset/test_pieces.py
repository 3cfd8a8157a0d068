"""Bytes in pieces as one file."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.dataset.pieces import Pieces


@given(st.lists(st.binary(max_size=5), max_size=6), st.data())
def test_any_range_of_any_pieces(pieces, data):
    whole, file = b"".join(pieces), Pieces(pieces)
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    assert file.size == len(whole)
    assert bytes(file.whole(start, stop)) == b"".join(file.between(start, stop)) == whole[start:stop]
    assert file.seek(start) == file.tell() == start
    assert file.read(stop - start) == whole[start:stop]
    assert file.read() == whole[stop:]
    assert file.read(3) == b""


def test_seeking_as_files_do():
    file = Pieces([b"ab", b"cdef"])
    file.seek(-2, io.SEEK_END)
    assert file.read() == b"ef"
    file.seek(1)
    file.seek(2, io.SEEK_CUR)
    assert file.read(1) == b"d"


def test_within_a_piece_nothing_is_copied():
    piece = bytes(100)
    assert Pieces([b"x", piece]).whole(11, 31).obj is piece


def test_pyarrow_reads_it():
    sink, table = io.BytesIO(), pa.table({"a": range(10_000), "b": [str(i) for i in range(10_000)]})
    pq.write_table(table, sink, row_group_size=1000)
    data = sink.getvalue()
    pieces = [data[at : at + 777] for at in range(0, len(data), 777)]
    assert pq.read_table(Pieces(pieces)).equals(table)
    assert pq.read_table(Pieces(pieces), columns=["b"]).equals(table.select(["b"]))
