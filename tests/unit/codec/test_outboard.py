import blake3
import numpy as np
import pytest

from dreamdb_arrow.codec.address import address_of, is_address_text
from dreamdb_arrow.codec.outboard import encode_outboard, encode_outboards, is_outboard_of
from dreamdb_arrow.kernels.blake3_tree import CHUNK_BYTES, chunk_values, parent_values

BYTES = np.random.default_rng(7).integers(0, 256, 3 << 20, dtype=np.uint8).tobytes()
SIZES = [1025, 1088, 2047, 2048, 2049, 3072, 3073, 4096, 5000, 7 * 1024, 8 * 1024 + 1, 31 * 1024, 33 * 1024]


def left_chunks(chunks):
    return 1 << ((chunks - 1).bit_length() - 1)


def words(value):
    return np.frombuffer(value, "<u4").reshape(8, 1)


def parent(node, *, root=False):
    return parent_values(words(node[:32]), words(node[32:]), root=root).astype("<u4").tobytes()


def walk(data, nodes, start=0, *, root=True):
    """Check a subtree against its data, by the recursive definition; return its value and the nodes after it."""
    chunks = -(-len(data) // CHUNK_BYTES)
    if chunks == 1:
        padded = np.frombuffer(data.ljust(CHUNK_BYTES, b"\0"), np.uint8).reshape(1, -1)
        value = chunk_values(padded, np.array([len(data)]), np.array([start], np.uint64))
        return value.astype("<u4").tobytes(), nodes
    node, nodes = nodes[:64], nodes[64:]
    half = left_chunks(chunks)
    left, nodes = walk(data[: half * CHUNK_BYTES], nodes, start, root=False)
    right, nodes = walk(data[half * CHUNK_BYTES :], nodes, start + half, root=False)
    assert node == left + right
    return parent(node, root=root), nodes


@pytest.mark.parametrize("size", [0, 1, 1023, 1024])
def test_one_chunk_has_no_nodes(size):
    assert encode_outboard(BYTES[:size]) == size.to_bytes(8, "little")


@pytest.mark.parametrize("size", SIZES)
def test_tree_and_root(size):
    outboard = encode_outboard(BYTES[:size])
    assert int.from_bytes(outboard[:8], "little") == size
    root, rest = walk(BYTES[:size], outboard[8:])
    assert root == blake3.blake3(BYTES[:size]).digest()
    assert rest == b""


@pytest.mark.parametrize("size", [len(BYTES), len(BYTES) - 1023, (2 << 20) + 1])
def test_root_of_long_payloads(size):
    outboard = encode_outboard(BYTES[:size])
    assert len(outboard) == 8 + 64 * (-(-size // CHUNK_BYTES) - 1)
    assert parent(outboard[8:72], root=True) == blake3.blake3(BYTES[:size]).digest()


def test_long_payload_has_the_outboards_of_its_halves():
    """The tree below 4096 chunks and the tree of 2048 of them share all nodes: one payload crosses lane batches."""
    data = bytes(5000 * 1024) + BYTES
    outboard = encode_outboard(data)
    chunks = len(data) // CHUNK_BYTES
    half = left_chunks(chunks)
    left = encode_outboard(data[: half * CHUNK_BYTES])
    assert outboard[72 : 72 + len(left) - 8] == left[8:]
    assert parent(outboard[8:72], root=True) == blake3.blake3(data).digest()


def test_many_together_are_as_each_alone():
    payloads = [BYTES[size : 2 * size] for size in (*SIZES, 0, 5, 1024, 1025)]
    assert encode_outboards(payloads) == [encode_outboard(payload) for payload in payloads]
    assert encode_outboards([]) == []


def test_any_buffer():
    array = np.frombuffer(BYTES[:6000], np.uint16)
    assert encode_outboard(array) == encode_outboard(memoryview(array)) == encode_outboard(BYTES[:6000])


def test_example_of_the_wire_document():
    assert encode_outboard(b"\xff\xd8" + bytes(1100)).hex() == (
        "4e04000000000000"
        "bf54a644d245b009556b5f418c2bc513f992989ebfa1167e07fcaff289a29063"
        "7982469b6254de32d59ee0940a19ff8673b97ea43a0ed103e82cee15131209dd"
    )


def test_outboards_of_the_reference(reference_space, reference_name):
    root = reference_space(reference_name)
    stored = {p.name: p.read_bytes() for p in (root / "bao-outboard").iterdir()}
    payloads = {
        p.name: p.read_bytes()
        for p in root.rglob("d*")
        if p.name in stored and is_address_text(p.name) and p.parent.name != "bao-outboard" and p.is_file()
    }
    assert payloads.keys() == stored.keys()
    assert encode_outboards(payloads.values()) == [stored[name] for name in payloads]


@pytest.mark.parametrize("size", [0, 1, 1024, 1025, 2048, 2049, 3073, 9 * 1024, 100_000, (1 << 20) + 1])
def test_an_outboard_is_known_without_its_payload(size):
    data = bytes(i * 31 % 251 for i in range(size))
    outboard, address = encode_outboard(data), address_of(data)
    assert is_outboard_of(outboard, address, size)
    assert not is_outboard_of(outboard, address, size + 1)
    assert not is_outboard_of(outboard + b"\0", address, size)
    for at in sorted({0, 8, len(outboard) // 2, len(outboard) - 1} & set(range(len(outboard)))):
        flipped = bytearray(outboard)
        flipped[at] ^= 1
        assert not is_outboard_of(bytes(flipped), address, size)
