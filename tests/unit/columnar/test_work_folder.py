"""Work folders: values are whole or not there, and one process has a folder to itself."""

import subprocess
import sys

import pytest

from dreamdb_arrow.columnar.work_folder import WorkFolder
from dreamdb_arrow.errors import ConflictError


@pytest.fixture
def folder(tmp_path):
    made = WorkFolder(tmp_path / "job")
    with made.held():
        yield made


def test_values_come_back(folder):
    folder.write("plan", {"cells": 3, "index": b"x", "skew": 1.5})
    folder.write("plan", {"cells": 4})
    assert folder.read("plan") == {"cells": 4}
    assert folder.read("other") is None


def test_a_damaged_value_is_none(folder):
    folder.write("plan", [1, 2, 3])
    (folder.path / "plan.cbor").write_bytes(b"\x83\x01")
    assert folder.read("plan") is None


def test_clear_leaves_what_is_named(folder):
    for name in ("job", "plan"):
        folder.write(name, 1)
    (folder.fresh("spill") / "rows").write_bytes(b"..")
    folder.clear("job")
    assert sorted(found.name for found in folder.path.iterdir()) == ["job.cbor", "lock"]


def test_a_fresh_folder_is_empty(folder):
    (folder.fresh("spill") / "rows").write_bytes(b"..")
    assert list(folder.fresh("spill").iterdir()) == []


def test_another_process_has_to_wait(folder):
    with pytest.raises(ConflictError, match="another process"), WorkFolder(folder.path).held():
        pass


def test_a_killed_process_lets_go(tmp_path):
    code = (
        "import os, signal, sys, pathlib; from dreamdb_arrow.columnar.work_folder import WorkFolder\n"
        "with WorkFolder(pathlib.Path(sys.argv[1])).held(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode < 0
    with WorkFolder(tmp_path).held():
        assert (tmp_path / "lock").exists()
