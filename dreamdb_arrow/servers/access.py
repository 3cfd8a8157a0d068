"""Who asks a server, and what was asked: users with passwords, tokens, and the audit log. Spec 0023.

Every server has callers come through `Access.user_of` (an `authorization` header) or `Access.by_password` (a name and a password, which
may be a token), and then runs their SQL in the database that `Sandboxes.lent` gives for that user, and in no other: verbs, scope
and limits are enforced there. What does not pass through SQL asks `user.grant` (`check_append`, `check_read`). A connection that
outlives one request asks `check_time` before each.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Final

from dreamdb_arrow.engines.recent import Recent
from dreamdb_arrow.errors import InvalidInputError, UnsupportedError
from dreamdb_arrow.servers.grants import FULL, READING, User
from dreamdb_arrow.servers.tokens import HEAD, read_token

RIGHTS: Final = ("read", "write")
TOKENS_MAX: Final = 4096
TOKEN_SECONDS: Final = 12 * 3600.0
NO_CREDENTIALS: Final = "wrong or missing credentials: give a user's name and password, or a token"
LOGGED_MAX: Final = 2000  # characters of a statement


@dataclass(frozen=True, slots=True)
class _Account:
    user: User
    salt: bytes
    digest: bytes


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.blake2b(password.encode(), salt=salt, digest_size=32).digest()


@dataclass(frozen=True, slots=True)
class Access:
    """The users of a server, the keys of tokens, and the tokens of sessions; without users and keys, everybody is `anyone`."""

    accounts: Mapping[str, _Account] = field(default_factory=dict)
    keys: Sequence[bytes] = ()
    _tokens: Recent[str, tuple[User, float]] = field(default_factory=lambda: Recent(TOKENS_MAX))

    @property
    def is_open(self) -> bool:
        """Whether nobody has to say who they are."""
        return not self.accounts and not self.keys

    def user_of(self, header: str | None) -> tuple[User, str]:
        """Return who an `authorization` header speaks for, with a bearer token for later calls.

        Raises InvalidInputError, with what is wrong in one line.
        """
        if self.is_open:
            return User("anyone"), ""
        kind, _, value = (header or "").partition(" ")
        if kind.lower() == "basic":
            user = self.by_password(*_name_and_password(value))
            return user, self._give(user)
        if kind.lower() != "bearer":
            raise InvalidInputError(NO_CREDENTIALS)
        if value.startswith(f"{HEAD}."):
            return self._by_token(value), value
        found = self._tokens.get(_key(value))
        if found is None or time.monotonic() > found[1] or found[0].left_s() <= 0:
            raise InvalidInputError(NO_CREDENTIALS)
        return found[0], value

    def by_password(self, name: str, password: str) -> User:
        """Return who has this password, or whom a token in its place speaks for, whatever the name.

        So tools that know passwords only can be given a token. Raises InvalidInputError, with what is wrong in one line.
        """
        if self.is_open:
            return User("anyone")
        if password.startswith(f"{HEAD}."):
            return self._by_token(password)
        user = self._by_password(name, password)
        if user is None:
            raise InvalidInputError(NO_CREDENTIALS)
        return user

    def _by_token(self, token: str) -> User:
        return read_token(token, self.keys, time.time()).user()

    def _by_password(self, name: str, password: str) -> User | None:
        account = self.accounts.get(name, _NOBODY)
        same = hmac.compare_digest(_digest(password, account.salt), account.digest)
        return account.user if same and account is not _NOBODY else None

    def _give(self, user: User) -> str:
        token = secrets.token_urlsafe(32)
        self._tokens.put(_key(token), (user, time.monotonic() + TOKEN_SECONDS))
        return token


_NOBODY: Final = _Account(User(""), b"", b"\0" * 32)


def check_time(user: User) -> None:
    """Raise UnsupportedError where what a user was granted counts no more (0023-R5)."""
    if user.left_s() <= 0:
        raise UnsupportedError("the token has expired")


def _name_and_password(value: str) -> tuple[str, str]:
    try:  # Go's clients leave the padding out
        text = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidInputError(NO_CREDENTIALS) from None
    name, _, password = text.partition(":")
    return name, password


def _key(token: str) -> str:
    """Return what a token is kept by, so that looking it up tells nothing of others."""
    return hashlib.blake2b(token.encode(errors="replace"), digest_size=32).hexdigest()


def read_users(file: Path, keys: Sequence[bytes] = ()) -> Access:
    """Return the users of a file, who come beside those with tokens that `keys` have signed, with a line each: `name:read:password` or `name:write:password`.

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
        accounts[name] = _Account(
            User(name, FULL if right == "write" else READING), salt, _digest(password, salt)
        )
    if not accounts:
        raise InvalidInputError(f"{file} names no user: a line is name:read:password or name:write:password")
    return Access(accounts, tuple(keys))


@dataclass(frozen=True, slots=True)
class Note:
    """What one call came to: who, from where, what, the refusal or error if there was one, and of what class it is.

    `ended_ns` is when it ended (ns since 1970), `seconds` how long it took, `rows` how many rows it gave, where these are known;
    `parent` is the W3C trace context that it came with.
    """

    user: str
    peer: str
    verb: str
    what: str
    error: str | None = None
    kind: str = ""
    ended_ns: int = 0
    seconds: float | None = None
    rows: int | None = None
    parent: str = ""

    def line(self) -> str:
        """Return it as a line of JSON (0024-R5)."""
        told = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.ended_ns // 10**9)),
            "user": self.user,
            "peer": self.peer,
            "verb": self.verb,
            "what": self.what[:LOGGED_MAX],
            "error": self.error,
        }
        more = {"seconds": self.seconds, "rows": self.rows, "traceparent": self.parent or None}
        return json.dumps(told | {name: value for name, value in more.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Audit:
    """A log of what was asked, a line of JSON each, without a file none; `listeners` hear of each call, too: metrics, traces."""

    file: Path | None = None
    listeners: Sequence[Callable[[Note], None]] = ()
    _lock: Lock = field(default_factory=Lock)

    def note(self, user: str, peer: str, verb: str, what: str, error: str | None = None, **more: Any) -> None:
        """Tell of a call; `more` as a Note takes it."""
        kind = {"kind": "refused"} if error is not None else {}
        note = Note(user, peer, verb, what, error, ended_ns=time.time_ns(), **(kind | more))
        for listener in self.listeners:
            listener(note)
        if self.file is not None:
            with self._lock, self.file.open("a", encoding="utf-8") as log:
                log.write(note.line() + "\n")
