"""The repository keeps its word: requirement ids, links, named files, Makefile, error tree, generated page."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dreamdb_arrow import errors

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    p for pattern in ("*.md", "spec/*.md", "docs/**/*.md", "conformance/*.md") for p in ROOT.glob(pattern)
)
SPECS = sorted(p for p in ROOT.glob("spec/*.md") if p.name != "README.md")
ID = re.compile(r"\[(\d{4}-R\d+)\]")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
NAMED_FILE = re.compile(r"`([a-z_]+(?:/[a-z0-9_{},]+)*(?:/|\.(?:py|sql|md|json|toml)))`")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def prose_of(path):
    """Return a page without its fenced blocks."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors_of(path):
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


# --- spec ---------------------------------------------------------------------------------------------------


def test_each_requirement_id_is_defined_once():
    defined = [
        i
        for p in SPECS
        for i in re.findall(r"^- \[(\d{4}-R\d+)\]", p.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(defined) > 100
    assert len(set(defined)) == len(defined)


@pytest.mark.parametrize("path", SPECS, ids=name_of)
def test_requirements_belong_to_their_document(path):
    number, title = path.name[:4], path.read_text(encoding="utf-8").splitlines()[0]
    assert title.startswith(f"# {number} ")
    found = re.findall(r"^- \[(\d{4})-R(\d+)\]", prose_of(path), re.MULTILINE)
    assert {document for document, _ in found} == {number}
    assert [int(n) for _, n in found] == sorted({int(n) for _, n in found})


@pytest.mark.parametrize("path", SPECS, ids=name_of)
def test_every_must_has_an_id(path):
    if path.name.startswith("0000"):
        pytest.skip("says what MUST means")
    blocks = re.split(r"\n\n|\n(?=[-*] )", prose_of(path))
    assert [b for b in blocks if "MUST" in b and not re.match(r"- \[\d{4}-R\d+\]", b.lstrip())] == []


def test_every_id_that_is_named_is_defined():
    defined = {i for p in SPECS for i in ID.findall(p.read_text(encoding="utf-8"))}
    code = [*ROOT.glob("dreamdb_arrow/**/*.py"), *ROOT.glob("sql/*.sql"), *ROOT.glob("docs/**/*.md")]
    named = {
        (i, name_of(p)) for p in code for i in re.findall(r"\b\d{4}-R\d+\b", p.read_text(encoding="utf-8"))
    }
    assert sorted(n for n in named if n[0] not in defined) == []


def test_index_of_the_spec_lists_every_document():
    index = (ROOT / "spec/README.md").read_text(encoding="utf-8")
    assert [p.name for p in SPECS if f"({p.name})" not in index] == []


def test_modules_cite_documents_that_exist():
    numbers = {p.name[:4] for p in SPECS}
    missing = []
    for path in ROOT.glob("dreamdb_arrow/**/*.py"):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        cited = re.findall(r"\b\d{4}\b", first.partition("pec")[2])
        missing += [(name_of(path), n) for n in cited if n not in numbers]
    assert missing == []


def test_coverage_page_is_up_to_date():
    done = subprocess.run(
        [sys.executable, ROOT / "conformance/coverage.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# --- links and names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_inside_the_repository_resolve(path):
    broken = []
    for target in LINK.findall(prose_of(path)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        page = (path.parent / file).resolve() if file else path
        if not page.exists() or (anchor and anchor not in anchors_of(page)):
            broken.append(target)
    assert broken == []


# Numbered documents talk of paths inside stores, the change log of the past.
NAMING_PAGES = [p for p in PAGES if p not in SPECS and p.name not in {"CHANGELOG.md", "coverage.md"}]


@pytest.mark.parametrize("path", NAMING_PAGES, ids=name_of)
def test_files_that_a_page_names_exist(path):
    missing = []
    for named in NAMED_FILE.findall(prose_of(path)):
        if path.name == "wire-notes.md" and named.endswith("/"):
            continue  # a directory of a Space
        places = [ROOT / each / named for each in (path.parent, "dreamdb_arrow", "tests", "docs", "spec", "")]
        if not any(place.exists() for place in places):
            missing.append(named)
    assert missing == []


def test_names_in_the_glossary_are_in_the_files_beside_them():
    rows = re.findall(
        r"^\| (.+?) \| (.+?) \| (.+?) \| .+? \|$", prose_of(ROOT / "docs/glossary.md"), re.MULTILINE
    )
    lost = []
    for _, names, places in rows[2:]:
        paths = [
            ROOT / base / place
            for place in re.findall(r"`([^`]+)`", places)
            for base in ("", "dreamdb_arrow")
        ]
        files = [f for path in paths for f in ([path] if path.is_file() else path.rglob("*.py"))]
        text = "\n".join(f.read_text(encoding="utf-8") for f in files)
        lost += [n for n in re.findall(r"`([A-Za-z_.]+)`", names) if n.rpartition(".")[2] not in text]
    assert len(rows) > 40
    assert lost == []


def test_index_of_decisions_lists_every_one():
    index = (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")
    decisions = sorted(p.name for p in ROOT.glob("docs/adr/[0-9]*.md"))
    assert decisions
    assert [name for name in decisions if f"({name})" not in index] == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/adr/0*.md")), ids=name_of)
def test_decisions_have_the_parts_of_the_template(path):
    headings = re.findall(r"^## (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == ["Question", "Decision", "Why", "Price"]


# --- Makefile -----------------------------------------------------------------------------------------------


def make(*arguments):
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_lists_exactly_the_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split())
    listed = re.findall(r"^  make (\S+) ", make("help").stdout, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == phony
    assert make().stdout == make("help").stdout


@pytest.mark.parametrize(
    "target",
    [
        "help",
        "venv",
        "demo",
        "test",
        "check",
        "bench",
        "bench-full",
        "bench-docs",
        "bench-flush",
        "conformance",
        "interop",
        "faults",
        "e2e-superset",
        "docs",
        "clean",
    ],
)
def test_target_can_be_made(target):
    done = make("--dry-run", target)
    assert done.returncode == 0, done.stderr


def test_ci_runs_check_and_test():
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    assert [line for line in script.read_text(encoding="utf-8").splitlines() if line.startswith("make ")] == [
        "make check",
        "make test",
    ]


def test_targets_that_documents_name_exist():
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[
        1
    ].split()
    named = {t for p in PAGES for t in re.findall(r"`make ([a-z0-9-]+)", p.read_text(encoding="utf-8"))}
    assert named - set(phony) == set()


# --- errors -------------------------------------------------------------------------------------------------

BRANCH = re.compile(
    r"^(?P<indent>[│ ├└─]*)(?P<name>[A-Za-z]+)(?:\((?P<fields>[a-z, ]+)\))?(?: \(also (?P<also>\w+)\))?"
)


def drawn_errors():
    """Yield (name, parent, fields, also) for each line of the tree in the docstring."""
    tree = inspect.getdoc(errors).split("\n\n")[1]
    path = []
    for line in tree.splitlines():
        found = BRANCH.match(line)
        depth = len(found["indent"]) // 4
        path[depth:] = [found["name"]]
        yield found["name"], path[depth - 1] if depth else None, (found["fields"] or ""), found["also"]


def test_drawing_of_the_errors_is_the_tree():
    drawn = {name: (parent, also) for name, parent, _, also in drawn_errors()}
    classes = {
        n: c for n, c in vars(errors).items() if inspect.isclass(c) and c.__module__ == errors.__name__
    }
    actual = {}
    for name, each in classes.items():
        own = [b.__name__ for b in each.__bases__ if b.__name__ in classes]
        foreign = [b.__name__ for b in each.__bases__ if b.__name__ not in classes and b is not Exception]
        actual[name] = (own[0] if own else None, foreign[0] if foreign else None)
    assert drawn == actual


@pytest.mark.parametrize(("name", "fields"), [(n, f) for n, _, f, _ in drawn_errors() if f])
def test_facts_of_an_error_are_fields(name, fields):
    kind = getattr(errors, name)
    parameters = list(inspect.signature(kind).parameters.values())
    keyword = {p.name: f"<{p.name}>" for p in parameters if p.kind is p.KEYWORD_ONLY}
    positional = [
        f"<{p.name}>" for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty
    ]
    error = kind(*positional, **keyword)
    for field in fields.split(", "):
        assert getattr(error, field) == f"<{field}>"
