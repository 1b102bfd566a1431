from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from designs.url_shortener.settings import ShortenerSettings
from designs.url_shortener.urls import (
    MAX_URL_CHARS,
    RESERVED,
    BadAlias,
    BadUrl,
    canonical_alias,
    canonical_url,
    host_of,
    is_code,
    is_listed,
    is_reserved,
)
from tests.known_bad.url_shortener import deny_listed_url

OWN_HOSTS = frozenset({"sho.rt", "127.0.0.1"})

HOSTILE = [
    "data:text/html,<script>alert(1)</script>",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "vbscript:msgbox",
    "file:///etc/passwd",
    "ftp://example.org/",
    "blob:https://example.org/1",
    "intent://example.org#Intent;end",
    "//example.org/",
    "/relative",
    "example.org",
    "http://",
    "http:///",
    "http://.",
    "https://user@example.org/",
    "https://user:secret@example.org/",
    "https://example.org@evil.example/",
    "https://@example.org/",
    "https:user@example.org",
    "https://example.org\\@evil.example/",
    "https:\\\\evil.example\\",
    "https://example.org/\r\nSet-Cookie: a=b",
    "https://example.org/\nx",
    "https://example.org/\x00",
    " https://example.org/",
    "https://example.org/a b",
    "https://exa\tmple.org/",
    "java\nscript:alert(1)",
    "https://example.org:99999/",
    "https://256.1.1.1/",
    "https://[::1",
    "https://xn--/",
    'https://example.org"/',
    "https://example.org'onclick=/",
    "https://a..b/",
    "https://\ud800.example/",
]
OWN = [
    "http://sho.rt/abc",
    "https://sho.rt",
    "https://SHO.RT/abc",
    "https://sho.rt:8443/abc",
    "https://sho.rt./abc",
    "https://sho.rt../abc",
    "https://sho%2Ert/abc",
    "https://ｓｈｏ．ｒｔ/abc",
    "https://sho。rt/abc",
    "https:sho.rt/abc",
    "https:///sho.rt/abc",
    "https://s\u00adho.rt/abc",
    "http://127.0.0.1:8000/abc",
    "http://127.1/abc",
    "http://2130706433/abc",
    "http://0x7f000001/abc",
    "http://0177.0.0.1/abc",
    "http://127.0.0.1./abc",
]


@pytest.mark.parametrize("raw", HOSTILE)
def test_what_is_no_plain_web_address_is_refused(raw: str) -> None:
    with pytest.raises(BadUrl):
        canonical_url(raw, OWN_HOSTS)


@pytest.mark.parametrize("raw", OWN)
def test_a_link_to_ourselves_is_refused_however_the_host_is_written(raw: str) -> None:
    with pytest.raises(BadUrl, match="loop"):
        canonical_url(raw, OWN_HOSTS)


@pytest.mark.parametrize("raw", ["https://bit.ly/x", "https://BIT.LY./x", "https://www.tinyurl.com/x", "http://t.co"])
def test_a_link_to_another_shortener_is_refused(raw: str) -> None:
    with pytest.raises(BadUrl, match="another link shortener"):
        canonical_url(raw, OWN_HOSTS)


def test_blocked_hosts_are_refused_with_their_subdomains_and_nothing_that_only_looks_alike() -> None:
    for raw in ("https://bad.example/", "https://www.bad.example/x", "https://BAD.example.:8080/"):
        with pytest.raises(BadUrl, match="is blocked here"):
            canonical_url(raw, OWN_HOSTS, {"bad.example"})
    assert canonical_url("https://notbad.example/", OWN_HOSTS, {"bad.example"}) == "https://notbad.example/"
    assert is_listed("a.b.bad.example", {"bad.example"})
    assert not is_listed("example", {"bad.example"})


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("HTTPS://Example.ORG", "https://example.org/"),
        ("http://example.org:80/a", "http://example.org/a"),
        ("https://example.org:443?q", "https://example.org/?q"),
        ("https://example.org/a/../b/./c", "https://example.org/b/c"),
        ("https://bücher.example/ü?ü#ü", "https://xn--bcher-kva.example/%C3%BC?%C3%BC#%C3%BC"),
        ("https://example.org/a@b?c@d#e@f", "https://example.org/a@b?c@d#e@f"),
        ('https://example.org/?q="<>', "https://example.org/?q=%22%3C%3E"),
        ("https://example.org/%0d%0aSet-Cookie:a", "https://example.org/%0d%0aSet-Cookie:a"),
        ("http://[2001:DB8::1]/", "http://[2001:db8::1]/"),
    ],
)
def test_a_url_is_kept_in_one_form(raw: str, canonical: str) -> None:
    assert canonical_url(raw, OWN_HOSTS) == canonical
    assert host_of(canonical) == (urlsplit(canonical).hostname if "[" not in canonical else "[2001:db8::1]")


def test_the_limit_holds_for_what_is_sent_and_for_what_would_be_kept() -> None:
    fits = "https://example.org/" + "a" * (MAX_URL_CHARS - 20)
    assert canonical_url(fits, OWN_HOSTS) == fits
    with pytest.raises(BadUrl, match=f"at most {MAX_URL_CHARS}"):
        canonical_url(fits + "a", OWN_HOSTS)
    with pytest.raises(BadUrl, match=f"encoded URL .* at most {MAX_URL_CHARS}"):
        canonical_url("https://example.org/" + "ü" * 1_000, OWN_HOSTS)


_HOSTS = st.sampled_from(
    ["example.org", "sho.rt", "127.1", "2130706433", "[::1]", "bücher.example", "sho.rt.", "a..b", "", "EXAMPLE.org", "ｓｈｏ.rt"]
)
_PIECES = st.one_of(
    st.sampled_from(
        ["\\", "@", ":", "/", "//", "..", "%0d%0a", "\r\n", "\x00", " ", "%", "#", "?", "&", "ü", "‮", "\u200b", "<", '"']
    ),
    st.text(max_size=5),
)
_HOSTILE_URLS = st.one_of(
    st.builds(
        lambda scheme, slashes, user, host, rest: scheme + slashes + user + host + "".join(rest),
        st.sampled_from(["http:", "https:", "HTTP:", "data:", "javascript:", "file:", "", "hTtPs:"]),
        st.sampled_from(["//", "/", "", "///", "\\\\"]),
        st.sampled_from(["", "", "", "user@", "u:p@", "@"]),
        _HOSTS,
        st.lists(_PIECES, max_size=6),
    ),
    st.text(max_size=60),
    st.builds(lambda rest: "https://" + "".join(rest), st.lists(_PIECES, max_size=8)),
)


def accepted_or_none(raw: str) -> str | None:
    try:
        return canonical_url(raw, OWN_HOSTS)
    except BadUrl:
        return None


def assert_whatever_is_accepted_is_safe_to_redirect_to(accept: Callable[[str], str | None], raw: str) -> None:
    """The one check for the rule that is right and for the rules that are often written down."""
    kept = accept(raw)
    if kept is None:
        return
    assert kept.startswith(("http://", "https://"))
    assert kept.isascii()
    assert kept.isprintable()  # so no CR or LF for a header, and no NUL
    assert not any(character in kept for character in ' \\"<>')
    parts = urlsplit(kept)
    assert parts.hostname
    assert parts.username is None
    assert host_of(kept) not in OWN_HOSTS  # as a browser would read it
    assert len(kept) <= MAX_URL_CHARS
    assert accept(kept) == kept


@given(_HOSTILE_URLS)
@example("http:/@example.org/")
@example("https://example.org/?a\\b")
def test_whatever_is_accepted_is_a_web_address_elsewhere_in_its_one_form(raw: str) -> None:
    assert_whatever_is_accepted_is_safe_to_redirect_to(accepted_or_none, raw)


def test_the_same_check_catches_a_list_of_denied_schemes() -> None:
    def accept(raw: str) -> str | None:
        return deny_listed_url(raw, OWN_HOSTS)

    assert_whatever_is_accepted_is_safe_to_redirect_to(accept, "javascript:alert(1)")  # its author thought of this one
    for leak in ("data:text/html,x", "https://user@example.org/", "http://2130706433/"):
        with pytest.raises(AssertionError):
            assert_whatever_is_accepted_is_safe_to_redirect_to(accept, leak)


@given(st.text(max_size=40))
def test_an_alias_is_a_code_and_nothing_else(raw: str) -> None:
    try:
        assert canonical_alias(raw) == raw
    except BadAlias:
        assert not is_code(raw) or is_reserved(raw)
    else:
        assert is_code(raw)
        assert raw.isascii()


@pytest.mark.parametrize("alias", ["ab", "a" * 33, "a b", "a/b", "a+b", "ünsal", "abc\n", "", "a.b", "ab１"])
def test_an_alias_that_is_no_path_segment_of_ours_is_refused(alias: str) -> None:
    with pytest.raises(BadAlias, match="3 to 32"):
        canonical_alias(alias)


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_a_reserved_word_is_refused_in_any_case(word: str) -> None:
    for alias in (word, word.upper(), word.title()):
        assert is_reserved(alias)
        with pytest.raises(BadAlias):
            canonical_alias(alias)


@pytest.mark.parametrize(
    ("public_url", "own"),
    [
        ("https://Sho.RT:8443/", {"sho.rt"}),
        ("https://bücher.example", {"xn--bcher-kva.example"}),
        ("http://127.0.0.1:8000", {"127.0.0.1", "localhost", "[::1]", "[::ffff:7f00:1]"}),
        ("http://localhost:8000", {"127.0.0.1", "localhost", "[::1]", "[::ffff:7f00:1]"}),
    ],
)
def test_our_own_host_is_known_in_the_form_in_which_urls_are_compared(public_url: str, own: set[str]) -> None:
    assert ShortenerSettings.model_validate({"public_url": public_url, "code_key": "k" * 32}).own_hosts() == own


@pytest.mark.parametrize("public_url", ["", "sho.rt", "ftp://sho.rt", "https://"])
def test_a_public_address_that_is_none_is_refused(public_url: str) -> None:
    with pytest.raises(ValueError, match="absolute URL"):
        ShortenerSettings.model_validate({"public_url": public_url, "code_key": "k" * 32})
