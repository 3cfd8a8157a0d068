"""Killed at any moment of any stage, index maintenance leaves the Space readable, and a rerun ends in the same Space."""

import random
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pytest

import dreamdb_arrow as vd

STAGES = ("measure", "plan", "refile", "publish")
DIM = 8

# Loads the package once and forks. Each line is `n root cache verb stage`: the work is killed at its n-th file operation, as
# Python's audit hooks tell them; 0 lets it end. The answer is how many there were, or `killed`.
WORKER = r"""
import os, signal, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # threads of BLAS do not live on in a fork
import dreamdb_arrow as vd
from dreamdb_arrow.engines import frames

def work(root, cache, verb, stage):
    ds = vd.Dataset.open("main", backend=root, cache_dir=cache, durability="os")
    if verb == "rebuild":
        ds.rebuild_ivf("v", k=9)
    else:
        ds.ada_ivf_step("v", stage=None if stage == "all" else stage)

print("ready", flush=True)
for line in sys.stdin:
    last, root, cache, verb, stage = line.split()
    heard, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        count = 0

        def watch(event, args):
            global count
            if event == "open" or event.startswith(("os.", "fcntl.", "mmap.", "shutil.")):
                count += 1
                if count == int(last):
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        work(root, cache, verb, stage)
        os.write(said, str(count).encode())
        os._exit(0)
    os.close(said)
    os.waitpid(pid, 0)
    with open(heard) as answers:
        print(answers.read() or "killed", flush=True)
"""


@contextmanager
def worker():
    command = [sys.executable, "-c", WORKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"

        def run(*words):
            process.stdin.write(" ".join(map(str, words)) + "\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        yield run
        process.stdin.close()


def append(ds, vectors, first):
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM)
    ds.append({"_anchor": np.arange(first, first + len(vectors)), "v": flat})


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A Space of which nine rows of ten came later, into one region."""
    place = tmp_path_factory.mktemp("reindex") / "space"
    schema = vd.Schema().add_embedding("v", DIM, algorithm="dreamdb.ivf-cosine", rerank=True)
    ds = vd.Dataset.create("main", schema, place, cache_dir=None, durability="os")
    drawn = np.random.default_rng(5)
    append(ds, drawn.normal(size=(300, DIM)).astype("f4"), 0)
    ds.flush()
    hot = np.ones(DIM) + 0.3 * drawn.normal(size=(2700, DIM))
    append(ds, hot.astype("f4"), 1000)
    ds.flush()
    return place


def opened(root):
    return vd.Dataset.open("main", backend=root, cache_dir=None, durability="os")


def cells(ds):
    """Return what says where rows lie: the Track, with its cells, and the index."""
    entry = next(e for e in ds.manifest.tracks.active if e.field == "v")
    return entry.address, ds.manifest.registry[entry.modality]["spatial_index"]


def copy_of(original, folder):
    shutil.copytree(original, folder / "space")
    return folder / "space", folder / "cache"


def kill_often(original, tmp_path, verb, stages, kills, seed):
    """Kill each stage so often, at random points, let it end, and return the Space; it is readable throughout."""
    calm, cache_of_calm = copy_of(original, tmp_path / "calm")
    root, cache = copy_of(original, tmp_path / "stormy")
    before, points = cells(opened(root)), random.Random(seed)
    killed = 0
    with worker() as run:
        for stage in stages:
            count = int(run(0, calm, cache_of_calm, verb, stage))
            for _ in range(kills):
                answer = run(points.randint(1, count), root, cache, verb, stage)
                killed += answer == "killed"
                ds = opened(root)
                assert ds.to_arrow().num_rows == 3000
                if stage not in ("publish", "all"):
                    assert cells(ds) == before
            run(0, root, cache, verb, stage)
    assert killed >= len(stages)  # the first one of each is sure to meet its point
    ended, wanted = opened(root), opened(calm)
    assert cells(ended) == cells(wanted) != before
    assert ended.to_arrow().equals(wanted.to_arrow())
    return ended


def skew(ds):
    return ds.index_status("v", sample=0)["skew"]


@pytest.mark.parametrize(("verb", "stages"), [("ada", STAGES), ("ada", ("all",)), ("rebuild", ("all",))])
def test_a_killed_job_ends_in_the_same_space(original, tmp_path, verb, stages):
    ds = kill_often(original, tmp_path, verb, stages, 4, verb)
    assert skew(opened(original)) > 4 >= skew(ds)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_job_that_is_killed_all_the_time(original, tmp_path, seed):
    ds = kill_often(original, tmp_path, "ada", STAGES, 30, seed)
    assert skew(ds) <= 4


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_each_point_of_a_stage(original, tmp_path, stage):
    calm, cache = copy_of(original, tmp_path / "calm")
    at = STAGES.index(stage)
    with worker() as run:
        for earlier in STAGES[:at]:
            run(0, calm, cache, "ada", earlier)
        shutil.copytree(tmp_path / "calm", tmp_path / "then")
        count = int(run(0, calm, cache, "ada", stage))
        for later in STAGES[at + 1 :]:
            run(0, calm, cache, "ada", later)
        wanted = cells(opened(calm))
        for point in range(1, count + 1, 1 + count // 60):
            shutil.copytree(tmp_path / "then", tmp_path / "now")
            root, cache = tmp_path / "now" / "space", tmp_path / "now" / "cache"
            run(point, root, cache, "ada", stage)
            assert opened(root).to_arrow().num_rows == 3000
            run(0, root, cache, "ada", "all")
            assert cells(opened(root)) == wanted
            shutil.rmtree(tmp_path / "now")
