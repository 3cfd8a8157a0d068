"""Many processes on one ref: every acknowledged commit is there, and nothing else; how many a second is told."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import dreamdb_arrow as vd
from tests.places import url_of

APPENDERS, MERGERS, MERGES = 8, 2, 5

# Each says on a line what it was told was done. Anchors tell who wrote a row: its number, then the place.
COMMON = """
import sys
import dreamdb_arrow as vd
root, number, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def opened(name):
    return vd.Dataset.open(name, backend=root, cache_dir=None)
def row(at):
    return {"_anchor": at, "n": at, "s": f"text {at}"}
ds = opened("main")
print("ready", flush=True)
sys.stdin.readline()
"""
APPEND = """
for nth in range(rounds):
    at = number * 1_000_000 + nth * 10
    ds.append_many([row(at), row(at + 1)])
    print(at, at + 1, flush=True)
"""
MERGE = """
for nth in range(rounds):
    side = opened("start").branch(f"side{number}-{nth}")
    at = number * 1_000_000 + nth * 10
    side.append_many([row(at)])
    side.append_many([row(at + 1)])
    ds.merge(side.ref_name(), "union-tracks")
    print(at, at + 1, flush=True)
    ds.delete_ref(side.ref_name())
"""
DELETE = """
for nth in range(rounds):
    ds.delete([nth])
    print(nth, flush=True)
"""


def run_all(root: Path, appends: int) -> tuple[set[int], set[int], float]:
    """Run all processes together; return the anchors that were acknowledged, those deleted, and the seconds it took."""
    schema = vd.Schema().add_scalar_int("n").add_scalar_string("s")
    ds = vd.Dataset.create("main", schema, root, cache_dir=None)
    ds.append_many([{"_anchor": at, "n": at, "s": f"text {at}"} for at in range(appends)])
    ds.branch("start")
    jobs = [(APPEND, n + 1, appends) for n in range(APPENDERS)]
    jobs += [(MERGE, 100 + n, MERGES) for n in range(MERGERS)] + [(DELETE, 200, appends)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", COMMON + code, url_of(root), str(number), str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for code, number, rounds in jobs
    ]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    began = time.perf_counter()
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate() for process in running]
    seconds = time.perf_counter() - began
    assert "\n".join(err[-500:] for _, err in said).strip() == ""
    done = [{int(word) for word in out.split()} for out, _ in said]
    assert [len(found) for found in done[:-1]] == [2 * appends] * APPENDERS + [2 * MERGES] * MERGERS
    return set(range(appends)).union(*done[:-1]), done[-1], seconds


@pytest.mark.parametrize(
    ("appends", "runs"), [(8, 1), pytest.param(100, 20, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_nothing_is_lost_and_nothing_added(tmp_path, appends, runs, figure):  # 0005-R8, 0006-R8
    for run in range(runs):
        root = tmp_path / f"space {run}"
        written, deleted, seconds = run_all(root, appends)
        ds = vd.Dataset.open("main", backend=root, cache_dir=None)
        found = ds.to_arrow()
        assert set(found["_anchor"].to_pylist()) == written - deleted
        assert found["n"].to_pylist() == found["_anchor"].to_pylist()
        assert found["s"].to_pylist() == [f"text {at}" for at in found["_anchor"].to_pylist()]
        assert set(ds.tombstone_set()) == deleted
        commits = APPENDERS * appends + MERGERS * MERGES + appends
        figure("processes", f"run {run + 1}", commits=commits, rows=len(written - deleted), seconds=seconds)
        if run == 0:
            assert vd.fsck(root)["findings"] == []
