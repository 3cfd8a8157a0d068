"""What a run is told: how large its jobs are, which peers take part, and where things go."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.ours import Stripes
from benchmarks.peers import OUR_NAMES, STORES


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each job does."""

    rows: int = 1_000_000  # ingest and scans
    commits: int = 100
    rounds: int = 9  # of what is warm
    colds: int = 5  # new processes
    opens: int = 15  # new processes where only milliseconds are at stake
    small_commits: int = 1000  # of 100 rows
    many_versions: int = 100_000
    access_rows: int = 20_000
    access_keys: int = 1000
    reference_rows: int = 20_000
    stream_gb: float = 10
    scaling: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    scaling_commit: int = 10_000
    search_rows: int = 400_000
    mixture_rows: int = 1_000_000
    search_queries: int = 1000
    growth: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    growth_appends: int = 100
    branch_rows: int = 10_000  # a branch, of 16
    merges: int = 5
    refs: int = 1000


SIZES: Final = {
    "full": Sizes(),
    "quick": Sizes(
        rows=500_000,
        rounds=7,
        colds=3,
        opens=9,
        small_commits=300,
        many_versions=2000,
        access_rows=5000,
        reference_rows=2000,
        stream_gb=1,
        scaling=(100_000, 1_000_000),
        search_rows=50_000,
        mixture_rows=50_000,
        search_queries=300,
        growth=(100_000, 400_000),
        growth_appends=20,
        branch_rows=1000,
        merges=3,
    ),
    "smoke": Sizes(
        rows=2000,
        commits=4,
        rounds=1,
        colds=1,
        opens=1,
        small_commits=6,
        many_versions=12,
        access_rows=100,
        access_keys=10,
        reference_rows=50,
        stream_gb=0.004,
        scaling=(2000, 4000),
        scaling_commit=1000,
        search_rows=800,
        mixture_rows=800,
        search_queries=20,
        growth=(1000, 2000),
        growth_appends=2,
        branch_rows=60,
        merges=1,
        refs=20,
    ),
}


@dataclass(frozen=True, slots=True)
class Setup:
    """Sizes, the names of the peers that take part, a scratch folder, and where made tables lie (by peer)."""

    sizes: Sizes
    peers: tuple[str, ...]
    work: Path
    noisy: bool = field(default_factory=sys.stderr.isatty)

    def taking_part(self, names: Iterable[str]) -> list[str]:
        """Return which of these peers take part; we always do."""
        always = (*OUR_NAMES, Stripes.name)
        return [name for name in names if name in always or name in self.peers]

    def say(self, text: str) -> None:
        """Tell how far it is, to someone who looks on."""
        if self.noisy:
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()

    def tell(self, text: str) -> None:
        """Tell what everyone should know, looking on or not."""
        self.say("")
        sys.stderr.write(f"{text}\n")


def folder(work: Path, job: str, name: str) -> Path:
    """Return where the table of a peer lies."""
    assert name in STORES
    return work / job / name.replace(", ", "-").replace(" ", "-")
