"""The demo from made downloads to the last line, without a network: built, used again, built again."""

import io
import json
import shutil

import numpy as np
import pytest
from rich.console import Console

from dreamdb_arrow import Dataset, connect
from dreamdb_arrow.demo import build, run, run_demo
from dreamdb_arrow.demo.data import FASHION, NYCFLIGHTS, WORDNET
from dreamdb_arrow.demo.show import as_text, duration
from dreamdb_arrow.errors import InvalidInputError, StoreError


@pytest.fixture
def demo(downloads, letters, monkeypatch):
    """Run the demo with the letters' model; return what it printed. A download that is missing cannot be fetched."""

    def no_network(source, root):
        if build.is_complete(root / source.package, source):
            return root / source.package
        raise StoreError(f"no network for {source.package}", retryable=True)

    monkeypatch.setattr(build, "fetch", no_network)
    monkeypatch.setattr(run, "load_model", lambda: letters)

    def start(query=None, width=80):
        console = Console(file=io.StringIO(), width=width)
        assert run_demo(downloads.parent, query, console) == 0
        return console.file.getvalue()

    start.directory = downloads.parent
    return start


def test_the_whole_tour(demo):
    said = demo()
    space = demo.directory / "space"
    (first,) = [line for line in said.splitlines() if line.startswith("violin ") and "noun" in line]
    assert "bowed" in first  # long texts are cut, short columns are whole
    assert len(first) <= 80
    for words in ("fetching", "already"):
        assert words not in said
    for heading in (
        "time range",
        "GROUP BY",
        "as-of join",
        "Semantic",
        "Filtered",
        "lateral",
        "Time travel",
        "Delete",
    ):
        assert heading in said
    assert "embed('the joy in the misfortune of others')" in said
    assert "1 rows deleted" in said
    assert f'dreamdb sql {space} "' in said
    con = connect(space)
    assert con.sql("SELECT count(*) FROM flights").fetchall() == [(4,)]
    assert con.sql('SELECT count(*) FROM "flights@2013"').fetchall() == [(5,)]
    assert con.sql('SELECT count(*) FROM "flights@2013-h1"').fetchall() == [(3,)]
    assert con.sql("SELECT DISTINCT reason FROM dreamdb_tombstones('flights')").fetchall() == [("demo",)]
    con.close()


def test_rows_are_what_was_downloaded(demo, letters):
    demo()
    space = demo.directory / "space"
    flights = Dataset.open("flights", backend=space, as_of="2013").to_arrow()
    assert np.diff(flights["_anchor"].to_numpy()[:2]).tolist() == [1]  # two in the same minute
    assert flights["tail_number"].to_pylist() == ["N14228", "N3", None, "N4", "N5"]
    words = Dataset.open("words", backend=space).to_arrow()
    assert words["_anchor"].to_pylist()[:2] == [100001740, 104536866]
    vectors = letters.embed(["that which exists", "bowed stringed instrument; it has four strings"])
    assert words["embedding"].to_pylist()[:2] == vectors.tolist()
    fashion = Dataset.open("fashion", backend=space).to_arrow()
    assert len(fashion) == 12
    assert all(image.startswith(b"\x89PNG") for image in fashion["image"].to_pylist())


def test_a_finished_space_is_used_again_and_needs_no_downloads(demo):
    demo()
    tip = Dataset.open("words", backend=demo.directory / "space").current_manifest()
    shutil.rmtree(demo.directory / "downloads")
    said = demo("it's a 'quoted' sentence")
    assert "already" in said
    assert "embed('it''s a ''quoted'' sentence')" in said
    assert "0 rows deleted" in said  # no cancelled flight is left
    assert Dataset.open("words", backend=demo.directory / "space").current_manifest() == tip


def test_a_space_that_was_left_half_built_is_built_again(demo, monkeypatch):
    build_words = build.PARTS["words"]

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "PARTS", {**build.PARTS, "words": (WORDNET, killed, 1)})
    with pytest.raises(KeyboardInterrupt):
        demo()
    assert build.finished_datasets(demo.directory) == frozenset()
    monkeypatch.setattr(build, "PARTS", {**build.PARTS, "words": build_words})
    assert "1 rows deleted" in demo()
    assert build.finished_datasets(demo.directory) == build.PARTS.keys()


def test_what_counts_as_finished(demo, letters):
    space, names = build.prepare_space(demo.directory, lambda: letters, Console(file=io.StringIO()))
    assert names == build.finished_datasets(demo.directory) == build.PARTS.keys()
    gone = json.dumps({"layout": build.LAYOUT, "datasets": ["words", "gone"]})
    for noted in ("{", "[]", '{"layout": 0, "datasets": ["words"]}', '{"layout": 1}', gone):
        (demo.directory / "demo.json").write_text(noted)
        assert build.finished_datasets(demo.directory) == frozenset()
    build.prepare_space(demo.directory, lambda: letters, Console(file=io.StringIO()))
    assert build.finished_datasets(demo.directory) == build.PARTS.keys()
    shutil.rmtree(space)
    assert build.finished_datasets(demo.directory) == frozenset()


def test_without_images_the_tour_goes_on_and_later_takes_them_in(demo):
    folder = demo.directory / "downloads" / FASHION.package
    folder.rename(demo.directory / "aside")
    for _ in range(2):
        said = demo()
        assert "without fashion: no network for dataset-fashion-mnist" in said
        assert "Images are left out" in said
        assert "Time travel" in said
    (demo.directory / "aside").rename(folder)
    assert "ankle boot" in demo()


@pytest.mark.parametrize("source", [NYCFLIGHTS, WORDNET])
def test_what_it_cannot_do_without_is_said(demo, source):
    shutil.rmtree(demo.directory / "downloads" / source.package)
    with pytest.raises(StoreError, match=f"no network for {source.package}"):
        demo()
    assert not (demo.directory / "space").exists()


def test_a_folder_of_something_else_is_left_alone(demo):
    theirs = demo.directory / "space" / "thesis.txt"
    theirs.parent.mkdir()
    theirs.write_text("years of work")
    with pytest.raises(InvalidInputError, match="not the demo's"):
        demo()
    assert theirs.read_text() == "years of work"


def test_an_empty_query_is_refused(demo):
    with pytest.raises(InvalidInputError, match="query is empty"):
        demo(" ")


def test_values_in_few_characters():
    values = [None, b"abc", 1.5, 0.1 + 0.2, True, 7, [1.0, 2.0, 3.0, 4.0, 5.0], [1]]
    assert [as_text(v) for v in values] == [
        "NULL",
        "<3 bytes>",
        "1.5",
        "0.3",
        "true",
        "7",
        "[1, 2, 3, 4, ...]",
        "[1]",
    ]
    assert [duration(s) for s in (0.0123, 0.9994, 61.26)] == ["12 ms", "999 ms", "61.3 s"]
