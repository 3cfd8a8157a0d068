"""docs/cli.md from the parsers of the command line: `--write` writes it, without it a stale page is an error."""
# ruff: noqa: INP001 - a script beside the pages

import os
import sys
from pathlib import Path
from typing import Final

from dreamdb_arrow.cli.parsers import main_parser, verb_parser
from dreamdb_arrow.cli.shell import HELP
from dreamdb_arrow.cli.verbs import VERBS

PAGE: Final = Path(__file__).with_name("cli.md")
WIDTH: Final = "110"
NOT_RUN: Final = {
    "demo": "fetches data from the registries",
    "serve": "serves until it is told to end; tests/unit/cli/test_serve.py runs it",
}
AFTER: Final = {"sql": f"At the prompt:\n\n```text\n{HELP}```\n"}

HEAD: Final = """\
# The command line

Made by `docs/generate_cli.py` from the parsers. The examples run on the Space that this block makes:

```python
from pathlib import Path

import dreamdb_arrow as vd

schema = (
    vd.Schema()
    .add_scalar_categorical("label")
    .add_scalar_int("n")
    .add_embedding("v", dim=2, algorithm="dreamdb.ivf-cosine")
)
ds = vd.Dataset.create("hello", schema, backend="file://space")
anchors = [1_700_000_000_000_000_000 + n * 1_000_000_000 for n in range(100)]
ds.append_many([{"_anchor": a, "label": "ab"[n % 2], "n": n, "v": [n, 1]} for n, a in enumerate(anchors)])
ds.branch("side")
ds.branch("night").append_many([{"_anchor": 1_800_000_000_000_000_000, "label": "b", "n": 100, "v": [0, 1]}])
Path("gone.txt").write_text("\\n".join(str(a) for a in anchors[90:]))
```
"""


def page() -> str:
    """Return the page."""
    os.environ["COLUMNS"] = WIDTH
    overview = f"```text\n{main_parser().format_help()}```\n"
    return "\n".join([HEAD, overview, *(verb_section(name) for name in VERBS)])


def verb_section(name: str) -> str:
    """Return what the page says of one verb: its help, its examples, and what is to be added."""
    parser = verb_parser(name)
    parser.epilog = None
    why_not = f" no-run: {NOT_RUN[name]}" if name in NOT_RUN else ""
    examples = "\n".join(f"$ {example}" for example in VERBS[name].examples)
    parts = [
        f"## dreamdb {name}\n",
        f"```text\n{parser.format_help()}```\n",
        f"```console{why_not}\n{examples}\n```\n",
    ]
    return "\n".join([*parts, AFTER[name]] if name in AFTER else parts)


def main() -> int:
    """Write the page, or say whether it is current."""
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(), "utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text("utf-8") == page():
        return 0
    sys.stderr.write(f"{PAGE} is not current; run: {sys.argv[0]} --write\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
