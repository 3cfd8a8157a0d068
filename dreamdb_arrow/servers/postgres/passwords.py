"""Passwords and tokens on the PostgreSQL wire: SCRAM-SHA-256, for which the server keeps no password, or the text itself. ADR 0048."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from pg_mimic import messages
from pg_mimic.auth import _set_client_first
from scramp import ScramException, ScramMechanism

from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.servers.access import NO_CREDENTIALS, Access
from dreamdb_arrow.servers.grants import User

MECHANISM: Final = "SCRAM-SHA-256"
ROUNDS: Final = 4096


@dataclass(frozen=True, slots=True)
class Keys:
    """What is kept of a password: enough to check it, not to use it elsewhere."""

    salt: bytes
    stored_key: bytes
    server_key: bytes


def keys_of(password: str) -> Keys:
    """Return the keys of a password, with a salt of their own (RFC 5802, section 3)."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ROUNDS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return Keys(salt, hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256"))


def read_keys(file: Path) -> dict[str, Keys]:
    """Return the keys of the users in a file that `read_users` has found good."""
    lines = file.read_text("utf-8").splitlines()
    fields = [line.split(":", 2) for line in lines if line.strip() and not line.startswith("#")]
    return {name: keys_of(password) for name, _, password in fields}


@dataclass(slots=True)
class Door:
    """Who comes in: with a password by SCRAM, or, where the server knows keys of tokens, with a password or a token as it is.

    The server cannot know a token before it sees it, so it asks for the text itself then, over TLS or from this machine only.
    """

    access: Access
    keys: Mapping[str, Keys]
    nobody: Keys = field(default_factory=lambda: keys_of(secrets.token_hex(16)))

    async def enter(self, stream: Any, name: str) -> User:
        """Return who comes in. Raises InvalidInputError, with what is wrong in one line."""
        if self.access.is_open:
            return User("anyone")
        if self.access.keys:
            return self.access.by_password(name, await _text(stream))
        if not await self._knows(stream, name):
            raise InvalidInputError(NO_CREDENTIALS)
        return self.access.accounts[name].user

    async def _knows(self, stream: Any, name: str) -> bool:
        """Return whether a client knows the password of a user. Who is unknown goes through the whole exchange, too."""
        kept = self.keys.get(name, self.nobody)
        server = ScramMechanism(MECHANISM).make_server(
            lambda _: (kept.salt, kept.stored_key, kept.server_key, ROUNDS)
        )
        stream.write(messages.make_authentication_sasl([MECHANISM]))
        try:
            _, first = messages.parse_sasl_initial_response(await _answer(stream))
            _set_client_first(server, first.decode())
            stream.write(messages.make_authentication_sasl_continue(server.get_server_first().encode()))
            server.set_client_final((await _answer(stream)).decode())
            final = server.get_server_final()
        except (ScramException, ValueError, IndexError):
            return False
        stream.write(messages.make_authentication_sasl_final(final.encode()))
        await stream.drain()
        return name in self.keys


async def _text(stream: Any) -> str:
    """Return a password as the client has it. Raises InvalidInputError where others could read it on the way."""
    told = stream.writer.get_extra_info
    if told("ssl_object") is None and not ip_address(told("peername")[0]).is_loopback:
        raise InvalidInputError("a token is taken over TLS only: sslmode=require")
    stream.write(messages.make_authentication_cleartext_password())
    try:
        return (await _answer(stream)).rstrip(b"\0").decode()
    except ValueError:
        raise InvalidInputError(NO_CREDENTIALS) from None


async def _answer(stream: Any) -> bytes:
    """Return what a client answers. Raises ValueError for a message that is no password."""
    await stream.drain()
    tag, payload = await stream.read_message()
    if tag != messages.PASSWORD:
        raise ValueError("no password came")
    answer: bytes = payload
    return answer
