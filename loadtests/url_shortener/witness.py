"""Writes and visits as lines of a witness."""

from __future__ import annotations

from loadtests.url_shortener.history import Ask, Write
from loadtests.verdict import Line, told_from


def told_write(write: Write) -> Line:
    what = {"create": f"create {write.url}", "edit": f"edit {write.code} to {write.url}", "delete": f"delete {write.code}"}[write.f]
    what += f" as {write.alias}" if write.alias else ""
    what += f" with key {write.request_key}" if write.request_key else ""
    what += f" for {write.max_visits} visits" if write.max_visits is not None else ""
    said = f" {write.code}" if write.f == "create" and write.code else ""
    said += f" leads to {write.answered_url}" if write.answered_url and write.answered_url != write.url else ""
    return told_from(write.sent_s, write.end_s, write.node, f"{what} -> {write.outcome} {write.status or 'no answer'}{said}")


def told_ask(code: str, ask: Ask, verb: str = "visit", status: int = 0) -> Line:
    said = f"{ask.status or status or 'no answer'} {ask.url}".rstrip()
    return told_from(ask.sent_s, ask.end_s, ask.node, f"{verb} {code} -> {said}")
