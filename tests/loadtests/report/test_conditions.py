"""What the report says of how a run was made: steadiness, Holm, faults, rules, requests that were never sent."""

from __future__ import annotations

import pytest

from loadtests.report.card import LINES_OF_EACH, render_card
from loadtests.report.markdown import render_markdown
from loadtests.report.page import render_page
from loadtests.report.six_questions import six_questions
from loadtests.report.tables import conditions, family_sentence, statuses_seen, steadiness
from loadtests.report.verdict import verdict
from loadtests.result import Band, Result, Steadiness
from tests.loadtests.report.test_page import page_of
from tests.loadtests.sample_result import sample_result

FOUR = ("cache=none", "cache=aside", "cache=refresh-ahead", "cache=write-behind")
MOVING = Steadiness(change_per_block=0.021, low=0.01, high=0.03, steady=False)


def with_last(result: Result, **update: object) -> Result:
    """The result with its last variant changed."""
    return result.model_copy(update={"variants": [*result.variants[:-1], result.variants[-1].model_copy(update=update)]})


def test_a_figure_that_still_moves_is_said_to_be_not_settled() -> None:
    answer = six_questions(with_last(sample_result(), steadiness=MOVING))[3]
    assert (answer.short, answer.tone) == ("Not settled", "caution")
    assert "cache=aside +2.1 % a block [+1.0, +3.0], not steady" in answer.text.replace("\N{NO-BREAK SPACE}", " ")


def test_a_steady_run_says_so_in_the_question_and_in_the_conditions() -> None:
    result = sample_result()
    assert six_questions(result)[3].tone == "good"
    assert "cache=none +0.1" in six_questions(result)[3].text
    assert conditions(result)["steadiness"].count("steady") == 2


def test_steadiness_that_was_not_measured_is_not_made_up() -> None:
    result = sample_result()
    bare = result.model_copy(update={"variants": [v.model_copy(update={"steadiness": None}) for v in result.variants]})
    assert steadiness(bare.variants[0]) == "not measured"
    assert "steadiness" not in conditions(bare)
    assert "Warm-up" not in six_questions(bare)[3].text


def test_several_variants_are_told_to_be_judged_together_and_one_is_not() -> None:
    assert family_sentence(sample_result()) == ""
    assert "verdicts" not in conditions(sample_result())
    result = sample_result(FOUR)
    assert "3 variants stand against one baseline" in family_sentence(result)
    assert "Holm" in conditions(result)["verdicts"]
    for text in (page_of(result).text, render_markdown(result)):
        assert "Holm's method" in text


def test_the_rules_and_the_hash_of_the_experiment_stand_in_the_conditions() -> None:
    told = conditions(sample_result())
    assert told["a block is void beyond"] == "lag p99 ms 2, generator cpu 0.8, steal 0.01"
    assert told["experiment hash"] == "c2f0a4d1998e"
    manifest = sample_result().manifest.model_copy(update={"rules": {}, "experiment_hash": ""})
    assert "experiment hash" not in conditions(sample_result().model_copy(update={"manifest": manifest}))


def test_what_was_done_on_purpose_is_named_with_its_time() -> None:
    bands = [
        Band(name="store stopped", variant="cache=aside", start_s=3.0, end_s=3.5),
        Band(name="clock moved", variant="", start_s=9.0, end_s=9.0),
    ]
    result = sample_result().model_copy(update={"bands": bands})
    for text in (page_of(result).text, render_markdown(result)):
        assert "store stopped: cache=aside, 3 s to 3.5 s" in text
        assert "clock moved: all variants, 9 s to 9 s" in text


def test_a_request_that_was_never_sent_is_neither_an_error_nor_missing() -> None:
    result = with_last(sample_result(), statuses={"307": 5_000, "not sent": 6_900, "error": 0, "201": 40})
    assert list(statuses_seen(result))[-2:] == ["error", "not sent"]
    errors, happened = six_questions(result)[2], six_questions(result)[5]
    assert errors.short == "No"
    assert "6,900 (cache=aside)" in errors.text
    assert happened.tone == "good"
    assert "cache=aside: 5,040 requests sent, 6,900 the client had no reason to send" in happened.text
    assert "not sent by the client" in page_of(result).text


def test_the_verdict_of_each_of_several_variants_has_a_line_of_its_own() -> None:
    result = sample_result(FOUR)
    primaries = [c.sentence for comparisons in result.comparisons for c in comparisons if c.primary]
    together = result.model_copy(update={"headline": "; ".join(primaries)})
    assert verdict(together).lines == tuple(primaries)
    assert page_of(together).heading == "; ".join(primaries)
    assert verdict(result).lines == (result.headline,)
    assert render_card(together, 200).splitlines()[:3] == primaries


@pytest.mark.parametrize("names", [FOUR[:2], FOUR])
def test_a_card_of_many_lines_shows_the_first_and_counts_the_others(names: tuple[str, ...]) -> None:
    result = sample_result(names)
    others = [f"{name} is {quality}" for name in names[1:] for quality in ("odd", "even", "prime", "round", "large")]
    card = render_card(result.model_copy(update={"bought": others, "paid": []}), 100)
    shown = sum(sentence in card for sentence in others)
    assert shown == (5 if len(names) == 2 else LINES_OF_EACH * 3)
    assert card.count("2 more in the report") == (0 if len(names) == 2 else 3)
    page = render_page(result.model_copy(update={"bought": others, "paid": []}))
    assert all(page.count(f'title="{sentence}"') == 1 for sentence in others)
    assert page.count("<summary>1 more</summary>") == len(names) - 1
