"""The vectors: their form, where they come from, what adapters make of them, and what becomes of them when bytes change."""

import contextlib
import json
import re
import sys
from functools import cache
from pathlib import Path

import jsonschema
import pytest

from dreamdb_arrow.errors import DreamDBError
from dreamdb_arrow.objects.manifest import decode_manifest, encode_manifest

sys.path += [
    str(Path(__file__).parents[2] / "conformance" / part)
    for part in (".", "adapters/python", "adapters/javascript")
]

import generate
import prepare
import runner
from notation import expand_hex, from_json
from operations import OPERATIONS

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "conformance" / "vectors"
FILES = sorted(VECTORS.glob("*/*.json"))
STEPS = list(runner.read_steps())
BINARY = [s for s in STEPS if s.valid and s.op.endswith(".decode") and s.input.get("hex")]


def name_of(path):
    return path.relative_to(VECTORS).with_suffix("").as_posix()


# --- form ---------------------------------------------------------------------------------------------------


@cache
def validator():
    schema = json.loads((ROOT / "conformance" / "schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_file_keeps_to_the_schema(path):
    document = json.loads(path.read_text("utf-8"))
    assert [error.message for error in validator().iter_errors(document)] == []
    ids = [case["id"] for case in document["cases"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "change",
    [
        {"result": "maybe"},
        {"requirement": []},
        {"requirement": ["R1"]},
        {"flags": ["easy"]},
        {"input": {"hex": "0"}},
        {"input": {"value": 1.5}},
        {"input": {"value": {"$int": 5}}},
        {"id": "Not A Slug"},
        {"result": "invalid"},
        {"note": "unknown key"},
    ],
    ids=str,
)
def test_schema_refuses_what_is_none(change):
    document = json.loads(FILES[0].read_text("utf-8"))
    good = next(case for case in document["cases"] if case["result"] == "valid")
    assert not list(validator().iter_errors({**document, "cases": [good]}))
    assert list(validator().iter_errors({**document, "cases": [{**good, **change}]}))


def test_files_are_what_the_generator_writes():
    wanted = generate.render_files()
    present = {path.relative_to(VECTORS).as_posix(): path.read_text("utf-8") for path in FILES}
    differing = [name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name)]
    assert differing == [], "run: python conformance/generate.py --write"


def test_cases_name_requirements_that_exist():
    defined = set()
    for path in ROOT.glob("spec/*.md"):
        defined |= set(re.findall(r"^- \[(\d{4}-R\d+)\]", path.read_text("utf-8"), re.MULTILINE))
    named = {
        r for path in FILES for c in json.loads(path.read_text("utf-8"))["cases"] for r in c["requirement"]
    }
    assert sorted(named - defined) == []


def test_one_input_has_one_result():  # 0009-R3
    results = {}
    for step in STEPS:
        asked = json.dumps([step.op, step.input], sort_keys=True)
        results.setdefault(asked, set()).add((step.valid, json.dumps(step.expected, sort_keys=True)))
    assert {asked: found for asked, found in results.items() if len(found) > 1} == {}


def test_every_operation_of_our_adapter_has_a_vector():
    assert OPERATIONS.keys() - {step.op for step in STEPS} - {"modality.format"} == set()


# --- adapters -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def javascript_adapter() -> list[str]:
    """Return how the JavaScript adapter is called, its one package fetched where it is missing."""
    return prepare.prepare()


@pytest.fixture(scope="session")
def python_adapter() -> list[str]:
    """Return how our own adapter is called."""
    return [sys.executable, str(ROOT / "conformance" / "adapters" / "python" / "adapter.py")]


def report_of(command, groups=()):
    adapter = runner.Adapter(command, timeout=60)
    try:
        return runner.summarize(list(runner.run(adapter, list(runner.read_steps(groups=groups)))))
    finally:
        adapter.stop()


def test_our_adapter_passes_all_vectors(python_adapter):
    report = report_of(python_adapter)
    assert report["failures"] == []
    assert report["unsupported_operations"] == []
    assert report["total"]["passed"] == len(STEPS) > 1000


def test_javascript_adapter_passes_its_groups(javascript_adapter):
    report = report_of(javascript_adapter, prepare.GROUPS)
    assert report["failures"] == []
    assert report["unsupported_operations"] == []
    assert all(counts["passed"] > 0 for counts in report["groups"].values())
    assert report["total"]["passed"] > 900


# --- changed bytes ------------------------------------------------------------------------------------------


def masks_for(size):
    """Return the masks to try at each byte, given its place: all bits of short vectors, fewer of long ones."""
    if size <= 150:
        return lambda _: (1, 2, 4, 8, 16, 32, 64, 128)
    if size <= 600:
        return lambda at: (1 << at % 8, 0xFF)
    return lambda at: (1 << (at + at // 8) % 8,)


def again(step, data):
    """Return the bytes that what was read from these bytes is written as."""
    if step.op == "manifest.decode":  # what a Manifest says twice is in no value of the adapters
        return encode_manifest(decode_manifest(data)).hex()
    context = {key: from_json(item) for key, item in step.input.items() if key != "hex"}
    decode, encode = OPERATIONS[step.op], OPERATIONS[step.op.removesuffix("decode") + "encode"]
    return encode({"value": decode({"hex": data.hex(), **context}), **context})


def surviving_changes(step, masks):
    """Yield what decodes after one byte was changed, and encodes to something else."""
    data = bytearray(expand_hex(step.input["hex"]))
    for at in range(len(data)):
        for mask in masks(at):
            data[at] ^= mask
            changed = bytes(data)
            data[at] ^= mask
            with contextlib.suppress(DreamDBError):
                if again(step, changed) != changed.hex():
                    yield at, mask


@pytest.mark.parametrize("step", BINARY, ids=lambda step: step.name)
def test_changed_byte_is_refused_or_kept(step):
    # 0000-R1, 0002-R8, 0009-R2: nothing is read as something that would be written otherwise
    masks = masks_for(len(expand_hex(step.input["hex"])))
    assert list(surviving_changes(step, masks)) == []


@pytest.mark.slow
@pytest.mark.parametrize("step", BINARY, ids=lambda step: step.name)
def test_every_change_of_a_byte_is_refused_or_kept(step):
    short = len(expand_hex(step.input["hex"])) <= 1000
    masks = tuple(range(1, 256)) if short else (1, 2, 4, 8, 16, 32, 64, 128, 255)
    assert list(surviving_changes(step, lambda _: masks)) == []


@pytest.mark.parametrize("step", BINARY, ids=lambda step: step.name)
def test_cut_bytes_are_refused_or_kept(step):
    whole = expand_hex(step.input["hex"])
    for length in range(0, len(whole), max(1, len(whole) // 25)):
        with contextlib.suppress(DreamDBError):
            assert again(step, whole[:length]) == whole[:length].hex()
