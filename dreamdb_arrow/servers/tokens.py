"""Capability tokens: claims as canonical CBOR behind an HMAC, written, read and checked. Spec 0023.

The version at the head of a token fixes the algorithm, so there is none to choose. What is not written as we would write
it is refused: each token has one text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.dataset.scan import TIME_MAX
from dreamdb_arrow.dataset.scope import Scope, is_pattern
from dreamdb_arrow.errors import CanonicalError, InvalidInputError
from dreamdb_arrow.servers.grants import NO_LIMITS, READ, VERBS, Grant, Limits, User

HEAD: Final = "dreamdb1"
TOKEN_MAX: Final = 4096  # characters, 0023-R2
PATTERNS_MAX: Final = 64
SECONDS_MAX: Final = 366 * 86400  # how long a token may count
SKEW_S: Final = 60  # how far the clocks of who signs and who checks may differ
KEY_BYTES: Final = 32
KEYS_MAX: Final = 8
ID_BYTES: Final = 8
NAME_CHARACTERS: Final = 64
_NAME: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{NAME_CHARACTERS}}}")
_NEEDED: Final = frozenset({"exp", "iat", "id", "refs", "sub", "verbs"})
_OPTIONAL: Final = frozenset({"memory", "rows", "seconds", "t0", "t1"})
_LINE: Final = re.compile(rf"[0-9a-f]{{{2 * KEY_BYTES}}}")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: for whom, from when until when (seconds since 1970), what is granted, and an id for logs."""

    name: str
    issued_s: int
    until_s: int
    grant: Grant
    id: bytes

    def user(self) -> User:
        """Return the caller that it speaks for."""
        return User(self.name, self.grant, self.id.hex(), float(self.until_s))


def sign(claims: Claims, key: bytes) -> str:
    """Return a token. Raises InvalidInputError for claims that no token has (0023-R2 to R6)."""
    check_claims(claims)
    body = f"{HEAD}.{_text(encode_cbor(_told(claims)))}"
    token = f"{body}.{_text(_mac(body, key))}"
    if len(token) > TOKEN_MAX:
        raise InvalidInputError(
            f"the token would have {len(token)} characters, {TOKEN_MAX} at most: name fewer refs"
        )
    return token


def check_claims(claims: Claims) -> None:
    """Raise InvalidInputError for claims that no token has."""
    _claims_of(_told(claims))


def read_token(token: str, keys: Sequence[bytes], now_s: float) -> Claims:
    """Return the claims of a token that one of the keys has signed and whose time it is. Raises InvalidInputError."""
    if (
        len(token) > TOKEN_MAX
        or not token.isascii()
        or token.count(".") != 2
        or not token.startswith(f"{HEAD}.")
    ):
        raise InvalidInputError("no token of this kind")
    body, _, tail = token.rpartition(".")
    mac = _bytes(tail)
    if not any(hmac.compare_digest(_mac(body, key), mac) for key in keys):  # 0023-R3
        raise InvalidInputError("the token was signed by nobody known here, or changed since")
    claims = _decoded(body.partition(".")[2])
    if now_s >= claims.until_s:  # 0023-R5
        raise InvalidInputError("the token has expired")
    if now_s + SKEW_S < claims.issued_s:
        raise InvalidInputError("the token does not count yet")
    return claims


def _decoded(text: str) -> Claims:
    try:
        told = decode_cbor(_bytes(text), max_depth=3)  # 0023-R4: sorted keys, each once
    except CanonicalError:
        raise InvalidInputError("the token is not written as it should be") from None
    return _claims_of(told)


def _told(claims: Claims) -> dict[str, Any]:
    grant, scope, limits = claims.grant, claims.grant.scope, claims.grant.limits
    told = {
        "exp": claims.until_s,
        "iat": claims.issued_s,
        "id": claims.id,
        "refs": sorted(set(scope.refs)),
        "sub": claims.name,
        "verbs": sorted(grant.verbs),
    }
    if not scope.has_all_time:
        told |= {"t0": scope.t0, "t1": scope.t1}
    if limits.memory_bytes != NO_LIMITS.memory_bytes:
        told["memory"] = limits.memory_bytes
    if limits.seconds != NO_LIMITS.seconds:
        told["seconds"] = int(limits.seconds)
    if limits.rows is not None:
        told["rows"] = limits.rows
    return told


def _claims_of(told: Any) -> Claims:
    if not isinstance(told, dict) or not set(told) >= _NEEDED or set(told) - _NEEDED - _OPTIONAL:
        raise InvalidInputError("the token does not say what a token says")
    for rule, what in _RULES:
        if not rule(told):
            raise InvalidInputError(f"the token is none that counts: {what}")
    limits = Limits(
        told.get("memory", NO_LIMITS.memory_bytes), float(told.get("seconds", "inf")), told.get("rows")
    )
    scope = Scope(tuple(told["refs"]), told.get("t0", 0), told.get("t1", TIME_MAX))
    grant = Grant(frozenset(told["verbs"]), scope, limits)
    return Claims(told["sub"], told["iat"], told["exp"], grant, told["id"])


def _is_count(value: Any, least: int = 0) -> bool:
    return type(value) is int and least <= value <= TIME_MAX


def _is_sorted_list(value: Any) -> bool:
    texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
    return texts and 0 < len(value) <= PATTERNS_MAX and value == sorted(set(value))


def _has_time(told: Mapping[str, Any]) -> bool:
    return "t0" in told or "t1" in told


# In this order: a rule may rely on those before it.
_RULES: Final = (
    (
        lambda t: isinstance(t["sub"], str) and _NAME.fullmatch(t["sub"]),
        "a name of 1 to 64 letters, digits, '.', '_', '-'",
    ),
    (lambda t: type(t["id"]) is bytes and len(t["id"]) == ID_BYTES, f"an id of {ID_BYTES} bytes"),
    (lambda t: _is_count(t["iat"]) and _is_count(t["exp"]), "times in whole seconds"),
    (lambda t: 0 < t["exp"] - t["iat"] <= SECONDS_MAX, "it counts for 1 second to 366 days"),
    (
        lambda t: _is_sorted_list(t["refs"]) and all(map(is_pattern, t["refs"])),
        "refs such as sales, sales/* or *",
    ),
    (
        lambda t: _is_sorted_list(t["verbs"]) and set(t["verbs"]) <= set(VERBS),
        f"verbs out of {', '.join(VERBS)}",
    ),
    (lambda t: ("t0" in t) == ("t1" in t), "a time range has both ends"),
    (
        lambda t: not _has_time(t) or (_is_count(t["t0"]) and _is_count(t["t1"], t["t0"] + 1)),
        "a time range with t0 < t1",
    ),
    (
        lambda t: not _has_time(t) or t["verbs"] == [READ],
        "with a time range, the only verb is read",
    ),  # 0023-R6
    (
        lambda t: all(_is_count(t[k], 1) for k in ("memory", "rows", "seconds") if k in t),
        "limits are whole numbers from 1",
    ),
)


def _mac(body: str, key: bytes) -> bytes:
    return hmac.digest(key, body.encode(), hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        data = b""
    if (
        _text(data) != text
    ):  # 0023-R4: base64 has several texts for some bytes, and skips what it does not know
        raise InvalidInputError("the token is not written as it should be")
    return data


# ---------------------------------------------------------------- keys


def new_key(file: Path) -> bytes:
    """Make a file with a new key, which only its owner may read. Raises InvalidInputError where there is a file."""
    key = secrets.token_bytes(KEY_BYTES)
    try:
        file.touch(mode=stat.S_IRUSR | stat.S_IWUSR, exist_ok=False)
    except FileExistsError:
        raise InvalidInputError(f"{file} is there already; a new key goes to a new file") from None
    file.write_text(f"{key.hex()}\n", "ascii")
    return key


def read_keys(file: Path) -> tuple[bytes, ...]:
    """Return the keys of a file, 64 hexadecimal digits a line: the first signs, all of them are known when tokens are checked.

    Raises InvalidInputError for a file that others may read, and for other lines.
    """
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidInputError(f"{file} holds keys, and others may read it: chmod 600 it")
    lines = [line.strip() for line in file.read_text("utf-8").splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not 0 < len(keys) <= KEYS_MAX or not all(map(_LINE.fullmatch, keys)):
        raise InvalidInputError(
            f"{file} is no file of 1 to {KEYS_MAX} keys, {2 * KEY_BYTES} hexadecimal digits a line; dreamdb token --new-key makes one"
        )
    return tuple(map(bytes.fromhex, keys))
