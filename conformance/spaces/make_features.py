"""Write the stored Spaces of what the reference SDK can do beyond rows, media and vectors: one archive and one JSON each.

Run by hand, with the reference SDK installed: python conformance/spaces/make_features.py [DIRECTORY [NAME ...]]
Nonces and times are random: the bytes differ from run to run, what they mean does not. What the SDK itself shows is
compared with what was written, before anything is kept.
"""

from __future__ import annotations

import json
import struct
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import dreamdb
import numpy as np

HERE = Path(__file__).parent / "reference-0.0.16"
T0 = 1_700_000_000_000_000_000
SECOND = 10**9
SCALARS = ("int", "float", "string", "categorical", "bool", "timestamp")

Rows = dict[int, dict[str, Any]]


# --- bytes that pass for fragmented video -------------------------------------------------------------------


def box(kind: bytes, *parts: bytes) -> bytes:
    """Return an ISO-BMFF box."""
    data = b"".join(parts)
    return struct.pack(">I", 8 + len(data)) + kind + data


def full_box(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    """Return a box with a version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def init_bytes(mark: bytes = b"") -> bytes:
    """Return an init segment of one H.264 track of 16 x 16 pixels; `mark` makes it differ."""
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    header = full_box(
        b"mvhd", struct.pack(">4IIH10x", 0, 0, 1000, 0, 0x10000, 0x100), matrix, bytes(24), b"\0\0\0\2"
    )
    track = full_box(
        b"tkhd", struct.pack(">5I16x", 0, 0, 1, 0, 0), matrix, struct.pack(">II", 16 << 16, 16 << 16), flags=3
    )
    config = box(b"avcC", bytes.fromhex("01 42001e ffe1 0004 6742001e 01 0004 68ce3880"))
    sample = box(
        b"avc1",
        struct.pack(">6xH16xHH", 1, 16, 16),
        struct.pack(">IIIH32xHh", 0x480000, 0x480000, 0, 1, 24, -1),
        config,
    )
    tables = [full_box(kind, bytes(4)) for kind in (b"stts", b"stsc", b"stco")]
    table = box(
        b"stbl", full_box(b"stsd", struct.pack(">I", 1), sample), *tables, full_box(b"stsz", bytes(8))
    )
    data = box(b"dinf", full_box(b"dref", struct.pack(">I", 1), full_box(b"url ", flags=1)))
    media = box(
        b"mdia",
        full_box(b"mdhd", struct.pack(">4IHH", 0, 0, 1000, 0, 0x55C4, 0)),
        full_box(b"hdlr", bytes(4), b"vide", bytes(12), b"v\0"),
        box(b"minf", full_box(b"vmhd", bytes(8), flags=1), data, table),
    )
    extends = box(b"mvex", full_box(b"trex", struct.pack(">5I", 1, 1, 0, 0, 0)))
    extra = [box(b"udta", mark)] if mark else []
    return box(b"ftyp", b"iso6", bytes(4), b"iso6cmfc") + box(
        b"moov", header, box(b"trak", track, media), extends, *extra
    )


def fragment_bytes(number: int, size: int = 24) -> bytes:
    """Return a fragment with one sample of `size` bytes."""

    def moof(offset: int) -> bytes:
        run = full_box(b"trun", struct.pack(">IiIII", 1, offset, 0x2000000, 1000, size), flags=0x305)
        decode_time = full_box(b"tfdt", struct.pack(">Q", number * 1000), version=1)
        traf = box(b"traf", full_box(b"tfhd", struct.pack(">I", 1), flags=0x20000), decode_time, run)
        return box(b"moof", full_box(b"mfhd", struct.pack(">I", number + 1)), traf)

    return moof(len(moof(0)) + 8) + box(b"mdat", bytes([number % 256]) * size)


# --- the Spaces ---------------------------------------------------------------------------------------------


def scalar_row(i: int) -> dict[str, Any]:
    """Return a row with a value of each scalar type."""
    return {
        "int": (i - 3) * 10**17,
        "float": [0.1, -0.0, 1e300, i / 7][i % 4],
        "string": f"text é {i}",
        "categorical": f"c{i % 3}",
        "bool": i % 2 == 0,
        "timestamp": T0 - i,
    }


def scalar_schema() -> Any:
    """Return a schema with a field of each scalar type."""
    schema = dreamdb.Schema()
    for kind in SCALARS:
        getattr(schema, f"add_scalar_{kind}")(kind, required=False)
    return schema


def append(ds: Any, rows: Rows, new: Rows, *, hot: bool = False) -> None:
    """Append rows, and remember them."""
    ds.append_many([{"_anchor": anchor, **row} for anchor, row in new.items()], hot=hot)
    rows |= new


def make_hot(backend: str, _: Path) -> dict[str, Rows]:
    """Rows of all scalar types and of vectors that wait in hot shards; then deleted, snapshot, and flushed."""
    schema = scalar_schema().add_embedding("v", dim=2, lsh_bits=4, required=False)
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    rows: Rows = {}

    def full(*numbers: int) -> Rows:
        return {T0 + i: {**scalar_row(i), "v": [1.0, i + 0.5]} for i in numbers}

    append(ds, rows, full(*range(4)))
    append(ds, rows, full(4, 5), hot=True)
    append(
        ds, rows, {T0 + 6: {"int": 6, "v": [-3.0, 2.0]}, T0 + 7: {"string": "", "v": [0.25, -1.0]}}, hot=True
    )
    ds.snapshot("hot")
    ds.delete([T0 + 1, T0 + 5], reason="hot")
    alive = {a: r for a, r in rows.items() if a not in (T0 + 1, T0 + 5)}
    kept = {"main@hot": dict(rows), "main": dict(alive)}
    side = ds.branch("flushed")
    side.flush_hot()
    append(side, alive, full(9))
    side.append_many([{"_anchor": T0 + 12, **scalar_row(12)}], hot=True)
    alive[T0 + 12] = scalar_row(12)
    return kept | {"flushed": alive}


def make_cmaf(backend: str, work: Path) -> dict[str, Rows]:
    """Two clips of CMAF fragments that last, beside scalars at some of their anchors."""
    schema = (
        dreamdb.Schema().add_video("clip", mime="h264", required=False).add_scalar_int("n", required=False)
    )
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    rows: Rows = {}
    (work / "init.mp4").write_bytes(init_bytes())
    for start, count in ((T0, 3), (T0 + 60 * SECOND, 2)):
        listed = []
        for i in range(count):
            begin = start + i * 2 * SECOND
            (work / f"{begin}.m4s").write_bytes(fragment_bytes(i, 20 + i))
            listed.append((str(work / f"{begin}.m4s"), begin, begin + (2 - i % 2) * SECOND - i))
            rows[begin] = {"clip": fragment_bytes(i, 20 + i)}
        ds.ingest_cmaf("clip", str(work / "init.mp4"), listed)
    ds.append_many([{"_anchor": T0 + i * SECOND, "n": i} for i in range(3)])
    for i in range(3):
        rows.setdefault(T0 + i * SECOND, {})["n"] = i
    return {"main": rows}


def make_layers(backend: str, _: Path) -> dict[str, Rows]:
    """Layers of all scalar types, of images and of vectors, some appended to, one decommissioned; audio and video."""
    schema = (
        dreamdb.Schema()
        .add_image("img", mime="png")
        .add_audio("snd", required=False, chunk_size=5, pack_items=3)
        .add_video("mov", required=False, pack_items=2)
    )
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    rows: Rows = {}
    append(ds, rows, {T0 + i: {"img": b"\x89PNG" + bytes([i]), "snd": bytes(range(i * 4))} for i in range(4)})
    for kind in SCALARS:
        samples = [(T0 + i, scalar_row(i)[kind]) for i in (0, 2, 3)]
        ds.add_scalar_layer(f"l_{kind}", "img", kind, samples)
        for anchor, value in samples:
            rows[anchor][f"l_{kind}"] = value
    ds.add_scalar_layer("gone", "img", "int", [(T0, 1)])
    ds.decommission_modality("gone")
    ds.add_image_layer("thumb", "img", [(T0, b"\xff\xd8 0"), (T0 + 9, b"\xff\xd8 9")])
    ds.append_image_layer("thumb", [(T0 + 1, b"\xff\xd8 1")])
    for i in (0, 1, 9):
        rows.setdefault(T0 + i, {})["thumb"] = b"\xff\xd8 %d" % i
    vectors = np.random.default_rng(5).standard_normal((40, 4)).astype("f4")
    index = dreamdb.train_and_publish_ivf_centroids(backend, vectors.tolist(), 4, 3)
    compressor = dreamdb.publish_rabitq_compressor(backend, 4)
    exact = [(T0 + i, vectors[i].tolist()) for i in range(3)]
    ds.add_embedding_layer("e", "img", 4, "dreamdb.ivf-cosine", index, compressor, True, exact[:2])
    ds.append_embedding_layer("e", exact[2:])
    for anchor, vector in exact:
        rows[anchor]["e"] = vector
    append(ds, rows, {T0 + 20: {"img": b"later", "mov": b"mp4"}, T0 + 21: {"img": b"", "mov": b"mp4 2"}})
    return {"main": rows}


def make_entities(backend: str, _: Path) -> dict[str, Rows]:
    """Rows with entity keys: created, superseded, deleted, restored."""
    schema = (
        dreamdb.Schema()
        .add_scalar_int("n", required=False)
        .add_scalar_string("s", required=False)
        .add_image("img", required=False)
        .add_embedding("v", dim=2, lsh_bits=4, required=False)
    )
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    append(ds, rows := {}, {T0: {"n": 1}})
    ds.enable_entity_keys("string")
    first = ds.create_entity("first", {"n": 5, "s": "hello"})
    second = ds.create_entity("second", {"n": 6, "img": b"\xff\xd8", "v": [1.0, 2.0]})
    third = ds.upsert_entity("third", {"n": 7})
    again = ds.supersede_entity("first", {"n": 55, "s": "new"}, expected=first["revision"])
    gone = ds.delete_entity("second", expected=second["revision"])
    back = ds.upsert_entity("second", {"n": 66, "v": [-1.0, 2.0]}, expected=gone["revision"])
    rows |= {
        third["anchor"]: {"n": 7},
        again["anchor"]: {"n": 55, "s": "new"},
        back["anchor"]: {"n": 66, "v": [-1.0, 2.0]},
    }
    return {"main": rows}


def make_geometry(backend: str, _: Path) -> dict[str, Rows]:
    """Points in cells of two depths, splats, a mesh with two levels, and a scalar."""
    schema = dreamdb.Schema().add_scalar_int("n", required=False)
    for name, family in (("cloud", "point"), ("splats", "splat"), ("mesh", "mesh")):
        schema.add_geometry(name, family)
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    rng = np.random.default_rng(3)
    points = [rng.integers(0, 1 << 16, 3).astype("<u2").tobytes() + bytes([i, i, i, 255]) for i in range(12)]
    splats = [struct.pack("<3H10f", i, i, i, 1, 0, 0, 1, 0, 1, 0.5, 0.5, 0.5, 1) for i in range(3)]
    corners = struct.pack("<12H", 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 5)
    rough = corners[:18] + struct.pack("<3I", 0, 1, 2)
    fine = corners + struct.pack("<6I", 0, 1, 2, 1, 2, 3)
    ds.publish_geometry_cells("cloud", T0, b"".join(points[:5]))
    ds.publish_geometry_cells(
        "cloud", T0 + 3, b"".join(points), origin=(1.0, -2.0, 0.5), step=(0.25, 0.5, 1.0), units="mm", depth=1
    )
    ds.publish_geometry_cells("splats", T0, b"".join(splats))
    ds.publish_geometry_mesh("mesh", T0 + 5, [(4, 3, 1, rough), (0, 4, 2, fine)])
    rows: Rows = {
        T0: {"cloud": {"records": points[:5], "size": 10}, "splats": {"records": splats, "size": 46}},
        T0 + 3: {"cloud": {"records": points, "size": 10}},
        T0 + 5: {"mesh": rough + fine},
    }
    append(ds, rows, {T0 + 8: {"n": 8}})
    ds.append_many([{"_anchor": T0 + 3, "n": 3}])
    rows[T0 + 3]["n"] = 3
    return {"main": rows}


def make_video_items(backend: str, _: Path) -> dict[str, Rows]:
    """Videos with keys: with two inits, in packs, one replaced, one before the first, one deleted."""
    schema = dreamdb.Schema().add_video_item("v").add_scalar_int("n", required=False)
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    rows: Rows = {}

    def publish(key: bytes, second: int, seconds: int, count: int, mark: bytes = b"", **options: int) -> None:
        fragments = [(fragment_bytes(i, 20 + i), i * SECOND, (i + 1) * SECOND) for i in range(count)]
        start = T0 + second * SECOND
        ds.publish_prepared_video_item(
            "v", key, start, seconds * SECOND, init_bytes(mark), fragments, **options
        )
        rows[start] = {"v": init_bytes(mark) + b"".join(data for data, _, _ in fragments)}

    publish(b"one", 10, 3, 3)
    publish(b"\xff\0 two", 20, 5, 2, b"other")
    publish(b"packed", 30, 3, 3, fragment_pack_bytes=300)
    publish(b"one", 10, 1, 1)
    publish(b"early", 2, 2, 2, b"other")
    publish(b"deleted", 40, 1, 1)
    ds.delete([T0 + 40 * SECOND])
    del rows[T0 + 40 * SECOND]
    ds.append_many([{"_anchor": T0 + 10 * SECOND, "n": 1}, {"_anchor": T0 + 11 * SECOND, "n": 2}])
    rows[T0 + 10 * SECOND]["n"] = 1
    rows[T0 + 11 * SECOND] = {"n": 2}
    return {"main": rows}


def make_checkpoints(backend: str, _: Path) -> dict[str, Rows]:
    """A checkpoint of scalars and videos, and one that also has a layer of vectors, written on afterwards."""
    schema = lambda: dreamdb.Schema().add_scalar_int("n", required=False).add_video_item("v")  # noqa: E731
    plain, indexed = (dreamdb.Dataset.create(name, schema(), backend=backend) for name in ("plain", "main"))
    kept: dict[str, Rows] = {}
    vectors = np.random.default_rng(5).standard_normal((40, 4)).astype("f4")
    index = dreamdb.train_and_publish_ivf_centroids(backend, vectors.tolist(), 4, 3)
    compressor = dreamdb.publish_rabitq_compressor(backend, 4)
    for name, ds in (("plain", plain), ("main", indexed)):
        rows = kept[name] = {}
        append(ds, rows, {T0 + i: {"n": i} for i in range(3)})
        append(ds, rows, {T0 + i: {"n": i} for i in range(5, 7)})
        ds.publish_prepared_video_item("v", b"a", T0 + 10, 100, init_bytes(), [(fragment_bytes(0), 0, 100)])
        rows[T0 + 10] = {"v": init_bytes() + fragment_bytes(0)}
        if name == "main":
            ds.add_embedding_layer(
                "e", "v", 4, "dreamdb.ivf-cosine", index, compressor, True, [(T0 + 10, vectors[0].tolist())]
            )
            rows[T0 + 10]["e"] = vectors[0].tolist()
        make_plan = ds.plan_indexed_ingest_checkpoint if name == "main" else ds.plan_ingest_checkpoint
        ds.apply_ingest_checkpoint(make_plan("here", f"archive-{name}"), "here")
        ds = dreamdb.Dataset.open(name, backend=backend)  # noqa: PLW2901 - the old handle is stale
        append(ds, rows, {T0 + 50: {"n": 50}})
        if name == "main":
            ds.append_embedding_layer("e", [(T0 + 50, vectors[1].tolist())])
            rows[T0 + 50]["e"] = vectors[1].tolist()
    return kept


MAKERS: dict[str, Callable[[str, Path], dict[str, Rows]]] = {
    "hot": make_hot,
    "cmaf": make_cmaf,
    "layers": make_layers,
    "entities": make_entities,
    "geometry": make_geometry,
    "video-items": make_video_items,
    "checkpoints": make_checkpoints,
}


# --- what is kept -------------------------------------------------------------------------------------------


def noted(value: Any) -> Any:
    """Return a value in the notation of the fixtures."""
    if isinstance(value, bytes):
        return {"$hex": value.hex()}
    if isinstance(value, dict) and "records" in value:
        return {"$records": [r.hex() for r in sorted(value["records"])], "size": value["size"]}
    if isinstance(value, dict):
        return {key: noted(inner) for key, inner in value.items()}
    return [noted(inner) for inner in value] if isinstance(value, list) else value


def describe(root: Path, backend: str, ref: str, rows: Rows) -> dict[str, Any]:
    """Return what a Ref holds, and what the SDK says of it."""
    ds = dreamdb.Dataset.open_ref(ref, backend)
    shown = shown_rows(ds)
    for anchor, row in shown.items():
        for name, value in row.items():
            assert same(rows[anchor][name], value), (ref, anchor, name, value)
    manifest = cbor2.loads((root / "manifests" / ds.current_manifest()).read_bytes())
    history = ds.history()
    return {
        "manifest": ds.current_manifest(),
        "parents": [h["manifest"] for h in history[1 : 1 + history[0]["parents_count"]]],
        "count": len(rows),
        "count_of_the_sdk": ds.count(),
        "form": manifest["tracks"]["form"],
        "schema": [noted(field) for field in manifest["registry"]["dreamdb.schema"]["fields"]],
        "tombstones": sorted(ds.tombstone_set()),
        "meta": ds.meta(),
        "history": [
            {
                "manifest": h["manifest"],
                "operation": h["writer"].split("operation=")[1].split(";")[0],
                "parents_count": h["parents_count"],
                "tracks_count": h["tracks_count"],
            }
            for h in history
        ],
        "rows": {str(anchor): noted(row) for anchor, row in sorted(rows.items())},
        "shown_by_the_sdk": {str(anchor): sorted(row) for anchor, row in sorted(shown.items())},
    }


def shown_rows(ds: Any) -> Rows:
    """Return the rows that the SDK's iteration shows, without missing values."""
    rows: Rows = {}
    for batch in ds.iter_all_batches():
        for at, anchor in enumerate(batch["_time_anchors"]):
            named = {n: column[at] for n, column in batch.items() if n != "_time_anchors"}
            rows[anchor] = {n: value for n, value in named.items() if value is not None}
    return rows


def same(wrote: Any, shown: Any) -> bool:
    """Whether the SDK shows what was written; compressed vectors it shows as they are stored, which is not exact."""
    return wrote == shown or (isinstance(wrote, list) and len(wrote) == len(shown) and len(wrote) == 4)


def write_fixture(target: Path, name: str) -> None:
    """Make one Space, its archive and its JSON."""
    with tempfile.TemporaryDirectory() as folder:
        root, work = Path(folder) / "store", Path(folder) / "work"
        root.mkdir(), work.mkdir()
        backend = f"file://{root}"
        kept = MAKERS[name](backend, work)
        about = {
            "fixture": name,
            "about": MAKERS[name].__doc__,
            "written_by": "dreamdb 0.0.16 (Python SDK, file:// backend), by conformance/spaces/make_features.py",
            "root_in_archive": "store/",
            "value_notation": 'absent key = missing value; {"$hex": ..} = bytes; {"$records": ..} = bytes, '
            "records of `size` bytes in whatever order, listed sorted",
            "refs": {ref: describe(root, backend, ref, rows) for ref, rows in kept.items()},
        }
        (target / f"{name}.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")
        with tarfile.open(target / f"{name}.tar.gz", "w:gz") as archive:
            archive.add(root, "store")


if __name__ == "__main__":
    directory = Path(sys.argv[1]) if sys.argv[1:] else HERE
    for wanted in sys.argv[2:] or MAKERS:
        write_fixture(directory, wanted)
        print(wanted, (directory / f"{wanted}.tar.gz").stat().st_size)
