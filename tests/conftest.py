"""What all tests share: the stored Spaces of the reference, unpacked."""

import json
import tarfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.servers", "tests.places"]

SPACES = Path(__file__).parents[1] / "conformance" / "spaces" / "reference-0.0.16"
REFERENCE_NAMES = tuple(sorted(path.name.removesuffix(".tar.gz") for path in SPACES.glob("*.tar.gz")))

settings.register_profile(  # the same examples every time: what fails in CI failed before it
    "quick",
    deadline=None,
    max_examples=60,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("deep", settings.get_profile("quick"), max_examples=3000, derandomize=False)
settings.load_profile("quick")


@pytest.fixture(scope="session")
def reference_space(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from the name of a stored Space to its unpacked root. Read it; never write to it."""

    @cache
    def unpack(name: str) -> Path:
        target = tmp_path_factory.mktemp(name)
        with tarfile.open(SPACES / f"{name}.tar.gz") as archive:
            archive.extractall(target, filter="data")
        inner = target / "store"
        return inner if inner.is_dir() else target

    return unpack


@pytest.fixture(scope="session")
def reference_expected() -> Callable[[str], dict[str, Any]]:
    """Return a function from the name of a stored Space to what was known of it when it was written."""

    @cache
    def load(name: str) -> dict[str, Any]:
        return json.loads((SPACES / f"{name}.json").read_text("utf-8"))

    return load


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the tests a home of their own: the default cache lies in it."""
    place = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(place))
        yield place


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `reference_name` once for each stored Space."""
    if "reference_name" in metafunc.fixturenames:
        metafunc.parametrize("reference_name", REFERENCE_NAMES)


@pytest.fixture(scope="session")
def figure(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return a function that takes down what a long run came to, for docs/reliability.md: `--figures FILE` keeps it."""

    def note(promise: str, what: str, **figures: float) -> None:
        kept = request.config.getoption("--figures")
        if kept is not None:
            line = json.dumps({"promise": promise, "what": what, **figures})
            with Path(kept).open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    return note


def pytest_addoption(parser):
    """Options of long runs: where their figures go; of the alternating writers, how long, how much, or which run again."""
    parser.addoption(
        "--figures", default=None, help="a file that figures of long runs are added to, as JSON lines"
    )
    group = parser.getgroup("interop")
    group.addoption("--interop-seconds", type=float, default=20, help="time for the alternating writers")
    group.addoption("--interop-steps", type=int, default=0, help="steps that they must have done")
    group.addoption("--interop-spaces", type=int, default=0, help="Spaces that they must have gone over")
    group.addoption("--interop-seed", type=int, default=None, help="the one run to do again")
