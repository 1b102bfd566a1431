from loadtests.check.record import NodeState
from loadtests.check.watch import Look, Node, Watch, changes, state_said, values_of
from loadtests.generator.open_loop import run
from tests.loadtests.check.tiny_node import TinyNode, serving

PAGE = """# HELP sd_breaker_state 0 closed, 1 half-open, 2 open.
sd_breaker_state{breaker="shared_cache"} 2.0
sd_breaker_stateful 7.0
sd_degraded{dependency="redis"} 1.0
sd_breaker_opened_total{breaker="shared_cache"} 3.0
"""


def test_figures_are_read_from_a_metrics_page_by_their_whole_name() -> None:
    assert values_of(PAGE, "sd_breaker_state") == [2.0]
    assert values_of(PAGE, "sd_breaker") == []
    assert values_of(PAGE, "sd_breaker_stateful") == [7.0]


def test_what_readyz_says_is_ready_degraded_or_down() -> None:
    assert state_said(200, '{"status": "ready"}') == "ready"
    assert state_said(200, '{"status": "degraded"}') == "degraded"
    assert state_said(503, '{"status": "degraded"}') == "down"
    assert state_said(200, "fine") == "ready"


def test_a_row_for_each_change_of_each_process() -> None:
    seen = [
        Look(9.5, "a", "ready"),
        Look(9.6, "b", "ready"),
        Look(10.2, "a", "ready"),
        Look(10.4, "a", "gone"),
        Look(10.3, "b", "ready", "open"),
    ]
    assert changes(seen, 10.0) == [
        NodeState(at_s=0, node="a", state="ready"),
        NodeState(at_s=0, node="b", state="ready"),
        NodeState(at_s=0.3, node="b", state="ready", breaker="open"),
        NodeState(at_s=0.4, node="a", state="gone"),
    ]


def test_processes_are_looked_at_side_by_side_and_their_pages_handed_on() -> None:
    pages: dict[str, str] = {}

    async def main() -> Watch:
        node = TinyNode(metrics=PAGE)
        async with serving(node) as url:
            nodes = [
                Node("here", f"{url}/readyz", f"{url}/metrics"),
                Node("nowhere", "http://127.0.0.1:9/readyz", "http://127.0.0.1:9/metrics"),
            ]
            watch = Watch(nodes, lambda name, at_s, text: pages.update({name: text}))
            async with watch.looking(0.01):
                assert await watch.until(lambda: len(watch.latest) == 2, 5.0)
                assert not await watch.until(lambda: False, 0.01)
        return watch

    watch = run(main())
    here, nowhere = watch.latest["here"], watch.latest["nowhere"]
    assert (here.state, here.breaker, here.opened) == ("degraded", "open", 3)
    assert (nowhere.state, nowhere.breaker) == ("gone", "")
    assert pages == {"here": PAGE}


def test_a_process_that_takes_the_request_and_says_nothing_is_gone() -> None:
    async def main() -> Watch:
        async with serving(TinyNode(silent=True)) as url:
            watch = Watch([Node("stuck", f"{url}/readyz", f"{url}/metrics")])
            async with watch.looking():
                assert await watch.until(lambda: bool(watch.latest), 5.0)
        return watch

    assert run(main()).latest["stuck"].state == "gone"
