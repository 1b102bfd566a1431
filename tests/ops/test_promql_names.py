"""What counts as a metric, a label and a value in an expression."""

from __future__ import annotations

from tests.ops.promql_names import Named, Selector, names


def test_functions_aggregations_words_and_numbers_are_no_metrics() -> None:
    expr = 'histogram_quantile(0.99, sum by (le, op) (rate(a_bucket{op!="x"}[5m]))) >= 1e3 or 0 * max without (op) (b) and c > 2'
    assert names(expr) == Named(
        (Selector("a_bucket", (("op", "!=", "x"),)), Selector("b", ()), Selector("c", ())), frozenset({"le", "op"})
    )


def test_all_matchers_of_a_selector_are_found_whatever_their_values_hold() -> None:
    expr = 'x{status=~"5..",route="/{code}",process!~"a|b,c"} / on (process) group_left () y{}'
    assert names(expr) == Named(
        (
            Selector("x", (("status", "=~", "5.."), ("route", "=", "/{code}"), ("process", "!~", "a|b,c"))),
            Selector("y", ()),
        ),
        frozenset({"process"}),
    )


def test_a_recorded_name_with_colons_is_one_metric() -> None:
    assert names("design:ratio:5m > 14.4 * 0.001") == Named((Selector("design:ratio:5m", ()),), frozenset())
