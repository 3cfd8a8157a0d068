"""Write conformance/vectors: the cases of conformance/cases, with what dreamdb_arrow makes of them.

python conformance/generate.py           says whether the files are up to date (exit 1 when not)
python conformance/generate.py --write   writes them

A case is only written when it holds: a valid one decodes, and encodes to its very bytes; an invalid one is refused. Bytes
that carry the flag `reference` are taken from the Spaces that the reference SDK wrote, so they do not depend on us.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE / "adapters" / "python")]

from adapter import answer  # noqa: E402 - found on the path that the line before adds
from cases import FILES, VectorFile  # noqa: E402
from notation import expand_hex  # noqa: E402
from runner import same  # noqa: E402

VECTORS: Final = HERE / "vectors"
SPEC: Final = HERE.parent / "spec"


def render_files() -> dict[str, str]:
    """Return the text of every vector file by its path below vectors/. Exits with what is wrong with the cases."""
    problems: list[str] = []
    texts = {f"{_folder(file.document)}/{file.name}.json": _render(file, problems) for file in FILES}
    if problems:
        raise SystemExit("\n".join(problems))
    return texts


def _folder(document: str) -> str:
    (path,) = SPEC.glob(f"{document}-*.md")
    return path.stem


def _render(file: VectorFile, problems: list[str]) -> str:
    cases = list(file.cases())
    found = [problem for case in cases if (problem := _finish(file, case))]
    found += [f"{name} is there twice" for name, n in Counter(case["id"] for case in cases).items() if n > 1]
    problems += [f"{file.document}/{file.name}/{problem}" for problem in found]
    head = {"title": file.title, "about": file.about, "op": file.op, "codec": file.codec}
    lines = [f" {json.dumps(key)}: {_compact(item)}," for key, item in head.items()]
    body = ",\n".join("  {\n" + ",\n".join(_members(case)) + "\n  }" for case in cases)
    return "\n".join(["{", *lines, ' "cases": [', body, " ]", "}", ""])


def _members(case: dict[str, Any]) -> Iterator[str]:
    for key, item in case.items():
        yield f"   {json.dumps(key)}: {_compact(item)}"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(", ", ": "))


def _finish(file: VectorFile, case: dict[str, Any]) -> str:
    """Give a case its `expected`, having tried it; return what is wrong with it, or nothing."""
    found = answer({"id": 0, "op": f"{file.op}.decode" if file.codec else file.op, "input": case["input"]})
    valid = case["result"] == "valid"
    if found.get("error") in {"internal", "unknown-op"} or found["ok"] != valid:
        return f"{case['id']} should be {case['result']}: {found}"
    if not valid:
        return ""
    expected = found["output"]
    if not same(case.setdefault("expected", expected), expected):
        return f"{case['id']}: {expected} instead of {case['expected']}"
    if not file.codec or "decode-only" in case["flags"]:
        return ""
    context = {key: item for key, item in case["input"].items() if key != "hex"}
    back = answer({"id": 0, "op": f"{file.op}.encode", "input": {**context, "value": expected}})
    if back.get("output") != expand_hex(case["input"]["hex"]).hex():
        return f"{case['id']} encodes to something else: {back}"
    return ""


def main(arguments: list[str]) -> int:
    """Write the files, or compare them; return the exit code."""
    wanted = render_files()
    present = {path.relative_to(VECTORS).as_posix(): path for path in VECTORS.glob("*/*.json")}
    if "--write" in arguments:
        for name in present.keys() - wanted.keys():
            present[name].unlink()
        for name, text in wanted.items():
            (VECTORS / name).parent.mkdir(parents=True, exist_ok=True)
            (VECTORS / name).write_text(text, encoding="utf-8")
        return 0
    differing = sorted(
        name
        for name in wanted.keys() | present.keys()
        if name not in wanted or name not in present or present[name].read_text("utf-8") != wanted[name]
    )
    if differing:
        print(
            "out of date, run: python conformance/generate.py --write", *differing, sep="\n", file=sys.stderr
        )
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
