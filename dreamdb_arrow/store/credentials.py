"""What the environment says of S3: credentials, region, endpoint, profile. The only reader of it beside `cli`. Spec 0005."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dreamdb_arrow.errors import InvalidInputError

# Any of these, and requests are signed. The client reads by itself what the last four need.
_SIGNING: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_ROLE_ARN",
)
_KEYS: Final = {
    "access_key_id": "aws_access_key_id",
    "secret_access_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
    "region": "region",
    "endpoint": "endpoint_url",
}


def aws_settings(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the settings of an S3 client that its environment asks for.

    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or AWS_PROFILE with its files; AWS_REGION or
    AWS_DEFAULT_REGION; AWS_ENDPOINT_URL. Without credentials requests are not signed.

    Raises InvalidInputError for half of a credential, and for a profile that is not there.
    """
    env = os.environ if environment is None else environment
    settings: dict[str, Any] = {}
    if "AWS_ACCESS_KEY_ID" not in env and env.get("AWS_PROFILE"):
        settings |= _profile(env["AWS_PROFILE"], env)
    if bool(env.get("AWS_ACCESS_KEY_ID")) != bool(env.get("AWS_SECRET_ACCESS_KEY")):
        raise InvalidInputError(
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together; one of them is missing"
        )
    told = {
        "access_key_id": env.get("AWS_ACCESS_KEY_ID"),
        "secret_access_key": env.get("AWS_SECRET_ACCESS_KEY"),
        "session_token": env.get("AWS_SESSION_TOKEN"),
        "region": env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION"),
        "endpoint": env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL"),
    }
    settings |= {name: value for name, value in told.items() if value}
    if "access_key_id" not in settings and not any(env.get(name) for name in _SIGNING):
        settings["skip_signature"] = True
    return settings


def _profile(name: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return what the files of AWS say under a profile."""
    home = Path(env.get("HOME", "~")).expanduser() / ".aws"
    files = configparser.RawConfigParser()
    paths = (
        Path(env.get("AWS_SHARED_CREDENTIALS_FILE", home / "credentials")),
        Path(env.get("AWS_CONFIG_FILE", home / "config")),
    )
    try:
        files.read(paths, encoding="utf-8")
    except (configparser.Error, UnicodeError) as error:
        raise InvalidInputError(f"cannot read the profiles of AWS: {str(error).splitlines()[0]}") from None
    held: dict[str, str] = {}
    for section in (f"profile {name}", name):
        held |= dict(files.items(section)) if files.has_section(section) else {}
    found = {ours: held[theirs] for ours, theirs in _KEYS.items() if held.get(theirs)}
    if "access_key_id" not in found:
        raise InvalidInputError(
            f"AWS_PROFILE={name!r} has no aws_access_key_id in {paths[0]} or {paths[1]}; log in with the tool of your cloud "
            "and set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
        )
    return found
