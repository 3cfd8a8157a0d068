"""Killed at any moment, a writer loses nothing that it acknowledged, and leaves nothing that is not whole."""

import random
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.testing import check_objects
from dreamdb_arrow.testing.model import plain_row, rows_of_table

ROUNDS = 12

# The parent of the writers loads the package once and forks: a start costs no second then. It answers each line
# `seconds start` with the rows that were acknowledged, after it has killed the writer.
WRITER = r"""
import os, signal, sys, time
import dreamdb_arrow as vd
from dreamdb_arrow.engines import frames

def row(i):
    return {"_anchor": i, "n": i, "s": None if i % 3 else f"text {i}", "img": b"%d" % i, "v": [1.0, i]}

def write(root, cache, start, said):
    ds = vd.Dataset.open("main", backend=root, cache_dir=cache)
    at = start
    while True:
        ds.append_many([row(i) for i in range(at, at + 3)])
        os.write(said, f"{at}\n".encode())
        at += 3
        if at % 9 == 0:
            ds.flush()
        if at % 15 == 0:
            ds.delete([at - 1])
            os.write(said, f"-{at - 1}\n".encode())
        if at % 21 == 0:
            ds.snapshot(f"s{at}")

root, cache = sys.argv[1:]
print("ready", flush=True)
for line in sys.stdin:
    seconds, start = line.split()
    heard, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        write(root, cache, int(start), said)
    os.close(said)
    time.sleep(float(seconds))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with open(heard) as answers:
        print(" ".join(answers.read().split()), flush=True)
"""


def row(i: int) -> dict:
    return {"n": i, "s": None if i % 3 else f"text {i}", "img": b"%d" % i, "v": [1.0, i]}


@contextmanager
def writers(root: Path, cache: Path):
    command = [sys.executable, "-c", WRITER, str(root), str(cache)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"

        def run(seconds: float, start: int) -> list[str]:
            process.stdin.write(f"{seconds} {start}\n")
            process.stdin.flush()
            return process.stdout.readline().split()

        yield run
        process.stdin.close()


@pytest.mark.parametrize("flush", ["manual", "commit"])
def test_acknowledged_commits_survive_a_kill(tmp_path, flush):
    root, random_moment = tmp_path / "space", random.Random(flush)
    schema = (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_string("s", required=False)
        .add_image("img", mime="png")
        .add_embedding("v", dim=2, lsh_bits=2)
    )
    vd.Dataset.create("main", schema, root, flush=flush, cache_dir=None)
    kept: dict[int, dict] = {}
    deleted: set[int] = set()
    start = commits = rounds = 0
    with writers(root, tmp_path / "cache") as run:
        while rounds < ROUNDS // 2 or (
            commits <= ROUNDS // 2 and rounds < 10 * ROUNDS
        ):  # a busy machine does less
            rounds += 1
            said = [int(word) for word in run(0.05 + random_moment.random() * 0.25, start)]
            commits += len(said)
            for at in said:
                if at >= 0:
                    kept |= {i: plain_row(row(i)) for i in range(at, at + 3)}
                else:
                    deleted.add(-at)
            ds = vd.Dataset.open("main", backend=root, cache_dir=None)
            shown = rows_of_table(ds.to_arrow())
            hidden = set(ds.tombstone_set())
            assert deleted <= hidden
            # One append and one delete may have been done and not acknowledged.
            unsaid = shown.keys() - kept.keys()
            assert len(unsaid) in (0, 3)
            assert len(hidden - deleted) <= 1
            kept |= {i: plain_row(row(i)) for i in unsaid}
            deleted |= hidden
            assert shown == {i: r for i, r in kept.items() if i not in deleted}
            assert check_objects(ds.space.store) > 0
            start = 3 * (1 + max(kept, default=-3) // 3)
            ds.append_many([{**row(start), "_anchor": start}])
            kept[start] = plain_row(row(start))
            start += 3
    assert commits > ROUNDS // 2
    ds = vd.Dataset.open("main", backend=root, cache_dir=None)
    ds.flush()
    assert rows_of_table(ds.to_arrow()) == {i: r for i, r in kept.items() if i not in deleted}
    check_objects(ds.space.store)


def test_the_check_finds_damage(tmp_path):
    ds = vd.Dataset.create("main", vd.Schema().add_scalar_int("n"), tmp_path, cache_dir=None)
    ds.append({"n": [1]})
    assert check_objects(ds.space.store) > 5
    stripe = next(tmp_path.glob("*/org.dreamdb.arrow.stripe.v1/0*/*"))
    data = stripe.read_bytes()
    stripe.write_bytes(data[:-1])
    with pytest.raises(vd.CorruptDataError, match=stripe.name):
        check_objects(ds.space.store)
    stripe.unlink()
    with pytest.raises(vd.CorruptDataError, match=stripe.name):
        check_objects(ds.space.store)
