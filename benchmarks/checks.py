"""What must show: each line with its limit, and how it is told from the figures of a run.

A ratio is always ours to the peer, by the figure's own unit: of milliseconds, 1.1 is ten percent slower; of rows a second, 1.5
is half as much again. Where a line speaks of every query, the worst one counts and is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from benchmarks.jobs import copying
from benchmarks.jobs.branches import WRITTEN, WRITTEN_BY
from benchmarks.jobs.growth import APPENDED_TO, BUILT, MEMORY, QUERY
from benchmarks.jobs.memory import ENGINE_LIMIT_GB, SCAN_PEAKS
from benchmarks.jobs.reference import SDK
from benchmarks.jobs.scaling import FIXED_RANGE
from benchmarks.jobs.vector_bytes import CODES, LAST, RAW
from benchmarks.measure import Figure
from benchmarks.ours import Stripes

FSYNC, OS = "ours, fsync", "ours, os"
Found = tuple[float, str]  # a value, and whose it is where there are several


class Figures:
    """The figures of a run, by job, name and whose they are."""

    def __init__(self, figures: Iterable[Figure]) -> None:
        self._by_key: dict[tuple[str, str, str], float] = {(f.job, f.name, f.who): f.value for f in figures}

    def value(self, job: str, name: str, who: str) -> float | None:
        """Return a figure, or None where it was not measured."""
        return self._by_key.get((job, name, who))

    def names(self, job: str, word: str = "") -> list[str]:
        """Return the names of the figures of a job that have a word in them, in order."""
        return list(dict.fromkeys(name for j, name, _ in self._by_key if j == job and word in name))

    def whos(self, job: str, name: str) -> list[str]:
        """Return whose figures of that name there are, in order."""
        return [who for j, n, who in self._by_key if (j, n) == (job, name)]


Measure = Callable[[Figures], Iterator[Found]]


@dataclass(frozen=True, slots=True)
class Check:
    """A line that must show: `limit` is what the worst of `measure` may be, at least or at most."""

    letter: str
    what: str
    limit: float
    measure: Measure
    least: bool = False
    unit: str = ""

    def judge(self, figures: Figures) -> Verdict | None:
        """Return the worst value and whether the limit is kept; None when nothing of it was measured."""
        found = list(self.measure(figures))
        if not found:
            return None
        value, where = min(found) if self.least else max(found)
        kept = value >= self.limit if self.least else value <= self.limit
        return Verdict(self, value, where, kept=kept)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check came to."""

    check: Check
    value: float
    where: str
    kept: bool


# ---------------------------------------------------------------- ways to measure


def values(job: str, names: Sequence[str], who: str, less: float = 0) -> Measure:
    """Some figures as they are, or less something."""

    def measure(figures: Figures) -> Iterator[Found]:
        for name in names:
            value = figures.value(job, name, who)
            if value is not None:
                yield value - less, name if len(names) > 1 else ""

    return measure


def beside(job: str, name: str, ours: str, peers: Sequence[str]) -> Measure:
    """One figure as a ratio to each of some peers."""

    def measure(figures: Figures) -> Iterator[Found]:
        for peer in peers:
            top, bottom = figures.value(job, name, ours), figures.value(job, name, peer)
            if top is not None and bottom:
                yield top / bottom, peer

    return measure


def each(job: str, word: str, ours: str, peer: str, other: str | None = None) -> Measure:
    """All figures with a word in their names as ratios to a peer, or to another where the peer has none."""

    def measure(figures: Figures) -> Iterator[Found]:
        for name in figures.names(job, word):
            top, bottom = figures.value(job, name, ours), figures.value(job, name, peer)
            bottom = bottom if bottom is not None or other is None else figures.value(job, name, other)
            if top is not None and bottom:
                yield top / bottom, name

    return measure


def all_of(job: str, word: str, whos: Sequence[str]) -> Measure:
    """All figures with a word in their names, of some of those who have them."""

    def measure(figures: Figures) -> Iterator[Found]:
        for name in figures.names(job, word):
            for who in whos:
                value = figures.value(job, name, who)
                if value is not None:
                    yield value, f"{name}, {who}"

    return measure


def all_with(job: str, word: str) -> Measure:
    """All figures with a word in their names, whosever they are."""

    def measure(figures: Figures) -> Iterator[Found]:
        for name in figures.names(job, word):
            yield from all_of(job, name, figures.whos(job, name))(figures)

    return measure


def two_names(job: str, names: tuple[str, str], who: str) -> Measure:
    """The second of two figures as a ratio to the first."""

    def measure(figures: Figures) -> Iterator[Found]:
        first, last = (figures.value(job, name, who) for name in names)
        if last is not None and first:
            yield last / first, ""

    return measure


def growth(job: str, names: Sequence[str]) -> Measure:
    """What a figure grows by from each of its columns to the next."""

    def measure(figures: Figures) -> Iterator[Found]:
        for name in names:
            whos = figures.whos(job, name)
            for before, after in pairwise(whos):
                a, b = figures.value(job, name, after), figures.value(job, name, before)
                if a is not None and b:
                    yield a / b, f"{name}, {before} to {after}"

    return measure


PLAIN, LANCE = "parquet", "lance"
RANGES: Final = ("time range, t0 and t1, warm",)
COMMITS: Final = ("a commit, first ones", "a commit, last ones")
SEARCHES: Final = "ours"
IN_SQL: Final = ("GloVe: one query in SQL, with two columns",)
CONDITIONS: Final = tuple(
    f"{c}: {{}}within 1% ({w})" for c in ("GloVe", "mixture") for w in ("category", "time")
)
RECALLS_1: Final = tuple(c.format("recall ") for c in CONDITIONS)


def within(way: str) -> tuple[str, ...]:
    """Return the names of the figures of searches with a condition, in Python or SQL."""
    return tuple(f"{c.format('')}, {way}" for c in CONDITIONS)


def merges(figures: Figures) -> Iterator[Found]:
    """Yield merges to appends of the same rows; of branches that both SDKs wrote, to half of each one's."""
    for merge, append in zip(
        figures.names("branches", "merge_many"), figures.names("branches", "one append"), strict=True
    ):
        ours, theirs = (figures.value("branches", append, who) for who in ("ours", SDK))
        for who, one in zip(WRITTEN_BY, (ours, (ours or 0) / 2 + (theirs or 0) / 2, theirs), strict=True):
            taken = figures.value("branches", merge, WRITTEN + who)
            if taken and one:
                yield taken / one, f"{WRITTEN}{who}"


CHECKS: Final = (
    Check(
        "A",
        "ingest with `os`, rows/s to the faster of Parquet and Lance",
        1.5,
        beside("ingest", "rows a second", OS, (PLAIN, LANCE)),
        least=True,
    ),
    Check(
        "A",
        "ingest with `fsync`, rows/s to the faster of Parquet and Lance",
        1.0,
        beside("ingest", "rows a second", FSYNC, (PLAIN, LANCE)),
        least=True,
    ),
    Check("A", "bytes a row on disk", 545, values("ingest", ("bytes a row on disk",), FSYNC), unit="bytes"),
    Check(
        "B",
        "a query, warm, to `read_parquet` over files of the same layout",
        1.1,
        each("scans", ", warm", FSYNC, Stripes.name, PLAIN),
    ),
    Check("B", "a query, warm, to Lance through DuckDB", 1.0, each("scans", ", warm", FSYNC, LANCE)),
    Check("B", "the 0.1% time range, warm", 3, values("scans", RANGES, FSYNC), unit="ms"),
    Check(
        "B",
        "a query in a new process, open included, to plain Parquet",
        1.3,
        each("scans", ", cold", FSYNC, PLAIN),
    ),
    Check("C", "a small commit, the last ones to the first ones", 1.1, two_names("versions", COMMITS, FSYNC)),
    Check("C", "a small commit with `fsync`", 8, values("versions", COMMITS, FSYNC), unit="ms"),
    Check(
        "C",
        "bytes a row after `compact` and `gc`",
        700,
        values("versions", ("bytes a row on disk",), "ours, after compact and gc"),
        unit="bytes",
    ),
    Check(
        "C",
        "a scan of small commits to one of the same rows in one append",
        2.0,
        each("versions", "scan: ", FSYNC, "ours, one append"),
    ),
    Check(
        "C",
        "opening many versions to opening 10",
        1.5,
        growth("history", ("open latest, new process",)),
    ),
    Check(
        "D",
        "a scan with 1% deleted to one without",
        1.3,
        each("deletes", " rows in ", "ours, 1% deleted", "ours, before"),
    ),
    Check(
        "D", "the same after `compact`", 1.05, each("deletes", " rows in ", "ours, compacted", "ours, before")
    ),
    Check(
        "E",
        "whole rows with 20 KB images by random anchors, at once",
        40_000,
        values("access", ("random rows at once",), FSYNC),
        least=True,
        unit="rows/s",
    ),
    Check("E", "one such row", 1, values("access", ("one random row, as a dict",), FSYNC), unit="ms"),
    Check(
        "F",
        "`count(*)` of a Space of the reference SDK, the first time",
        2000,
        values("reference", ("count(*), empty cache",), "ours"),
        unit="ms",
    ),
    Check("F", "the same, then", 5, values("reference", ("count(*), warm",), "ours"), unit="ms"),
    Check(
        "G",
        "peak memory of appending a stream, above imports",
        1.0,
        values("memory", ("append of a stream: peak above imports",), "ours"),
        unit="GB",
    ),
    Check(
        "G",
        "peak memory of full scans, above imports and DuckDB's `memory_limit`",
        1.0,
        values("memory", SCAN_PEAKS, "ours", less=ENGINE_LIMIT_GB),
        unit="GB",
    ),
    Check(
        "6F",
        "`merge_many` of 16 branches to one append of their rows by who wrote them",
        1.5,
        merges,
    ),
    Check(
        "5B",
        "one query at recall 0.95, ms to FAISS IVF-Flat's",
        1.2,
        each("search", ": one query", SEARCHES, "faiss"),
    ),
    Check(
        "5B",
        "a batch at recall 0.95, queries a second to FAISS IVF-Flat's",
        0.9,
        each("search", " queries", SEARCHES, "faiss"),
        least=True,
    ),
    Check(
        "5B",
        "one query in SQL on GloVe, with two columns",
        2.5,
        values("search", IN_SQL, SEARCHES),
        unit="ms",
    ),
    Check(
        "5B",
        "queries as a join in SQL, a second, to Lance's batch",
        10,
        each("search", " as a join", SEARCHES, "lance"),
        least=True,
    ),
    Check("5D", "recall within 1% of the rows", 1.0, values("search", RECALLS_1, SEARCHES), least=True),
    Check(
        "5D",
        "one query within 1% of the rows, Python",
        1,
        values("search", within("Python"), SEARCHES),
        unit="ms",
    ),
    Check(
        "5D", "one query within 1% of the rows, SQL", 4, values("search", within("SQL"), SEARCHES), unit="ms"
    ),
    Check("5E", "one query in ten times the vectors", 3.16, growth("growth", (QUERY,))),
    Check(
        "5E",
        "memory of a process that searches 10,000,000 vectors, or fewer",
        256,
        all_with("growth", MEMORY),
        unit="MB",
    ),
    Check(
        "5E",
        "one query after 100 appends that no rebuild followed, to one over a fresh build",
        1.5,
        each("growth", f" rows: {QUERY}", APPENDED_TO, BUILT),
    ),
    Check(
        "5E",
        "bytes: vectors in raw cells, after `flush`, `compact` and `gc`, to their own bytes",
        1.15,
        all_of("vector_bytes", f" after {LAST}", (RAW,)),
    ),
    Check(
        "5E",
        "bytes: codes, exact vectors and outboards, to the bytes of the vectors",
        1.3,
        all_of("vector_bytes", f" after {LAST}", tuple(CODES)),
    ),
    *(
        Check(
            "8A",
            f"`COPY` to {who.removeprefix('ours, ')}, rows/s to a plain Parquet file",
            0.8,
            each("copying", "COPY", who, copying.PLAIN),
            least=True,
        )
        for who in copying.WHO
    ),
    Check(
        "8",
        "attaching 1,000 refs, in each way",
        500,
        all_with("catalog", "refs"),
        unit="ms",
    ),
    Check("H", "ingest of ten times the rows", 10.5, growth("scaling", ("ingest",))),
    Check("H", "a time range of 1,000 rows in ten times the rows", 1.3, growth("scaling", (FIXED_RANGE,))),
    Check("H", "one row in ten times the rows", 1.3, growth("scaling", ("one row",))),
    Check("H", "opening ten times the rows", 1.3, growth("scaling", ("open, new process",))),
)


def judge(figures: Iterable[Figure]) -> list[Verdict]:
    """Return the verdicts on all that was measured."""
    told = Figures(figures)
    return [verdict for check in CHECKS if (verdict := check.judge(told)) is not None]
