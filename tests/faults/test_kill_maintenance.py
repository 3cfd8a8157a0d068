"""Killed at any moment while it merges, compacts or collects, a writer leaves the Space as before or as after."""

import random
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.testing.model import rows_of_table

ROUNDS = 8

# Loads the package once and forks: a start costs no time then. Each line is `seconds verb root`; the answer is `done` when
# the verb had ended before it was killed.
WORKER = r"""
import os, signal, sys, time
import dreamdb_arrow as vd
from dreamdb_arrow.engines import frames

def work(verb, root):
    ds = vd.Dataset.open("main", backend=root, cache_dir=None)
    if verb == "merge":
        ds.merge_many(["one", "two"])
    elif verb == "compact":
        ds.compact()
    else:
        vd.gc(root, 0, dry_run=False, writers_paused=True)

print("ready", flush=True)
for line in sys.stdin:
    seconds, verb, root = line.split()
    heard, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        work(verb, root)
        os.write(said, b"done")
        os._exit(0)
    os.close(said)
    time.sleep(float(seconds))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with open(heard) as answers:
        print(answers.read() or "killed", flush=True)
"""


def row(a):
    return {"_anchor": a, "n": a % 5, "s": f"text {a}", "img": b"%d" % a, "v": [1.0, a]}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A Space with two branches to merge, and a version that nothing names."""
    place = tmp_path_factory.mktemp("maintenance") / "space"
    schema = (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_string("s")
        .add_image("img")
        .add_embedding("v", 2, lsh_bits=2)
    )
    ds = vd.Dataset.create("main", schema, place, flush="commit", cache_dir=None, durability="os")
    ds.append_many([row(a) for a in range(30)])
    for name, start in (("one", 100), ("two", 200), ("gone", 300)):
        branch = ds.branch(name)
        branch.append_many([row(start + a) for a in range(30)])
        branch.delete([start])
    ds.delete_ref("gone")
    for start in (40, 50, 60):
        ds.append_many([row(start + a) for a in range(3)])
    return place


@contextmanager
def worker():
    command = [sys.executable, "-c", WORKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"

        def run(seconds: float, verb: str, root: Path) -> str:
            process.stdin.write(f"{seconds} {verb} {root}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        yield run
        process.stdin.close()


def shown(root):
    refs = {}
    for name in vd.Dataset.open("main", backend=root, cache_dir=None).list_refs():
        ds = vd.Dataset.open(name, backend=root, cache_dir=None)
        refs[name] = rows_of_table(ds.to_arrow())
    return refs


def again(verb, root):
    """What was interrupted can simply be done again."""
    ds = vd.Dataset.open("main", backend=root, cache_dir=None, durability="os")
    if verb == "merge":
        ds.merge_many(["one", "two"])
    elif verb == "compact":
        ds.compact()
        assert ds.compact()["manifest"] is None
    else:
        vd.gc(root, 0, dry_run=False, writers_paused=True)
        assert vd.gc(root, 0, 0)["deletable"] == 0


@pytest.mark.parametrize("verb", ["merge", "compact", "gc"])
def test_a_kill_leaves_the_space_as_before_or_as_after(original, tmp_path, verb):  # 0005-R2, 0006-R2
    before = shown(original)
    merged = before["main"] | before["one"], before["main"] | before["one"] | before["two"]
    allowed = [before["main"], *(merged if verb == "merge" else ())]
    moments = random.Random(verb)
    with worker() as run:
        for nth in range(ROUNDS):
            root = tmp_path / f"space-{nth}"
            shutil.copytree(original, root)
            answer = run(moments.uniform(0.005, 0.15), verb, root)
            found = shown(root)
            assert found["main"] in allowed
            assert {k: v for k, v in found.items() if k != "main"} == {
                k: v for k, v in before.items() if k != "main"
            }
            if answer == "done" and verb == "merge":
                assert found["main"] == merged[-1]
            again(verb, root)
            assert shown(root)["main"] == allowed[-1]
            shutil.rmtree(root)
