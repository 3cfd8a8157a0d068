"""Users, tokens and the audit log of servers. ADR 0042."""

import base64
import json

import pytest

from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.servers.access import Access, Audit, read_users
from dreamdb_arrow.servers.grants import READING, User


def basic(text, *, padded=True):
    value = base64.b64encode(text.encode()).decode()
    return f"Basic {value if padded else value.rstrip('=')}"


@pytest.fixture
def access(tmp_path):
    file = tmp_path / "users"
    file.write_text("# who may come\nann:write:pa:ss\n\nbob:read:word\n")
    file.chmod(0o600)
    return read_users(file)


@pytest.mark.parametrize("padded", [True, False])
def test_password_gives_a_token(access, padded):
    user, token = access.user_of(basic("ann:pa:ss", padded=padded))
    assert user == User("ann")
    assert access.user_of(f"Bearer {token}") == (user, token)
    assert access.user_of(basic("bob:word"))[0] == User("bob", READING)


BAD = [
    None,
    "",
    "Basic",
    "Basic !",
    basic("ann:wrong"),
    basic(":"),
    basic("eve:pa:ss"),
    basic("ann"),
    "Bearer x",
    "Bearer ",
]


@pytest.mark.parametrize("header", [*BAD, "Basic ÿ", basic("\0" * 40), "Digest x"])
def test_others_are_nobody(access, header):
    with pytest.raises(InvalidInputError, match="credentials"):
        access.user_of(header)


def test_token_of_another_server_is_refused(access, tmp_path):
    _, token = access.user_of(basic("ann:pa:ss"))
    for who, header in [(read_users(tmp_path / "users"), token), (access, token[:-1])]:
        with pytest.raises(InvalidInputError, match="credentials"):
            who.user_of(f"Bearer {header}")


def test_old_token_is_refused(access, monkeypatch):
    _, token = access.user_of(basic("ann:pa:ss"))
    monkeypatch.setattr("dreamdb_arrow.servers.access.time.monotonic", lambda: 10.0**9)
    with pytest.raises(InvalidInputError, match="credentials"):
        access.user_of(f"Bearer {token}")


def test_without_users_everybody_may_come():
    assert Access().user_of(None) == (User("anyone"), "")


@pytest.mark.parametrize(
    "text", ["", "ann\n", "ann:own:x\n", "ann:read:\n", ":read:x\n", "a:read:x\na:read:y\n"]
)
def test_bad_file_of_users_is_refused(tmp_path, text):
    file = tmp_path / "users"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(InvalidInputError, match="name:read:password"):
        read_users(file)
    file.chmod(0o644)
    with pytest.raises(InvalidInputError, match="chmod 600"):
        read_users(file)


def test_audit_is_lines_of_json(tmp_path):
    audit = Audit(tmp_path / "log")
    audit.note("ann", "ipv4:1", "run", "SELECT\n1" + "x" * 5000, None)
    audit.note("bob", "ipv4:1", "run", "FROM x", "no")
    first, second = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert (first["user"], first["error"], len(first["what"])) == ("ann", None, 2000)
    assert (second["verb"], second["error"]) == ("run", "no")
    Audit().note("a", "b", "c", "d")
