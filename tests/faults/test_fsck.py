"""Whatever is damaged, missing or untrue, fsck tells; what another place has whole, it restores; no query gives a wrong value."""

import random
import re
import shutil
from pathlib import Path

import duckdb
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.cli import main
from dreamdb_arrow.columnar.cover_note import CoverNote
from dreamdb_arrow.columnar.notes import add_note, newest_note
from dreamdb_arrow.history.commit import Change, commit
from dreamdb_arrow.objects.manifest import find_entry
from dreamdb_arrow.testing.sample import DIM, T0, write_sample

ADDRESS = re.compile(r"d[a-z2-7]{52}")
ROUNDS = 4


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "space"
    write_sample(root, rows=40)
    return root


@pytest.fixture
def space(sample, tmp_path) -> Path:
    return shutil.copytree(sample, tmp_path / "space")


def check(root: Path, **options) -> vd.fsck:
    return vd.fsck(root, cache_dir=None, **options)


def files_of(root: Path) -> dict[str, list[Path]]:
    """Objects and refs by kind: their path without addresses, cells and times."""
    kinds: dict[str, list[Path]] = {}
    for file in sorted(root.rglob("*")):
        path = file.relative_to(root).as_posix()
        if file.is_file() and not path.startswith("."):
            kind = re.sub(r"/([01]{3,}|[0-9a-f]{16})/", "/<cell>/", ADDRESS.sub("<a>", path))
            kinds.setdefault(kind, []).append(file)
    return kinds


def flip(file: Path, chance: random.Random) -> None:
    data = bytearray(file.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


def chosen(root: Path, chance: random.Random, number: int) -> list[Path]:
    """Return random files, of every kind one at least."""
    kinds = files_of(root)
    picked = {chance.choice(files) for files in kinds.values()}
    rest = [f for files in kinds.values() for f in files if f not in picked]
    picked |= set(chance.sample(rest, max(0, min(len(rest), number - len(picked)))))
    names = {file.name for file in picked if file.parent.name != "bao-outboard"}
    # Of a payload that is damaged, nobody can say whether its outboard is.
    alone = [f for f in sorted(picked) if f.parent.name != "bao-outboard" or f.name not in names]
    return [file for file in alone if file.stat().st_size]


def test_a_whole_space_has_no_findings(sample):
    found = check(sample)
    assert found.findings == []
    assert found.ok
    assert (found.refs, found.versions) == (3, 12)
    assert found.live > 500
    one = vd.verify(sample, "main", cache_dir=None)
    assert (one.findings, one.refs, one.versions) == ([], 1, 1)
    assert vd.verify(sample, "main", "first", cache_dir=None).ok


def flip_and_check(sample: Path, folder: Path, seed: int, number: int) -> int:
    chance = random.Random(seed)
    root = shutil.copytree(sample, folder / f"flipped {seed}")
    damaged = chosen(root, chance, number)
    for file in damaged:
        flip(file, chance)
    paths = {file.relative_to(root).as_posix() for file in damaged}
    told = {finding.path for finding in check(root, rows=False).findings}
    shutil.rmtree(root)
    assert paths - told == set()
    return len(paths)


def test_every_flipped_bit_is_told(sample, tmp_path):
    assert sum(flip_and_check(sample, tmp_path, seed, 150) for seed in range(ROUNDS)) > 300


@pytest.mark.slow
def test_every_flipped_bit_is_told_for_long(sample, tmp_path):
    assert sum(flip_and_check(sample, tmp_path, seed, 200) for seed in range(100, 120)) > 1000


def reads_of(root: Path, cache: Path) -> dict:
    """All ways to read the newest rows: what they give, or the error."""
    con = vd.connect(root, cache_dir=cache)
    query = [1.0] * DIM
    ways = {
        "scan": lambda: con.execute("SELECT * EXCLUDE (a, b, r, m) FROM dreamdb_scan('main')").fetchall(),
        "arrays": lambda: con.execute("SELECT _anchor, a, r FROM dreamdb_scan('main')").fetchall(),
        "first": lambda: con.execute("SELECT n, s FROM dreamdb_scan('main', as_of := 'first')").fetchall(),
        "filter": lambda: con.execute("SELECT count(*) FROM dreamdb_scan('main') WHERE c = 'red'").fetchall(),
        "knn": lambda: con.execute("FROM dreamdb_knn('main', 'v', ?::FLOAT[], k := 5)", [query]).fetchall(),
        "probed": lambda: con.execute(
            "FROM dreamdb_knn('main', 'w', ?::FLOAT[], k := 5, nprobe := 8)", [query]
        ).fetchall(),
        "take": lambda: vd.Dataset.open("main", backend=root, cache_dir=cache).take([T0, T0 + 5]).to_pylist(),
    }
    found = {}
    for name, way in ways.items():
        try:
            found[name] = way()
        except (vd.CorruptDataError, vd.NotFoundError, duckdb.Error) as error:
            found[name] = error
    con.close()
    return found


def test_no_read_gives_a_wrong_value(sample, tmp_path):
    truth = reads_of(sample, tmp_path / "cache")
    assert not any(isinstance(found, Exception) for found in truth.values())
    refused = 0
    for seed in range(12):
        chance = random.Random(seed)
        root = shutil.copytree(sample, tmp_path / f"space {seed}")
        kinds = files_of(root)
        for kind in chance.sample(sorted(kinds), 6):
            flip(chance.choice([f for f in kinds[kind] if f.stat().st_size] or [root / "refs/main"]), chance)
        for name, found in reads_of(root, tmp_path / f"cache {seed}").items():
            if isinstance(found, Exception):
                refused += 1
                assert "\n" not in str(found).partition("LINE")[0].strip()
            else:
                assert found == truth[name]
    assert refused > 5


def test_what_is_missing_is_told(space):
    chance, gone = random.Random(3), set()
    for kind, files in files_of(space).items():
        if not kind.startswith(("refs", "bao-outboard", "manifests")):
            file = chance.choice(files)
            gone.add(file.name)
            file.unlink()
    told = {finding.path.rpartition("/")[2] for finding in check(space, rows=False).findings}
    live = {str(a) for a in check(space, rows=False).findings and gone}
    assert len(told & gone) > 25
    assert told & gone == live & told


def test_a_ref_without_its_version(space):
    tip = vd.Dataset.open("main", backend=space, cache_dir=None).current_manifest()
    (space / "manifests" / tip).unlink()
    (found,) = [f for f in check(space).findings if f.path == "refs/main"]
    assert "there is no such version" in found.problem
    (found,) = check(space, refs=["nobody"]).findings
    assert found.problem == "no ref is called 'nobody'"


@pytest.mark.parametrize("how", ["backend", "cache"])
def test_repair(sample, space, tmp_path, how):
    cache = tmp_path / "cache"
    if how == "cache":
        objects = cache / "objects"
        for file in sample.rglob("*"):
            if file.is_file() and ADDRESS.fullmatch(file.name) and file.parent.name != "bao-outboard":
                place = objects / file.name[-2:] / file.name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, place)
    chance = random.Random(5)
    damaged = [f for f in chosen(space, chance, 60) if f.parent.name != "refs"]
    for file in damaged:
        flip(file, chance)
    assert not check(space, rows=False).ok
    done = check(space, repair_from=[sample if how == "backend" else cache])
    assert done.findings == []
    assert {space / path for path in done.repaired} == set(damaged)
    assert all(file.read_bytes() == (sample / file.relative_to(space)).read_bytes() for file in damaged)


def test_repair_of_what_is_missing(sample, space):
    stripe = next(space.glob("*/org.dreamdb.arrow.stripe.v1/0*/*"))
    stripe.unlink()
    assert not check(space).ok
    assert check(space, repair_from=[sample]).ok
    assert stripe.read_bytes() == (sample / stripe.relative_to(space)).read_bytes()


def test_repair_takes_nothing_that_is_damaged(sample, space, tmp_path):
    other = shutil.copytree(sample, tmp_path / "other")
    for root in (space, other):
        flip(next(root.glob("*/org.dreamdb.arrow.stripe.v1/0*/*")), random.Random(1))
    done = check(space, repair_from=[other])
    assert (done.repaired, done.ok) == ([], False)


# --- faces that do not agree --------------------------------------------------------------------------------


def scalars(root: Path, name: str, values: list[int]) -> vd.Dataset:
    schema = vd.Schema().add_scalar_int("n").add_scalar_string("s")
    ds = vd.Dataset.create(name, schema, root, cache_dir=None)
    ds.append({"_anchor": [10, 20, 30, 40], "n": values, "s": list("abcd")})
    ds.flush()
    return ds


def lie(ds: vd.Dataset, other: vd.Dataset) -> None:
    """Have a version name another dataset's Track of `n`, and a cover note say that stripes have its rows."""
    entry = find_entry(other.manifest.tracks, "n")

    def build(parent, _, batch):
        held = newest_note(ds.space.store, parent)
        note = CoverNote({**held.tracks, "n": entry.address}, held.payloads, held.stripes, held.dropped)
        return Change("lie", (entry, add_note(ds.space.store, batch, [parent], note, parent.ts)))

    commit(ds.space.store, ds.ref_name(), build)


def test_another_value_in_the_track(tmp_path):
    ds, other = scalars(tmp_path, "one", [1, 2, 3, 4]), scalars(tmp_path, "two", [1, 2, 7, 4])
    assert check(tmp_path).ok
    lie(ds, other)
    (found,) = check(tmp_path).findings
    assert found.problem == "has another value than the stripes at 30"
    assert found.path.endswith(str(find_entry(other.manifest.tracks, "n").address))


def test_a_row_that_only_the_track_has(tmp_path):
    ds, other = scalars(tmp_path, "one", [1, 2, 3, 4]), scalars(tmp_path, "two", [1, 2, 3, 4])
    other.append({"_anchor": [50], "n": [5], "s": ["e"]})
    other.flush()
    lie(ds, other)
    (found,) = check(tmp_path).findings
    assert found.problem == "has 1 rows that no stripe has, the first at 50"


# --- the command line ---------------------------------------------------------------------------------------


def test_on_the_command_line(sample, space, tmp_path, capsys):
    cache = ["--cache-dir", str(tmp_path / "cache")]
    assert main(["fsck", str(space), *cache]) == 0
    assert capsys.readouterr().out.startswith("nothing is wrong: 3 refs, 12 versions, ")
    assert main(["verify", str(space), "main@first", *cache]) == 0
    stripe = next(space.glob("*/org.dreamdb.arrow.stripe.v1/0*/*"))
    flip(stripe, random.Random(1))
    assert main(["fsck", str(space), "--json", "--objects-only", *cache]) == 1
    out = capsys.readouterr().out
    assert '"ok": false' in out
    assert stripe.name in out
    assert main(["fsck", str(space), "--repair-from", str(sample), *cache]) == 0
    assert capsys.readouterr().out.startswith(f"restored {stripe.relative_to(space).as_posix()}\n")
