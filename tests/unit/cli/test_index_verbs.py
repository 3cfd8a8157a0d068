"""The verbs that look after cells: index status, rebuild-ivf and ada-ivf-step."""

import json

import numpy as np
import pyarrow as pa
import pytest

import dreamdb_arrow as vd

DIM = 4


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A Space of which nine rows of ten came after the cells had been trained, into one region."""
    place = tmp_path_factory.mktemp("cells") / "space"
    schema = vd.Schema().add_embedding("v", DIM, algorithm="dreamdb.ivf-cosine").add_scalar_int("n")
    ds = vd.Dataset.create("hello", schema, place, cache_dir=None, durability="os")
    drawn = np.random.default_rng(0).standard_normal((3000, DIM)).astype("f4")
    drawn[300:] = 1 + 0.2 * drawn[300:]
    for first, stop in ((0, 300), (300, 3000)):
        flat = pa.FixedSizeListArray.from_arrays(pa.array(drawn[first:stop].reshape(-1)), DIM)
        ds.append({"_anchor": np.arange(first, stop), "n": np.arange(first, stop), "v": flat})
        ds.flush()
    return place


def test_status_as_a_table(ok, space):
    head, _, line = ok("index", "status", space, "hello").splitlines()
    found = dict(zip(head.split(), line.split(), strict=False))
    assert (found["field"], found["algorithm"], found["rows"]) == ("v", "dreamdb.ivf-cosine", "3,000")


def test_status_as_json(ok, space):
    told = json.loads(ok("index", "status", space, "hello", "v", "--nprobe", "2", "--json"))
    (status,) = told["fields"]
    assert told["ref"] == "hello"
    assert status["skew"] > 4
    assert (status["rows"], status["nprobe"], status["sampled"]) == (3000, 2, 64)
    assert (
        json.loads(ok("index", "status", space, "hello", "--sample", 0, "--json"))["fields"][0]["recall"]
        is None
    )


def test_a_step_in_stages(ok, cli, space):
    code, _, err = cli("ada-ivf-step", space, "hello", "v", "--stage", "plan", "--seed", 99)
    assert (code, err) == (1, "dreamdb: field 'v': run the stage measure before plan\n")
    assert "times the mean) for 3,000 rows" in ok("ada-ivf-step", space, "hello", "v", "--stage", "measure")
    assert "; become " in ok("ada-ivf-step", space, "hello", "v", "--stage", "plan")
    assert "become, when published, " in ok("ada-ivf-step", space, "hello", "v", "--stage", "refile")
    report = json.loads(ok("ada-ivf-step", space, "hello", "v", "--stage", "publish", "--json"))
    assert report["skew_after"] <= 4 < report["skew"]
    assert report["manifest"] == vd.Dataset.open("hello", backend=space, cache_dir=None).current_manifest()
    assert ok("ada-ivf-step", space, "hello", "v").endswith("; nothing to do\n")


def test_a_rebuild(ok, space):
    assert "; became 9 cells" in ok("rebuild-ivf", space, "hello", "v", "-k", 9)
    assert ok("rebuild-ivf", space, "hello", "v", "-k", 9).endswith("; nothing to do\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("index", "states", "SPACE", "hello"), "no question 'states'; there is: status"),
        (("index", "status", "SPACE", "hello", "n"), "field 'n' is of kind scalar"),
        (("rebuild-ivf", "SPACE", "hello"), "FIELD is missing"),
        (("rebuild-ivf", "SPACE", "hello", "n"), "no embedding field 'n'; embedding fields: v"),
        (("ada-ivf-step", "SPACE", "hello", "v", "--target", "1"), "target must be a number above 1"),
        (("ada-ivf-step", "SPACE", "hello", "v", "--stage", "all"), "invalid choice: 'all'"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(cli, space, words, message):
    code, out, err = cli(*(space if word == "SPACE" else word for word in words))
    assert (code != 0, out) == (True, "")
    assert message in err
    assert err.count("\n") == 1
