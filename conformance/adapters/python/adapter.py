"""The adapter of dreamdb_arrow: answers the requests of conformance/runner.py, one line each.

python conformance/adapters/python/adapter.py < requests.jsonl > answers.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TextIO

sys.path.append(
    str(Path(__file__).resolve().parents[3])
)  # the repository, where the package is not installed

from notation import from_json, to_json
from operations import OPERATIONS

from dreamdb_arrow.errors import DreamDBError, UnsupportedError


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to one request."""
    operation = OPERATIONS.get(request["op"])
    if operation is None:
        return _failed(request, "unknown-op", request["op"])
    try:
        return {"id": request["id"], "ok": True, "output": to_json(operation(from_json(request["input"])))}
    except UnsupportedError as error:
        return _failed(request, "unsupported", str(error))
    except DreamDBError as error:
        return _failed(request, "invalid", str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the runner counts it as a failure and goes on
        return _failed(request, "internal", f"{type(error).__name__}: {error}")


def _failed(request: dict[str, Any], kind: str, message: str) -> dict[str, Any]:
    return {"id": request["id"], "ok": False, "error": kind, "message": message[:300]}


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are none."""
    for line in requests:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
