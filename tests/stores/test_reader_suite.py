"""The suite of `conformance/stores` for a user who may only read, and the command that runs all of it. Spec 0005."""

import pytest

from conformance.stores.__main__ import main
from conformance.stores.reader import *  # noqa: F403 - pytest collects what is here
from dreamdb_arrow.store.urls import open_store
from tests.servers import ADMIN, READER, signed


@pytest.fixture
def place(guarded_server):
    return guarded_server.fresh()


@pytest.fixture
def written(place, monkeypatch):
    signed(monkeypatch, ADMIN)
    return open_store(place)


@pytest.fixture
def reader(place, written, monkeypatch):
    signed(monkeypatch, READER)
    return open_store(place)


def test_the_command(guarded_server, monkeypatch, tmp_path, capsys):
    profile = f"[reader]\naws_access_key_id = {READER[0]}\naws_secret_access_key = {READER[1]}\n"
    (tmp_path / "credentials").write_text(profile)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    signed(monkeypatch, ADMIN)
    few = ["-k", "reader or life_of_a_ref or put_many", "-p", "no:xdist"]
    assert main([guarded_server.bucket, "--reader", "reader", *few]) == 0
    told = capsys.readouterr().out
    assert "skipped" not in told
    assert "11 passed" in told
    assert [
        path for path in open_store(guarded_server.bucket).list() if path.startswith("conformance-")
    ] == []
    assert main([f"file://{tmp_path}", *few]) == 0
    assert "9 skipped" in capsys.readouterr().out
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: python -m conformance.stores URL")
