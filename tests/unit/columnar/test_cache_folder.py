"""The folder of the local cache as a whole: what it counts, and what goes first. Spec 0021."""

import os

import pytest

from dreamdb_arrow.columnar.cache_folder import counts_of, held_files, shrink
from dreamdb_arrow.errors import InvalidInputError


@pytest.fixture
def cache(tmp_path):
    """Five files of 100 bytes, the older the lower their number, and a job's state."""
    for at, name in enumerate(("fetched/objects/aa/x", "objects/bb/y", "rows/z", "notes/n", "checked/c")):
        file = tmp_path / name
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes(100))
        os.utime(file, (1000 + at, 1000 + at))
    (tmp_path / "reindex").mkdir()
    (tmp_path / "reindex" / "plan").write_bytes(bytes(1000))
    return tmp_path


def test_files_are_counted_by_kind(cache):
    counts = counts_of(held_files(cache))
    assert counts == dict.fromkeys(("fetched", "objects", "rows", "notes", "checked"), (1, 100)) | {
        "macros": (0, 0)
    }
    assert [held.kind for held in held_files(cache)] == ["fetched", "objects", "rows", "notes", "checked"]


def test_what_was_used_longest_ago_goes_first(cache):
    assert shrink(cache, 250) == (3, 300)
    assert [held.kind for held in held_files(cache)] == ["notes", "checked"]
    assert shrink(cache, 250) == (0, 0)


def test_all_goes_but_the_state_of_jobs(cache):
    assert shrink(cache, 0) == (5, 500)
    assert (cache / "reindex" / "plan").exists()
    assert shrink(cache / "nowhere", 0) == (0, 0)


def test_a_space_is_no_cache(cache):
    (cache / "manifests").mkdir()
    with pytest.raises(InvalidInputError, match="is a Space"):
        shrink(cache, 0)
    assert len(list((cache / "objects").rglob("y"))) == 1
