"""The trade-off card as lines: whose they are, what is said first, and that nothing gets lost."""

from __future__ import annotations

from loadtests.report.trade_off import trades
from loadtests.result import Result
from tests.loadtests.sample_result import sample_result

THREE = ("cache=none", "cache=aside", "cache=aside-twice")


def told(names: tuple[str, ...] = THREE) -> Result:
    """A record whose card holds every sentence of every variant."""
    result = sample_result(names)
    found = [c for comparisons in result.comparisons for c in comparisons]
    return result.model_copy(
        update={
            "bought": [c.sentence for c in found if c.verdict == "less"],
            "paid": [c.sentence for c in found if c.verdict in ("more", "count")],
        }
    )


def test_every_sentence_of_the_record_is_on_the_card_once() -> None:
    result = told()
    card = trades(result)
    assert sorted(line.sentence for trade in card for line in trade.bought) == sorted(result.bought)
    assert sorted(line.sentence for trade in card for line in trade.paid) == sorted(result.paid)


def test_each_variant_has_its_own_lines_with_the_primary_figure_first() -> None:
    for trade in trades(told()):
        assert all(line.sentence.startswith(trade.name) for line in trade.bought)
        assert trade.bought[0].primary
        assert trade.bought[0].words == "CPU per request, all processes"
        assert trade.bought[0].figure.startswith("−")
        assert trade.bought[0].interval.startswith("[")


def test_a_count_says_what_it_was_before() -> None:
    line = trades(told())[0].paid[0]
    assert (line.figure, line.words) == ("37", "Stale answers, was 0")


def test_a_sentence_of_no_figure_is_shown_whole_and_goes_to_the_variant_it_begins_with() -> None:
    result = sample_result(THREE).model_copy(
        update={"bought": ["cache=aside-twice sleeps better"], "paid": ["nobody knows", "cache=aside snores"]}
    )
    first, second, rest = trades(result)
    assert [line.words for line in first.paid] == ["cache=aside snores"]
    assert [line.words for line in second.bought] == ["cache=aside-twice sleeps better"]
    assert (rest.variant, [line.words for line in rest.paid]) == (None, ["nobody knows"])


def test_with_one_other_variant_everything_is_said_of_it() -> None:
    result = sample_result().model_copy(update={"bought": ["nobody knows"], "paid": []})
    assert [(trade.variant, len(trade.bought), len(trade.paid)) for trade in trades(result)] == [(1, 1, 0)]
