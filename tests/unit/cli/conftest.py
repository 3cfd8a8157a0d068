"""What tests of the command line share: a copy of the Space that their module makes, and ways to run a line."""

import shutil

import pytest

from dreamdb_arrow.cli import main


@pytest.fixture
def space(original, tmp_path):
    """Return where a copy of the module's Space is, for one test to change."""
    shutil.copytree(original, tmp_path / "space")
    return str(tmp_path / "space")


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("DREAMDB_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cli-cache"))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def cli(capsys):
    """Return a function that runs a command line and gives exit code, stdout and stderr."""

    def run(*words):
        code = main([str(w) for w in words])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def ok(cli):
    """Return a function that runs a command line, which must succeed in silence, and gives stdout."""

    def run(*words):
        code, out, err = cli(*words)
        assert (code, err) == (0, "")
        return out

    return run
