"""Who asks a server, and what was asked: users with passwords, bearer tokens of a session, and the audit log. ADR 0042."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

from dreamdb_arrow.engines.recent import Recent
from dreamdb_arrow.errors import InvalidInputError

RIGHTS: Final = ("read", "write")
TOKENS_MAX: Final = 4096
TOKEN_SECONDS: Final = 12 * 3600.0
LOGGED_MAX: Final = 2000  # characters of a statement


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, and whether they may write."""

    name: str
    may_write: bool


@dataclass(frozen=True, slots=True)
class _Account:
    user: User
    salt: bytes
    digest: bytes


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.blake2b(password.encode(), salt=salt, digest_size=32).digest()


@dataclass(frozen=True, slots=True)
class Access:
    """The users of a server, and the tokens it has given them; without users, everybody is `anyone`."""

    accounts: Mapping[str, _Account] = field(default_factory=dict)
    _tokens: Recent[str, tuple[User, float]] = field(default_factory=lambda: Recent(TOKENS_MAX))

    @property
    def is_open(self) -> bool:
        """Whether nobody has to say who they are."""
        return not self.accounts

    def user_of(self, header: str | None) -> tuple[User, str] | None:
        """Return who an `authorization` header speaks for, with a bearer token for later calls; None for nobody."""
        if self.is_open:
            return User("anyone", may_write=True), ""
        kind, _, value = (header or "").partition(" ")
        if kind.lower() == "basic":
            user = self._by_password(value)
            return None if user is None else (user, self._give(user))
        found = self._tokens.get(_key(value)) if kind.lower() == "bearer" else None
        return None if found is None or time.monotonic() > found[1] else (found[0], value)

    def _by_password(self, value: str) -> User | None:
        try:  # Go's clients leave the padding out
            text = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode()
        except (binascii.Error, ValueError):
            return None
        name, _, password = text.partition(":")
        account = self.accounts.get(name, _NOBODY)
        same = hmac.compare_digest(_digest(password, account.salt), account.digest)
        return account.user if same and account is not _NOBODY else None

    def _give(self, user: User) -> str:
        token = secrets.token_urlsafe(32)
        self._tokens.put(_key(token), (user, time.monotonic() + TOKEN_SECONDS))
        return token


_NOBODY: Final = _Account(User("", may_write=False), b"", b"\0" * 32)


def _key(token: str) -> str:
    """Return what a token is kept by, so that looking it up tells nothing of others."""
    return hashlib.blake2b(token.encode(errors="replace"), digest_size=32).hexdigest()


def read_users(file: Path) -> Access:
    """Return the users of a file with a line each: `name:read:password` or `name:write:password`.

    Raises InvalidInputError for a file that others may read, and for a line that is none of these.
    """
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidInputError(f"{file} holds passwords, and others may read it: chmod 600 it")
    accounts: dict[str, _Account] = {}
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, right, password = [*line.split(":", 2), "", ""][:3]
        if not name or right not in RIGHTS or not password or name in accounts:
            raise InvalidInputError(
                f"{file}, line {number}: a user is name:read:password or name:write:password, each name once"
            )
        salt = secrets.token_bytes(16)
        accounts[name] = _Account(User(name, right == "write"), salt, _digest(password, salt))
    if not accounts:
        raise InvalidInputError(f"{file} names no user: a line is name:read:password or name:write:password")
    return Access(accounts)


@dataclass(frozen=True, slots=True)
class Audit:
    """A log of what was asked, a line of JSON each; without a file, none is kept."""

    file: Path | None = None
    _lock: Lock = field(default_factory=Lock)

    def note(self, user: str, peer: str, verb: str, what: str, error: str | None = None) -> None:
        """Add a line: when, who, from where, what, and the refusal or error if there was one."""
        if self.file is None:
            return
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "user": user,
            "peer": peer,
            "verb": verb,
            "what": what[:LOGGED_MAX],
            "error": error,
        }
        with self._lock, self.file.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
