"""A third reader, written from spec/ alone: no line of dreamdb_arrow, and each stored Space as its fixture says.

If this file had to look into our code to read a Space, a document would lack something.
"""

import base64
import io
import itertools
import json
import struct
from math import prod
from pathlib import Path

import blake3
import cbor2
import numpy as np
import pytest

SPACES = Path(__file__).parents[2] / "conformance/spaces/reference-0.0.16"
ELSEWHERE = {"vec-ivf-rabitq4", "vec-vamana"}  # codes and graphs: test_third_cells.py
NAMES = sorted(p.stem for p in SPACES.glob("*.json"))
VISIBLE = (1 << 63) - 2  # 0003
ZEROS = "0" * 16


# --- 0002, 0005: addresses, Objects, Refs -------------------------------------------------------------------


def text_of(address):
    return base64.b32encode(address).decode().lower().rstrip("=")


class Space:
    def __init__(self, root):
        self.root = root

    def get(self, directory, address):
        data = (self.root / directory / text_of(address)).read_bytes()
        assert address == b"\x1e" + blake3.blake3(data).digest()
        return data

    def load(self, directory, address):
        return cbor2.loads(self.get(directory, address))


def rows_of(root, ref):
    """Return {anchor: {field: value}} of a version, without missing values."""
    space = Space(root)
    manifest = space.load("manifests", (root / "refs" / ref).read_bytes())
    registry, tracks = manifest["registry"], manifest["tracks"]
    active = {e["field"]: e for e in (tracks["active"] if isinstance(tracks, dict) else tracks)}
    rows = {}
    for field in registry["dreamdb.schema"]["fields"]:
        entry = active[field["name"]]
        if entry["kind"] == "constant":
            continue
        place = f"{text_of(entry['timeline'])}/{entry['modality']}"
        track = space.load(f"{place}/track", entry["address"])
        for anchor, value in READERS[field["kind"]](space, place, track, field, registry):
            if anchor <= VISIBLE:
                rows.setdefault(anchor, {})[field["name"]] = value
    for anchor in deleted(space, registry):
        rows.pop(anchor, None)
    return rows


# --- 0020: tombstones ---------------------------------------------------------------------------------------


def deleted(space, registry):
    if "dreamdb.tombstones" not in registry:
        return
    indexes, pages = [registry["dreamdb.tombstones"]["head"]], []
    while indexes:
        index = space.load("tombstones", indexes.pop())
        indexes += index["parents"]
        pages += [index["root"]["hash"]] if index["root"] else []
    while pages:
        page = space.load("tombstones", pages.pop())
        pages += [child["hash"] for child in page.get("children", [])]
        yield from (entry["anchor"] for entry in page.get("entries", []))


# --- 0011, 0016: scalars ------------------------------------------------------------------------------------


def scalars(space, place, track, field, _):
    index, hot = track["object_index"], {}
    if isinstance(index, dict) and index["form"] == "hot-overlay-v1":
        shard = space.load(f"{place}/hot-shard", index["hot_shard"])
        hot = {anchor: hot_value(field["value_type"], data) for anchor, data in shard["items"]}
        index = space.load(f"{place}/track", index["base_track"])["object_index"]
    found = {}
    entries = index if isinstance(index, list) else leaves(space, place, index["root"])
    for value, _first, _stop, bucket, *part in entries:
        data = space.get(f"{place}/bucket", bucket)
        record = data[part[0] : part[0] + part[1]] if part else data
        for anchor in anchors_in(record):
            found.setdefault(anchor, []).append(cbor2.loads(value))
    return [*((anchor, max(values)) for anchor, values in found.items()), *hot.items()]


def hot_value(kind, data):
    forms = {"int": "<q", "timestamp": "<q", "float": "<d", "bool": "<?"}
    return struct.unpack(forms[kind], data)[0] if kind in forms else data.decode()


def leaves(space, place, root, absolute=lambda entry, _: entry):
    """Yield the entries of the leaves below a page; `absolute` undoes that their times are relative to the leaf."""
    page = space.load(f"{place}/index", root)
    for entry in page["entries"]:
        if page["type"] == "leaf":
            yield absolute(entry, page.get("t_min", 0))
        else:
            yield from leaves(space, place, entry[2], absolute)


def entries_of(space, place, index, absolute):
    return index if isinstance(index, list) else list(leaves(space, place, index["root"], absolute))


def anchors_in(record):
    version, blocks = struct.unpack_from("<BQ", record)
    assert version == 1
    at = 9
    for _ in range(blocks):
        (high,) = struct.unpack_from("<I", record, at)
        lows, at = roaring(record, at + 4)
        yield from (high << 32 | low for low in lows)
    assert at == len(record)


def roaring(data, at):
    """Return the members of a bitmap and where it ends."""
    (cookie,) = struct.unpack_from("<I", data, at)
    if cookie & 0xFFFF == 12347:
        count = (cookie >> 16) + 1
        flags = data[at + 4 : at + 4 + (count + 7) // 8]
        head = at + 4 + len(flags)
        end = head + 4 * count + (4 * count if count >= 4 else 0)
    else:
        (count,) = struct.unpack_from("<I", data, at + 4)
        flags, head = bytes((count + 7) // 8), at + 8
        end = head + 8 * count
    members = []
    for nth in range(count):
        key, less = struct.unpack_from("<HH", data, head + 4 * nth)
        if flags[nth // 8] >> nth % 8 & 1:
            (runs,) = struct.unpack_from("<H", data, end)
            pairs = [struct.unpack_from("<HH", data, end + 2 + 4 * run) for run in range(runs)]
            lows, end = [f + n for f, less in pairs for n in range(less + 1)], end + 2 + 4 * runs
        elif less + 1 <= 4096:
            lows, end = struct.unpack_from(f"<{less + 1}H", data, end), end + 2 * (less + 1)
        else:
            bits = data[end : end + 8192]
            lows, end = [i for i in range(65536) if bits[i // 8] >> i % 8 & 1], end + 8192
        members += [key << 16 | low for low in lows]
    return members, end


# --- 0007, 0014: media, video items, geometry ---------------------------------------------------------------


def of_media(entry, since):
    start, lasts, *rest = entry
    return [since + start, since + start + lasts, *rest]


def media(space, place, track, _, __):
    for start, stop, size, address, *more in entries_of(space, place, track["object_index"], of_media):
        if more == [True]:
            items = space.load(f"{place}/items", address)
            data = b"".join(space.get(f"{place}/{ZEROS}", chunk["hash"]) for chunk in items["chunks"])
        elif more:
            data = space.get(f"{place}/{ZEROS}", address)[more[1] : more[1] + size]
        else:
            fragment = "init_segment" in track or stop > start + 1
            minute = start // 60_000_000_000 if fragment else 0
            data = space.get(f"{place}/{minute:016x}", address)
        assert len(data) == size
        yield start, data


def of_videos(entry, since):
    return [since + entry[0], *entry[1:]]


def video_items(space, place, track, _, __):
    since = track["coverage"][0]
    for start, _duration, _key, address in entries_of(space, place, track["object_index"], of_videos):
        item = space.load(f"{place}/video-item", address)
        parts = [space.get(f"{place}/init", item["init"])]
        for _start, _lasts, size, fragment, *more in item["fragments"]:
            offset = more[1] if more else 0
            parts.append(space.get(f"{place}/{ZEROS}", fragment)[offset : offset + size])
        yield since + start, b"".join(parts)


def geometries(space, _place, track, _, __):
    for anchor, address, _size in track["items"]:
        index = space.load("geometry-item", address)["index"]
        if index["form"] == "cells-v1":
            parts = [(data, offset, size) for _, _, data, offset, size in index["cells"]]
        else:
            parts = [(data, 0, size) for _, _, _, data, size in index["levels"]]
        held = [space.get("geometry-data", data)[offset : offset + size] for data, offset, size in parts]
        yield anchor, b"".join(held)


# --- 0007, 0016: vectors ------------------------------------------------------------------------------------


def of_cells(entry, since):
    key, start, lasts, *rest = entry
    return [key, since + start, since + start + lasts, *rest]


def embeddings(space, place, track, field, registry):
    if ".graph." in place or ".multivec." in place:
        return
    found = {}
    entry = registry[place.partition("/")[2]]
    if "hot_shard" in entry:
        found |= {
            a: np.frombuffer(v, "<f4")
            for a, v in cbor2.loads(space.get(f"{place}/hot-shard", entry["hot_shard"]))["items"]
        }
    for key, _start, _stop, size, address, *more in entries_of(space, place, track["object_index"], of_cells):
        if more and more[0] != 0:
            continue
        data = space.get(f"{place}/{key}", address)
        magic, version, width, count, header = struct.unpack_from(">4s4I", data)
        assert (magic, version, header + width * count, size) == (b"VBUU", 1, len(data), len(data))
        anchors = [struct.unpack_from(">Q", data, header + nth * width)[0] for nth in range(count)]
        if header == 160:
            held = [
                np.frombuffer(data, "<f4", field["dim"], header + nth * width + 8) for nth in range(count)
            ]
        else:
            side = space.get(f"{place}/vectors", more[1])
            assert struct.unpack_from(">4s3I", side) == (b"VSTU", 1, 4 * field["dim"], count)
            held = np.frombuffer(side, "<f4", offset=128).reshape(count, field["dim"])
        found |= dict(zip(anchors, held, strict=True))
    for anchor, vector in found.items():
        yield anchor, [float(x) for x in vector]


# --- 0007: arrays -------------------------------------------------------------------------------------------


def of_arrays(entry, since):
    return [entry[0], since + entry[1]] if len(entry) == 2 else of_media(entry, since)


def arrays(space, place, track, field, _):
    of = field["item_type"]
    for entry in entries_of(space, place, track["object_index"], of_arrays):
        address, anchor, time = (*entry, entry[1]) if len(entry) == 2 else (entry[3], entry[0], entry[2])
        yield anchor, ARRAYS[of["family"]](of, space.get(f"{place}/{time:016x}", address))


def numbers(of, data):
    order = {"little": "<", "big": ">"}[of["endianness"]]
    kind = of["dtype"]
    return np.frombuffer(data, f"{order}{kind[0]}{int(kind[1:]) // 8}")


def dense(of, data):
    if of["codec"] == "npy":
        return np.load(io.BytesIO(data)).tolist()
    return numbers(of, data).reshape(of["shape"], order=of["layout"].upper()).tolist()


def ragged(of, data):
    magic, version, rows, cells = struct.unpack_from(">4sIQQ", data)
    assert (magic, version) == (b"RAG1", 1)
    offsets = struct.unpack_from(f">{rows + 1}Q", data, 24)
    values = numbers(of, data[24 + 8 * (rows + 1) :]).reshape(-1, *of["inner_shape"])
    assert len(values) == cells == offsets[-1]
    assert prod(values.shape) or not cells
    return [values[a:b].tolist() for a, b in itertools.pairwise(offsets)]


def sparse(of, data):
    magic, version, rows, columns, count = struct.unpack_from(">4sIQQQ", data)
    assert (magic, version, [rows, columns]) == (b"CSR1", 1, of["shape"])
    offsets = struct.unpack_from(f">{rows + 1}Q", data, 32)
    at = 32 + 8 * (rows + 1)
    indices = struct.unpack_from(f">{count}Q", data, at)
    values = numbers(of, data[at + 8 * count :]).tolist()
    return {"row_offsets": list(offsets), "column_indices": list(indices), "values": values}


ARRAYS = {"dense-array": dense, "ragged-array": ragged, "sparse-csr": sparse}
READERS = {
    "scalar": scalars,
    "image": media,
    "audio": media,
    "video": media,
    "video_item": video_items,
    "geometry": geometries,
    "embedding": embeddings,
    "array": arrays,
}


# --- the tests ----------------------------------------------------------------------------------------------


def plain(value):
    return bytes.fromhex(value["$hex"]) if isinstance(value, dict) and "$hex" in value else value


def as_noted(row, want):
    cut = {k: v["size"] for k, v in want.items() if isinstance(v, dict) and "$records" in v}
    return row | {
        k: {"$records": sorted(row[k][at : at + n].hex() for at in range(0, len(row[k]), n)), "size": n}
        for k, n in cut.items()
    }


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("vec-")])
def test_rows_of_stored_spaces(name, reference_space):
    for ref, want in json.loads((SPACES / f"{name}.json").read_text("utf-8"))["refs"].items():
        found = rows_of(reference_space(name), ref)
        assert len(found) == want["count"]
        for anchor, row in want.get("rows", want.get("rows_sampled")).items():
            assert as_noted(found[int(anchor)], row) == {k: plain(v) for k, v in row.items()}, (ref, anchor)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name.startswith("vec-") and name not in ELSEWHERE]
)
def test_vectors_of_stored_spaces(name, reference_space):
    want = json.loads((SPACES / f"{name}.json").read_text("utf-8"))
    found = rows_of(reference_space(name), want["ref"])
    given = np.frombuffer(base64.b64decode(want["vectors_f32_b64"]), "<f4").reshape(
        want["count"], want["dim"]
    )
    for anchor, vector in zip(want["anchors"], given, strict=True):
        assert found[anchor][want["field"]] == vector.tolist()
