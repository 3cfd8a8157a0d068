"""The runner: what it makes of adapters that are right, wrong, silent, noisy, or end in the middle."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "conformance"))

import runner

RUNNER = Path(runner.__file__)
CASES = [
    {"id": "one", "requirement": ["0003-R4"], "comment": "c", "flags": [], "input": {"time": 1}, "result": "valid", "expected": "1"},
    {"id": "bad", "requirement": ["0003-R4"], "comment": "c", "flags": [], "input": {"time": -1}, "result": "invalid"},
]  # fmt: skip


@pytest.fixture
def vectors(tmp_path):
    folder = tmp_path / "vectors" / "0003-time"
    folder.mkdir(parents=True)
    document = {"title": "t", "about": "a", "op": "time", "codec": False, "cases": CASES}
    (folder / "keys.json").write_text(json.dumps(document))
    bytes_case = {**CASES[0], "id": "both", "input": {"hex": [["0a", 2]], "size": 2}, "expected": [1]}
    read_only = {**bytes_case, "id": "reading", "flags": ["decode-only"]}
    codec = {"title": "t", "about": "a", "op": "raw", "codec": True, "cases": [bytes_case, read_only]}
    (folder / "raw.json").write_text(json.dumps(codec))
    return tmp_path / "vectors"


@pytest.fixture
def adapter(tmp_path):
    """Return a function from the body of `answer(request)` to the command of an adapter that does it."""

    def write(body):
        path = tmp_path / "adapter.py"
        path.write_text(
            "import json, sys, time\n"
            "def answer(request):\n" + textwrap.indent(textwrap.dedent(body), "    ") + "\n"
            "for line in sys.stdin:\n"
            "    print(json.dumps(answer(json.loads(line))), flush=True)\n"
        )
        return f"{sys.executable} {path}"

    return write


GOOD = """
    done = {"id": request["id"], "ok": True}
    if request["op"] == "time":
        if request["input"]["time"] < 0:
            return {"id": request["id"], "ok": False, "error": "invalid", "message": "below zero"}
        return {**done, "output": "1"}
    if request["op"] == "raw.decode":
        return {**done, "output": [1]}
    return {**done, "output": "0a0a" if request["input"] == {"size": 2, "value": [1]} else "00"}
"""


def run(vectors, command, *more):
    done = subprocess.run(
        [sys.executable, RUNNER, "--vectors", vectors, "--adapter", command, *more],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def report(vectors, command, *more):
    code, out, _ = run(vectors, command, "--json", *more)
    return code, json.loads(out)


def test_right_adapter_passes(vectors, adapter):
    code, found = report(vectors, adapter(GOOD))
    assert code == 0
    assert found["total"] == {"passed": 5, "failed": 0, "unsupported": 0}
    assert list(found["groups"]) == ["0003-time/keys", "0003-time/raw"]
    assert found["failures"] == []


def test_wrong_answers_are_failures(vectors, adapter):
    code, found = report(vectors, adapter('return {"id": request["id"], "ok": True, "output": "2"}'))
    assert code == 1
    assert found["total"]["failed"] == 5
    messages = {f["case"].rpartition("/")[2]: f["message"] for f in found["failures"]}
    assert messages["one"] == '"2" instead of "1"'
    assert messages["bad"] == 'accepted, must be refused: "2"'
    assert {tuple(f["requirement"]) for f in found["failures"]} == {("0003-R4",)}
    shown = run(vectors, adapter('return {"id": request["id"], "ok": True, "output": "2"}'))[1]
    assert 'FAILED 0003-time/keys/one (time; 0003-R4): "2" instead of "1"' in shown


def test_refusal_of_a_valid_case_is_a_failure(vectors, adapter):
    refuse = 'return {"id": request["id"], "ok": False, "error": "invalid", "message": "no"}'
    code, found = report(vectors, adapter(refuse), "--group", "0003/keys")
    assert code == 1
    assert found["total"] == {"passed": 1, "failed": 1, "unsupported": 0}
    assert found["failures"][0]["message"] == "invalid: no"


def test_internal_error_is_a_failure_also_where_a_refusal_is_wanted(vectors, adapter):
    broken = 'return {"id": request["id"], "ok": False, "error": "internal", "message": "KeyError"}'
    _, found = report(vectors, adapter(broken), "--group", "0003/keys")
    assert found["total"]["failed"] == 2


def test_unknown_operations_are_counted_and_listed(vectors, adapter):
    unknown = 'return {"id": request["id"], "ok": False, "error": "unknown-op"}'
    code, found = report(vectors, adapter(unknown))
    assert (code, found["total"]["unsupported"]) == (0, 5)
    assert found["unsupported_operations"] == ["raw.decode", "raw.encode", "time"]
    assert run(vectors, adapter(unknown), "--strict")[0] == 1
    assert "unsupported operations: raw.decode" in run(vectors, adapter(unknown))[1]


def test_adapter_that_ends_is_started_again(vectors, adapter):
    dying = 'if request["input"].get("time") == 1:\n    sys.exit(7)\n' + textwrap.dedent(GOOD)
    code, found = report(vectors, adapter(dying))
    assert code == 1
    assert [f["message"] for f in found["failures"]] == ["adapter ended with 7"]
    assert found["total"]["passed"] == 4


def test_silent_adapter_is_stopped(vectors, adapter):
    silent = 'if request["input"].get("time") == 1:\n    time.sleep(60)\n' + textwrap.dedent(GOOD)
    code, found = report(vectors, adapter(silent), "--timeout", "0.5")
    assert code == 1
    assert [f["message"] for f in found["failures"]] == ["no answer within 0.5 s"]
    assert found["total"]["passed"] == 4


@pytest.mark.parametrize("line", ["print('hello')", "print('[]')", 'print(\'{"id": 99, "ok": true}\')'])
def test_noise_is_no_answer(vectors, adapter, line):
    _, found = report(vectors, adapter(f"{line}\nreturn None"), "--group", "0003/keys")
    assert found["total"]["failed"] == 2
    assert "answer" in found["failures"][0]["message"]


def test_groups_choose_files(vectors, adapter):
    command = adapter(GOOD)
    for group, passed in {"0003": 5, "0003-time": 5, "0003-time/raw": 3, "0003/keys": 2}.items():
        assert report(vectors, command, "--group", group)[1]["total"]["passed"] == passed
    code, _, err = run(vectors, command, "--group", "0099")
    assert code == 2
    assert "0099" in err


def test_list_runs_nothing(vectors):
    code, out, _ = run(vectors, "/does/not/exist", "--list")
    assert code == 0
    assert out.splitlines()[0] == "0003-time/keys/one  time  valid"
    assert len(out.splitlines()) == 5


def test_adapter_that_cannot_be_started(vectors):
    code, _, err = run(vectors, "/does/not/exist")
    assert code == 2
    assert "cannot be started" in err


def test_help_has_examples():
    done = subprocess.run([sys.executable, RUNNER, "--help"], capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout
    assert "exit code:" in done.stdout
    assert subprocess.run([sys.executable, RUNNER], capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        (1, 1, True),
        (1, True, False),
        (True, 1, False),
        ([1, {"a": "b"}], [1, {"a": "b"}], True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"$f32": "0000803f"}, {"$f32": "0100803f"}, True),
        ({"$f32": "0000803f"}, {"$bytes": "0000803f"}, True),
        ({"$f32": "0000803f"}, {"$f32": "0000813f"}, False),
        ({"$f32": "0000803f"}, {"$f32": "0000803f0000803f"}, False),
        ({"$f32": "0000803f"}, {"$f32": "0000c07f"}, False),
        ({"$bytes": "00"}, {"$bytes": "01"}, False),
    ],
    ids=str,
)
def test_values_are_compared_as_they_are(expected, found, same):
    assert runner.same(expected, found) is same
