"""The scripts of the Redis backend: one for each combination of algorithms that meet in one request, put together from fragments.

A request that meets a GCRA limit and a fixed window runs one script: it asks for the time, reads both, and writes both or none. So
a decision is one round trip and atomic, and what all see is the server's clock. Only `take` and `give_back` are here again, in Lua;
what an answer says (remaining, retry, reset) the functions of the algorithms make from the numbers that a script hands back.

    {api}:gcra1:per-user:u1              string  the TAT in microseconds
    {api}:leaky_queue1:...               string  when the next unit may leave
    {api}:token_bucket1:...              string  24 bytes: level, at_us, unit, as little-endian doubles
    {api}:leaky_bucket1:...              string  likewise
    {api}:fixed_window1:...              string  16 bytes: start_us, used
    {api}:sliding_window1:...            string  24 bytes: start_us, used, before
    {api}:sliding_log1:...               list    stamps in microseconds, oldest first
    {api}:sketch1:per-ip:60000000        string  8 bytes start_us, then two slots of DEPTH x WIDTH counters of 32 bits
    {api}:concurrency1:exports:acme      sorted set  token -> when its lease ends

Numbers are doubles, so every one stays below 2^53 (`limits`). They go to Redis as numbers: `..` would write a time in microseconds
as 1.79e+15. Keys end by themselves when they say nothing any more. Commands are those of Redis 6.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from designs.rate_limiter.count_min_sketch import CELLS, DEPTH
from designs.rate_limiter.limits import AlgorithmName

Kind: TypeAlias = Literal["take", "shadow", "read"]
MAX_TOGETHER = 16  # a Lua function has 200 local variables

# What a script calls the time. A client's is its first argument, and then keys live longer by what clocks may differ.
STORE_TIME = "local t = call('TIME')\nlocal now = t[1] * 1000000 + t[2]\n"
CLIENT_TIME = "local now = ARGV[1] + 0\n"
CLIENT_SLACK_MS = 3_600_000

# In a fragment @ is the number of the demand, KEY its key and A1, A2, ... its arguments. `look` finds what `ok` asks about.

_TAT = """
local tat@ = (call('GET', KEY) or 0) + 0
if tat@ < now then tat@ = now end
"""
# LEVEL, CARRIED and PASSED: of a key that was never seen, into another unit, after the time that has passed.
_LEVEL = """
local level@, at@ = EMPTY, now
local found@ = call('GET', KEY)
if found@ then
  local level, at, was = struct.unpack('<ddd', found@)
  if was ~= A2 then level = CARRIED end
  if at > now then at@ = at end
  level@ = PASSED
end
"""
_TOKENS = (
    _LEVEL.replace("EMPTY", "A3")
    .replace("CARRIED", "math.floor(level / was) * A2")
    .replace("PASSED", "math.min(A3, level + math.max(0, now - at) * A1)")
)
_POURED = (
    _LEVEL.replace("EMPTY", "0")
    .replace("CARRIED", "math.ceil(level / was) * A2")
    .replace("PASSED", "math.max(0, level - math.max(0, now - at) * A1)")
)
_FIXED = """
local start@, used@ = now - now % A1, 0
local found@ = call('GET', KEY)
if found@ then
  local start, used = struct.unpack('<dd', found@)
  if start >= start@ then start@, used@ = start, used end
end
"""
_TICKS = """
local at@ = math.floor(now / A2)
local start@, used@, before@ = at@ - at@ % A1, 0, 0
"""
_SLIDING = (
    _TICKS
    + """
local found@ = call('GET', KEY)
if found@ then
  local was, used, before = struct.unpack('<ddd', found@)
  was = math.floor(was / A2)
  if was >= start@ then start@, used@, before@ = was, used, before elseif was >= start@ - A1 then before@ = used end
end
"""
)
_WEIGHED = "before@ * (A1 - math.max(0, at@ - start@)) + (used@ + A4) * A1 <= A3 * A1"
# The window after this one has ended, in microseconds from now.
_SLIDING_LIFE = "(math.max(at@, start@) - math.max(at@, start@) % A1 + 2 * A1) * A2 - now"
# Those that are over stand in front: a search that doubles its step finds the first of the others, usually at once.
_LOG = """
local length@, gone@, frees@, last@ = call('LLEN', KEY), 0, 0, 0
local till@, step@ = length@, 1
while gone@ < till@ do
  local at = math.min(gone@ + step@, till@) - 1
  if tonumber(call('LINDEX', KEY, at)) <= now - A1 then
    gone@, step@ = at + 1, step@ * 2
  else
    till@, step@ = at, math.max(1, math.floor(step@ / 2))
  end
end
local used@ = length@ - gone@
if used@ > 0 then last@ = tonumber(call('LINDEX', KEY, -1)) end
if used@ > 0 and used@ + A3 > A2 then frees@ = tonumber(call('LINDEX', KEY, length@ + A3 - A2 - 1) or 0) end
"""
_LOG_PRUNE = "if gone@ > 0 then call('LTRIM', KEY, gone@, -1) end\n"
_LOG_TAKE = """
local stamp = math.max(now, last@)
local stamps = {}
for n = 1, math.min(A3, 1000) do stamps[n] = stamp end
for first = 1, A3, 1000 do call('RPUSH', KEY, unpack(stamps, 1, math.min(1000, A3 - first + 1))) end
used@, frees@, last@ = used@ + A3, 0, stamp
local left = stamp + A1 - now
call('PEXPIRE', KEY, MS)
"""
# Two slots take turns; which one is this window's follows from its number, so that nothing moves when a window ends.
_SKETCH_HEAD = """
head@, got@ = call('GETRANGE', KEY, 0, 7), {}
was@ = #head@ == 8 and math.floor(struct.unpack('<d', head@) / A2) or -2 * A1
"""
_SKETCH_CELLS = f"""
if was@ >= start@ - A1 then
  local ask = {{'BITFIELD_RO', KEY}}
  for slot = 0, 1 do for row = 1, {DEPTH} do
    ask[#ask + 1] = 'GET'
    ask[#ask + 1] = 'u32'
    ask[#ask + 1] = '#' .. (2 + slot * {CELLS} + cell@[row])
  end end
  got@ = call(unpack(ask))
end
"""
_SKETCH = (
    _TICKS
    + "local cell@ = {A5, A6, A7, A8}\nlocal head@, got@, was@\n"
    + _SKETCH_HEAD
    + "if was@ > start@ then start@ = was@ end\nlocal here@ = (start@ / A1) % 2\n"
    + _SKETCH_CELLS
    + f"""
if #got@ > 0 then
  local least = {{4294967295, 4294967295}}
  for row = 1, {DEPTH} do
    least[1] = math.min(least[1], got@[row])
    least[2] = math.min(least[2], got@[{DEPTH} + row])
  end
  if was@ == start@ then used@, before@ = least[here@ + 1], least[2 - here@] else before@ = least[2 - here@] end
end
"""
)
# What an earlier demand of the same script may have written: the keys of a rule share one sketch.
_SKETCH_AGAIN = _SKETCH_HEAD + _SKETCH_CELLS
_SKETCH_TAKE = f"""
used@ = used@ + A4
if was@ < start@ then
  if was@ < start@ - A1 then call('DEL', KEY) end
  call('SETRANGE', KEY, 8 + here@ * {CELLS * 4}, string.rep('\0', {CELLS * 4}))
  call('SETRANGE', KEY, 0, struct.pack('<d', start@ * A2))
end
local raise = {{'BITFIELD', KEY}}
for row = 1, {DEPTH} do
  if (was@ == start@ and got@[here@ * {DEPTH} + row] or 0) < used@ then
    raise[#raise + 1] = 'SET'
    raise[#raise + 1] = 'u32'
    raise[#raise + 1] = '#' .. (2 + here@ * {CELLS} + cell@[row])
    raise[#raise + 1] = used@
  end
end
if #raise > 2 then call(unpack(raise)) end
local left = {_SLIDING_LIFE}
call('PEXPIRE', KEY, MS)
"""


@dataclass(frozen=True, slots=True)
class Fragments:
    """An algorithm in Lua.

    `view` are the numbers that an answer is made from; `give_back` does nothing to a key that is not there. `again` comes
    before the `take` of all but the first that keep several keys in one place.
    """

    arguments: int
    look: str
    ok: str
    take: str
    view: tuple[str, ...]
    give_back: str = ""
    again: str = ""


_KEEP_TAT = "local left = tat@ - now\ncall('SET', KEY, tat@, 'PX', MS)\n"
_KEEP_TOKENS = "at@ = now\nlocal left = (A3 - level@) / A1\ncall('SET', KEY, struct.pack('<ddd', level@, now, A2), 'PX', MS)\n"
_KEEP_POURED = "at@ = now\nlocal left = level@ / A1\ncall('SET', KEY, struct.pack('<ddd', level@, now, A2), 'PX', MS)\n"
_KEEP_FIXED = """local till = math.max(now, start@)
local left = till - till % A1 + A1 - now
call('SET', KEY, struct.pack('<dd', start@, used@), 'PX', MS)
"""
_KEEP_SLIDING = f"""local left = {_SLIDING_LIFE}
call('SET', KEY, struct.pack('<ddd', start@ * A2, used@, before@), 'PX', MS)
"""

_GCRA = Fragments(
    2,
    _TAT,
    "tat@ + A2 - now <= A1",
    "tat@ = tat@ + A2\n" + _KEEP_TAT,
    ("tat@",),
    "if tat@ > now then tat@ = math.max(now, math.min(tat@, now + A1) - A2)\n" + _KEEP_TAT + "end\n",
)
FRAGMENTS: Mapping[AlgorithmName, Fragments] = {
    "gcra": _GCRA,
    "leaky_queue": _GCRA,
    "token_bucket": Fragments(
        4,
        _TOKENS,
        "A4 <= level@",
        "level@ = level@ - A4\n" + _KEEP_TOKENS,
        ("level@", "at@"),
        "if found@ then level@ = math.min(A3, level@ + A4)\n" + _KEEP_TOKENS + "end\n",
    ),
    "leaky_bucket": Fragments(
        4,
        _POURED,
        "level@ + A4 <= A3",
        "level@ = level@ + A4\n" + _KEEP_POURED,
        ("level@", "at@"),
        "if found@ then level@ = math.max(0, level@ - A4)\n" + _KEEP_POURED + "end\n",
    ),
    "fixed_window": Fragments(
        3,
        _FIXED,
        "used@ + A3 <= A2",
        "used@ = used@ + A3\n" + _KEEP_FIXED,
        ("start@", "used@"),
        "if found@ then used@ = math.max(0, used@ - A3)\n" + _KEEP_FIXED + "end\n",
    ),
    "sliding_window": Fragments(
        4,
        _SLIDING,
        _WEIGHED,
        "used@ = used@ + A4\n" + _KEEP_SLIDING,
        ("start@ * A2", "used@", "before@"),
        "if found@ then local here = math.min(used@, A4)\n"
        "used@, before@ = used@ - here, math.max(0, before@ - (A4 - here))\n" + _KEEP_SLIDING + "end\n",
    ),
    "sliding_log": Fragments(
        3,
        _LOG,
        "used@ + A3 <= A2",
        _LOG_PRUNE + _LOG_TAKE,
        ("used@", "frees@", "last@"),
        _LOG_PRUNE + "if used@ > 0 then call('RPOP', KEY, math.min(used@, A3)) end\n",
    ),
    "sketch": Fragments(8, _SKETCH, _WEIGHED, _SKETCH_TAKE, ("start@ * A2", "used@", "before@"), again=_SKETCH_AGAIN),
}


@lru_cache(maxsize=4096)  # rules are few, and the combinations in which requests meet them not many more
def take_script(demands: tuple[tuple[AlgorithmName, Kind], ...], *, client_time: bool) -> str:
    """A script that answers {passed, now, view, view, ...}, `passed` with bit n - 1 for demand n.

    It writes when all of kind "take" passed, and then those of kind "shadow" that passed too. One of kind "read" is never taken,
    and nothing depends on it.
    """
    looks, takes, passed, views = [], [], [], []
    counts = []
    at = 1 if client_time else 0
    for number, (name, kind) in enumerate(demands, start=1):
        fragments = FRAGMENTS[name]
        looks.append(_placed(_arguments(fragments.arguments, at) + fragments.look, number))
        looks.append(_placed(f"local ok@ = {fragments.ok}\n", number))
        again = fragments.again if any(name == before for before, _ in demands[: number - 1]) else ""
        if kind == "take":
            counts.append(f"ok{number}")
            takes.append(_placed("do\n" + again + fragments.take + "end\n", number))
        elif kind == "shadow":
            takes.append(_placed("if ok@ then\n" + again + fragments.take + "end\n", number))
        passed.append(f"(ok{number} and {1 << (number - 1)} or 0)")
        views += [_placed(view, number) for view in fragments.view]
        at += fragments.arguments
    body = f"if {' and '.join(counts) or 'true'} then\n{''.join(takes)}end\n" if takes else ""
    text = f"{''.join(looks)}{body}return {{{' + '.join(passed)}, now, {', '.join(views)}}}"
    return _whole(text, client_time=client_time)


@lru_cache(maxsize=4096)
def give_back_script(algorithms: tuple[AlgorithmName, ...], *, client_time: bool) -> str:
    """A script that undoes an admission of these."""
    text, at = "", 1 if client_time else 0
    for number, name in enumerate(algorithms, start=1):
        fragments = FRAGMENTS[name]
        text += _placed(_arguments(fragments.arguments, at) + fragments.look + fragments.give_back, number)
        at += fragments.arguments
    return _whole(text + "return 1", client_time=client_time)


def _arguments(count: int, at: int) -> str:
    names = ", ".join(f"A{n}" for n in range(1, count + 1))
    return f"local {names} = {', '.join(f'ARGV[{at + n}] + 0' for n in range(1, count + 1))}\n"


def _placed(text: str, number: int) -> str:
    """The fragment for the demand of this number: with names of its own."""
    text = re.sub(r"\bA(\d)\b", rf"a{number}_\1", text)
    return text.replace("@", str(number)).replace("KEY", f"KEYS[{number}]")


def _whole(text: str, *, client_time: bool) -> str:
    """The script, with what each begins with. `MS` is the life in ms of what ends `left` us from now: longer, never shorter."""
    slack_ms = CLIENT_SLACK_MS if client_time else 0
    text = text.replace("MS", f"(left - left % 1000) / 1000 + {2 + slack_ms}")
    return "local call = redis.call\n" + (CLIENT_TIME if client_time else STORE_TIME) + text


# Slots. KEYS: one sorted set for each limit. ARGV: [now,] token, then for each limit: slots, lease in us, 1 for a shadow.
_SLOTS_LOOK = """
local token = ARGV[FIRST]
local function arg(i, n) return tonumber(ARGV[FIRST + 3 * (i - 1) + n]) end
local function keep(i)
  call('ZADD', KEYS[i], now + arg(i, 2), token)
  local left = arg(i, 2)
  local life = MS
  if call('PTTL', KEYS[i]) < life then call('PEXPIRE', KEYS[i], life) end
end
"""
_ACQUIRE = (
    _SLOTS_LOOK
    + """
local passed, all = 0, true
local ok = {}
for i = 1, #KEYS do
  call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  ok[i] = call('ZSCORE', KEYS[i], token) ~= false or call('ZCARD', KEYS[i]) < arg(i, 1)
  if ok[i] then passed = passed + 2 ^ (i - 1) elseif arg(i, 3) ~= 1 then all = false end
end
local answer = {passed, now}
for i = 1, #KEYS do
  if all and ok[i] then keep(i) end
  local first = call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
  answer[#answer + 1] = call('ZCARD', KEYS[i])
  answer[#answer + 1] = tonumber(first[2] or 0)
end
return answer
"""
)
_RENEW = (
    _SLOTS_LOOK
    + """
for i = 1, #KEYS do
  if tonumber(call('ZSCORE', KEYS[i], token) or 0) <= now then return 0 end
end
for i = 1, #KEYS do keep(i) end
return 1
"""
)
_RELEASE = """
local held = 0
for i = 1, #KEYS do
  local till = call('ZSCORE', KEYS[i], ARGV[FIRST])
  if till and tonumber(till) > now then held = 1 end
  call('ZREM', KEYS[i], ARGV[FIRST])
end
return held
"""


def slot_script(verb: Literal["acquire", "renew", "release"], *, client_time: bool) -> str:
    """A script for any number of concurrency limits."""
    text = {"acquire": _ACQUIRE, "renew": _RENEW, "release": _RELEASE}[verb]
    return _whole(text.replace("FIRST", "2" if client_time else "1"), client_time=client_time)
