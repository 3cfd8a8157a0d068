"""Several processes on one directory: races, kills, and the reference SDK beside us. Spec 0005."""

import fcntl
import json
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from dreamdb_arrow.codec.address import address_of, is_address_text, parse_address
from dreamdb_arrow.errors import RefConflictError
from dreamdb_arrow.store.interface import Absent, Ref, holds
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.verified import fetch

REPOSITORY = Path(__file__).parents[2]
LOCK_OF_DEMO = (
    "d2cqs54cbas75kwqeohsm7gresgt5cbjvmx6q6gzvgdynpwtc3xxo.lock"  # as dreamdb 0.0.16 makes it for refs/demo
)

RACER = """
    import sys, time
    from pathlib import Path
    from dreamdb_arrow.codec.address import address_of
    from dreamdb_arrow.store.interface import Absent, holds
    from dreamdb_arrow.store.local import LocalStore
    from dreamdb_arrow.store.readback import swap_confirmed
    root, writer = sys.argv[1:]
    store = LocalStore(root)
    print("ready", flush=True)
    sys.stdin.readline()
    won = []
    for number in range(40):
        made = swap_confirmed(store, f"round/{number}", Absent(), address_of(f"{number} {writer}".encode()))
        won.append(made)
        done = False
        while not done:
            found = store.read_ref("count")
            data = f"{int(store.get(f'counts/{found}').split()[0]) + 1} by {writer}".encode()
            store.put(f"counts/{address_of(data)}", data)
            done = swap_confirmed(store, "count", found, address_of(data))
    print(won)
"""
WRITER = """
    import sys
    from dreamdb_arrow.codec.address import address_of
    from dreamdb_arrow.store.interface import Absent, NewObject, Ref
    from dreamdb_arrow.store.local import LocalStore
    store = LocalStore(sys.argv[1])
    number = int(sys.argv[2])
    while True:
        number += 1
        datas = [b"%d" % number] + [b"%d %d " % (number, i) * (1 << 10 + i) for i in range(8)]
        store.put_many([NewObject(f"objects/{len(data) % 3}/{address_of(data)}", data) for data in datas[1:]])
        store.put(f"manifests/{address_of(datas[0])}", datas[0])
        store.swap_ref("demo", store.read_ref("demo"), address_of(datas[0]))
        store.swap_ref(f"demo@{number}", Absent(), address_of(datas[0]))
        print(number, flush=True)
"""

KILLED_AT_EACH_CALL = """
    import os, signal, sys
    from pathlib import Path
    from dreamdb_arrow.codec.address import address_of
    from dreamdb_arrow.store.interface import Absent, NewObject, Ref, holds
    from dreamdb_arrow.store.local import LocalStore
    def commit(store, number):
        datas = [b"%d %d" % (number, i) for i in range(4)]
        store.put_many([NewObject(f"objects/{number % 3}/{address_of(data)}", data) for data in datas])
        store.swap_ref("a/demo", store.read_ref("a/demo"), address_of(datas[0]))
        store.swap_ref(f"a/demo@{number}", Absent(), address_of(datas[0]))
    def child(root, number):
        calls = 0
        def count(event, arguments):
            nonlocal calls
            calls += event in {"open", "os.link", "os.rename", "os.remove", "os.mkdir", "fcntl.flock"}
            if calls > number:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        commit(LocalStore(root, threads=1), number)
        os._exit(0)
    def check(root, number, finished):
        store = LocalStore(root)
        for path in store.list():
            assert str(address_of(store.get(path))) == path.rsplit("/", 1)[1], path
        files = {str(p.relative_to(Path(root) / "refs")) for p in (Path(root) / "refs").rglob("*") if p.is_file()}
        assert files == set(store.list_refs())
        objects = {path.rsplit("/", 1)[1] for path in store.list()}
        assert all(str(store.read_ref(name)) in objects for name in store.list_refs())
        if finished or f"a/demo@{number}" in files:
            assert holds(store.read_ref("a/demo"), address_of(b"%d 0" % number))
        if holds(store.read_ref("a/demo"), address_of(b"%d 0" % number)):
            assert sum(store.exists(f"objects/{number % 3}/{address_of(b'%d %d' % (number, i))}") for i in range(4)) == 4
    root, finished, number = sys.argv[1], False, 0
    while not finished:
        pid = os.fork() or child(root, number)
        finished = os.waitpid(pid, 0)[1] == 0
        check(root, number, finished)
        number += 1
    print(number)
"""


def start(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_of_four_processes_one_wins_each_round_and_nothing_is_lost(tmp_path):  # 0005-R8
    store = LocalStore(tmp_path)
    store.put(f"counts/{address_of(b'0 by')}", b"0 by")
    store.swap_ref("count", Absent(), address_of(b"0 by"))
    racers = [start(RACER, tmp_path, writer) for writer in range(4)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [json.loads(racer.communicate(timeout=60)[0].lower()) for racer in racers]
    for number in range(40):
        winners = [writer for writer in range(4) if won[writer][number]]
        assert len(winners) == 1
        assert holds(store.read_ref(f"round/{number}"), address_of(f"{number} {winners[0]}".encode()))
    assert store.get(f"counts/{store.read_ref('count')}").startswith(b"160 by ")


def test_killed_at_any_time_nothing_half_done_is_seen(tmp_path):  # 0005-R2, 0005-R10
    store, acknowledged = LocalStore(tmp_path), 0
    for delay in (0.0, 0.003, 0.011, 0.023, 0.042):
        writer = start(WRITER, tmp_path, acknowledged + 1)
        writer.stdout.readline()
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, writer.communicate(timeout=10)[0].split())])

        for path in store.list():
            fetch(store, path, parse_address(path.rsplit("/", 1)[1]))
        for name in store.list_refs():
            fetch(store, f"manifests/{store.read_ref(name)}", store.read_ref(name).address)
        found = int(store.get(f"manifests/{store.read_ref('demo')}"))
        assert found >= acknowledged
        assert sorted(p.name for p in (tmp_path / "refs").iterdir()) == store.list_refs()
        stray = {p for p in tmp_path.rglob("*") if p.is_file()} - {
            store.local_path(path) for path in store.list()
        }
        assert not any(is_address_text(p.name) for p in stray)
        assert {p.relative_to(tmp_path).parts[0] for p in stray} <= {
            "refs",
            ".dreamdb-cas-locks",
            ".dreamdb-tmp",
        }
        acknowledged = found
    store.swap_ref("demo", store.read_ref("demo"), address_of(b"alive"))
    assert store.sweep(time.time_ns() + 10**9) >= 0
    assert list((tmp_path / ".dreamdb-tmp").iterdir()) == []


def test_killed_at_each_system_call(tmp_path):
    run = start(KILLED_AT_EACH_CALL, tmp_path)
    calls = int(run.communicate(timeout=60)[0])
    assert calls > 30
    assert LocalStore(tmp_path).sweep(time.time_ns() + 10**9) > 4


def test_a_swap_waits_for_the_lock_of_the_reference_sdk(tmp_path):  # 0005-R13
    store = LocalStore(tmp_path)
    one = store.swap_ref("demo", Absent(), address_of(b"1"))
    assert [p.name for p in (tmp_path / ".dreamdb-cas-locks").iterdir()] == [LOCK_OF_DEMO]
    swapped = threading.Event()

    def swap():
        store.swap_ref("demo", one, address_of(b"2"))
        swapped.set()

    with (tmp_path / ".dreamdb-cas-locks" / LOCK_OF_DEMO).open("rb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        thread = threading.Thread(target=swap)
        thread.start()
        assert not swapped.wait(0.1)
        assert store.read_ref("demo") == one  # reading needs no lock
        store.swap_ref("other", Absent(), one.address)  # nor does another ref
    thread.join(10)
    assert holds(store.read_ref("demo"), address_of(b"2"))


# The reference SDK


@pytest.fixture
def reference():
    return pytest.importorskip("dreamdb")


def numbers(reference):
    schema = reference.Schema()
    schema.add_scalar_int("n")
    return schema


def collect(reference, url):
    reference.gc(url, dry_run=False, writers_paused=True)


def test_the_reference_sdk_keeps_what_we_write_and_sees_our_refs(tmp_path, reference):
    url = f"file://{tmp_path}"
    dataset = reference.Dataset.create("demo", numbers(reference), backend=url)
    dataset.append_many([{"n": i} for i in range(3)])
    store = LocalStore(tmp_path)
    tip = store.read_ref("demo")
    fetch(store, f"manifests/{tip}", tip.address)
    store.swap_ref("demo@v1", Absent(), tip.address)
    store.swap_ref("team/demo", Absent(), tip.address)
    store.put("objects/unreferenced.bin", b"x")
    (tmp_path / ".dreamdb-tmp" / "left.tmp").write_bytes(b"x")
    collect(reference, url)
    opened = reference.Dataset.open("team/demo", numbers(reference), url)
    assert opened.count() == 3
    opened.append_many([{"n": 9}])
    assert not holds(store.read_ref("team/demo"), tip)
    assert store.list_refs() == ["demo", "demo@v1", "team/demo"]


def test_after_a_kill_the_reference_sdk_still_collects(tmp_path, reference, capfd):  # 0005-R10, 0005-R14
    url = f"file://{tmp_path}"
    reference.Dataset.create("theirs", numbers(reference), backend=url)
    tip = LocalStore(tmp_path).read_ref("theirs")
    writer = start(WRITER, tmp_path, 0)
    writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=10)
    for name in LocalStore(tmp_path).list_refs():
        if name != "theirs":  # its manifests are made up; the SDK would refuse them
            store = LocalStore(tmp_path)
            store.swap_ref(name, store.read_ref(name), Absent())
    collect(reference, url)
    capfd.readouterr()
    assert LocalStore(tmp_path).list_refs() == ["theirs"]
    assert list(LocalStore(tmp_path).list("objects/")) == []  # collected: the SDK went through with it
    assert LocalStore(tmp_path).read_ref("theirs") == tip


def test_both_create_one_ref_and_one_wins(tmp_path, reference):
    url, ours = f"file://{tmp_path}", address_of(b"ours")
    store = LocalStore(tmp_path)
    for number in range(10):
        name, outcome = f"demo-{number}", {}

        def theirs(name=name, outcome=outcome):
            try:
                reference.Dataset.create(name, numbers(reference), backend=url)
            except (RuntimeError, ValueError) as error:
                outcome["theirs"] = error

        thread = threading.Thread(target=theirs)
        thread.start()
        time.sleep(number * 2e-4)
        try:
            store.swap_ref(name, Absent(), ours)
        except RefConflictError as error:
            outcome["ours"] = error
        thread.join(20)
        assert len(outcome) == 1, outcome
        assert isinstance(store.read_ref(name), Ref)
        assert holds(store.read_ref(name), ours) == ("theirs" in outcome)
