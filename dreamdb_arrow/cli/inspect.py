"""`dreamdb inspect`: the Refs of a Space; of one of them, its fields, Tracks and versions."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from dreamdb_arrow.cli.cells import cell
from dreamdb_arrow.cli.failures import FAILED, OK, failure_line
from dreamdb_arrow.cli.opening import open_space
from dreamdb_arrow.cli.tables import Column, print_table, screen
from dreamdb_arrow.cli.values import json_text, time_text
from dreamdb_arrow.cli.words import counted, printable
from dreamdb_arrow.columnar.cover_note import merge_notes
from dreamdb_arrow.columnar.notes import read_notes
from dreamdb_arrow.columnar.projection import dim_of
from dreamdb_arrow.columnar.rows import space_stripes
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.stripe import BLOB_KINDS, open_stripe, stripe_columns
from dreamdb_arrow.columnar.vectors import open_vectors
from dreamdb_arrow.columnar.vendor import STRIPE, VECTORS
from dreamdb_arrow.dataset.inspect import describe_version, history, schema_rows, tracks
from dreamdb_arrow.dataset.scan import count_rows
from dreamdb_arrow.dataset.schema import row_fields
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import DreamDBError
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.objects.track import EMPTY_COVERAGE

SHORT: Final = 12  # characters of an address that tell it from its neighbours

Say = Callable[[Mapping[str, Any]], str]
Told = tuple[tuple[str, Say, bool], ...]  # of each column: its name, how a row says it, whether flush right


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    space = open_space(args)
    if args.ref is None:
        return _run_space(space, as_json=args.json)
    facts = ref_facts(space, args.ref, args.max_depth)
    if args.json:
        sys.stdout.write(f"{json_text(facts)}\n")
    else:
        _print_ref(facts)
    return OK


# ---------------------------------------------------------------- the Space


def _run_space(space: Space, *, as_json: bool) -> int:
    found = [_ref_row(space, name) for name in space.store.list_refs()]
    broken = [row for row in found if row["error"]]
    if as_json:
        sys.stdout.write(f"{json_text({'backend': space.store.url, 'refs': found})}\n")
    elif found:
        print_table(screen(), columns_of(found, REFS))
    else:
        sys.stdout.write(f"{space.store.url} has no refs\n")
    if broken:
        rest = f" (and {counted(len(broken) - 1, 'other ref')})" if broken[1:] else ""
        sys.stderr.write(f"dreamdb: ref {broken[0]['ref']!r}: {broken[0]['error']}{rest}\n")
    return FAILED if broken else OK


def _ref_row(space: Space, name: str) -> dict[str, Any]:
    """Return a Ref and the version it names; one that is damaged does not hide the others."""
    row: dict[str, Any] = {"ref": name, "is_snapshot": "@" in name, "error": None}
    try:
        version = space.resolve(name)
        return row | describe_version(version, load_manifest(space.store, version))
    except DreamDBError as error:
        return row | {"error": failure_line(error)}


# ---------------------------------------------------------------- one Ref


def ref_facts(space: Space, ref: str, max_depth: int) -> dict[str, Any]:
    """Return what is to be told of a Ref, as plain values."""
    version = space.resolve(ref)
    rows = space.rows(version)
    pending_rows, pending = pending_counts(rows)
    return {
        "backend": space.store.url,
        "ref": ref,
        "manifest": str(version),
        "timeline": str(rows.timeline),
        "rows": count_rows(rows),
        "deleted": len(rows.hidden),
        "pending_rows": pending_rows,
        "fields": schema_rows(rows),
        "tracks": [t | {"pending_rows": pending.get(t["field"])} for t in tracks(rows.manifest)],
        "history": history(space.store, version, max_depth),
    }


def pending_counts(rows: RowSet) -> tuple[int, dict[str, int]]:
    """Return how many rows no flush has seen, and by field, how many values its Track lacks.

    Footers tell, and so rows that were deleted since are among them.
    """
    flushed = merge_notes(read_notes(rows.store, rows.manifest)).stripes

    def fresh(modality: str, name: str = "") -> list[Path]:
        held = space_stripes(rows.store, rows.manifest, modality, name)
        return [s.local(rows.store, rows.cache) for s in held if s.address not in flushed]

    footers = [pq.read_metadata(path) for path in fresh(STRIPE)]
    pending = {
        f.name: sum(len(open_vectors(path, dim_of(f)).anchors) for path in fresh(VECTORS, f.name))
        if f.kind == "embedding"
        else sum(_held_arrays(path, f) for path in fresh(STRIPE))
        if f.kind == "array"
        else sum(_values(footer, f) for footer in footers)
        for f in row_fields(rows.fields, rows.unavailable)
    }
    return sum(footer.num_rows for footer in footers), pending


def _held_arrays(path: Path, f: Field) -> int:
    """Return how many arrays of a field a stripe holds: of lists, a footer counts the numbers."""
    if f.name not in stripe_columns(path):
        return 0
    batches = open_stripe(path).iter_batches(columns=[f.name])
    return sum(len(batch) - batch.column(0).null_count for batch in batches)


def _values(footer: pq.FileMetaData, f: Field) -> int:
    """Return how many values of a field a stripe holds."""
    path = f"{f.name}.address" if f.kind in BLOB_KINDS else f.name
    groups = (footer.row_group(i) for i in range(footer.num_row_groups))
    columns = (group.column(i) for group in groups for i in range(group.num_columns))
    return sum(
        c.num_values - c.statistics.null_count for c in columns if c.path_in_schema == path and c.statistics
    )


# ---------------------------------------------------------------- for people


def _print_ref(facts: Mapping[str, Any]) -> None:
    console = screen()
    console.print(printable(f"{facts['ref']} in {facts['backend']}"))
    console.print(f"version {facts['manifest']}")
    deleted = f", {facts['deleted']:,} deleted" if facts["deleted"] else ""
    pending = f", {facts['pending_rows']:,} not flushed yet" if facts["pending_rows"] else ""
    console.print(f"{counted(facts['rows'], 'row')}{deleted}{pending}\n")
    types = {f["field"]: f["type"] for f in facts["fields"]}
    told = [t | {"type": types.get(t["field"], "")} for t in facts["tracks"]]
    told.sort(key=lambda t: t["field"] not in types)  # the Tracks of the columnar layer come last
    print_table(console, columns_of(told, TRACKS))
    missing = [f for f in facts["fields"] if not f["available"]]
    if missing:
        console.print()
        print_table(console, columns_of(missing, UNAVAILABLE))
    console.print()
    print_table(console, columns_of(facts["history"], HISTORY))


def columns_of(rows: Sequence[Mapping[str, Any]], told: Told) -> list[Column]:
    """Return plain values as columns of a table."""
    return [Column(name, [say(row) for row in rows], right) for name, say, right in told]


def _said(key: str) -> Say:
    return lambda row: "" if row.get(key) is None else cell(row[key])


def _coverage(row: Mapping[str, Any]) -> str:
    t0, t1 = row["t0"], row["t1"]
    return "nothing" if (t0, t1) == EMPTY_COVERAGE else f"{_second(t0)} to {_second(t1 - 1)}"


def _type(row: Mapping[str, Any]) -> str:
    return re.sub(r"fixed_size_list<item: (\w+)>", r"\1", row["type"])


def _time(row: Mapping[str, Any]) -> str:
    return _second(row["ts_ns"]) if "ts_ns" in row else ""


def _second(time_ns: int) -> str:
    return time_text(time_ns).partition(".")[0]


def _parents(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{parent[:SHORT]}…" for parent in row["parents"])


REFS: Final[Told] = (
    ("ref", _said("ref"), False),
    ("time", _time, False),
    ("operation", _said("operation"), False),
    ("version", lambda row: row.get("manifest") or row["error"], False),
)
TRACKS: Final[Told] = (
    ("field", _said("field"), False),
    ("type", _type, False),
    ("kind", _said("kind"), False),
    ("modality", _said("modality"), False),
    ("coverage", _coverage, False),
    ("to flush", _said("pending_rows"), True),
)
UNAVAILABLE: Final[Told] = (
    ("unavailable", _said("field"), False),
    ("kind", _said("kind"), False),
    ("reason", _said("reason"), False),
)
HISTORY: Final[Told] = (
    ("time", _time, False),
    ("operation", _said("operation"), False),
    ("version", _said("manifest"), False),
    ("parents", _parents, False),
)
