"""Which long URLs and which aliases are accepted, and in which one form they are kept. Pure functions; nothing is fetched."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection

from pydantic import TypeAdapter, ValidationError
from pydantic_core import Url

MAX_URL_CHARS = 2048
MIN_ALIAS_CHARS, MAX_ALIAS_CHARS = 3, 32
ALIAS = re.compile(rf"[A-Za-z0-9_-]{{{MIN_ALIAS_CHARS},{MAX_ALIAS_CHARS}}}")
CODE = re.compile(rf"[A-Za-z0-9_-]{{{MIN_ALIAS_CHARS},{MAX_ALIAS_CHARS}}}")

# First path segments that are routes, or that browsers, crawlers and people expect to be. Compared without case.
RESERVED = frozenset(
    [
        "about",
        "abuse",
        "account",
        "admin",
        "api",
        "app",
        "assets",
        "auth",
        "contact",
        "dashboard",
        "docs",
        "favicon",
        "health",
        "healthz",
        "help",
        "home",
        "index",
        "info",
        "knobs",
        "legal",
        "links",
        "login",
        "logout",
        "metrics",
        "openapi",
        "ping",
        "preview",
        "privacy",
        "qr",
        "readyz",
        "redoc",
        "report",
        "robots",
        "security",
        "settings",
        "signin",
        "signup",
        "sitemap",
        "static",
        "stats",
        "status",
        "support",
        "terms",
        "user",
        "users",
        "well-known",
        "www",
    ]
)

# A chain of shorteners hides its end from every check, so links to other shorteners are refused.
SHORTENERS = frozenset(
    [
        "bit.ly",
        "buff.ly",
        "cutt.ly",
        "goo.gl",
        "is.gd",
        "lnkd.in",
        "ow.ly",
        "rb.gy",
        "rebrand.ly",
        "s.id",
        "shorturl.at",
        "t.co",
        "t.ly",
        "tiny.cc",
        "tinyurl.com",
        "v.gd",
    ]
)

_PARSER = TypeAdapter(Url)
_HOST = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\]")  # as the parser writes them: lower case, punycode
_CONTROL_OR_SPACE = re.compile(r"[\x00-\x20\x7f\\]")


class BadUrl(ValueError):
    """The long URL is refused; the message says why and what would be right."""


class BadAlias(ValueError):
    """The alias is refused; the message says why and what would be right."""


def canonical_url(raw: str, own_hosts: Collection[str], blocked_hosts: Collection[str] = ()) -> str:
    """The URL in the one form that is stored: parsed once (WHATWG URL), host in lower case and punycode, default port gone.

    Refused: other schemes than http and https, user names and passwords, control characters, backslashes and spaces (parsers
    disagree about them), our own hosts (a redirect loop), other shorteners, and blocked hosts with their subdomains.
    """
    if len(raw) > MAX_URL_CHARS:
        raise BadUrl(f"the URL has {len(raw)} characters; at most {MAX_URL_CHARS} are accepted")
    if _CONTROL_OR_SPACE.search(raw):
        raise BadUrl("the URL holds a space, a backslash or a control character; percent-encode it")
    try:
        url = _PARSER.validate_python(raw)
    except ValidationError:
        raise BadUrl("this is not an absolute URL; write one such as https://example.org/page") from None
    if url.scheme not in ("http", "https"):
        raise BadUrl(f"only http and https are accepted, not {url.scheme[:16]!r}")
    if url.username or url.password or "@" in raw.split("://", 1)[-1].split("/", 1)[0].split("?", 1)[0].split("#", 1)[0]:
        raise BadUrl("a URL with a user name or password is not accepted")
    host = (url.host or "").rstrip(".")
    if not host:
        raise BadUrl("the URL has no host")
    if not _HOST.fullmatch(host):
        raise BadUrl("the host holds what no host name holds")
    if host in own_hosts:
        raise BadUrl("a link to this service itself would be a loop")
    if is_listed(host, SHORTENERS):
        raise BadUrl(f"{host} is another link shortener; link to the page itself")
    if is_listed(host, blocked_hosts):
        raise BadUrl(f"{host} is blocked here")
    canonical = str(url)
    if len(canonical) > MAX_URL_CHARS:
        raise BadUrl(f"the encoded URL has {len(canonical)} characters; at most {MAX_URL_CHARS} are accepted")
    return canonical


def is_listed(host: str, listed: Collection[str]) -> bool:
    """Is the host, or a domain above it, on the list?"""
    labels = host.split(".")
    return any(".".join(labels[start:]) in listed for start in range(len(labels)))


@functools.lru_cache(maxsize=8192)
def host_of(canonical: str) -> str:
    """The host of a URL that `canonical_url` made."""
    return (_PARSER.validate_python(canonical).host or "").rstrip(".")


def canonical_alias(raw: str) -> str:
    """The alias, or `BadAlias`. Upper and lower case differ, as in generated codes."""
    if not ALIAS.fullmatch(raw):
        raise BadAlias(f"an alias has {MIN_ALIAS_CHARS} to {MAX_ALIAS_CHARS} letters, digits, - or _ (ASCII)")
    if is_reserved(raw):
        raise BadAlias(f"{raw!r} is a reserved word")
    return raw


def is_reserved(code: str) -> bool:
    """Would the code hide a route, or look like one?"""
    return code.lower() in RESERVED


def is_code(text: str) -> bool:
    """Could this be a code at all? What could not needs no look-up."""
    return CODE.fullmatch(text) is not None
