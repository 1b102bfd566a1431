"""Envoy's rate limit service (`envoy.service.ratelimit.v3`) over gRPC: a second door to the same limiter, on a port of its own.

    1. read the call: its domain, and descriptors, which `envoy_descriptors` takes to the rules
    2. one `Limiter.check_met` for all of them: one round trip, all or nothing
    3. answer: OVER_LIMIT when one refuses, a status for each descriptor, and the fields and the body for Envoy's client

What is asked and what is answered:

    a descriptor no rule applies to, a domain nobody has    OK without a limit, as Envoy's own service does
    the store is away                                       each rule's on_store_down; closed is OVER_LIMIT. An UNAVAILABLE would
                                                            pass wherever Envoy's failure_mode_deny is off, as it is at first, and
                                                            that is one switch for all rules, which knows none of them
    a limit in a descriptor                                 INVALID_ARGUMENT: limits are the rule file's, where they are reviewed;
                                                            two callers could count one key by two limits. Name a tier instead
    what only a wrong configuration can ask                 INVALID_ARGUMENT with a sentence
    more rules apply than one round trip decides            OVER_LIMIT, counted as TOO_MANY_RULES; which rules apply, a client may
                                                            have a hand in
    more than `max_calls` at once, a message too large      RESOURCE_EXHAUSTED, and Envoy's failure_mode_deny decides
    a mistake of ours                                       INTERNAL, likewise

Nothing that a client of Envoy can write leads to an error, or it would be let through for it: values may be empty, long, or bytes
that are no text. A leaky_queue's delay can't be told to Envoy; what it admits goes on at once.

Bound to 127.0.0.1 unless told otherwise, without TLS. `secret` is asked for as `authorization: Bearer <secret>`, which Envoy sends
as `initial_metadata`; it keeps neighbours out, and nobody who can read the wire. `envoy.yaml` is an Envoy that asks this service.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn, TypeAlias

import grpc
import orjson
import structlog
from envoy.service.ratelimit.v3 import rls_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from designs.building_blocks.problem_details import MEDIA_TYPE
from designs.rate_limiter.envoy_descriptors import Descriptor, met_by, together
from designs.rate_limiter.headers import Headers, headers_of, nearest_to_its_end, problem_of
from designs.rate_limiter.limiter import Limiter, RuleDecision, Verdict
from designs.rate_limiter.ports import Demand
from designs.rate_limiter.rule_file import MAX_TOGETHER

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
HEALTH = "grpc.health.v1.Health"
MAX_DESCRIPTORS = 16
MAX_ENTRIES = 16  # of a descriptor
# Envoy takes 60 KiB of headers unless told otherwise, and a client's may be in each descriptor: what it can make is not too large.
MAX_BYTES = 1 << 20
MAX_CALLS = 256
STOP_WITHIN_S = 2.0
CURRENT_HEADERS = partial(headers_of, style="current")

_Code: TypeAlias = grpc.StatusCode
_UINT32 = (1 << 32) - 1
_UNITS = {
    1_000_000: rls_pb2.RateLimitResponse.RateLimit.SECOND,
    60_000_000: rls_pb2.RateLimitResponse.RateLimit.MINUTE,
    3_600_000_000: rls_pb2.RateLimitResponse.RateLimit.HOUR,
    86_400_000_000: rls_pb2.RateLimitResponse.RateLimit.DAY,
}

log = structlog.get_logger()


class Refused(Exception):
    """A call that is not answered. The message says what would be right."""

    def __init__(self, code: grpc.StatusCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


async def serve(
    limiter: Limiter,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    tell: Callable[[Verdict], Headers] = CURRENT_HEADERS,
    secret: str = "",
    max_calls: int = MAX_CALLS,
) -> EnvoyService:
    """A running service; port 0 is any that is free. Raises OSError when the port can't be had.

    `tell` makes the fields that Envoy adds to its answer to the client.
    """
    service = EnvoyService(limiter, tell, secret)
    await service.start(host, port, max_calls)
    return service


class EnvoyService:
    """`port` is where it listens; `calls` counts its answers: OK, OVER_LIMIT, TOO_MANY_RULES, or the name of a gRPC status.

    Runs on the event loop that started it, uvloop or asyncio's.
    """

    def __init__(self, limiter: Limiter, tell: Callable[[Verdict], Headers], secret: str) -> None:
        self._limiter = limiter
        self._tell = tell
        self._wanted = f"Bearer {secret}".encode() if secret else b""
        self._serving = True
        self._server: Any = None
        self.port = 0
        self.calls: Counter[str] = Counter()

    async def start(self, host: str, port: int, max_calls: int) -> None:
        options = (
            ("grpc.max_receive_message_length", MAX_BYTES),
            ("grpc.so_reuseport", 0),  # a second process on this port is a mistake, not half of the calls
        )
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=max_calls)
        for name, method, answer in ((SERVICE, "ShouldRateLimit", self._should_rate_limit), (HEALTH, "Check", self._check_health)):
            handler = grpc.unary_unary_rpc_method_handler(answer)
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {method: handler}),))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            await self._server.stop(None)
            raise OSError(f"nothing can listen on {address}: it is taken, or no address of this machine") from error
        await self._server.start()

    async def stop(self, grace_s: float = STOP_WITHIN_S) -> None:
        """No call is taken any more; those under way have `grace_s`, then they are cancelled. Safe to call again."""
        self._serving = False
        await self._server.stop(grace_s)

    async def _should_rate_limit(self, raw: bytes, context: Any) -> bytes:
        try:
            self._authenticate(context)
            response = await self._answer(raw)
        except Refused as refused:
            await self._abort(context, refused.code, str(refused))
        except Exception:
            log.exception("envoy_call_failed")
            await self._abort(context, _Code.INTERNAL, "something went wrong here; whether units were taken is not known")
        return bytes(response.SerializeToString())

    async def _abort(self, context: Any, code: grpc.StatusCode, sentence: str) -> NoReturn:
        self.calls[code.name] += 1
        await context.abort(code, sentence)
        raise AssertionError("abort raises")

    def _authenticate(self, context: Any) -> None:
        if not self._wanted:
            return
        brought = dict(context.invocation_metadata()).get("authorization", b"")
        if not hmac.compare_digest(brought.encode() if isinstance(brought, str) else brought, self._wanted):
            raise Refused(_Code.UNAUTHENTICATED, "bring the secret of this service as metadata, authorization: Bearer <secret>")

    async def _answer(self, raw: bytes) -> rls_pb2.RateLimitResponse:
        domain, descriptors = call_of(raw)
        rules = self._limiter.rules  # one rule set for the whole call
        met = [met_by(rules, domain, descriptor) for descriptor in descriptors]
        asked = together(met)
        if len(asked) > MAX_TOGETHER:
            self.calls["TOO_MANY_RULES"] += 1
            over = rls_pb2.RateLimitResponse.DescriptorStatus(code=rls_pb2.RateLimitResponse.OVER_LIMIT)
            return rls_pb2.RateLimitResponse(overall_code=over.code, statuses=[over] * len(descriptors))
        verdict = await self._limiter.check_met(domain, asked)
        self.calls["OK" if verdict.allowed else "OVER_LIMIT"] += 1
        said = {rule.demand.key: rule for rule in verdict.rules}
        statuses = [status_of([said[each.demand.key] for each in one]) for one in met]
        return response_of(verdict, statuses, self._tell(verdict))

    async def _check_health(self, raw: bytes, context: Any) -> bytes:
        """grpc.health.v1.Health/Check in its bytes, which are fewer than a package for it: field 1 is the service, then the status.

        As long as it runs it serves: without the store, each rule's on_store_down does.
        """
        if raw not in (b"", b"\x0a%c%s" % (len(SERVICE), SERVICE.encode())):
            await context.abort(_Code.NOT_FOUND, f"this server has {SERVICE} and no other service")
        return b"\x08\x01" if self._serving else b"\x08\x02"


def call_of(raw: bytes) -> tuple[str, list[Descriptor]]:
    """The domain and the descriptors of a RateLimitRequest. Raises `Refused`."""
    try:
        call = _RateLimitRequest.FromString(raw)
    except DecodeError:
        raise Refused(_Code.INVALID_ARGUMENT, f"that is no RateLimitRequest of {SERVICE}") from None
    if not call.domain:
        raise Refused(_Code.INVALID_ARGUMENT, "the call names no domain; it is `domain` of Envoy's rate limit filter")
    if not 1 <= len(call.descriptors) <= MAX_DESCRIPTORS:
        raise Refused(
            _Code.INVALID_ARGUMENT, f"a call has from 1 to {MAX_DESCRIPTORS} descriptors, this one has {len(call.descriptors)}"
        )
    hits = call.hits_addend or 1  # not set is 0
    return _text(call.domain), [_descriptor(index, one, hits) for index, one in enumerate(call.descriptors)]


def _descriptor(index: int, one: Any, hits: int) -> Descriptor:
    entries = {_text(entry.key): _text(entry.value) for entry in one.entries}
    wrong = ""
    if one.HasField("limit"):
        wrong = "brings a limit of its own; limits are the rule file's, and an entry `tier` chooses among those of a rule"
    elif not 1 <= len(one.entries) <= MAX_ENTRIES:
        wrong = f"has {len(one.entries)} entries; there are from 1 to {MAX_ENTRIES}"
    elif "" in entries:
        wrong = "has an entry without a key"
    elif len(entries) < len(one.entries):
        wrong = "has a key twice, which no rule can match; give one of them another descriptor_key"
    if wrong:
        raise Refused(_Code.INVALID_ARGUMENT, f"descriptor {index} {wrong}")
    return Descriptor(entries, one.hits_addend.value if one.HasField("hits_addend") else hits)


def _text(raw: bytes) -> str:
    """Bytes that are no UTF-8 byte by byte, behind a NUL, which no header can hold: nobody else's text is the same."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "\0" + raw.decode("latin-1")


def status_of(rules: Sequence[RuleDecision]) -> rls_pb2.RateLimitResponse.DescriptorStatus:
    """What one descriptor is told: the rule nearest to its end stands for all that apply. Shadow rules are not seen."""
    shown = [rule for rule in rules if not rule.shadow]
    if not shown:
        return rls_pb2.RateLimitResponse.DescriptorStatus(code=rls_pb2.RateLimitResponse.OK)
    rule = nearest_to_its_end(shown)
    status = rls_pb2.RateLimitResponse.DescriptorStatus(
        code=rls_pb2.RateLimitResponse.OK if rule.decision.allowed else rls_pb2.RateLimitResponse.OVER_LIMIT,
        limit_remaining=min(rule.decision.remaining, _UINT32),
    )
    status.duration_until_reset.FromMicroseconds(rule.decision.reset_after_us)
    limit = rule.demand.limit if isinstance(rule.demand, Demand) else None
    # A period that is none of Envoy's units has no current_limit: 100 in ten seconds is not 10 a second.
    # Where a burst is larger than the quota, more may remain than requests_per_unit: that has no word for a burst.
    if limit is not None and limit.period_us in _UNITS and limit.quota <= _UINT32:
        status.current_limit.name = rule.rule
        status.current_limit.requests_per_unit = limit.quota
        status.current_limit.unit = _UNITS[limit.period_us]
    return status


def response_of(
    verdict: Verdict, statuses: Sequence[rls_pb2.RateLimitResponse.DescriptorStatus], headers: Headers
) -> rls_pb2.RateLimitResponse:
    response = rls_pb2.RateLimitResponse(
        overall_code=rls_pb2.RateLimitResponse.OK if verdict.allowed else rls_pb2.RateLimitResponse.OVER_LIMIT,
        statuses=statuses,
    )
    for name, value in headers:
        response.response_headers_to_add.add(key=name.decode(), value=value.decode())
    if not verdict.allowed:
        # For Envoy's client: not what shadow rules say, and no status, which is Envoy's to choose (rate_limited_status).
        document = problem_of(verdict).document()
        response.raw_body = orjson.dumps({name: value for name, value in document.items() if name not in ("status", "limits")})
        response.response_headers_to_add.add(key="content-type", value=MEDIA_TYPE)
    return response


def _request_with_bytes() -> Any:
    """RateLimitRequest as on the wire, but with bytes for strings: Envoy puts header values into them as they are, and the
    generated class refuses a call whose text is no UTF-8. Whoever wrote such a header would be let through.
    """
    field = FieldDescriptorProto
    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    messages = {
        "RateLimitRequest": (
            ("domain", 1, one, field.TYPE_BYTES, None),
            ("descriptors", 2, many, field.TYPE_MESSAGE, ".bytes.Descriptor"),
            ("hits_addend", 3, one, field.TYPE_UINT32, None),
        ),
        "Descriptor": (
            ("entries", 1, many, field.TYPE_MESSAGE, ".bytes.Entry"),
            ("limit", 2, one, field.TYPE_MESSAGE, ".bytes.Limit"),
            ("hits_addend", 3, one, field.TYPE_MESSAGE, ".bytes.Hits"),
        ),
        "Entry": (("key", 1, one, field.TYPE_BYTES, None), ("value", 2, one, field.TYPE_BYTES, None)),
        "Limit": (),
        "Hits": (("value", 1, one, field.TYPE_UINT64, None),),
    }
    file = FileDescriptorProto(name="rls_with_bytes.proto", package="bytes", syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field_name, number, label, kind, type_name in fields:
            message.field.add(name=field_name, number=number, label=label, type=kind, type_name=type_name)
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("bytes.RateLimitRequest"))


_RateLimitRequest = _request_with_bytes()
