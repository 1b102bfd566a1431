"""The load of a workload file: what it sends, what it remembers from one seeding to the next, and how it judges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from loadtests.declared.declared_workload import DeclaredWorkload
from loadtests.declared.workload_file import WorkloadFile
from loadtests.generator.arrivals import make_plan
from loadtests.workload import NO_ANSWER, NOT_SENT, Exchange, SeedingFailed, Target, Workload

A = Target("a", {}, ["http://127.0.0.1:1/v1/"], "", [], {})
B = Target("b", {}, ["http://127.0.0.1:2"], "", [], {})


def declared(*requests: dict[str, object], **more: object) -> DeclaredWorkload:
    page = {"name": "n", "who": "w", "rate_per_s": 100, "keys": 5, "request": list(requests), **more}
    return DeclaredWorkload(WorkloadFile.model_validate(page), {"TOKEN": "s3cret"})


def seeded(workload: DeclaredWorkload, *targets: Target, seed: int = 7) -> DeclaredWorkload:
    for target in targets:
        asyncio.run(workload.seed(target, workload.mix, seed))
    return workload


def exchange(op: str, serial: int, status: int = 200, key: int = 3) -> Exchange:
    return Exchange(op, key, serial, 0.0, 0.0, 0.0, 0.0, status, b"HTTP/1.1 200 OK\r\n\r\nok")


def first_line(workload: DeclaredWorkload, target: Target, each: Exchange, before: Exchange | None = None) -> str:
    encoded = workload.encode(target, each, before)
    assert encoded is not None
    assert encoded[0] == 0
    return encoded[1].partition(b" HTTP/1.1\r\n")[0].decode()


PUT = {"name": "put", "method": "PUT", "path": "/x/{seed}-{side}-{serial}?k={key}", "expect": ["2xx"]}
READ = {"name": "read", "path": "/x/{seed}-{side}-{serial}", "weight": 0}
JOURNEY = ({**PUT, "then": {"request": "read", "after_s": 0.5}}, {**READ, "then": {"request": "again"}}, {**READ, "name": "again"})


def test_each_side_is_asked_the_same_but_for_its_own_number_and_path() -> None:
    workload = seeded(declared(PUT), A, B)

    assert first_line(workload, A, exchange("put", 4)) == "PUT /v1/x/7-0-4?k=3"
    assert first_line(workload, B, exchange("put", 4)) == "PUT /x/7-1-4?k=3"
    encoded = workload.encode(B, exchange("put", 4), None)
    assert encoded is not None
    assert b"\r\nHost: 127.0.0.1:2\r\n" in encoded[1]


def test_a_serial_never_comes_twice_on_a_service_that_remembers() -> None:
    workload = seeded(declared(PUT), A)
    assert first_line(workload, A, exchange("put", 9)) == "PUT /v1/x/7-0-9?k=3"

    seeded(workload, A)
    assert first_line(workload, A, exchange("put", 0)) == "PUT /v1/x/7-0-10?k=3"
    assert first_line(workload, A, exchange("put", 1)) == "PUT /v1/x/7-0-11?k=3"


def test_the_steps_of_a_journey_ask_for_what_its_first_one_made() -> None:
    workload = seeded(declared(*JOURNEY), A)
    put, read, again = exchange("put", 20, 201), exchange("read", 23), exchange("again", 31)

    assert first_line(workload, A, put) == "PUT /v1/x/7-0-20?k=3"
    assert first_line(workload, A, read, put) == "GET /v1/x/7-0-20"
    assert first_line(workload, A, again, read) == "GET /v1/x/7-0-20"


@pytest.mark.parametrize("status", [NO_ANSWER, NOT_SENT, 404, 500])
def test_nothing_follows_a_step_that_failed(status: int) -> None:
    workload = seeded(declared(*JOURNEY), A)

    assert workload.encode(A, exchange("read", 1), exchange("put", 0, status)) is None
    assert workload.encode(A, exchange("again", 2), exchange("read", 1, status)) is None, "nor one that expected nothing"


def test_a_file_is_checked_by_its_own_mix_and_keeps_no_history() -> None:
    workload: Workload = declared(PUT)
    assert (workload.check_mix, workload.deadline_s(A)) == ("n", None)
    with pytest.raises(RuntimeError, match="keeps no history"):
        workload.recorded(A)


def test_a_request_of_weight_0_is_planned_only_where_it_follows() -> None:
    workload = declared(*JOURNEY)
    plan = make_plan(workload.mix, 200, 2, seed=1)

    assert plan.ops == ("put", "read", "again")
    assert all((plan.ops[op] == "put") == (before < 0) for op, before in zip(plan.op_indexes, plan.follows, strict=True))


@pytest.mark.parametrize(
    ("expect", "statuses", "verdict", "counts"),
    [
        ([200, 404], [200, 404, 200], "valid", {"asked": 3}),
        ([200], [200, 404], "invalid", {"asked": 2, "unexpected": 1}),
        ([200], [200, 503, NO_ANSWER], "invalid", {"asked": 3, "unexpected": 1, "no_answer": 1}),
        ([200], [200, NO_ANSWER], "unknown", {"asked": 2, "no_answer": 1}),
        ([200], [200, NOT_SENT], "valid", {"asked": 1, "not_sent": 1}),
        (["2xx", 503], [204, 503], "valid", {"asked": 2}),
        (None, [200, 404], "unknown", {"asked": 2}),
        (None, [200, 500], "invalid", {"asked": 2, "unexpected": 1}),
    ],
)
def test_an_answer_is_judged_by_what_the_file_expects(
    expect: list[int] | None, statuses: list[int], verdict: str, counts: dict[str, int]
) -> None:
    request = {"name": "read", "path": "/", **({"expect": expect} if expect else {})}
    workload = seeded(declared(request), A)
    workload.observe(A, [exchange("read", serial, status) for serial, status in enumerate(statuses)])

    (check,) = asyncio.run(workload.check(A))  # type: ignore[arg-type]
    assert (check.verdict, check.counts) == (verdict, counts)


def test_a_new_seeding_judges_a_new_history_and_bytes_only_rise() -> None:
    workload = seeded(declared({"name": "read", "path": "/", "expect": [200]}), A)
    workload.observe(A, [exchange("read", 0, 500)])
    assert asyncio.run(workload.counters(A)) == {"response_bytes": 21.0}  # type: ignore[arg-type]

    seeded(workload, A)
    assert asyncio.run(workload.check(A)) == []  # type: ignore[arg-type]
    workload.observe(A, [exchange("read", 0)])
    assert asyncio.run(workload.counters(A)) == {"response_bytes": 42.0}  # type: ignore[arg-type]
    assert [check.verdict for check in asyncio.run(workload.check(A))] == ["valid"]  # type: ignore[arg-type]


Answer = Callable[[str, str], tuple[int, str]]  # method and path, Authorization -> status, body


class Server(asyncio.Protocol):
    """Writes down first line and body of each request, and answers as it is told."""

    def __init__(self, answer: Answer, asked: list[str]) -> None:
        self.answer, self.asked, self.received = answer, asked, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, blank_line, rest = self.received.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(fields.get("content-length", 0))
        if blank_line and len(rest) >= length:
            self.received = rest[length:]
            self.asked.append(f"{lines[0].removesuffix(' HTTP/1.1')} {rest[:length].decode()}".strip())
            status, said = self.answer(self.asked[-1], fields.get("authorization", ""))
            self.transport.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(said)}\r\n\r\n{said}".encode())


def set_up_against(answer: Answer, workload: DeclaredWorkload, times: int = 1) -> list[str]:
    """Seed a target that answers so, and give back what it was asked, in order."""
    asked: list[str] = []

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Server(answer, asked), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            for _ in range(times):
                await workload.seed(Target("a", {}, [url], "", [], {}), workload.mix, 7)
            await asyncio.sleep(0.01)  # the server hears that its clients are gone

    asyncio.run(main())
    return asked


SETUP = [
    {"method": "PUT", "path": "/items/{key}", "body": {"title": "item {key} of {seed}"}},
    {"path": "/warm/{key}", "headers": {"Authorization": "Bearer {env:TOKEN}"}},
]


def test_setup_asks_once_for_each_key_step_after_step_however_often_it_is_seeded() -> None:
    workload = declared(READ | {"weight": 1}, setup=SETUP)
    asked = set_up_against(lambda line, token: (200 if token or "PUT" in line else 401, ""), workload, times=2)

    assert sorted(asked[:5]) == [f'PUT /items/{key} {{"title":"item {key} of 7"}}' for key in range(5)]
    assert sorted(asked[5:]) == [f"GET /warm/{key}" for key in range(5)]


def test_a_setup_that_is_refused_ends_the_run_and_the_sentence_holds_no_secret() -> None:
    workload = declared(READ | {"weight": 1}, setup=SETUP[1:])
    with pytest.raises(SeedingFailed) as raised:
        set_up_against(lambda line, token: (403, f"not with {token}"), workload)

    assert str(raised.value) == (
        "a: setup 1, GET /warm/{key}, was answered 403: not with Bearer *** (if that is right, write expect = [403])"
    )


def test_a_setup_may_expect_what_is_there_already() -> None:
    set_up_against(lambda line, token: (409, ""), declared(READ | {"weight": 1}, setup=[{**SETUP[0], "expect": [201, 409]}]))
    with pytest.raises(SeedingFailed, match="got no answer"):
        seeded(declared(READ | {"weight": 1}, setup=SETUP), A)
