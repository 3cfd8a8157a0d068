"""Transfers to and from a real S3 server, and what docs/backends/seaweedfs.md shows. Specs 0005 and 0012."""

from pathlib import Path

import dreamdb_arrow as vd
from dreamdb_arrow.testing import check_objects

PAGE = Path(__file__).parents[2] / "docs" / "backends" / "seaweedfs.md"


def make(place):
    schema = (
        vd.Schema().add_scalar_int("n").add_embedding("v", dim=4, lsh_bits=2).add_image("image", mime="png")
    )
    ds = vd.Dataset.create("hello", schema, place, flush="commit", cache_dir=None)
    ds.append_many([{"n": n, "v": [n, 1, 2, 3], "image": bytes([n]) * 5000} for n in range(50)])
    ds.snapshot("first")
    ds.branch("side").append_many([{"n": 50, "v": [1, 1, 1, 1], "image": b"x"}])
    return ds


def test_there_and_back(seaweed_url, tmp_path):
    ds = make(tmp_path / "space")
    there = vd.clone(tmp_path / "space", seaweed_url, cache_dir=tmp_path / "cache")
    back = vd.clone(seaweed_url, tmp_path / "back", cache_dir=tmp_path / "cache")
    assert there["objects"] == back["objects"]
    assert check_objects(vd.open_store(seaweed_url)) == check_objects(vd.open_store(tmp_path / "back"))
    assert set(vd.open_store(tmp_path / "back").list()) == set(vd.open_store(tmp_path / "space").list())
    ds.append_many([{"n": 1, "v": [0, 0, 0, 1], "image": b"y"}])
    requests = vd.open_store(seaweed_url)
    done = vd.push(tmp_path / "space", requests, ["hello"], cache_dir=None)
    assert (done["versions"], done["present"]) == (1, 0)
    assert requests.traffic.counts()["list"] == 1  # of the refs
    assert vd.pull(tmp_path / "back", seaweed_url, ["hello"], cache_dir=tmp_path / "cache")["versions"] == 1
    assert vd.Dataset.open("hello", backend=tmp_path / "back", cache_dir=None).count() == 51


def test_a_federation_over_a_folder_and_a_bucket(seaweed_url, tmp_path):
    make(tmp_path / "space")
    vd.clone(tmp_path / "space", seaweed_url, cache_dir=None)
    members = {
        "here": {"url": tmp_path / "space", "ref": "hello"},
        "there": {"url": "http://127.0.0.1:1/test/gone", "ref": "side", "mirrors": [seaweed_url]},
    }
    federation = vd.Federation.create(f"{seaweed_url}/all.json", members, cache_dir=tmp_path / "cache")
    rows = federation.connect().sql("SELECT _source, count(*), sum(n) FROM federation GROUP BY 1 ORDER BY 1")
    assert rows.fetchall() == [("here", 50, 1225), ("there", 51, 1275)]
    assert [m["mirror"] for m in federation.report] == [False, True]
    hits = federation.search("v", [1, 1, 1, 1], 1)
    assert hits["_source"].to_pylist() == ["there"]
