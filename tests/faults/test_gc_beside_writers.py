"""A collector beside processes that write: what is acknowledged stays, and garbage goes. Must-show H of issue 6."""

import json
import subprocess
import sys

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.history.gc import read_refs
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.testing.invariants import naive_live
from dreamdb_arrow.testing.model import rows_of_table
from tests.places import make_old, url_of

# Arguments: root, number, seconds. Appends, flushes, compacts, branches and deletes branches; images repeat, so that old
# garbage is written again. Prints the anchors of acknowledged rows.
WRITER = r"""
import json, random, sys, time
import dreamdb_arrow as vd

root, number, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
drawn, done, start = random.Random(number), [], number * 1_000_000
ends = time.monotonic() + seconds
while time.monotonic() < ends:
    ds = vd.Dataset.open("main", backend=root, cache_dir=None, durability="os")
    rows = [{"_anchor": start + k, "n": k, "img": b"image %d" % drawn.randrange(40)} for k in range(3)]
    start += 3
    if drawn.random() < 0.3:
        side = ds.branch(f"side-{number}-{start}")
        side.append_many([{"_anchor": start, "n": 0, "img": b"image %d" % drawn.randrange(40)}])
        side.flush()
        assert side.count() == len(side.to_arrow())
        ds.delete_ref(side.ref_name())
    ds.append_many(rows)
    done += [row["_anchor"] for row in rows]
    if drawn.random() < 0.2:
        ds.flush()
    if drawn.random() < 0.05:
        ds.compact()
print(json.dumps(done))
"""


def new_space(root):
    schema = vd.Schema().add_scalar_int("n").add_image("img", required=False)
    return vd.Dataset.create("main", schema, root, cache_dir=None, durability="os")


def run_beside(root, seconds, grace):
    ds = new_space(root)
    side = ds.branch("side")
    for n in range(40):
        side.append_many([{"_anchor": n, "n": n, "img": b"image %d" % n}])
    ds.delete_ref("side")
    make_old(LocalStore(root))
    command = [sys.executable, "-c", WRITER, url_of(root)]
    writers = [
        subprocess.Popen([*command, str(n), str(seconds)], stdout=subprocess.PIPE, text=True)
        for n in range(1, 5)
    ]
    deleted = runs = 0
    while any(writer.poll() is None for writer in writers):
        report = vd.gc(root, 0, grace, dry_run=False, shard=(runs % 2 + 1, 2))
        deleted, runs = deleted + report["deleted"], runs + 1
    acknowledged = [anchor for writer in writers for anchor in json.loads(writer.communicate()[0])]
    assert all(writer.returncode == 0 for writer in writers)
    return acknowledged, deleted, runs


def check_all_there(root, acknowledged):
    check_nothing_is_left_over(root)
    ds = vd.Dataset.open("main", backend=root, cache_dir=None)
    found = rows_of_table(ds.to_arrow())
    assert sorted(found) == sorted(acknowledged)
    images = ds.take(sorted(found), ["img"])["img"].to_pylist()
    assert all(image.startswith(b"image ") for image in images)


def check_nothing_is_left_over(root):
    """All that is left is live, and all that is live is left."""
    assert vd.gc(root, 0, dry_run=False, writers_paused=True)["deleted"] >= 0
    assert vd.gc(root, 0, writers_paused=True)["deletable"] == 0
    assert len(read_refs(LocalStore(root))) == 1


def test_four_writers_and_a_collector(tmp_path):
    acknowledged, deleted, runs = run_beside(tmp_path / "s", seconds=4, grace=2)
    assert runs > 2
    assert deleted > 80
    check_all_there(tmp_path / "s", acknowledged)


@pytest.mark.slow
@pytest.mark.parametrize("grace", [2, 10, 3600])
def test_four_writers_and_a_collector_for_long(tmp_path, grace, figure):
    acknowledged, deleted, runs = run_beside(tmp_path / "s", seconds=60, grace=grace)
    check_all_there(tmp_path / "s", acknowledged)
    figure(
        "beside four writers", f"grace {grace} s", rows=len(acknowledged), collections=runs, removed=deleted
    )


# Arguments: root, versions to keep, whether to remove. Prints the report, its seconds, and the peak of memory in MB.
COLLECTOR = r"""
import json, sys, time
import dreamdb_arrow as vd
from dreamdb_arrow.testing.memory import peak_bytes

started = time.perf_counter()
report = vd.gc(sys.argv[1], int(sys.argv[2]), dry_run=sys.argv[3] == "dry", writers_paused=True)
report["seconds"] = time.perf_counter() - started
report["peak_mb"] = peak_bytes() / 2**20
del report["paths"]
print(json.dumps(report))
"""


def collected(root, keep, mode):
    command = [sys.executable, "-c", COLLECTOR, url_of(root), str(keep), mode]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_ten_thousand_versions_in_little_memory(tmp_path, figure):
    root = tmp_path / "s"
    ds, versions = new_space(root), 10_000
    for n in range(versions):
        ds.append_many([{"_anchor": n, "n": n, "img": b"image %d" % n}])
    side = ds.branch("side")
    for n in range(100):
        side.append_many([{"_anchor": versions + n, "n": n}])
    ds.delete_ref("side")
    all_kept, few_kept = collected(root, versions, "dry"), collected(root, 10, "dry")
    store = LocalStore(root)
    tips = list(read_refs(store).values())
    wanted = naive_live(store, _line(store, tips[0], 10))
    before = sum(1 for _ in store.list())
    removed = collected(root, 10, "remove")
    assert {path.rpartition("/")[2] for path in store.list()} == wanted
    assert removed["deleted"] == few_kept["deletable"] == before - sum(1 for _ in store.list())
    assert vd.Dataset.open("main", backend=root, cache_dir=None).count() == versions
    for name, told in (("keep all, dry", all_kept), ("keep 10, dry", few_kept), ("keep 10", removed)):
        kept = {key: told[key] for key in ("listed", "live", "deleted", "seconds", "peak_mb")}
        figure("10,000 versions", name, **kept)
    assert max(told["peak_mb"] for told in (all_kept, few_kept, removed)) < 300


def _line(store, tip, behind):
    found = [tip]
    for _ in range(behind):
        found += load_manifest(store, found[-1]).parents[:1]
    return found
