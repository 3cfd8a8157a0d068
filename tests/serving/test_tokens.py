"""Capability tokens: written in one way only, checked before they are read. Spec 0023."""

import base64
import hashlib
import hmac
import json
import secrets
import string
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.cli.dispatch import main
from dreamdb_arrow.codec.cbor import encode_cbor
from dreamdb_arrow.dataset.scope import Scope, is_pattern
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.servers.grants import Grant, Limits
from dreamdb_arrow.servers.tokens import TOKEN_MAX, Claims, new_key, read_keys, read_token, sign

KEY, OTHER = bytes(range(32)), bytes(32)
NOW = 1_800_000_000
CLAIMS = Claims("ann", NOW, NOW + 3600, Grant(frozenset({"read"}), Scope(("sales/*",), 5, 9)), b"12345678")
TOKEN = sign(CLAIMS, KEY)
TOLD = {"exp": NOW + 9, "iat": NOW, "id": b"12345678", "refs": ["a"], "sub": "ann", "verbs": ["read"]}


def text(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed(claims, head="dreamdb1"):
    """Sign any bytes at all as claims."""
    body = f"{head}.{text(claims)}"
    return f"{body}.{text(hmac.digest(KEY, body.encode(), hashlib.sha256))}"


def test_token_says_what_was_signed():
    assert read_token(TOKEN, [OTHER, KEY], NOW) == CLAIMS
    full = replace(CLAIMS, grant=Grant(frozenset({"append", "read"}), Scope(("*",)), Limits(10, 5.0, 3)))
    assert read_token(sign(full, KEY), [KEY], NOW + 3599) == full
    assert read_token(signed(encode_cbor(TOLD)), [KEY], NOW).user().shown == "ann#3132333435363738"


def test_layout_is_that_of_the_spec():
    head, claims, mac = TOKEN.split(".")
    assert head == "dreamdb1"
    assert mac == text(hmac.new(KEY, f"{head}.{claims}".encode(), "sha256").digest())


@pytest.mark.parametrize(
    ("now", "said"), [(NOW + 3600, "expired"), (NOW + 10**9, "expired"), (NOW - 61, "not count yet")]
)
def test_token_out_of_its_time_is_refused(now, said):  # 0023-R5
    with pytest.raises(InvalidInputError, match=said):
        read_token(TOKEN, [KEY], now)


@given(st.integers(0, len(TOKEN) - 1), st.characters())
def test_changed_token_is_refused(at, letter):
    changed = TOKEN[:at] + letter + TOKEN[at + 1 :]
    if changed != TOKEN:
        with pytest.raises(InvalidInputError):
            read_token(changed, [KEY], NOW)


@given(st.integers(0, len(TOKEN) - 1))
def test_cut_token_is_refused(at):
    with pytest.raises(InvalidInputError):
        read_token(TOKEN[:at], [KEY], NOW)


def mac_of(token):
    return token.rpartition(".")[2]


FORGED = [  # 0023-R2, 0023-R3
    "",
    "dreamdb1..",
    "dreamdb1",
    TOKEN + "=",
    TOKEN + " ",
    TOKEN + "\0",
    TOKEN.upper(),
    " " + TOKEN,
    TOKEN.replace("dreamdb1", "dreamdb0"),
    TOKEN.replace("dreamdb1", "none"),
    f"{TOKEN}.{mac_of(TOKEN)}",
    TOKEN.removesuffix(mac_of(TOKEN)),
    TOKEN.removesuffix(mac_of(TOKEN)) + text(hashlib.sha256(TOKEN.encode()).digest()),
    TOKEN.removesuffix(mac_of(TOKEN)) + text(hmac.digest(b"", TOKEN.encode(), hashlib.sha256)),
    TOKEN.removesuffix(mac_of(TOKEN)) + text(bytes(32)),
    sign(CLAIMS, OTHER),
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.",
    "dreamdb1." + "A" * 5000 + "." + mac_of(TOKEN),
    "dreamdb1.\u0430\u0431." + mac_of(TOKEN),
    "dreamdb1.\ud800." + mac_of(TOKEN),
    signed(encode_cbor(TOLD), "dreamdb2"),
]


@pytest.mark.parametrize("token", FORGED)
def test_forged_token_is_refused(token):
    with pytest.raises(InvalidInputError) as refused:
        read_token(token, [KEY], NOW)
    assert "\n" not in str(refused.value)


def claims_with(**changed):
    return encode_cbor({name: value for name, value in (TOLD | changed).items() if value is not None})


MAP = encode_cbor(TOLD)
SIGNED_BUT_WRONG = [  # 0023-R4, 0023-R6
    b"",
    b"\xa0",
    MAP + b"\0",
    MAP[:-1],
    b"\xbf" + MAP[1:] + b"\xff",
    b"\xa7" + MAP[1:] + b"\x65verbs\x81\x64read",  # a key twice
    b"\xa7" + MAP[1:] + encode_cbor("aaa") + b"\x01",  # keys out of order
    encode_cbor([TOLD]),
    encode_cbor("read"),
    claims_with(alg="none"),
    claims_with(admin=True),
    claims_with(sub=None),
    claims_with(sub=""),
    claims_with(sub="a" * 65),
    claims_with(sub="ann\0"),
    claims_with(sub="ann\n"),
    claims_with(sub="../ann"),
    claims_with(sub="\u0430nn"),
    claims_with(sub=b"ann"),
    claims_with(id="12345678"),
    claims_with(id=b"1234567"),
    claims_with(exp=NOW),
    claims_with(exp=NOW + 367 * 86400),
    claims_with(exp=2**64 - 1),
    claims_with(exp=True),
    claims_with(iat=-1),
    claims_with(iat=float(NOW)),
    claims_with(refs=[]),
    claims_with(refs="*"),
    claims_with(refs=["b", "a"]),
    claims_with(refs=["a", "a"]),
    claims_with(refs=[["a"]]),
    claims_with(refs=[f"r{i:03}" for i in range(65)]),
    *[
        claims_with(refs=[p])
        for p in (
            "",
            "/",
            "..",
            "../*",
            "a/../b",
            "sal*",
            "*/a",
            "**",
            "a/*/b",
            "/*",
            "a//*",
            "a@x",
            "A",
            "a\0",
        )
    ],
    claims_with(refs=["\uff41"]),
    claims_with(verbs=[]),
    claims_with(verbs=["*"]),
    claims_with(verbs=["read", "root"]),
    claims_with(verbs=["read", "append"]),
    claims_with(verbs=["READ"]),
    claims_with(t0=5),
    claims_with(t1=5),
    claims_with(t0=5, t1=5),
    claims_with(t0=-1, t1=5),
    claims_with(t0=0, t1=2**63),
    claims_with(t0=True, t1=5),
    claims_with(t0=0, t1=5, verbs=["append", "read"]),
    claims_with(memory=0),
    claims_with(rows=-1),
    claims_with(seconds=1.5),
]


@pytest.mark.parametrize("claims", SIGNED_BUT_WRONG)
def test_claims_of_another_form_are_refused_though_signed(claims):
    assert read_token(signed(MAP), [KEY], NOW)
    with pytest.raises(InvalidInputError):
        read_token(signed(claims), [KEY], NOW)


def test_base64_has_one_text_only():
    body, _, mac = TOKEN.rpartition(".")
    last = next(
        c
        for c in string.ascii_letters + string.digits
        if c != mac[-1]
        and base64.urlsafe_b64decode(mac[:-1] + c + "=") == base64.urlsafe_b64decode(mac + "=")
    )
    with pytest.raises(InvalidInputError):
        read_token(f"{body}.{mac[:-1]}{last}", [KEY], NOW)


def test_too_long_a_token_is_not_issued():
    many = Scope(tuple(f"{'r' * 60}{i}/{'s' * 64}" for i in range(40)))
    with pytest.raises(InvalidInputError, match=f"{TOKEN_MAX} at most"):
        sign(replace(CLAIMS, grant=replace(CLAIMS.grant, scope=many)), KEY)


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("sales", ["sales", "sales@v1"], ["sales2", "sales/a", "sal", "other@sales", "Sales"]),
        (
            "sales/*",
            ["sales/a", "sales/a/b", "sales/a@v1"],
            ["sales", "sales2/a", "salesx", "asales/a", "sales@v/a"],
        ),
        ("*", ["a", "a/b@c"], []),
    ],
)
def test_patterns(pattern, inside, outside):  # 0023-R8
    assert is_pattern(pattern)
    assert Scope((pattern,)).within([*inside, *outside]) == inside


def test_keys_are_for_their_owner_alone(tmp_path):  # 0023-R1
    file = tmp_path / "keys"
    key = new_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_keys(file) == (key,)
    file.write_text(f"# old\n{secrets.token_hex(32)}\n{key.hex()}\n")
    assert read_keys(file)[1] == key
    with pytest.raises(InvalidInputError, match="there already"):
        new_key(file)
    for bad in ("", "xyz\n", key.hex()[:-1], f"{key.hex()}\n" * 9):
        file.write_text(bad)
        with pytest.raises(InvalidInputError, match="hexadecimal"):
            read_keys(file)
    file.chmod(0o640)
    with pytest.raises(InvalidInputError, match="chmod 600"):
        read_keys(file)


def run(capsys, *words):
    code = main(["token", *map(str, words)])
    told = capsys.readouterr()
    return code, told.out.strip(), told.err.strip()


def test_verb_issues_and_shows(tmp_path, capsys):
    key = tmp_path / "keys"
    words = ["--key", key, "--user", "bob", "--refs", "hello", "--t0", "2026-01-01", "--t1", "2026-02-01"]
    code, token, _ = run(capsys, *words, "--new-key", "--max-rows", 7, "--expires", "2h")
    assert code == 0
    told = json.loads(run(capsys, "--key", key, "--show", token, "--json")[1])
    assert (told["user"], told["refs"], told["verbs"], told["rows"]) == ("bob", ["hello"], ["read"], 7)
    assert told["t1"] - told["t0"] == 31 * 86400 * 10**9
    assert read_token(token, read_keys(key), time.time()).until_s - time.time() > 7100
    assert "verbs: read" in run(capsys, "--key", key, "--show", token)[1]
    for bad, said in [
        (["--show", token.replace(".", ".A", 1)], "signed by nobody"),
        (["--user", "a b", "--refs", "x"], "a name"),
        (["--user", "a"], "--refs"),
        (["--user", "a", "--refs", "x", "--verbs", "own"], "verbs out of"),
        (["--user", "a", "--refs", "x", "--expires", "1y"], "no time such as"),
        (["--user", "a", "--refs", "x", "--t0", "5", "--t1", "3"], "t0 < t1"),
        (["--user", "a", "--refs", "x", "--new-key"], "there already"),
        (["--user", "a", "--refs", "..", "--new-key", "--key", tmp_path / "second"], "refs such as"),
    ]:
        code, out, err = run(capsys, "--key", key, *bad)
        assert (code != 0, out) == (True, "")
        assert said in err
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "second").exists()
