"""Spaces that the reference SDK wrote, read through SQL, Arrow and Polars: exactly the rows it meant, at every Ref."""

import base64
import json
from pathlib import Path

import blake3
import numpy as np
import pyarrow as pa
import pytest

import dreamdb_arrow as vd

ROOT = Path(__file__).parents[2] / "conformance" / "spaces" / "reference-0.0.16"
TABLES = sorted(p.stem for p in ROOT.glob("*.json") if not p.stem.startswith("vec-"))
VECTORS = ["vec-imi", "vec-ivf", "vec-lsh", "vec-lsh-l2", "vec-lsh-rerank", "vec-vamana"]
REFS = [(name, ref) for name in TABLES for ref in json.loads((ROOT / f"{name}.json").read_text())["refs"]]


def scanned(con, ref: str, **options) -> dict[int, dict]:
    """The rows of a scan as the fixtures write them: by anchor, without missing values."""
    table = con.sql(f"SELECT * FROM dreamdb_scan('{ref}')").to_arrow_table()
    return as_rows(table)


def as_rows(table: pa.Table) -> dict[int, dict]:
    columns = {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        columns[name] = column.to_pylist()
    anchors = columns.pop("_anchor")
    times = columns.pop("_time", anchors)
    assert times == anchors
    rows = {a: {n: c[i] for n, c in columns.items() if c[i] is not None} for i, a in enumerate(anchors)}
    assert len(rows) == len(anchors), "an anchor came twice"
    return rows


def expected(row: dict) -> dict:
    return {k: bytes.fromhex(v["$hex"]) if isinstance(v, dict) and "$hex" in v else v for k, v in row.items()}


def in_any_order(row: dict, want: dict) -> dict:
    """The row with bytes whose records the fixture lists in no order in the form of the fixture."""
    listed = {k: v["size"] for k, v in want.items() if isinstance(v, dict) and "$records" in v}
    cut = {k: [row[k][at : at + n].hex() for at in range(0, len(row[k]), n)] for k, n in listed.items()}
    return row | {k: {"$records": sorted(cut[k]), "size": n} for k, n in listed.items()}


def fingerprint(rows: dict[int, dict]) -> str:
    """The digest that large fixtures give instead of their rows."""
    noted = [
        [a, {k: {"$hex": v.hex()} if isinstance(v, bytes) else v for k, v in row.items()}]
        for a, row in sorted(rows.items())
    ]
    text = json.dumps(noted, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return blake3.blake3(text.encode()).hexdigest()


@pytest.mark.parametrize(("name", "ref"), REFS, ids=str)
def test_every_ref_scans_to_the_rows_it_holds(name, ref, reference_space, reference_expected, tmp_path):
    # 0001-R16, 0001-R17, 0003-R2, 0006-R11, 0008-R7, 0008-R8, 0020-R1
    want = reference_expected(name)["refs"][ref]
    con = vd.connect(reference_space(name), cache_dir=tmp_path / "cache")
    rows = scanned(con, ref)
    assert len(rows) == want["count"]
    listed = want.get("rows", want.get("rows_sampled"))
    for anchor, row in listed.items():
        assert in_any_order(rows[int(anchor)], row) == expected(row), anchor
    if "rows" in want:
        assert set(rows) == {int(a) for a in want["rows"]}
    else:
        assert [min(rows), max(rows)] == want["anchors_range"]
    assert not set(rows) & set(want["tombstones"])
    assert con.sql(f"SELECT count(*) FROM dreamdb_scan('{ref}')").fetchall() == [(want["count"],)]
    con.close()


@pytest.mark.parametrize(("name", "ref"), REFS, ids=str)
def test_arrow_polars_and_the_dataset_see_the_same_rows(
    name, ref, reference_space, reference_expected, tmp_path
):  # 0006-R11
    want = reference_expected(name)["refs"][ref]
    ds = vd.Dataset.open_ref(ref, reference_space(name), cache_dir=tmp_path / "cache")
    assert ds.count() == want["count"]
    rows = as_rows(ds.to_arrow())
    assert as_rows(ds.to_dataset().to_table()) == rows
    assert as_rows(ds.to_polars().collect().to_arrow()) == rows
    assert ds.tombstone_set() == sorted(want["tombstones"])
    if "constants" in want:
        assert ds.constants() == {k: v["value"] for k, v in want["constants"].items()}
    assert ds.meta() == want.get("meta", {})


@pytest.mark.parametrize(("name", "ref"), REFS, ids=str)
def test_filters_find_the_anchors_that_the_reference_found(
    name, ref, reference_space, reference_expected, tmp_path
):
    want = reference_expected(name)["refs"][ref]
    con = vd.connect(reference_space(name), cache_dir=tmp_path / "cache")
    for query in want.get("queries", []):
        op, value = query["op"].replace("==", "="), query["value"]
        sql = f"SELECT _anchor FROM dreamdb_scan('{ref}') WHERE {query['field']} {op} ? ORDER BY 1"
        if op == "in":
            sql = f"SELECT _anchor FROM dreamdb_scan('{ref}') WHERE list_contains(?, {query['field']}) ORDER BY 1"
        found = [a for (a,) in con.execute(sql, [value]).fetchall()]
        assert len(found) == query["matches"], query
        assert found[: len(query["anchors"])] == query["anchors"]
    con.close()


def vectors_of(want: dict) -> np.ndarray:
    data = base64.b64decode(want["vectors_f32_b64"])
    return np.frombuffer(data, "<f4").reshape(want["count"], want["dim"])


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_come_back_bit_for_bit(name, reference_space, reference_expected, tmp_path):
    # 0006-R7, 0007-R9
    want = reference_expected(name)
    con = vd.connect(reference_space(name), cache_dir=tmp_path / "cache")
    table = con.sql(
        f"SELECT _anchor, {want['field']} AS v FROM dreamdb_scan('{want['ref']}') ORDER BY 1"
    ).to_arrow_table()
    order = np.argsort(want["anchors"])
    assert table["_anchor"].to_pylist() == [want["anchors"][i] for i in order]
    got = np.asarray(table["v"].combine_chunks().flatten()).reshape(-1, want["dim"])
    assert got.tobytes() == vectors_of(want)[order].tobytes()
    con.close()


@pytest.mark.parametrize("name", VECTORS)
def test_knn_is_exact(name, reference_space, reference_expected, tmp_path):  # 0006-R13
    want = reference_expected(name)
    con = vd.connect(reference_space(name), cache_dir=tmp_path / "cache")
    for query in want["queries"]:
        vector = np.frombuffer(base64.b64decode(query["query_f32_b64"]), "<f4")
        found = con.execute(
            f"SELECT _anchor, _distance FROM dreamdb_knn('{want['ref']}', '{want['field']}', ?, k := 10)",
            [vector],
        ).fetchall()
        truth = query["exact_top10"]
        assert [a for a, _ in found] == [a for a, *_ in truth]
    con.close()


FEATURES = ("hot", "cmaf", "layers", "entities", "geometry", "video-items", "checkpoints")


@pytest.mark.parametrize(("name", "ref"), [r for r in REFS if r[0] in FEATURES], ids=str)
def test_no_field_of_these_is_unavailable(
    name, ref, reference_space, reference_expected, tmp_path
):  # 0000-R4
    want = reference_expected(name)["refs"][ref]
    ds = vd.Dataset.open_ref(ref, reference_space(name), cache_dir=tmp_path / "cache")
    assert ds.unavailable == {}
    assert ds.manifest.tracks.form == want["form"]
    assert want["count_of_the_sdk"] <= ds.count()  # it does not count geometry, nor vectors that are hot
    assert [h["operation"] for h in ds.history()] == [h["operation"] for h in want["history"]]


def test_fragments_and_videos_know_when_they_end(reference_space, tmp_path):
    fragments = vd.Dataset.open("main", backend=reference_space("cmaf"), cache_dir=tmp_path / "cache")
    items = fragments.items("clip").to_pylist()
    assert [i["t1"] - i["_anchor"] for i in items] == [
        2 * 10**9,
        10**9 - 1,
        2 * 10**9 - 2,
        2 * 10**9,
        10**9 - 1,
    ]
    assert fragments.init_segment("clip")[4:8] == b"ftyp"
    videos = vd.Dataset.open("main", backend=reference_space("video-items"), cache_dir=tmp_path / "cache")
    found = [(i["key"], (i["t1"] - i["_anchor"]) // 10**9) for i in videos.items("v").to_pylist()]
    assert found == [(b"early", 2), (b"one", 1), (b"\xff\0 two", 5), (b"packed", 3)]
