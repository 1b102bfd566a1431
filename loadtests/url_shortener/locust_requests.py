"""The requests of a shortener's users as Locust sends and counts them: grouped by template, judged by what the op promises.

`client` is that of a Locust user. A code in a name would make an entry of its own in Locust's tables, without end.
"""

from __future__ import annotations

from typing import Any

from loadtests.locust_engine.guard import api_key
from loadtests.url_shortener.requests import STATS_DAYS, VISITORS

REDIRECTS = (301, 302, 307)


def api_headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key()}", "Content-Type": "application/json"}


def visitor_headers(number: int) -> dict[str, str]:
    user_agent, referer = VISITORS[number % len(VISITORS)]
    return {"User-Agent": user_agent} | ({"Referer": referer} if referer else {})


def follow(client: Any, url: str, headers: dict[str, str]) -> None:
    with client.get(url, name="/[code]", headers=headers, allow_redirects=False, catch_response=True) as answer:
        if answer.status_code not in REDIRECTS:
            answer.failure(f"{answer.status_code} instead of a redirect")


def follow_new(client: Any, code: str, url: str) -> None:
    """A new link works at once: whoever made it reads what he wrote."""
    with client.get(f"/{code}", name="/[code] new", allow_redirects=False, catch_response=True) as answer:
        if answer.status_code not in REDIRECTS:
            answer.failure(f"{answer.status_code} instead of a redirect")
        elif answer.headers.get("location") != url:
            answer.failure("it leads somewhere else")


def mistype(client: Any, url: str, headers: dict[str, str]) -> None:
    with client.get(url, name="/[code] mistyped", headers=headers, allow_redirects=False, catch_response=True) as answer:
        if answer.status_code in (404, 429):
            answer.success()
        else:
            answer.failure(f"{answer.status_code} for a code that nobody has")


def shorten(client: Any, api_url: str, url: str) -> str:
    """The code of the new link, "" when it was not made."""
    with client.post(api_url, name="/api/v1/links", json={"url": url}, headers=api_headers(), catch_response=True) as answer:
        if answer.status_code == 201:
            return str(answer.json()["code"])
        answer.failure(f"{answer.status_code} instead of 201")
    return ""


def read_clicks(client: Any, link_url: str) -> None:
    with client.get(
        f"{link_url}/stats?days={STATS_DAYS}", name="/api/v1/links/[code]/stats", headers=api_headers(), catch_response=True
    ) as answer:
        if answer.status_code == 404 and "clicks-off" in (answer.text or ""):
            answer.success()  # the knob clicks=off: there is nothing to read


def edit(client: Any, link_url: str, url: str) -> None:
    client.patch(link_url, name="/api/v1/links/[code]", json={"url": url}, headers=api_headers())


def remove(client: Any, link_url: str) -> None:
    client.delete(link_url, name="/api/v1/links/[code]", headers=api_headers())
