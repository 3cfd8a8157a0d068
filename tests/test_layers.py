"""The arrows of docs/architecture.md, checked against the imports.

The drawing is read, not repeated: `a -> b -> c` lets each name use all names to its right. What it does not draw is
refused, so a new folder needs a place in it first.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "dreamdb_arrow"

FREE_TO_ALL = {"errors", "_version"}
OUTSIDE = {"__init__", "testing"}  # the front door, and what is shipped for tests: both may use anything
READERS = {
    "store/credentials.py"
}  # of the environment, beside cli: keys of object stores have no other place
ENGINES = {"duckdb", "_duckdb", "polars", "pandas"}
BELOW_COLUMNAR = {"errors", "codec", "kernels", "objects", "store", "spatial", "tracks"}
STATEMENT = re.compile(r"\s{2,}")


def read_drawing(text: str) -> dict[str, set[str]]:
    """Return which layers each layer may use, from the first fenced block of the page."""
    block = text.split("```")[1].partition("\n")[2]
    allowed: dict[str, set[str]] = {}
    for statement in STATEMENT.split(block.strip().replace("\n", "   ")):
        steps = [
            [n.strip() for n in re.sub(r"\(.*?\)", "", s).split(",") if n.strip()]
            for s in statement.split("->")
        ]
        for place, names in enumerate(steps):
            for name in names:
                allowed.setdefault(name, set()).update(n for later in steps[place + 1 :] for n in later)
    return allowed


ALLOWED = read_drawing((ROOT / "docs/architecture.md").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: where it is written, and whether inside a function or for type checkers only."""

    module: str
    line: int
    level: int = 0
    inside_function: bool = False
    for_types: bool = False


def imports_of(tree: ast.AST, inside_function: bool = False, for_types: bool = False) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        deeper = inside_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = for_types or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, 0, deeper, typing)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [f"{module}.{a.name}" for a in node.names] if module == PACKAGE else [module]
            for name in names:
                yield Import(name, node.lineno, node.level, deeper, typing)
        else:
            yield from imports_of(node, deeper, typing)


def environment_reads(tree: ast.AST) -> Iterator[int]:
    names = {"environ", "environb", "getenv", "getenvb"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in names and ast.unparse(node.value) == "os":
            yield node.lineno
        if isinstance(node, ast.ImportFrom) and node.module == "os" and names & {a.name for a in node.names}:
            yield node.lineno


def layer_of(path: str) -> str:
    """Return the layer of a file given by its path inside the package."""
    return path.partition("/")[0].removesuffix(".py")


def violations(path: str, source: str) -> list[str]:
    """Return what a module does against the drawing; `path` is relative to the package."""
    tree = ast.parse(source)
    found = [f"{path}:{i.line}: {why}" for i in imports_of(tree) if (why := broken_rule(path, i))]
    if layer_of(path) != "cli" and path not in READERS:
        found += [f"{path}:{n}: only cli reads the environment" for n in environment_reads(tree)]
    return found


def broken_rule(path: str, imported: Import) -> str | None:
    root, _, rest = imported.module.partition(".")
    if imported.level:
        return "imports are absolute"
    return broken_arrow(path, imported, rest) if root == PACKAGE else broken_door(path, imported, root)


def broken_arrow(path: str, imported: Import, rest: str) -> str | None:
    layer, target = layer_of(path), rest.partition(".")[0]
    if imported.inside_function:
        return f"own import of {target} inside a function: an arrow has turned"
    if layer in OUTSIDE or target == layer or target in FREE_TO_ALL:
        return None
    if layer not in ALLOWED and layer not in FREE_TO_ALL:
        return f"{layer} is not in the drawing of docs/architecture.md"
    if target not in ALLOWED.get(layer, set()):
        return f"{layer} may not use {target or 'the front door of the package'}"
    return None


def broken_door(path: str, imported: Import, root: str) -> str | None:
    layer = layer_of(path)
    if root == "pyarrow" and layer in BELOW_COLUMNAR:
        return "pyarrow starts at columnar"
    if root == "dreamdb":
        return "the reference SDK is for tests only"
    if root in ENGINES and path != f"engines/{root.lstrip('_')}.py":
        if imported.for_types and layer in {"dataset", "engines"}:  # the types of what users pass and get
            return None
        return f"{root} is imported by engines/{root.lstrip('_')}.py only"
    return None


MODULES = sorted(p.relative_to(ROOT / PACKAGE).as_posix() for p in (ROOT / PACKAGE).rglob("*.py"))


@pytest.mark.parametrize("path", MODULES)
def test_module_keeps_to_its_layer(path):
    assert violations(path, (ROOT / PACKAGE / path).read_text(encoding="utf-8")) == []


def test_drawing_says_what_it_said():
    """The cornerstones, so that a slip of the pen in the drawing does not open every door."""
    assert ALLOWED["codec"] == {"kernels"}
    assert ALLOWED["kernels"] == set()
    assert ALLOWED["objects"] == {"codec"}
    assert ALLOWED["store"] == {"codec"}
    assert ALLOWED["tracks"] == {"spatial", "objects", "codec", "store", "kernels"}
    assert "engines" not in ALLOWED["dataset"] | ALLOWED["history"] | ALLOWED["columnar"]
    for layer, targets in ALLOWED.items():
        assert all(layer not in ALLOWED[target] for target in targets), f"{layer} is on a circle"


def test_every_folder_is_drawn():
    folders = {layer_of(path) for path in MODULES} - OUTSIDE - FREE_TO_ALL
    assert folders <= set(ALLOWED)


# Made-up modules, each with one fault; what the check must say about it.
BAD = [
    ("codec/bad.py", "from dreamdb_arrow.store.interface import Store", "codec may not use store"),
    ("objects/bad.py", "import dreamdb_arrow.kernels.bits", "objects may not use kernels"),
    ("kernels/bad.py", "from dreamdb_arrow.codec import address", "kernels may not use codec"),
    ("store/bad.py", "from dreamdb_arrow.objects.track import Track", "store may not use objects"),
    ("columnar/bad.py", "from dreamdb_arrow.history.commit import commit", "columnar may not use history"),
    ("dataset/bad.py", "from dreamdb_arrow import engines", "dataset may not use engines"),
    ("dataset/bad.py", "from dreamdb_arrow import Dataset", "dataset may not use Dataset"),
    ("history/bad.py", "def f():\n    from dreamdb_arrow.codec import cbor", "inside a function"),
    (
        "history/bad.py",
        "class A:\n    async def f(self):\n        import dreamdb_arrow.tracks.media",
        "inside a function",
    ),
    ("tracks/bad.py", "from . import media", "imports are absolute"),
    ("tracks/bad.py", "import pyarrow.compute as pc", "pyarrow starts at columnar"),
    ("errors.py", "from pyarrow import Table", "pyarrow starts at columnar"),
    ("errors.py", "from dreamdb_arrow.codec.address import Address", "errors may not use codec"),
    ("dataset/bad.py", "import duckdb", "engines/duckdb.py only"),
    ("dataset/bad.py", "import polars as pl", "engines/polars.py only"),
    ("engines/arrow.py", "def f():\n    import pandas", "engines/pandas.py only"),
    (
        "history/bad.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas",
        "engines/pandas.py only",
    ),
    ("columnar/bad.py", "import dreamdb", "for tests only"),
    ("store/bad.py", "import os\nx = os.environ['HOME']", "only cli reads the environment"),
    ("store/bad.py", "import os\nx = os.getenv('HOME')", "only cli reads the environment"),
    ("store/bad.py", "from os import environ", "only cli reads the environment"),
    ("newlayer/x.py", "import dreamdb_arrow.codec.address", "newlayer is not in the drawing"),
]


@pytest.mark.parametrize(("path", "source", "said"), BAD)
def test_made_up_bad_module_is_reported(path, source, said):
    (found,) = violations(path, source)
    assert said in found
    assert found.startswith(f"{path}:")


GOOD = [
    (
        "tracks/good.py",
        "import numpy\nfrom dreamdb_arrow.kernels.topk import smallest\nfrom dreamdb_arrow.errors import LayoutError",
    ),
    ("engines/duckdb.py", "import duckdb, _duckdb\nfrom dreamdb_arrow.dataset.dataset import Dataset"),
    ("dataset/good.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas, polars"),
    ("cli/main.py", "import os\nx = os.environ.get('HOME')\nfrom dreamdb_arrow._version import __version__"),
    (
        "__init__.py",
        "from dreamdb_arrow.dataset.dataset import Dataset\nfrom dreamdb_arrow.engines.duckdb import connect",
    ),
]


@pytest.mark.parametrize(("path", "source"), GOOD)
def test_made_up_good_module_is_left_alone(path, source):
    assert violations(path, source) == []
