"""The verbs of the command line: what each takes, and how it is told. docs/cli.md is made from this table."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

ARGUMENTS: Final = MappingProxyType(
    {
        "backend": "the Space: a folder, or its URL, such as file:///data/space",
        "ref": "a dataset or a branch, such as hello; to read, also a snapshot, such as hello@first",
        "label": "the snapshot's name; it becomes REF@LABEL",
        "query": "SQL; each argument may hold several statements, separated by ';'",
        "branch": "the ref whose rows are wanted, a branch of the same dataset",
        "new_ref": "the new ref's name, such as night or teams/night",
        "other": "the version to compare with: a ref, a snapshot such as hello@first, a time such as hello@2026-11-23, or an address",
        "shell": "bash, zsh or fish",
        "version": "a snapshot's label, a version's address or a time of the ref",
        "gone": "the branch or snapshot to delete, such as side or hello@first",
        "branches": "the refs whose rows are wanted, in this order",
        "question": "status",
        "field": "an embedding field",
        "remote": "the other backend: a folder, or a URL such as s3://bucket/prefix",
        "refs": "some refs, snapshots too; all of them when none is named",
    }
)
REST: Final = frozenset({"query", "branches", "refs"})  # these take all words that are left
STAGES: Final = ("measure", "plan", "refile", "publish")  # of ada-ivf-step
LONG_OPTIONS: Final = MappingProxyType({"backend": "--backend", "ref": "--ref-name", "label": "--label"})


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of the command line.

    `places` are its arguments, in order; each may be given by an option of LONG_OPTIONS instead, and those of REST take
    all words that are left. The first `required` of them must be given.
    """

    usage: str
    summary: str
    details: str
    examples: tuple[str, ...]
    places: tuple[str, ...]
    required: int
    options: Callable[[ArgumentParser], None]


def whole_number(text: str) -> int:
    """Return a number of at least 0, for argparse."""
    if not text.isascii() or not text.isdigit():
        raise ArgumentTypeError(f"{text!r} is no whole number of at least 0")
    return int(text)


def some_number(text: str) -> float:
    """Return a number of at least 0 that may have decimals, for argparse."""
    if not re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        raise ArgumentTypeError(f"{text!r} is no number of at least 0")
    return float(text)


def shard_of(text: str) -> tuple[int, int]:
    """Return part and number of parts out of `3/16`, for argparse; whether there is such a part is not asked here."""
    part, slash, of = text.partition("/")
    if not slash:
        raise ArgumentTypeError(f"{text!r} is no part of all, such as 3/16")
    return whole_number(part), whole_number(of)


def byte_count(text: str) -> int:
    """Return a number of bytes such as 500MB or 10GiB, for argparse."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]?)(i?)b?", text.strip().lower())
    if not found:
        raise ArgumentTypeError(f"{text!r} is no size such as 500MB or 10GiB")
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** " kmgt".index(found[2] or " "))


def _json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on stdout")


def _sql(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--command", metavar="SQL", action="append", default=[], help="SQL; may be repeated"
    )
    parser.add_argument("--file", metavar="F", action="append", default=[], help="a file of SQL; - for stdin")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="each result as one array of objects, a line a row")
    form.add_argument("--csv", action="store_true", help="each result as CSV with a header")
    form.add_argument(
        "--arrow", metavar="FILE", help="the result as an Arrow IPC file; - for a stream on stdout"
    )
    rows = "at most N rows of each result, 0 for all; a table shows 50 unless told otherwise, the other forms all"
    parser.add_argument("--max-rows", metavar="N", type=whole_number, help=rows)


def _inspect(parser: ArgumentParser) -> None:
    depth = "how many versions of the history to list (10)"
    parser.add_argument("--max-depth", metavar="N", type=whole_number, default=10, help=depth)
    _json(parser)


def _delete(parser: ArgumentParser) -> None:
    anchor = "the anchor of a row; may be repeated"
    parser.add_argument("--anchor", metavar="A", type=whole_number, action="append", default=[], help=anchor)
    listed = "a file of anchors, separated by spaces, commas or lines; - for stdin"
    parser.add_argument("--anchors-file", metavar="F", help=listed)
    where = "an SQL condition on the columns of the ref, for the rows that satisfy it"
    parser.add_argument("--where", metavar="CONDITION", help=where)
    parser.add_argument("--t0", metavar="A", type=whole_number, help="the rows from this anchor on")
    parser.add_argument("--t1", metavar="A", type=whole_number, help="the rows before this anchor")
    parser.add_argument("--reason", metavar="TEXT", help="kept with the deletion")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="only tell how many rows that would be")
    _json(parser)


def _merge(parser: ArgumentParser) -> None:
    strategy = (
        "fast-forward (unless told): only where REF has nothing of its own; union-tracks: the rows of both"
    )
    parser.add_argument(
        "--strategy",
        metavar="S",
        choices=("fast-forward", "union-tracks"),
        default="fast-forward",
        help=strategy,
    )
    parser.add_argument(
        "--conflicts",
        metavar="P",
        choices=("error", "ours", "theirs"),
        default="error",
        help="where both changed one value: error (unless told), or whose counts, ours (REF's) or theirs (BRANCH's)",
    )
    _json(parser)


def _branch(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--as-of", metavar="V", help="begin at this snapshot's label, version or time of REF, not at its tip"
    )
    _json(parser)


def _compact(parser: ArgumentParser) -> None:
    parser.add_argument("--modality", metavar="M", help="this one Track, and no stripes")
    threshold = "leave columns and cells with no more than N buckets (1)"
    parser.add_argument("--threshold", metavar="N", type=whole_number, default=1, help=threshold)
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--stripes-only", action="store_true", help="leave the Tracks as they are")
    only.add_argument("--tracks-only", action="store_true", help="leave the stripes as they are")
    _json(parser)


def _seed(parser: ArgumentParser) -> None:
    seed = "of the sample and the training (0); the same one gives the same cells"
    parser.add_argument("--seed", metavar="N", type=whole_number, default=0, help=seed)
    _json(parser)


def _rebuild_ivf(parser: ArgumentParser) -> None:
    cells = "how many cells (twice the square root of the number of rows, or fewer of few rows)"
    parser.add_argument("-k", "--cells", metavar="N", type=whole_number, help=cells)
    sample = "about how many rows to train on (as many as training takes)"
    parser.add_argument("--sample", metavar="N", type=whole_number, help=sample)
    _seed(parser)


def _ada_ivf_step(parser: ArgumentParser) -> None:
    stage = "only this one: measure, plan, refile or publish"
    parser.add_argument("--stage", metavar="S", choices=STAGES, help=stage)
    target = "how many times the mean the largest cell may hold (4); measure takes it for the stages after it"
    parser.add_argument("--target", metavar="X", type=float, default=4.0, help=target)
    _seed(parser)


def _index(parser: ArgumentParser) -> None:
    sample = "how many rows to search for, to estimate recall; 0 for no estimate (64)"
    parser.add_argument("--sample", metavar="N", type=whole_number, default=64, help=sample)
    nprobe = "how many cells such a search reads (32)"
    parser.add_argument("--nprobe", metavar="N", type=whole_number, help=nprobe)
    _json(parser)


def _gc(parser: ArgumentParser) -> None:
    keep = "how many versions behind each ref are kept too (10)"
    parser.add_argument("--keep-manifests", metavar="N", type=whole_number, default=10, help=keep)
    recent = (
        "keep what was written, or what a ref named, in the last S seconds (3600; 0 with --writers-paused)"
    )
    parser.add_argument("--keep-since-secs", metavar="S", type=whole_number, help=recent)
    days = "keep also the versions that were a ref's tip in the last D days (0)"
    parser.add_argument("--keep-days", metavar="D", type=some_number, default=0, help=days)
    root = "a version to keep beside those of refs, by its address; may be repeated"
    parser.add_argument("--root", metavar="VERSION", action="append", default=[], help=root)
    parser.add_argument("--delete", action="store_true", help="remove it, instead of only telling")
    shard = "look at part I of N of all objects only, counted from 1; other jobs take the others (1/1)"
    parser.add_argument("--shard", metavar="I/N", type=shard_of, default=(1, 1), help=shard)
    paused = "say that nobody writes to the Space meanwhile, so that nothing is kept for being young"
    parser.add_argument("--writers-paused", action="store_true", help=paused)
    _json(parser)


def _nothing(_: ArgumentParser) -> None:
    """Add no option."""


def _log(parser: ArgumentParser) -> None:
    parser.add_argument("--graph", action="store_true", help="show what was merged, too")
    depth = "how many versions to list (all)"
    parser.add_argument("--max-depth", metavar="N", type=whole_number, help=depth)
    _json(parser)


def _diff(parser: ArgumentParser) -> None:
    most = "how many changes to show (50)"
    parser.add_argument("--max-rows", metavar="N", type=whole_number, default=50, help=most)
    _json(parser)


def _purge(parser: ArgumentParser) -> None:
    anchor = "the anchor of a deleted row; may be repeated (all deleted rows)"
    parser.add_argument("--anchor", metavar="A", type=whole_number, action="append", default=[], help=anchor)
    listed = "a file of anchors, separated by spaces, commas or lines; - for stdin"
    parser.add_argument("--anchors-file", metavar="F", help=listed)
    parser.add_argument("--reason", metavar="TEXT", help="for the report")
    parser.add_argument("--report", metavar="FILE", help="write the report there, as JSON")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    paused = "say that nobody writes to the Space meanwhile, so that garbage of any age is removed"
    parser.add_argument("--writers-paused", action="store_true", help=paused)
    _json(parser)


def _fsck(parser: ArgumentParser) -> None:
    unreachable = "look also at objects that nothing leads to"
    parser.add_argument("--unreachable", action="store_true", help=unreachable)
    parser.add_argument("--repair", action="store_true", help="make damaged or missing outboards anew")
    source = "put back what this other Space, copy or folder still has; may be repeated"
    parser.add_argument("--repair-from", metavar="BACKEND", action="append", default=[], help=source)
    _json(parser)


def _verify(parser: ArgumentParser) -> None:
    version = "a version: a label, an address, or a time (that of REF)"
    parser.add_argument("--as-of", metavar="VERSION", help=version)
    _json(parser)


def _depth(parser: ArgumentParser) -> None:
    depth = "how many versions behind each ref to copy (all that are there)"
    parser.add_argument("--depth", metavar="N", type=whole_number, help=depth)
    _json(parser)


def _push(parser: ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="all refs, snapshots too")
    force = "move refs that have commits of their own there, too; these commits are then lost to the ref"
    parser.add_argument("--force", action="store_true", help=force)
    _depth(parser)


def _mirror(parser: ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask before refs are removed")
    parser.add_argument(
        "--dry-run", action="store_true", help="only tell which refs would move or be removed"
    )
    _depth(parser)


def _cache(parser: ArgumentParser) -> None:
    less = parser.add_mutually_exclusive_group()
    less.add_argument("--clear", action="store_true", help="remove all of it")
    limit = "remove what was not used for longest, until no more than SIZE is left, such as 2GB"
    less.add_argument("--limit", metavar="SIZE", type=byte_count, help=limit)
    where = "the local cache; else $DREAMDB_CACHE_DIR, else ~/.cache/dreamdb-arrow"
    parser.add_argument("--cache-dir", metavar="DIR", help=where)
    _json(parser)


def _demo(parser: ArgumentParser) -> None:
    folder = "where the demo keeps its Space and what it fetched (demo-data)"
    parser.add_argument("--dir", metavar="DIR", type=Path, default=Path("demo-data"), help=folder)
    parser.add_argument("--query", metavar="SENTENCE", help="what the semantic search looks for")


def _token(parser: ArgumentParser) -> None:
    key = "the file of keys: the first signs; --new-key makes it"
    parser.add_argument("--key", metavar="FILE", type=Path, required=True, help=key)
    parser.add_argument("--new-key", action="store_true", help="make the file, which must not be there yet")
    parser.add_argument("--user", metavar="NAME", help="for whom, as logs will tell")
    refs = "which refs, such as sales, 'sales/*' or '*'; may be repeated"
    parser.add_argument("--refs", metavar="PATTERN", action="append", default=[], help=refs)
    verbs = (
        "read (unless told otherwise), append, branch, compact, create, delete, flush, index, merge, revert or snapshot; "
        "may be repeated"
    )
    parser.add_argument("--verbs", metavar="VERB", action="append", default=[], help=verbs)
    between = "only rows with t0 <= _anchor < t1, as nanoseconds or timestamps; such a token only reads"
    parser.add_argument("--t0", metavar="TIME", help=between)
    parser.add_argument("--t1", metavar="TIME", help="where that ends")
    parser.add_argument(
        "--expires", metavar="TIME", default="1h", help="for how long, such as 30m, 8h, 7d (1h)"
    )
    memory = "what its statements together may use"
    parser.add_argument("--memory", metavar="SIZE", type=byte_count, help=memory)
    parser.add_argument(
        "--max-seconds", metavar="S", type=whole_number, help="how long one statement may take"
    )
    parser.add_argument(
        "--max-rows", metavar="N", type=whole_number, help="how many rows one statement may give"
    )
    parser.add_argument(
        "--show", metavar="TOKEN", help="instead, check a token and tell what it says; - for stdin"
    )
    _json(parser)


def _serve(parser: ArgumentParser) -> None:
    where = "where to listen, such as grpc://127.0.0.1:31337; grpc+tls:// with a certificate; port 0 takes a free one"
    parser.add_argument("--flight-sql", metavar="URL", help=where)
    pg = "where to speak as PostgreSQL does, such as 127.0.0.1:5433; port 0 takes a free one"
    parser.add_argument("--pg", metavar="HOST:PORT", help=pg)
    users = "a file of users, a line each: name:read:password or name:write:password (all may come and write)"
    parser.add_argument("--users", metavar="FILE", type=Path, help=users)
    keys = "a file of keys, a line each: whoever has a token that one of them signed may do what it says"
    parser.add_argument("--token-keys", metavar="FILE", type=Path, help=keys)
    parser.add_argument("--tls-cert", metavar="FILE", type=Path, help="the certificate, in PEM")
    parser.add_argument("--tls-key", metavar="FILE", type=Path, help="its private key, in PEM")
    parser.add_argument(
        "--audit-log", metavar="FILE", type=Path, help="note each request there as a line of JSON"
    )
    metrics = "where to serve /metrics for Prometheus, /healthz and /readyz over HTTP, such as 127.0.0.1:9464"
    parser.add_argument("--metrics", metavar="HOST:PORT", help=metrics)
    memory = "what all statements of one caller together may use (4GB)"
    parser.add_argument("--memory", metavar="SIZE", type=byte_count, default=4_000_000_000, help=memory)
    seconds = "how long one statement may take (300)"
    parser.add_argument("--max-seconds", metavar="S", type=some_number, default=300.0, help=seconds)
    rows = "how many rows one statement may give (any number)"
    parser.add_argument("--max-rows", metavar="N", type=whole_number, help=rows)


VERBS: Final = MappingProxyType(
    {
        "sql": Verb(
            "BACKEND [QUERY ...] [-c SQL] [--file F] [--json | --csv | --arrow FILE] [--max-rows N]",
            "run SQL on a Space",
            "Each ref of the Space is a view, and the table functions (dreamdb_scan, dreamdb_search, dreamdb_history\n"
            "and more) are there. Without SQL, a terminal gets a prompt; otherwise the SQL is read from stdin.\n"
            "Tables show embeddings and media in brief; JSON and CSV have them whole, media as base64. How many rows\n"
            "there were and how long that took is told on stderr, if that is a terminal. Of a federation, whose document\n"
            "BACKEND names (its name ends in .json), the rows of all members are the view `federation`.",
            (
                'dreamdb sql space "SELECT label, count(*) FROM hello GROUP BY label"',
                "dreamdb sql space -c \"SELECT n, _distance FROM dreamdb_search('hello', 'v', [1, 2], k := 3)\" --json",
                'dreamdb sql space "FROM hello" --arrow hello.arrow',
                'echo "FROM dreamdb_refs()" | dreamdb sql space --csv',
            ),
            ("backend", "query"),
            1,
            _sql,
        ),
        "inspect": Verb(
            "BACKEND [REF] [--max-depth N] [--json]",
            "list the refs of a Space, or the history and the Tracks of one",
            "Without REF: the refs and what each of them names. With REF: how many rows there are, the fields (those\n"
            "that cannot be read with the reason), the Tracks with the rows that a flush would bring into them, and\n"
            "the versions, newest first.",
            (
                "dreamdb inspect space",
                "dreamdb inspect space hello --max-depth 3",
                "dreamdb inspect --backend file://space --ref-name hello --max-depth 10 --json",
            ),
            ("backend", "ref"),
            1,
            _inspect,
        ),
        "snapshot": Verb(
            "BACKEND REF LABEL [--json]",
            "name the present version of a ref for good",
            "The snapshot is the ref REF@LABEL, and stays when REF moves on.",
            (
                "dreamdb snapshot space hello first",
                "dreamdb snapshot --backend file://space --ref-name hello --label second",
            ),
            ("backend", "ref", "label"),
            3,
            _json,
        ),
        "branch": Verb(
            "BACKEND REF NEW_REF [--as-of V] [--json]",
            "make a ref that goes on from another one",
            "Nothing is copied. Writes to one of the two refs leave the other alone.",
            ("dreamdb branch space hello draft", "dreamdb branch space hello old --as-of first"),
            ("backend", "ref", "new_ref"),
            3,
            _branch,
        ),
        "log": Verb(
            "BACKEND REF [--graph] [--max-depth N] [--json]",
            "list the versions of a ref, newest first",
            "Follows first parents; --graph shows all that the ref descends from: `*` where a version is, `+` where another line\n"
            "of versions comes to it. Refs that name a version stand behind it.",
            ("dreamdb log space hello", "dreamdb log space hello --graph --max-depth 30"),
            ("backend", "ref"),
            2,
            _log,
        ),
        "diff": Verb(
            "BACKEND REF OTHER [--max-rows N] [--json]",
            "tell which rows and fields changed from one version to another",
            "With --json, a line for each change. What both versions share is not read.",
            ("dreamdb diff space hello@first hello", "dreamdb diff space hello night --json"),
            ("backend", "ref", "other"),
            3,
            _diff,
        ),
        "revert": Verb(
            "BACKEND REF VERSION [--json]",
            "make a new version that is as an old one was",
            "Nothing is undone: the versions since stay in the history. Rows that were deleted since come back.",
            ("dreamdb revert space hello first",),
            ("backend", "ref", "version"),
            3,
            _json,
        ),
        "delete-ref": Verb(
            "BACKEND REF GONE [--json]",
            "delete a branch or a snapshot",
            "REF is another ref of the Space, which stays. What only the deleted ref named can then be collected by gc.",
            ("dreamdb delete-ref space hello draft",),
            ("backend", "ref", "gone"),
            3,
            _json,
        ),
        "delete": Verb(
            "BACKEND REF (--anchor A ... | --anchors-file F | [--where CONDITION] [--t0 A] [--t1 A]) [--reason TEXT] [--yes] [--dry-run]",
            "hide rows from all later reads of a ref",
            "Older versions, and snapshots, still show the rows. On a terminal you are asked first, unless --yes is\n"
            "given; elsewhere you are not.",
            (
                "dreamdb delete space hello --where \"label = 'b' AND n < 5\" --dry-run",
                "dreamdb delete space hello --where \"label = 'b' AND n < 5\" --reason gdpr --yes",
                "dreamdb delete space hello --t1 1700000000000000000 --reason 'kept for a year' --yes",
                "dreamdb delete space hello --anchor 1700000000000000000 --anchor 1700000001000000000 --yes",
                "dreamdb delete space hello --anchors-file gone.txt --yes",
            ),
            ("backend", "ref"),
            2,
            _delete,
        ),
        "flush": Verb(
            "BACKEND REF [--json]",
            "bring the Tracks, which other SDKs read, up to date",
            "Appended rows lie in stripes first. A flush writes them into the Tracks of their fields as well; it\n"
            "changes no row.",
            ("dreamdb flush space hello",),
            ("backend", "ref"),
            2,
            _json,
        ),
        "merge": Verb(
            "BACKEND REF BRANCH [--strategy S] [--conflicts P] [--json]",
            "bring the rows of another ref into this one",
            "A fast-forward moves REF to BRANCH's version. A union writes a version that has the rows of both; what is\n"
            "deleted on either side stays deleted. Refs whose schema or metadata differ are not united.",
            (
                "dreamdb merge space side hello",
                "dreamdb merge space hello night --strategy union-tracks",
                "dreamdb merge space hello side --strategy union-tracks --conflicts theirs",
            ),
            ("backend", "ref", "branch"),
            3,
            _merge,
        ),
        "merge-many": Verb(
            "BACKEND REF BRANCHES ... [--json]",
            "bring the rows of several branches into one ref",
            "Branches that share no row become one version. Others are united one after another, each a version of its\n"
            "own: if one cannot be made, those before it stay, and the same command goes on from there.",
            ("dreamdb merge-many space hello night side",),
            ("backend", "ref", "branches"),
            3,
            _json,
        ),
        "compact": Verb(
            "BACKEND REF [--stripes-only | --tracks-only] [--modality M] [--threshold N] [--json]",
            "make few large pieces of what many appends left",
            "Stripes become large ones without deleted rows and with just the columns of the schema, so that scans are\n"
            "fast. Of the Tracks, which other SDKs read, each scalar column becomes one bucket, each crowded cell of\n"
            "vectors too. No row changes, and older versions stay as they are; gc frees what only they need. After an\n"
            "interruption the same command goes on.",
            (
                "dreamdb compact space hello",
                "dreamdb compact space hello --stripes-only",
                "dreamdb compact space hello --modality scalar.i64.field=n --json",
            ),
            ("backend", "ref"),
            2,
            _compact,
        ),
        "index": Verb(
            "status BACKEND REF [FIELD] [--sample N] [--nprobe N] [--json]",
            "tell how full the cells of embeddings are, and what a search by cells finds",
            "For each embedding field, or for FIELD: its cells and the rows in them, the largest cell beside the mean, rows\n"
            "that no flush has brought into cells, the bytes of codes, and recall: which share of their 10 nearest others\n"
            "some rows find when N cells are read.",
            ("dreamdb index status space hello", "dreamdb index status space hello v --nprobe 8 --json"),
            ("question", "backend", "ref", "field"),
            3,
            _index,
        ),
        "rebuild-ivf": Verb(
            "BACKEND REF FIELD [-k N] [--sample N] [--seed N] [--json]",
            "train the cells of a field anew and file every row in them",
            "For fields of ivf-cosine and imi-cosine whose rows have outgrown their cells. One commit; older versions keep\n"
            "their cells. Rows that are not flushed are filed by the next flush. After an interruption the same command\n"
            "goes on.",
            ("dreamdb rebuild-ivf space hello v", "dreamdb rebuild-ivf space hello v -k 4 --json"),
            ("backend", "ref", "field"),
            3,
            _rebuild_ivf,
        ),
        "ada-ivf-step": Verb(
            "BACKEND REF FIELD [--stage S] [--target X] [--seed N] [--json]",
            "cut cells that hold too much, give up small ones",
            "For fields of ivf-cosine, when some cells hold far more rows than others. Four stages: measure how full the\n"
            "cells are, plan which there shall be, refile the rows, publish it as one commit. All of them, or one a process;\n"
            "these share --cache-dir. Each may be killed and run again, and the Space is readable throughout.",
            (
                "dreamdb ada-ivf-step space hello v",
                "dreamdb ada-ivf-step space hello v --stage measure --target 3",
            ),
            ("backend", "ref", "field"),
            3,
            _ada_ivf_step,
        ),
        "gc": Verb(
            "BACKEND [--keep-manifests N] [--keep-days D] [--keep-since-secs S] [--root VERSION] [--shard I/N] "
            "[--delete] [--writers-paused] [--json]",
            "tell or remove what no ref leads to any more",
            "Only tells, unless --delete is given. Writers go on meanwhile: what is younger than an hour stays, so that a commit\n"
            "under way keeps what it has written. Give --keep-since-secs more when commits take longer. Writers of the reference\n"
            "SDK have to be paused, since they do not say what they use again. When it is interrupted, run it again.",
            (
                "dreamdb gc space",
                "dreamdb gc space --keep-days 30 --delete",
                "dreamdb gc space --shard 3/16 --delete --json",
                "dreamdb gc space --keep-manifests 0 --delete --writers-paused",
            ),
            ("backend",),
            1,
            _gc,
        ),
        "purge": Verb(
            "BACKEND [REF ...] [--anchor A ...] [--anchors-file F] [--reason TEXT] [--report FILE] [--dry-run] [--yes] "
            "[--writers-paused] [--json]",
            "take the bytes of deleted rows out of all versions",
            "Rows that were deleted are still there in older versions, snapshots and files. This writes every version of the refs\n"
            "(all of them, unless some are named) again that leads to them, moves the refs, removes the old objects, clears the\n"
            "local cache, and reads everything once more. Other rows stay; versions from before the rows came keep their\n"
            "addresses. Garbage that is younger than an hour stays, unless --writers-paused is given. The report holds no value\n"
            "of any row. Copies elsewhere are not touched. When it is interrupted, run it again.",
            (
                "dreamdb purge space --dry-run",
                "dreamdb purge space --reason 'request 4711' --report erased.json --writers-paused --yes",
                "dreamdb purge space hello hello@first --anchor 1700000000000000000 --yes",
            ),
            ("backend", "refs"),
            1,
            _purge,
        ),
        "fsck": Verb(
            "BACKEND [REF ...] [--unreachable] [--repair] [--repair-from BACKEND] [--json]",
            "check that all objects are there, whole, and fit together",
            "Follows refs with their histories. Each object is hashed and must have the one form of its kind; indexes, counts,\n"
            "orders, outboards, and stripes beside Tracks must agree. Tells each thing that is wrong, and exits with 1 then.\n"
            "Bytes that come from elsewhere are checked against their addresses before they are put back.",
            (
                "dreamdb fsck space",
                "dreamdb fsck space hello --json",
                "dreamdb fsck space --repair",
            ),
            ("backend", "refs"),
            1,
            _fsck,
        ),
        "verify": Verb(
            "BACKEND REF [--as-of VERSION] [--json]",
            "check one version as fsck does",
            "Without the versions before it. Exits with 1 when something is wrong.",
            ("dreamdb verify space hello", "dreamdb verify space hello --as-of first --json"),
            ("backend", "ref"),
            2,
            _verify,
        ),
        "clone": Verb(
            "BACKEND REMOTE [REFS ...] [--depth N] [--json]",
            "copy a Space, or some of its refs, to another backend",
            "All that the refs lead to is copied, each object checked against its address; then the refs move. After an\n"
            "interruption the same command goes on. A ref that has commits of its own there is refused, before any copy.",
            ("dreamdb clone space copy", "dreamdb clone space copy hello night --depth 0 --json"),
            ("backend", "remote", "refs"),
            2,
            _depth,
        ),
        "push": Verb(
            "BACKEND REMOTE (REFS ... | --all) [--force] [--depth N] [--json]",
            "bring refs of a Space, and what they lead to, to another backend",
            "What is there already is not copied again. A ref there that has commits which this one has not stays as it\n"
            "is, unless --force is given.",
            ("dreamdb push space copy hello", "dreamdb push space copy --all --force --json"),
            ("backend", "remote", "refs"),
            2,
            _push,
        ),
        "pull": Verb(
            "BACKEND REMOTE (REFS ... | --all) [--force] [--depth N] [--json]",
            "bring refs of another backend, and what they lead to, into a Space",
            "As push, the other way round.",
            ("dreamdb pull space copy hello", "dreamdb pull space copy --all --json"),
            ("backend", "remote", "refs"),
            2,
            _push,
        ),
        "mirror": Verb(
            "BACKEND REMOTE [--yes] [--dry-run] [--depth N] [--json]",
            "make the refs of another backend those of a Space",
            "All refs move there, whatever they were, and those that the Space has not are removed; you are asked first.\n"
            "Objects that nothing leads to any more stay until a gc there.",
            ("dreamdb mirror space copy --dry-run", "dreamdb mirror space copy --yes --json"),
            ("backend", "remote"),
            2,
            _mirror,
        ),
        "cache": Verb(
            "[--clear | --limit SIZE] [--cache-dir DIR] [--json]",
            "tell what the local cache holds, and make it smaller",
            "All of it can be made or fetched again. A query that runs while files go may have to be asked again.",
            ("dreamdb cache", "dreamdb cache --limit 2GB --json", "dreamdb cache --clear"),
            (),
            0,
            _cache,
        ),
        "serve": Verb(
            "BACKEND [--flight-sql URL] [--pg HOST:PORT] [--users FILE] [--token-keys FILE] [--tls-cert FILE --tls-key FILE] "
            "[--audit-log FILE] [--metrics HOST:PORT] [--memory SIZE] [--max-seconds S] [--max-rows N]",
            "serve a Space to ADBC, Flight SQL, Arrow Flight and PostgreSQL clients",
            "Needs an extra: pip install 'dreamdb-arrow[flight]' for --flight-sql, 'dreamdb-arrow[pg]' for --pg (psql, psycopg,\n"
            "asyncpg, BI tools). Clients query the refs as tables, with all table functions; over Flight they append rows by bulk ingest.\n"
            "Their SQL reads this Space and nothing else. Without --users and --token-keys anybody who reaches the port may read and\n"
            "write, so that is for this machine only; elsewhere TLS is asked for, too. On the PostgreSQL wire a token is given as the\n"
            "password. What is cached goes to a folder of the server's own, unless --cache-dir is given. Ctrl-C ends it.\n"
            "--metrics needs the extra [metrics]. With OpenTelemetry installed (extra [otel]), each call is a span, too.",
            (
                "dreamdb serve space --flight-sql grpc://127.0.0.1:31337",
                "dreamdb serve space --pg 127.0.0.1:5433",
                "dreamdb serve space --flight-sql grpc+tls://0.0.0.0:31337 --users users --tls-cert a.crt --tls-key a.key",
            ),
            ("backend",),
            1,
            _serve,
        ),
        "token": Verb(
            "--key FILE [--new-key] --user NAME --refs PATTERN [--verbs VERB] [--t0 TIME] [--t1 TIME] [--expires TIME] "
            "[--memory SIZE] [--max-seconds S] [--max-rows N] [--json] | --key FILE --show TOKEN [--json]",
            "issue a token for a server, or show what one says",
            "A token lets its bearer do some things with some refs for some time, on servers that have its key (dreamdb serve\n"
            "--token-keys). Clients send it as a bearer token, or where a password is asked for. Keep the file of keys to\n"
            "yourself: whoever reads it can issue any token.",
            (
                "dreamdb token --key keys --new-key --user ann --refs 'sales/*' --expires 8h",
                "dreamdb token --key keys --user bob --refs hello --t0 2026-01-01 --t1 2026-02-01",
                "dreamdb token --key keys --user loader --refs hello --verbs read --verbs append --expires 30d",
                "TOKEN=$(dreamdb token --key keys --user eve --refs hello); echo $TOKEN | dreamdb token --key keys --show -",
            ),
            (),
            0,
            _token,
        ),
        "completions": Verb(
            "SHELL",
            "print what a shell needs to complete verbs and options",
            "For bash, put the line into ~/.bashrc; for zsh, into ~/.zshrc after compinit; for fish, write the output to\n"
            "~/.config/fish/completions/dreamdb.fish.",
            (
                'eval "$(dreamdb completions bash)"',
                "dreamdb completions fish",
            ),
            ("shell",),
            1,
            _nothing,
        ),
        "demo": Verb(
            "[--dir DIR] [--query SENTENCE]",
            "fetch real data, build a Space and show a tour of SQL",
            "Needs the extra: pip install 'dreamdb-arrow[demo]'.",
            ("dreamdb demo", 'dreamdb demo --dir /tmp/demo --query "a large body of water"'),
            (),
            0,
            _demo,
        ),
    }
)
