"""SCRAM-SHA-256: what the server keeps of passwords to check who comes, which is not the passwords. ADR 0048."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pg_mimic import messages
from pg_mimic.auth import AuthPlugin, _set_client_first
from scramp import ScramException, ScramMechanism

from dreamdb_arrow.servers.access import Audit

MECHANISM: Final = "SCRAM-SHA-256"
ROUNDS: Final = 4096
NAME_MAX: Final = 100


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
class Scram(AuthPlugin):  # type: ignore[misc]
    """SCRAM with kept keys. Who is unknown goes through the whole exchange, and fails as with a wrong password."""

    keys: Mapping[str, Keys]
    audit: Audit
    nobody: Keys = field(default_factory=lambda: keys_of(secrets.token_hex(16)))

    async def authenticate(self, stream: Any, username: str, identity_provider: Any) -> bool:  # noqa: ARG002 - pg-mimic's
        """Return whether a client knows the password of a user; a line in the log if not."""
        knows = await self._exchange(stream, username) and username in self.keys
        if not knows:
            peer = str(stream.writer.get_extra_info("peername"))
            self.audit.note(username[:NAME_MAX], peer, "connect", "postgres", "no such user and password")
        return knows

    async def _exchange(self, stream: Any, username: str) -> bool:
        kept = self.keys.get(username, self.nobody)
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
        return True


async def _answer(stream: Any) -> bytes:
    """Return what a client answers. Raises ValueError for a message that is no password."""
    await stream.drain()
    tag, payload = await stream.read_message()
    if tag != messages.PASSWORD:
        raise ValueError("no password came")
    answer: bytes = payload
    return answer
