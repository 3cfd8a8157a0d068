"""The whole demo on its real data; slow, and only where `make demo` has fetched them: no test downloads anything."""

import io
from pathlib import Path
from time import perf_counter

import pytest
from rich.console import Console

from dreamdb_arrow import connect
from dreamdb_arrow.demo import run_demo
from dreamdb_arrow.demo.build import PARTS
from dreamdb_arrow.demo.data import is_complete

DOWNLOADS = Path(__file__).parents[2] / "demo-data" / "downloads"
CACHED = all(is_complete(DOWNLOADS / source.package, source) for source, _, _ in PARTS.values())

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CACHED, reason=f"no downloads under {DOWNLOADS}: run `make demo` first"),
]


def test_from_downloads_to_the_last_line(tmp_path):
    (tmp_path / "downloads").symlink_to(DOWNLOADS)
    console = Console(file=io.StringIO(), width=100)
    begun = perf_counter()
    assert run_demo(tmp_path, None, console) == 0
    assert perf_counter() - begun < 180
    said = console.file.getvalue()
    assert "fetching" not in said
    assert "Schadenfreude" in said
    assert "Go on:" in said
    con = connect(tmp_path / "space")
    rows = {name: con.sql(f'SELECT count(*) FROM "{name}"').fetchall()[0][0] for name in PARTS}
    assert rows == {"flights": 336_776 - 3, "weather": 26_115, "words": 117_659, "fashion": 5_000}
    assert con.sql('SELECT count(*) FROM "flights@2013"').fetchall() == [(336_776,)]
    con.close()
