"""Where `python -m conformance.stores` has its stores: fresh places below a URL, emptied after each test."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.urls import open_store

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say what is tried."""
    parser.addoption("--url", required=True, help="where; fresh places are made below")
    parser.addoption("--reader", help="a profile of AWS that may read and not write")


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a place that nobody has used."""
    base, mark, options = request.config.getoption("--url").partition("?")
    if base == "memory://":
        yield base
        return
    base, name = base.rstrip("/"), f"conformance-{uuid.uuid4().hex}"
    yield f"{base}/{name}{mark}{options}"
    remove(open_store(f"{base}{mark}{options}", create=True), name)


@pytest.fixture
def store(place: str) -> Store:
    """An empty store."""
    return open_store(place, create=True)


@pytest.fixture
def written(store: Store) -> Store:
    """The store of somebody who may write."""
    return store


@pytest.fixture
def reader(request: pytest.FixtureRequest, place: str) -> Store:
    """The same place, for the profile that may only read."""
    profile = request.config.getoption("--reader")
    if profile is None:
        pytest.skip("no --reader was given")
    with environment(profile):
        return open_store(place)


@contextmanager
def environment(profile: str) -> Iterator[None]:
    """Have the keys of a profile instead of those that are set."""
    before = {name: os.environ.pop(name) for name in (*KEYS, "AWS_PROFILE") if name in os.environ}
    os.environ["AWS_PROFILE"] = profile
    try:
        yield
    finally:
        del os.environ["AWS_PROFILE"]
        os.environ.update(before)


def remove(store: Store, name: str) -> None:
    """Remove what a test has left, the store's own notes as well."""
    folder = store.local_path(name)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in list(store.list(f"{name}/")):
        store.delete(path)
