"""What the dashboards ask of Prometheus, as text: rates, shares and quantiles.

`selector` is what stands between the braces, `by` the labels that stay, with commas between them.
"""

from __future__ import annotations


def per_second(metric: str, selector: str, by: str = "") -> str:
    """How often a second a counter rises, of the chosen processes together."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{selector}}}[$__rate_interval]))"


def share(metric: str, selector: str, part: str, by: str) -> str:
    """Of all that a counter counted, what `part` selects as well; 0 where that never occurred."""
    every = per_second(metric, selector, by)
    return f"({per_second(metric, f'{selector},{part}', by)} or 0 * {every}) / {every}"


def error_share(selector: str, by: str) -> str:
    """Answers with 5xx among all."""
    return share("http_request_duration_seconds_count", selector, 'status=~"5.."', by)


def refused_share(selector: str, by: str) -> str:
    """Decisions of limits that refused among all. Shadow rules refuse nobody."""
    return share("sd_limiter_decisions_total", selector, 'outcome="refused"', by)


def latency(quantile: float, selector: str, by: str = "") -> str:
    """A quantile of the duration of requests, in seconds, from the buckets of the chosen processes together."""
    labels = ", ".join(filter(None, ["le", by]))
    return f"histogram_quantile({quantile}, {per_second('http_request_duration_seconds_bucket', selector, labels)})"
