"""`dreamdb index status`: how full the cells of embeddings are, and what a search by cells finds."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any, Final

from dreamdb_arrow.cli.cells import size_text
from dreamdb_arrow.cli.failures import OK, UsageError
from dreamdb_arrow.cli.opening import open_dataset
from dreamdb_arrow.cli.tables import Column, print_table, screen
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.cli.words import counted, printable
from dreamdb_arrow.dataset.dataset import Dataset

_FORMS: Final = {"mean": "{:,.1f}", "skew": "{:.2f}", "recall": "{:.3f}"}
_TEXTS: Final = ("field", "algorithm")
_SIZES: Final = ("bytes", "code_bytes")
_SHOWN: Final = (
    *_TEXTS,
    *("cells", "filled", "rows", "mean", "largest", "skew", "buckets", "bytes", "code_bytes"),
    *("unflushed", "nprobe", "recall"),
)


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    if args.question != "status":
        raise UsageError(f"no question {args.question!r}; there is: status", args.verb)
    ds = open_dataset(args)
    found = [ds.index_status(f, sample=args.sample, nprobe=args.nprobe) for f in _fields(ds, args.field)]
    if args.json:
        sys.stdout.write(f"{json_text({'ref': args.ref, 'fields': found})}\n")
    elif not found:
        sys.stdout.write(f"{args.ref} has no embedding field\n")
    else:
        _show(found)
    return OK


def _fields(ds: Dataset, wanted: str | None) -> list[str]:
    """Return the field that is named, or all embeddings that can be read."""
    if wanted is not None:
        return [wanted]
    return [f.name for f in ds.schema.fields if f.kind == "embedding" and f.name not in ds.unavailable]


def _show(found: list[dict[str, Any]]) -> None:
    columns = [
        Column(name, [_cell(name, status[name]) for status in found], right=name not in _TEXTS)
        for name in _SHOWN
    ]
    left_out = print_table(screen(), columns)
    if left_out:
        sys.stdout.write(f"{counted(left_out, 'column')} not shown; --json for all\n")


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in _SIZES:
        return size_text(value)
    return printable(value) if name in _TEXTS else _FORMS.get(name, "{:,}").format(value)
