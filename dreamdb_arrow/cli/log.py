"""`dreamdb log`: the versions of a ref, newest first; with --graph, all that it descends from."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable
from itertools import islice
from typing import Any

from dreamdb_arrow.cli.failures import OK
from dreamdb_arrow.cli.inspect import SHORT
from dreamdb_arrow.cli.opening import open_dataset
from dreamdb_arrow.cli.values import json_text, time_text
from dreamdb_arrow.cli.words import printable
from dreamdb_arrow.dataset.inspect import describe_version, history
from dreamdb_arrow.history.graph import Drawing, descent


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    ds = open_dataset(args)
    store, tip = ds.space.store, ds.version
    if args.graph:
        found: Iterable[dict[str, Any]] = (describe_version(a, m) for a, m in descent(store, tip))
        versions = list(islice(found, args.max_depth))
    else:
        versions = history(store, tip, args.max_depth)
    named: dict[str, list[str]] = {}
    for name in store.list_refs():
        named.setdefault(str(store.read_ref(name)), []).append(name)
    told = [{**version, "refs": named.get(version["manifest"], [])} for version in versions]
    if args.json:
        sys.stdout.write(f"{json_text(told)}\n")
        return OK
    drawing = Drawing() if args.graph else None
    lines = [(_lanes(drawing, version), _text(version)) for version in told]
    width = max((len(lanes) for lanes, _ in lines), default=0)
    sys.stdout.writelines(f"{lanes.ljust(width)} {text}\n".lstrip() for lanes, text in lines)
    return OK


def _lanes(drawing: Drawing | None, version: dict[str, Any]) -> str:
    return "" if drawing is None else drawing.add(version["manifest"], version["parents"])


def _text(version: dict[str, Any]) -> str:
    refs = f"  ({', '.join(version['refs'])})" if version["refs"] else ""
    merged = f" of {version['parents_count']}" if version["parents_count"] > 1 else ""
    operation = printable(version["operation"]) or "-"
    return f"{version['manifest'][:SHORT]}  {time_text(version['ts_ns'])}  {operation}{merged}{refs}"
