"""Cells, codes, walks and scores, computed from spec/ alone (0004, 0010, 0013, 0015): the reference gave the same."""

import base64
import json
import math
import struct
from pathlib import Path

import cbor2
import numpy as np
import pytest

SPACES = Path(__file__).parents[2] / "conformance/spaces/reference-0.0.16"


def text_of(address):
    return base64.b32encode(address).decode().lower().rstrip("=")


# --- 0004: random words, cells ------------------------------------------------------------------------------


def words(seed, count):
    """Return the first words of the ChaCha20 stream of a seed, as unsigned integers of 32 bits."""
    head = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", seed)]
    blocks = [block([*head, counter, 0, 0, 0]) for counter in range(-(-count // 16))]
    return [word for each in blocks for word in each][:count]


def block(start):
    x = list(start)
    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
            quarter(x, a, b, c, d)
        for a, b, c, d in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(x, a, b, c, d)
    return [(one + two) & 0xFFFFFFFF for one, two in zip(x, start, strict=True)]


def quarter(x, a, b, c, d):
    for to, by, into, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x[to] = (x[to] + x[by]) & 0xFFFFFFFF
        mixed = x[into] ^ x[to]
        x[into] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF


def signed(unsigned):
    return np.array(unsigned, np.uint32).view(np.int32).astype(np.float64)


def lsh_cosine(index, params, vectors):
    planes = signed(words(params["seed"], index["bits"] * index["dim"])).reshape(index["bits"], index["dim"])
    return ["".join("1" if side else "0" for side in row) for row in vectors @ planes.T >= 0]


def lsh_l2(index, params, vectors):
    (width,) = struct.unpack("<d", params["bucket_width_f64le"])
    stream = words(params["seed"], index["dim"] + 1)
    line = signed(stream[:-1])
    offset = stream[-1] / 2**32 * width
    bins = np.floor((vectors @ (line / np.linalg.norm(line)) + offset) / width)
    return [f"{int(n) + (1 << 63):064b}" for n in bins]


def ivf_cosine(index, params, vectors):
    rows = np.frombuffer(params["centroids"], "<f4").reshape(params["k"], index["dim"])
    return [f"{n:0{index['bits']}b}" for n in np.argmax(vectors @ rows.T, axis=1)]


def imi_cosine(index, params, vectors):
    half = index["dim"] // 2
    high, low = (
        np.frombuffer(params[f"centroids_{part}"], "<f4").reshape(-1, half) for part in ("high", "low")
    )
    cells = np.argmax(vectors[:, :half] @ high.T, axis=1) * params["k_sub"]
    cells += np.argmax(vectors[:, half:] @ low.T, axis=1)
    return [f"{n:0{index['bits']}b}" for n in cells]


ALGORITHMS = {
    "dreamdb.lsh-cosine": lsh_cosine,
    "dreamdb.lsh-l2": lsh_l2,
    "dreamdb.ivf-cosine": ivf_cosine,
    "dreamdb.imi-cosine": imi_cosine,
}


def buckets_of(root):
    """Yield the directory and the bytes of each spatial bucket."""
    for path in root.glob("d*/embedding*/*/*"):
        if set(path.parent.name) <= {"0", "1"}:
            yield path.parent, path.read_bytes()


@pytest.mark.parametrize("name", ["vec-lsh", "vec-lsh-rerank", "vec-lsh-l2", "vec-ivf", "vec-imi"])
def test_vectors_lie_in_the_cells_that_the_document_computes(name, reference_space):
    # 0004-R2, 0004-R5, 0004-R6, 0004-R8, 0004-R10, 0004-R12
    root, count = reference_space(name), 0
    for directory, data in buckets_of(root):
        width, rows, header = struct.unpack_from(">3I", data, 8)
        index = cbor2.loads((root / "spatial-index" / text_of(data[20:53])).read_bytes())
        records = [data[header + n * width + 8 : header + (n + 1) * width] for n in range(rows)]
        vectors = np.stack([np.frombuffer(record, "<f4") for record in records]).astype(np.float64)
        assert set(ALGORITHMS[index["algorithm"]](index, index["params"], vectors)) == {directory.name}
        count += rows
    assert count == json.loads((SPACES / f"{name}.json").read_text("utf-8"))["count"]


# --- 0010: codes --------------------------------------------------------------------------------------------


def rotation(seed, dim):
    rows = signed(words(seed, dim * dim)).reshape(dim, dim)
    for n in range(dim):
        for before in rows[:n]:
            rows[n] -= rows[n] @ before * before
        rows[n] /= np.linalg.norm(rows[n])
    return rows


def rabitq_code(params, vector):
    dim, bits = len(vector), params["bits_per_dim"]
    y = rotation_of(params["rotation_seed"], dim) @ vector
    limit = 4 / np.sqrt(dim)
    levels = np.clip(np.floor((y + limit) / (2 * limit) * 2**bits), 0, 2**bits - 1) if bits > 1 else y >= 0
    number = sum(int(level) << n * bits for n, level in enumerate(levels))
    return number.to_bytes(-(-dim * bits // 8), "little"), np.abs(y).sum()


def rotation_of(seed, dim, held={}):  # noqa: B006 - made once
    if (seed, dim) not in held:
        held[seed, dim] = rotation(seed, dim)
    return held[seed, dim]


def pq_code(params, vector):
    books = np.frombuffer(params["codebooks"], "<f4").reshape(params["m"], params["k"], -1)
    return bytes(
        int(np.argmax(book @ part)) for book, part in zip(books, np.split(vector, len(books)), strict=True)
    )


@pytest.mark.parametrize("name", ["vec-ivf-rabitq", "vec-ivf-rabitq4", "vec-ivf-pq"])
def test_codes_are_those_that_the_document_computes(name, reference_space):  # 0010-R1, 0010-R4
    root, want = reference_space(name), json.loads((SPACES / f"{name}.json").read_text("utf-8"))
    given = np.frombuffer(base64.b64decode(want["vectors_f32_b64"]), "<f4").reshape(
        want["count"], want["dim"]
    )
    vectors = dict(zip(want["anchors"], given.astype(np.float64), strict=True))
    (path,) = (root / "vector-compressor").iterdir()
    compressor = cbor2.loads(path.read_bytes())
    params, seen = compressor["params"], 0
    for _, data in buckets_of(root):
        width, rows, header = struct.unpack_from(">3I", data, 8)
        assert (header, width - 8) == (200, compressor["code_bytes"])
        for n in range(rows):
            (anchor,) = struct.unpack_from(">Q", data, header + n * width)
            code = data[header + n * width + 8 : header + (n + 1) * width]
            if "pq" in compressor["algorithm"]:
                assert code == pq_code(params, vectors[anchor])
            else:
                bits, l1 = rabitq_code(params, vectors[anchor])
                assert code[: len(bits)] == bits
                if len(code) > len(bits):
                    assert struct.unpack("<f", code[len(bits) :])[0] == pytest.approx(1 / l1, rel=1e-5)
            seen += 1
    assert seen == want["count"]


# --- 0013: graphs -------------------------------------------------------------------------------------------


def test_a_walk_over_the_stored_graph_finds_what_is_near(reference_space):  # 0013-R1, 0013-R3
    root, want = reference_space("vec-vamana"), json.loads((SPACES / "vec-vamana.json").read_text("utf-8"))
    (path,) = (root / "graph-index").iterdir()
    layout = cbor2.loads(path.read_bytes())["graph_layout"]
    nodes = {}
    for page in root.glob("d*/*/graph-page/*"):
        nodes |= nodes_of(page.read_bytes(), layout)
    assert sorted(nodes) == list(range(layout["node_count"]))
    given = np.frombuffer(base64.b64decode(want["vectors_f32_b64"]), "<f4").reshape(
        want["count"], want["dim"]
    )
    stored = {anchor: vector for anchor, vector, _ in nodes.values()}
    assert all(np.array_equal(stored[a], v) for a, v in zip(want["anchors"], given, strict=True))
    query = given[17]
    best = sorted(nodes, key=lambda n: -float(nodes[n][1] @ query))[:10]
    assert set(walk(nodes, layout["entry_point"], query, 100)[:10]) == set(best)


def nodes_of(data, layout):
    """Return {id: (anchor, vector, neighbours)} of a page."""
    magic, version, _number, count, first, most, width = struct.unpack_from("<4s3IQ2I", data)
    assert (magic, version, most) == (b"GPGU", 1, layout["R"])
    nodes, at = {}, 192
    for n in range(count):
        (anchor,) = struct.unpack_from("<Q", data, at)
        vector = np.frombuffer(data, "<f4", width // 4, at + 8)
        (degree,) = struct.unpack_from("<I", data, at + 8 + width)
        assert degree <= most
        near = struct.unpack_from(f"<{degree}Q", data, at + 12 + width)
        nodes[first + n] = anchor, vector, near
        at += 12 + width + 8 * degree
    assert at == len(data)
    return nodes


def walk(nodes, start, query, width):
    """Return the ids that a greedy walk ends with, best first."""
    held, seen = {start: float(nodes[start][1] @ query)}, set()
    while fresh := sorted(held.keys() - seen, key=held.get):
        seen.add(fresh[-1])
        held |= {n: float(nodes[n][1] @ query) for n in nodes[fresh[-1]][2]}
        held = dict(sorted(held.items(), key=lambda pair: -pair[1])[:width])
    return sorted(held, key=lambda n: -held[n])


# --- 0015: words --------------------------------------------------------------------------------------------


@pytest.fixture
def hybrid(reference_space):
    """Return what is known of the Space with text indexes, and a function from a kind to its index."""
    want = json.loads((SPACES / "vec-hybrid.json").read_text("utf-8"))

    def index_of(kind):
        (path,) = reference_space("vec-hybrid").glob(f"d*/text.utf8.{kind}.field=t/text-index/*")
        return cbor2.loads(path.read_bytes())

    return want, index_of


def best(scores, count):
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:count]


def same(found, given):
    assert [anchor for anchor, _ in found] == [anchor for anchor, _ in given]
    assert [score for _, score in found] == pytest.approx([score for _, score in given], rel=1e-5)


def f32(data):
    return struct.unpack("<f", data)[0]


def bm25(index, query):
    params, stats = index["params"], index["stats"]
    k1, b, average = f32(params["k1"]), f32(params["b"]), f32(stats["avg_doc_len"])
    floor = f32(params["delta"]) if index["algorithm"] == "dreamdb.bm25-plus" else 0
    lengths, postings, scores = dict(index["doc_lens"]), dict(index["terms"]), {}
    for term in query.split():
        held = postings.get(term, [])
        idf = math.log(1 + (stats["doc_count"] - len(held) + 0.5) / (len(held) + 0.5))
        for anchor, tf, *_ in held:
            part = tf * (k1 + 1) / (tf + k1 * (1 - b + b * lengths[anchor] / average))
            scores[anchor] = scores.get(anchor, 0) + idf * (part + floor)
    return scores


def test_scores_of_words(hybrid):
    want, index_of = hybrid
    query, given = want["text_query"]
    same(best(bm25(index_of("bm25"), query), len(given)), given)


def test_scores_of_sparse_vectors(hybrid):
    want, index_of = hybrid
    query, given = want["splade_query"]
    postings, scores = dict(index_of("splade")["terms"]), {}
    for term, weight in query:
        for anchor, held in postings.get(term, []):
            scores[anchor] = scores.get(anchor, 0) + weight * f32(held)
    same(best(scores, len(given)), given)


def test_scores_of_many_vectors(hybrid, reference_space):
    want, _ = hybrid
    query = unit(
        np.frombuffer(base64.b64decode(want["multi_vector_query_f32_b64"]), "<f4").reshape(-1, want["dim"])
    )
    tokens = {}
    (track,) = reference_space("vec-hybrid").glob("d*/*maxtokens=4/track/*")
    place = track.parents[1]
    for key, _t0, _t1, _size, bucket, _table, side in cbor2.loads(track.read_bytes())["object_index"]:
        data = (place / key / text_of(bucket)).read_bytes()
        width, count, header = struct.unpack_from(">3I", data, 8)
        vectors = unit(
            np.frombuffer((place / "vectors" / text_of(side)).read_bytes(), "<f4", offset=128).reshape(
                count, want["dim"]
            )
        )
        for n in range(count):
            (anchor,) = struct.unpack_from(">Q", data, header + n * width)
            tokens.setdefault(anchor // 4, []).append(vectors[n])
    scores = {anchor: float((query @ np.stack(held).T).max(axis=1).sum()) for anchor, held in tokens.items()}
    given = want["multi_vector_result"]
    same(best({a: round(s, 6) for a, s in scores.items()}, len(given)), given)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
