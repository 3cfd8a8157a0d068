"""The benchmarks run, at tiny sizes and without peers; their page says what was measured, their checks judge rightly."""

import json

import numpy as np
import pytest

from benchmarks import checks, document, reliability, report, soak
from benchmarks.__main__ import JOBS, main
from benchmarks.jobs import reference, scans
from benchmarks.measure import Figure, in_child
from benchmarks.rows import SCHEMA, all_anchors, anchors_of, images, make_batch, scalar_batch
from benchmarks.sizes import SIZES, Setup
from dreamdb_arrow.testing.memory import peak_bytes


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.mark.parametrize("job", JOBS)
def test_each_job_yields_figures_of_ours(job, work, monkeypatch):
    monkeypatch.setattr(
        scans, "QUERIES", scans.QUERIES[-2:]
    )  # each takes a new process; versions asks all of them
    monkeypatch.setattr(reference, "QUERIES", {"count(*)": reference.QUERIES["count(*)"]})
    figures = list(JOBS[job](Setup(SIZES["smoke"], (), work / job)))
    assert len(figures) > 3
    assert {f.job for f in figures} == {job}
    assert all(np.isfinite(f.value) for f in figures)
    keys = [(f.name, f.who) for f in figures]
    assert len(set(keys)) == len(keys)


def test_a_run_writes_lines_and_prints_tables(work, tmp_path, capsys):
    out = tmp_path / "lines.jsonl"
    arguments = ["--size", "smoke", "--jobs", "ingest", "--skip", "lance,duckdb,delta", "--out", str(out)]
    assert main([*arguments, "--rows", "40", "--work", str(work / "run")]) == 0
    printed = capsys.readouterr().out
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert lines[0]["facts"]["sizes"]["rows"] == 40
    assert {line["who"] for line in lines[1:]} == {"ours, os", "ours, fsync", "parquet", "parquet, fsync"}
    assert "| bytes a row on disk |" in printed
    assert report.markdown(report.read_blocks(out)) == printed


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--jobs", "ingst"], "no job is called 'ingst'; there are ingest, scans,"),
        (["--peers", "lanse"], "no peer is called 'lanse'; there are parquet, duckdb, lance, delta"),
        (["--size", "smoke", "--rows", "3"], "--rows 3 is fewer than the 4 commits they go into"),
    ],
)
def test_a_wrong_argument_is_named(arguments, told, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert told in capsys.readouterr().err


def test_lines_of_other_jobs_stay(tmp_path):
    blocks = [
        report.Block(job, {"n": 1}, (Figure(job, "x", "ours", 1.5, "ms"),)) for job in ("ingest", "scans")
    ]
    report.write_blocks(tmp_path / "a.jsonl", blocks)
    assert report.read_blocks(tmp_path / "a.jsonl") == blocks


# --- the page -----------------------------------------------------------------------------------------------


def test_the_page_is_what_the_lines_say():
    assert document.PAGE.read_text("utf-8") == document.page(report.read_blocks(document.RESULTS))


def test_the_page_has_each_job_and_each_check():
    blocks = report.read_blocks(document.RESULTS)
    assert [block.job for block in blocks] == list(JOBS)
    figures = [figure for block in blocks for figure in block.figures]
    assert [verdict.check for verdict in checks.judge(figures)] == list(checks.CHECKS)


# --- the checks ---------------------------------------------------------------------------------------------


def judged(*figures):
    return {v.check.what: v for v in checks.judge([Figure(*f, "") for f in figures])}


def test_ingest_is_measured_by_the_faster_peer():
    (verdict,) = judged(
        ("ingest", "rows a second", "ours, os", 300),
        ("ingest", "rows a second", "parquet", 100),
        ("ingest", "rows a second", "lance", 250),
    ).values()
    assert (verdict.value, verdict.where, verdict.kept) == (1.2, "lance", False)


def test_the_worst_query_counts():
    found = judged(
        ("scans", "a, warm", "ours, fsync", 1.0),
        ("scans", "a, warm", "read_parquet of our files", 2.0),
        ("scans", "b, warm", "ours, fsync", 3.0),
        ("scans", "b, warm", "parquet", 2.0),  # stripes have no vectors: there the plain files stand beside
    )
    (verdict,) = found.values()
    assert (verdict.value, verdict.where, verdict.kept) == (1.5, "b, warm", False)


def test_growth_is_from_each_column_to_the_next():
    rows = ("1 rows", "10 rows", "100 rows")
    found = judged(
        *(("scaling", "ingest", who, value) for who, value in zip(rows, (1, 10, 110), strict=True))
    )
    (verdict,) = found.values()
    assert (verdict.value, verdict.kept) == (11, False)


def test_a_limit_is_kept_when_it_is_met():
    found = judged(
        ("scaling", "one row", "1", 1.0),
        ("scaling", "one row", "10", 1.3),
        ("access", "one random row, as a dict", "ours, fsync", 1),
    )
    assert [v.kept for v in found.values()] == [True, True]


def test_what_was_not_measured_is_not_judged():
    assert checks.judge([]) == []


# --- the made table -----------------------------------------------------------------------------------------


def test_a_batch_is_the_same_each_time():
    assert make_batch(3, 50).equals(make_batch(3, 50))
    assert not make_batch(3, 50).equals(make_batch(4, 50))
    assert scalar_batch(3, 50).equals(make_batch(3, 50).drop(["vec"]))


def test_rows_are_as_the_readme_says():
    batch = make_batch(1, 5000)
    assert batch.schema == SCHEMA
    assert 570 < batch.nbytes / batch.num_rows < 620
    assert len(batch["category"].unique()) == 100
    vectors = np.asarray(batch["vec"].combine_chunks().flatten()).reshape(5000, -1)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert batch["_anchor"].to_numpy().tolist() == anchors_of(1, 5000).tolist()


def test_anchors_ascend_through_all_batches():
    anchors = all_anchors(1000, 10)
    assert len(anchors) == 1000
    assert (np.diff(anchors) > 0).all()


def test_images_are_framed_differ_and_do_not_compress():
    made = images(2, 40)
    assert all(image.startswith(b"\xff\xd8\xff\xe0") and image.endswith(b"\xff\xd9") for image in made)
    assert len({image[100:200] for image in made}) == 40
    assert 15_000 < min(map(len, made)) < max(map(len, made)) < 25_200


# --- new processes ------------------------------------------------------------------------------------------


def test_a_new_process_tells_its_own_peak():
    ballast = np.ones(50_000_000)
    assert peak_bytes() > ballast.nbytes
    assert in_child("dreamdb_arrow.testing.memory:peak_bytes") < 200_000_000


def test_a_failure_in_a_new_process_is_told():
    with pytest.raises(RuntimeError, match="no_such_function"):
        in_child("benchmarks.measure:no_such_function")


# --- reliability --------------------------------------------------------------------------------------------


def test_the_page_of_reliability_is_what_the_lines_say():
    assert reliability.PAGE.read_text("utf-8") == reliability.page(soak.read_results())


def test_a_part_takes_the_place_of_what_it_told_before(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "RESULTS", tmp_path / "lines.jsonl")
    soak.keep("power", [{"part": "power", "promise": "cuts", "what": "a", "states": 7}])
    soak.keep("kills", [{"part": "kills", "promise": "kill -9", "what": "b", "kills": 1}])
    soak.keep("kills", [{"part": "kills", "promise": "kill -9", "what": "c", "kills": 1200, "seconds": 0.25}])
    assert [line["what"] for line in soak.read_results()] == ["c", "a"]
    text = reliability.page(soak.read_results())
    assert "| c | 1,200 | 0.2 |" in text
    assert "| a | 7 |" in text


@pytest.mark.parametrize("name", soak.PARTS)
def test_a_part_of_the_soak_has_tests(name):
    assert (soak.ROOT / soak.PARTS[name].tests).exists()


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        soak.main(["nothing"])
    assert "there are kills, power" in capsys.readouterr().err
