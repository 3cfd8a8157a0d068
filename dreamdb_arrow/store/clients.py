"""Where a bucket is, said in one string: URLs to clients. Spec 0005.

    s3://bucket/prefix                  Amazon, or the server of AWS_ENDPOINT_URL
    http://host:9000/bucket/prefix      any server that speaks S3, as the reference SDK says it; https:// alike
    gs://bucket/prefix                  Google Cloud Storage
    az://container/prefix               Azure Blob Storage

Requests are signed when the environment has credentials, and not otherwise. Options follow a `?`: see OPTIONS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.store.bucket import BucketStore
from dreamdb_arrow.store.credentials import aws_settings
from dreamdb_arrow.store.interface import Store

# What a URL may say after `?`.
OPTIONS: Final = MappingProxyType(
    {
        "lock": "object: guard refs by lock objects, for servers that ignore conditions on writes",
        "region": "the region of an S3 bucket (us-east-1, or AWS_REGION)",
        "timeout": "seconds that a request may take, with all of its bytes (60)",
        "style": "virtual: the bucket is part of the host's name; path (the default with http:// and https://)",
    }
)
_CLIENT: Final[Any] = {"connect_timeout": "5s", "pool_max_idle_per_host": "64"}
_RETRIES: Final[Any] = {
    "max_retries": 8,
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=10), "base": 2},
}
_ONCE: Final[Any] = {"max_retries": 0}
_SECONDS: Final = 60.0
SECONDS_MAX: Final = 86_400.0
_REGION: Final = "us-east-1"
_VALUES: Final[Mapping[str, tuple[str, ...]]] = {"lock": ("object",), "style": ("virtual", "path")}


def open_bucket(url: str) -> Store:
    """Return the store of a URL; no request is made yet. Raises InvalidInputError for one that names no bucket."""
    parts = urlsplit(url)
    options = _options_of(url, parts.query)
    try:
        client, once = (
            _CLIENTS[parts.scheme](url, unquote(parts.path).strip("/"), options, retries)
            for retries in (_retries(options), _ONCE)
        )
    except (BaseError, ValueError, TypeError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"not a bucket: {url!r}: {str(error).splitlines()[0]:.200}") from None
    return BucketStore(client, url, once=once, locks=options.get("lock") == "object")


def _options_of(url: str, query: str) -> dict[str, str]:
    options = dict(parse_qsl(query))
    for name, value in options.items():
        if name not in OPTIONS:
            raise InvalidInputError(f"unknown option {name!r} in {url!r}; known: {', '.join(OPTIONS)}")
        if value not in _VALUES.get(name, (value,)):
            raise InvalidInputError(f"{name} in {url!r} must be one of {', '.join(_VALUES[name])}")
    if not 0 < _seconds(options) < SECONDS_MAX:
        raise InvalidInputError(
            f"timeout in {url!r} must be a number of seconds, less than {SECONDS_MAX:.0f}"
        )
    return options


def _seconds(options: Mapping[str, str]) -> float:
    """Return how long a request may take; 0 for what is no number."""
    try:
        return float(options.get("timeout", _SECONDS))
    except ValueError:
        return 0.0


def _client(options: Mapping[str, str]) -> Any:
    return _CLIENT | {"timeout": f"{_seconds(options) * 1000:.0f}ms"}


def _retries(options: Mapping[str, str]) -> Any:
    return _RETRIES | {"retry_timeout": timedelta(seconds=2 * _seconds(options))}


def _at_host(url: str, path: str, options: Mapping[str, str], retries: Any) -> S3Store:
    """Return the client of a server that speaks S3: `http://host:port/bucket/prefix`."""
    parts = urlsplit(url)
    bucket, _, prefix = path.partition("/")
    if not parts.hostname or not bucket:
        raise InvalidInputError(f"not a bucket: {url!r}; say {parts.scheme}://host:port/bucket")
    if parts.username or parts.password:
        raise InvalidInputError(
            "credentials do not belong into a URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    virtual = options.get("style") == "virtual"
    host = f"{bucket}.{parts.netloc}" if virtual else parts.netloc
    return _s3(
        bucket,
        prefix,
        options,
        {"endpoint": f"{parts.scheme}://{host}", "virtual_hosted_style_request": virtual},
        retries,
    )


def _s3_bucket(url: str, path: str, options: Mapping[str, str], retries: Any) -> S3Store:
    return _s3(_host(url), path, options, {}, retries)


def _s3(
    bucket: str, prefix: str, options: Mapping[str, str], settings: dict[str, Any], retries: Any
) -> S3Store:
    settings = {"region": _REGION, **aws_settings(), **settings}
    settings |= {"region": options["region"]} if "region" in options else {}
    settings |= {"virtual_hosted_style_request": options["style"] == "virtual"} if "style" in options else {}
    plain = str(settings.get("endpoint", "")).startswith("http:")
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=settings,  # type: ignore[arg-type]
        client_options=_client(options) | {"allow_http": plain},
        retry_config=retries,
    )


def _gcs_bucket(url: str, path: str, options: Mapping[str, str], retries: Any) -> GCSStore:
    return GCSStore(_host(url), prefix=path or None, client_options=_client(options), retry_config=retries)


def _azure_container(url: str, path: str, options: Mapping[str, str], retries: Any) -> AzureStore:
    return AzureStore(_host(url), prefix=path or None, client_options=_client(options), retry_config=retries)


def _host(url: str) -> str:
    parts = urlsplit(url)
    if not parts.netloc or "@" in parts.netloc:
        raise InvalidInputError(f"not a bucket: {url!r}; say {parts.scheme}://bucket/prefix")
    return parts.netloc


_CLIENTS: Final[Mapping[str, Callable[[str, str, Mapping[str, str], Any], Any]]] = MappingProxyType(
    {"s3": _s3_bucket, "http": _at_host, "https": _at_host, "gs": _gcs_bucket, "az": _azure_container}
)
