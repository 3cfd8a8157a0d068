"""Where tests have their Spaces: as they say, or each in a bucket of a SeaweedFS of this test process (`--store s3`).

Tests name a place by a folder, by `memory://`, or make a MemoryStore. On S3 each such name means a prefix of its own in the
bucket. Tests that look into a folder themselves, or start processes that do, cannot move: they say so with
`@pytest.mark.own_place("why")`. `@pytest.mark.also_on_s3` has tests run in both places without the option.
"""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dreamdb_arrow.columnar import cache
from dreamdb_arrow.store import urls
from dreamdb_arrow.store.interface import Store
from tests.servers import Server, unsigned

STORES = ("as written", "s3")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say where Spaces are."""
    parser.addoption("--store", choices=STORES, default=STORES[0], help="where tests have their Spaces")


def pytest_configure(config: pytest.Config) -> None:
    """Describe the markers."""
    config.addinivalue_line("markers", "also_on_s3: run in both places, whatever --store says")
    config.addinivalue_line("markers", "own_place(why): cannot run on another store")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked in both places."""
    both = metafunc.definition.get_closest_marker("also_on_s3")
    if both and metafunc.config.getoption("--store") == STORES[0]:
        metafunc.parametrize("place_of_spaces", STORES, indirect=True, scope="module")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot move."""
    if config.getoption("--store") == STORES[0]:
        return
    for item in items:
        if marked := item.get_closest_marker("own_place"):
            item.add_marker(pytest.mark.skip(reason=marked.args[0]))


@pytest.fixture(scope="module", autouse=True)
def place_of_spaces(request: pytest.FixtureRequest) -> Iterator[str]:
    """The place of all Spaces of a module's tests."""
    place = getattr(request, "param", request.config.getoption("--store"))
    with pytest.MonkeyPatch.context() as patch:
        if place == "s3":
            move(patch, request.module, request.getfixturevalue("open_server"))
        yield place


def move(patch: pytest.MonkeyPatch, module: ModuleType, server: Server) -> None:
    """Have all that names a place mean one in a bucket."""
    unsigned(patch)
    run, on_disk = uuid.uuid4().hex[:8], urls._open_directory

    def in_bucket(name: str, create: bool = False, sync: bool = True) -> Store:
        if (Path(name) / "refs").is_dir():  # the reference wrote it, or it was stored with the tests
            return on_disk(name, create, sync)
        where = str(Path(name).resolve()).strip("/").replace(" ", "-") if name else uuid.uuid4().hex
        return urls.open_store(f"{server.bucket}/{run}/{where}")

    patch.setattr(cache, "open_store", lambda root, **_: on_disk(str(root), True, False))  # stays where it is
    patch.setattr(urls, "_open_directory", in_bucket)
    patch.setattr(urls, "SCHEMES", {"file": in_bucket, "memory": in_bucket})
    for name in ("MemoryStore", "LocalStore"):
        if hasattr(module, name):
            patch.setattr(module, name, maker(in_bucket))


def maker(in_bucket: Callable[[str], Store]) -> Callable[..., Store]:
    """Return what stands for the class of a store: a function from its first argument, if any, to a store."""
    return lambda name="", **_: in_bucket(str(name))
