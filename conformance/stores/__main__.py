"""Try a store: `python -m conformance.stores URL [--reader PROFILE] [options of pytest]`. Spec 0005."""

import sys
from pathlib import Path

import pytest

USAGE = """usage: python -m conformance.stores URL [--reader PROFILE] [options of pytest]

URL is what dreamdb_arrow opens: s3://bucket/prefix, http://host:9000/bucket, file:///folder, memory:// ...; tests write below it,
in places of their own, and remove what they wrote. --reader names a profile of AWS that may read there and not write."""
HERE = Path(__file__).parent


def main(arguments: list[str]) -> int:
    """Run the suite; 0 when all passed, 1 when not, 2 for a wrong call."""
    if not arguments or arguments[0].startswith("-"):
        print(USAGE, file=sys.stderr)
        return 2
    url, *others = arguments
    tests = [str(HERE / "suite.py"), str(HERE / "reader.py")]
    return pytest.main(
        [
            *tests,
            "-p",
            "conformance.stores.plugin",
            "--url",
            url,
            "-q",
            "-rs",
            "-p",
            "no:cacheprovider",
            *others,
        ]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
