"""What the documents show, works: each block of README.md and docs/ is run, in a folder of its own a page.

A page is one session, from top to bottom: its Python blocks share their names, its SQL blocks run on the connection
`con` that the Python blocks made, its `$ dreamdb ...` lines find the folder as the blocks above left it. A block that
does not run says why: ```python no-run: the reason.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.dialects import registry

ROOT = Path(__file__).parents[1]
# In place of the entry points, which a checkout that is not installed does not have.
registry.register("dreamdb", "dreamdb_arrow.clients.dialect", "InProcess")
registry.register("dreamdb.flightsql", "dreamdb_arrow.clients.dialect", "FlightSql")
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
OPENING = re.compile(r"^```(?P<info>.*)$")
RUN = {"python", "sql", "console"}
SHOWN = {"text", ""}  # drawings and output
LOOKS_LIKE_CODE = re.compile(r"^(import |from \w+ import |\$ |SELECT |FROM )", re.MULTILINE)
NOT_RUN = {"docs/architecture.md"}  # its signatures
BUCKET = "http://127.0.0.1:8333/test"  # where pages have a server; the tests have one elsewhere
CLI = "import sys; sys.argv[0] = 'dreamdb'; from dreamdb_arrow.cli import program; program()"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, why it is not run, its text, and the line on which the text begins."""

    language: str
    reason: str | None
    text: str
    line: int


def read_blocks(text):
    blocks, lines = [], iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        opening = OPENING.match(line)
        if not opening:
            continue
        body = []
        for _, inner in lines:
            if inner == "```":
                break
            body.append(inner)
        language, _, rest = opening["info"].strip().partition(" ")
        reason = rest.removeprefix("no-run").lstrip(":").strip() if rest.startswith("no-run") else None
        blocks.append(Block(language, reason, "\n".join(body), number + 1))
    return blocks


def commands_of(text):
    """Return the `$ dreamdb ...` lines of a console block, continued lines joined, as argument lists."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [
        shlex.split(line.removeprefix("$ ")) for line in joined.splitlines() if line.startswith("$ dreamdb ")
    ]


def run_python(block, page, names):
    padded = "\n" * (block.line - 1) + block.text
    exec(compile(padded, str(page), "exec"), names)  # so that a traceback points into the page


def run_sql(block, page, names):
    assert "con" in names, f"{page.name}:{block.line}: no Python block above makes `con`"
    names["con"].execute(block.text).fetchall()


def run_console(block, page, names):
    for command in commands_of(block.text):
        done = run_cli(*command[1:])
        assert done.returncode == 0, (
            f"{page.name}:{block.line}: {shlex.join(command)}\n{done.stdout}{done.stderr}"
        )
    for line in others_of(block.text):
        ours = f'dreamdb() {{ {shlex.join([sys.executable, "-c", CLI])} "$@"; }}; set -o pipefail; {line}'
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["bash", "-c", ours], capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, f"{page.name}:{block.line}: {line}\n{done.stderr}"


def others_of(text):
    """Return the `$` lines that are other than a plain `$ dreamdb ...`; those of make are targets, which another test looks at."""
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]
    return [line for line in lines if not line.startswith(("dreamdb ", "make "))]


def run_cli(*arguments):
    """Run the command as a user would, in this folder, from the sources."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CLI, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)


RUNNERS = {"python": run_python, "sql": run_sql, "console": run_console}


def pages_with_blocks():
    return [p for p in PAGES if any(b.language in RUN for b in read_blocks(p.read_text(encoding="utf-8")))]


@pytest.mark.parametrize("page", pages_with_blocks(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_blocks_run(page, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    names, text = {"__name__": "__main__"}, page.read_text(encoding="utf-8")
    if BUCKET in text:
        text = text.replace(BUCKET, request.getfixturevalue("seaweed_url"))
    for block in read_blocks(text):
        if block.language in RUNNERS and block.reason is None:
            RUNNERS[block.language](block, page, names)


def test_no_block_is_left_out():
    """Each block runs, says why it does not, or is a drawing or output; what looks like code is none of these."""
    blocks = [(p, b) for p in PAGES for b in read_blocks(p.read_text(encoding="utf-8"))]
    left_out = []
    for page, block in blocks:
        runs = block.language in RUN and (block.reason is None or len(block.reason) > 10)
        shown = block.language in SHOWN and not LOOKS_LIKE_CODE.search(block.text)
        if not runs and not shown:
            left_out.append(f"{page.name}:{block.line}")
    assert left_out == []
    unrun = {p.relative_to(ROOT).as_posix() for p, b in blocks if b.reason and b.language != "console"}
    assert unrun == NOT_RUN


def test_each_macro_is_documented():
    text = "\n".join(p.read_text(encoding="utf-8") for p in PAGES)
    macros = {
        m
        for p in ROOT.glob("sql/*.sql")
        for m in re.findall(r"(?i)\bMACRO\s+(dreamdb_\w+)", p.read_text(encoding="utf-8"))
    }
    assert sorted(m for m in macros if f"{m}(" not in text) == []


def test_each_cli_verb_is_documented():
    done = run_cli("--help")
    assert done.returncode == 0, done.stderr
    listed = re.search(r"\{([a-z,-]+)\}", done.stdout)
    verbs = (
        listed[1].split(",")
        if listed
        else re.findall(r"^ {4}([a-z][a-z-]+)(?: {2,}|$)", done.stdout, re.MULTILINE)
    )
    assert verbs
    text = "\n".join(p.read_text(encoding="utf-8") for p in PAGES)
    assert [v for v in verbs if f"dreamdb {v}" not in text] == []


# --- the reading of pages itself ----------------------------------------------------------------------------

SAMPLE = """\
```python
x = 1
```
text
```python no-run: needs a server
y = 2
```
```console
$ dreamdb inspect --backend file://a \\
    --max-depth 3
output
$ make demo
```
"""


def test_blocks_are_found_with_their_lines_and_reasons():
    assert [(b.language, b.reason, b.line) for b in read_blocks(SAMPLE)] == [
        ("python", None, 2),
        ("python", "needs a server", 6),
        ("console", None, 9),
    ]


def test_commands_are_joined_and_only_ours():
    assert commands_of(read_blocks(SAMPLE)[2].text) == [
        ["dreamdb", "inspect", "--backend", "file://a", "--max-depth", "3"]
    ]


def test_a_failing_block_points_into_its_page(tmp_path):
    page = tmp_path / "page.md"
    with pytest.raises(ZeroDivisionError) as caught:
        run_python(Block("python", None, "x = 0\n1 / x", 7), page, {})
    assert caught.traceback[-1].lineno + 1 == 8
