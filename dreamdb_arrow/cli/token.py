"""`dreamdb token`: issue a capability token, or show what one says. Spec 0023."""

from __future__ import annotations

import secrets
import sys
import time
from argparse import Namespace
from datetime import UTC, datetime
from typing import Any, Final

from dreamdb_arrow.cli.failures import OK, UsageError
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.dataset.scan import TIME_MAX
from dreamdb_arrow.dataset.scope import Scope
from dreamdb_arrow.engines.arguments import as_time_ns
from dreamdb_arrow.servers.grants import NO_LIMITS, READ, Grant, Limits
from dreamdb_arrow.servers.tokens import ID_BYTES, Claims, check_claims, new_key, read_keys, read_token, sign

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
STDIN: Final = "-"


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    if args.show is not None:
        token = sys.stdin.readline().strip() if args.show == STDIN else args.show
        told = _told(read_token(token, read_keys(args.key), time.time()))
        lines = (
            [json_text(told)] if args.json else [f"{name}: {_plain(value)}" for name, value in told.items()]
        )
        sys.stdout.write("\n".join(lines) + "\n")
        return OK
    if not args.user or not args.refs:
        raise UsageError("name for whom and for which refs: --user ann --refs 'sales/*'", "token")
    claims = _claims(args)
    check_claims(claims)  # before a file is made
    keys = (new_key(args.key),) if args.new_key else read_keys(args.key)
    token = sign(claims, keys[0])
    sys.stdout.write(f"{json_text({'token': token, **_told(claims)}) if args.json else token}\n")
    return OK


def _claims(args: Namespace) -> Claims:
    now = int(time.time())
    t0, t1 = as_time_ns(args.t0, "--t0", 0), as_time_ns(args.t1, "--t1", TIME_MAX)
    limits = Limits(
        args.memory or NO_LIMITS.memory_bytes, float(args.max_seconds or NO_LIMITS.seconds), args.max_rows
    )
    grant = Grant(frozenset(args.verbs or [READ]), Scope(tuple(sorted(set(args.refs))), t0, t1), limits)
    return Claims(args.user, now, now + _seconds(args.expires), grant, secrets.token_bytes(ID_BYTES))


def _seconds(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS or not number.isascii() or not number.isdigit():
        raise UsageError(f"{text!r} is no time such as 90s, 30m, 8h or 7d", "token")
    return int(number) * UNITS[unit]


def _told(claims: Claims) -> dict[str, Any]:
    scope, limits = claims.grant.scope, claims.grant.limits
    told: dict[str, Any] = {
        "user": claims.name,
        "id": claims.id.hex(),
        "refs": list(scope.refs),
        "verbs": sorted(claims.grant.verbs),
        "issued": _moment(claims.issued_s),
        "expires": _moment(claims.until_s),
    }
    if not scope.has_all_time:
        told |= {"t0": scope.t0, "t1": scope.t1}
    held = {"memory": limits.memory_bytes, "seconds": limits.seconds, "rows": limits.rows}
    without = {"memory": NO_LIMITS.memory_bytes, "seconds": NO_LIMITS.seconds, "rows": None}
    return told | {name: value for name, value in held.items() if value != without[name]}


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _plain(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
