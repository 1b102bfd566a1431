"""The `designs` command: pick a question, run its answer, turn a knob, load it, compare, break it.

Expected errors are one sentence on stderr and an exit code; a traceback means a mistake of ours. Heavy things are imported by
the command that needs them, so that `--help` and completion stay quick.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from workbench import cli_faults, cli_stack
from workbench.cli_words import (
    Assignments,
    DesignName,
    ExitCode,
    NotInstalled,
    Replicas,
    UsageError,
    complete_design,
    complete_knob,
    complete_schedules,
    complete_value,
    design_and_knobs,
    ended_by_signals,
    part,
    schedules_in,
)
from workbench.terminal import say, say_aside, show_markdown, show_table

if TYPE_CHECKING:
    from designs.building_blocks.knobs import Knobs
    from workbench.catalogue import Design
    from workbench.launch import RunningDesign

WATCH_S = 0.3


EXIT_CODES = (
    "Exit codes: 0 fine; 1 the run failed, or found the design invalid; 2 wrong usage, or a verdict that stays unknown; "
    "3 something is missing on this machine (see `designs doctor`); 130 interrupted."
)


class SentenceErrors(TyperGroup):
    """Turns expected errors into one sentence and an exit code. The one place where that is done."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except Exception as error:
            code = exit_code_of(error)
            if code is None:
                raise
            say_aside(f"designs: {error}")
            raise typer.Exit(code) from None


def exit_code_of(error: Exception) -> ExitCode | None:
    """None for an error nobody expected."""
    from designs.building_blocks.knobs import KnobError
    from loadtests.capacity.slo import BadSlo
    from loadtests.capacity.usl import ScipyMissing
    from loadtests.cpu_clock import Unreadable
    from loadtests.declared.workload_file import BadWorkloadFile
    from loadtests.faults.proxy.client import ProxyRefused
    from loadtests.faults.schedule import BadSchedule
    from loadtests.history.recorded import BadHistory
    from loadtests.workload import SeedingFailed
    from workbench.bench import BenchFailed, UnknownBench
    from workbench.catalogue import UnknownDesign
    from workbench.check import NoHistory
    from workbench.claims import BadClaims, NoClaims
    from workbench.comparison import UnknownMix
    from workbench.compose import NoDocker, StackFailed, StackRefused
    from workbench.diff import NoRun, NotComparable
    from workbench.docs import DocumentError
    from workbench.embedded_redis import NoRedisServer, RedisFailed
    from workbench.fault_injection.injector import InjectionFailed
    from workbench.fault_injection.links import SeveralServers
    from workbench.fault_injection.process_faults import FaultFailed
    from workbench.given_servers import NoServer
    from workbench.launch import DataFolderBusy, PortTaken
    from workbench.load import LoadRefused, NoLoadTest
    from workbench.measurements import BadRecord, NoRecord
    from workbench.museum.exhibit import UnknownExhibit
    from workbench.processes import ProcessFailed
    from workbench.servers import ServerFailed
    from workbench.service_targets import BadService, Unreachable
    from workbench.strikes import EndsProcesses

    codes: dict[ExitCode, tuple[type[Exception], ...]] = {
        ExitCode.INVALID: (
            ProcessFailed,
            RedisFailed,
            BenchFailed,
            BadClaims,
            DocumentError,
            NoRecord,
            BadRecord,
            SeedingFailed,
            Unreadable,
            Unreachable,
            FaultFailed,
            InjectionFailed,
            ProxyRefused,
            ServerFailed,
            StackFailed,
        ),
        ExitCode.USAGE: (
            BadSlo,
            KnobError,
            UnknownDesign,
            DataFolderBusy,
            PortTaken,
            LoadRefused,
            UsageError,
            UnknownBench,
            UnknownMix,
            NoClaims,
            BadService,
            BadWorkloadFile,
            NoRun,
            NotComparable,
            BadSchedule,
            EndsProcesses,
            SeveralServers,
            BadHistory,
            NoHistory,
            UnknownExhibit,
            StackRefused,
        ),
        ExitCode.MISSING: (NoRedisServer, NoServer, NoLoadTest, NotInstalled, ScipyMissing, NoDocker),
    }
    return next((code for code, kinds in codes.items() if isinstance(error, kinds)), None)


app = typer.Typer(
    cls=SentenceErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="System design interview answers that run: turn a knob, load both sides, see what you buy and what you pay.",
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("list")
def list_designs() -> None:
    """The designs there are, and the question each answers."""
    from workbench.catalogue import DESIGNS

    show_table(("design", "question"), [(design.name, design.question) for design in DESIGNS.values()])


@app.command()
def answer(design: DesignName) -> None:
    """Read a design's chapter."""
    from workbench.catalogue import design_named

    chapter = design_named(design).chapter()
    if not chapter.exists():
        raise NotInstalled(f"The chapter of {design} is not installed.")
    show_markdown(chapter.read_text(encoding="utf-8"))


@app.command()
def knobs(design: DesignName) -> None:
    """What of a design can be turned, and what each turn trades."""
    from designs.building_blocks.knobs import knob_table
    from workbench.catalogue import design_named

    rows = [
        (row.name, row.default, (" | " if row.closed else ", ").join(row.choices), row.description)
        for row in knob_table(design_named(design).processes().KNOBS)
    ]
    show_table(("knob", "default", "choices", "what it trades"), rows)


@app.command()
def run(
    design: DesignName,
    words: Assignments = None,
    replicas: Replicas = 1,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep the data here (else in a temporary folder, removed at the end)."),
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the first replica (else any free one).")] = None,
) -> None:
    """Run a design until Ctrl-C. REDIS_URL names a Redis that already runs; without it one is started where needed.

    Kafka and Cassandra, where the knobs need them, are those that KAFKA_BOOTSTRAP and CASSANDRA_HOSTS name.
    """
    chosen, turned = design_and_knobs(design, words)
    with ended_by_signals(), _running(chosen, turned, replicas=replicas, data_dir=data, first_port=port) as running:
        _introduce(running)
        while True:
            for sentence in running.supervisor.newly_ended():
                say_aside(f"designs: {sentence}")
            if not any(spec.role == "service" for spec in running.supervisor.running()):
                say_aside("designs: no replica is left.")
                raise typer.Exit(ExitCode.INVALID)
            time.sleep(WATCH_S)


@app.command()
def load(
    design: DesignName,
    words: Assignments = None,
    mix: Annotated[str, typer.Option(help="Who does what, in which ratios (else the design's usual mix).")] = "",
    users: Annotated[int, typer.Option(min=1, max=10_000, help="Users at the peak.")] = 20,
    spawn_rate: Annotated[float | None, typer.Option(min=0.1, help="Users started per second (else 10).")] = None,
    shape: Annotated[
        Literal["steps", "spike", "ramp", "soak"] | None, typer.Option(help="How the number of users changes over the run time.")
    ] = None,
    open_loop: Annotated[
        bool, typer.Option("--open-loop", help="Send by a plan, however slow the answers are; latency from the intended start.")
    ] = False,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Requests per second of the open loop (else the mix's own).")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Replays the same plan of the open loop.")] = None,
    run_time: Annotated[
        str | None, typer.Option(help="How long, e.g. 30s or 5m (headless: 30s; with the page: until stopped).")
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless/--page", help="Run at once and print a summary, or open Locust's page.")
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where Locust's report (HTML) and tables (CSV) go.")] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Worker processes, for machines with CPUs to spare.")] = 1,
    master: Annotated[bool, typer.Option("--master", help="Count what workers elsewhere send; prints how to start one.")] = False,
    expect_workers: Annotated[int, typer.Option(min=1, max=1000, help="Headless master: begin when so many are there.")] = 1,
    master_bind: Annotated[str, typer.Option(metavar="IP", help="Where the master listens to its workers.")] = "127.0.0.1",
    worker: Annotated[bool, typer.Option("--worker", help="Send what a master says (the key in DESIGNS_API_KEY).")] = False,
    master_host: Annotated[str, typer.Option(metavar="HOST", help="The worker's master.")] = "127.0.0.1",
    master_port: Annotated[int | None, typer.Option(min=1, max=65535, help="The master's port (else Locust's usual one).")] = None,
    host: Annotated[
        str | None, typer.Option(metavar="URL", help="A service that already runs (its key in DESIGNS_API_KEY).")
    ] = None,
    allow_remote: Annotated[bool, typer.Option(help="The host's owner agreed to be loaded.")] = False,
    replicas: Replicas = 1,
) -> None:
    """Load a design with Locust. Starts the design itself unless --host says where one runs."""
    from workbench import load as locust

    chosen, turned = design_and_knobs(design, words)
    if host and not allow_remote:
        locust.refuse_remote(host)
    if (host or worker) and words:
        raise UsageError("the knobs of a service that already runs can't be turned from here; leave out KNOB=VALUE or --host")
    known_key = os.environ.get("DESIGNS_API_KEY", "")
    if worker and not known_key:
        raise UsageError("a worker needs the key of the service in DESIGNS_API_KEY; its master prints the whole command")
    options = locust.LoadOptions(
        users=users,
        spawn_rate=spawn_rate,
        run_time=run_time,
        page_port=None if headless or open_loop or worker else locust.page_port(),
        shape=shape or "",
        open_loop=open_loop,
        plan_rate=rate,
        plan_seed=seed,
        processes=processes,
        master=master,
        expect_workers=expect_workers,
        master_bind=master_bind,
        worker=worker,
        master_host=master_host,
        master_port=master_port or (locust.MASTER_PORT if worker else locust.free_master_port()),
        out=out,
    )
    file = locust.locust_file(chosen)
    plan = locust.load_cpus(processes)
    if crowded := locust.crowding(processes, os.cpu_count() or 1):
        say_aside(f"designs: {crowded}")

    def loaded(urls: tuple[str, ...], api_key: str) -> int:
        if options.page_port is not None:
            say(f"page      http://127.0.0.1:{options.page_port} (Ctrl-C ends it)")
        if master:
            say(f"worker    {locust.worker_command(chosen, options, '$DESIGNS_API_KEY' if host else api_key)}")
        env = locust.locust_environment(urls, api_key, mix, allow_remote)
        return locust.run_locust(locust.locust_argv(file, urls, options), env, plan.generator if plan else None)

    with ended_by_signals():
        if host or worker:
            failed = loaded((host.rstrip("/"),) if host else (), known_key)
        else:
            with _running(chosen, turned, replicas=replicas, cpus=plan.servers if plan else None) as running:
                failed = loaded(running.urls, running.api_key)
    if failed:
        raise typer.Exit(ExitCode.INVALID)


@app.command()
def compare(
    design: Annotated[
        str | None, typer.Argument(metavar="DESIGN", help="A design of `designs list`.", autocompletion=complete_design)
    ] = None,
    knob: Annotated[str | None, typer.Argument(help="The knob whose values are compared.", autocompletion=complete_knob)] = None,
    values: Annotated[
        list[str] | None,
        typer.Argument(help="Its values, the baseline first (else all its choices).", autocompletion=complete_value),
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Requests per second, open loop.")] = None,
    blocks: Annotated[int | None, typer.Option(min=1, max=1000, help="Interleaved blocks per variant.")] = None,
    round_s: Annotated[float | None, typer.Option(min=0.1, max=600, help="Seconds of a variant's turn.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Replays the same plan of requests.")] = None,
    margin: Annotated[
        float | None, typer.Option(min=0.001, max=1, help="Differences below it are called none (0.05: 5 %, the usual one).")
    ] = None,
    primary: Annotated[
        str | None, typer.Option(metavar="FIGURE", help="What the verdict is about (else CPU per request, where it is known).")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the result and its report go.")] = None,
    mix: Annotated[str | None, typer.Option(help="Designs: who does what, in which ratios (else the knob's own mix).")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KNOB=VALUE", help="Designs: a knob both sides share; repeatable.")
    ] = None,
    control: Annotated[
        bool, typer.Option("--control", help="Designs: run a second copy of the baseline too, to see the noise between copies.")
    ] = False,
    no_restart: Annotated[
        bool, typer.Option("--no-restart", help="Designs: all blocks measure the same processes, whose state goes on.")
    ] = False,
    faults: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME...",
            help="Designs: schedules of `designs faults` that strike each side alike, in every round.",
            autocompletion=complete_schedules,
        ),
    ] = "",
    record: Annotated[bool, typer.Option("--record", help="Designs: keep the figures for the documents.")] = False,
    url: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]URL", help="Services: one that already runs; repeatable, the baseline first."),
    ] = None,
    workload: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Services: who asks them what, in TOML (see loadtests/examples).")
    ] = None,
    pid: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:ROLE]=PID", help="Services: a process whose CPU counts, where its port does not tell."),
    ] = None,
    allow_remote: Annotated[bool, typer.Option("--allow-remote", help="Services: their owner agreed to be loaded.")] = False,
) -> None:
    """Compare the values of one knob under the same load, or services that already run.

    They run side by side and take turns: what does each buy, what does it cost?

    A design: designs compare DESIGN KNOB [VALUE...]. Your own: designs compare --url A --url B --workload FILE.
    """
    of_designs = {"DESIGN": design, "--mix": mix, "--set": assignments, "--control": control, "--no-restart": no_restart}
    of_designs |= {"--faults": faults, "--record": record}
    of_services = {"--url": url, "--workload": workload, "--pid": pid, "--allow-remote": allow_remote}
    shared: dict[str, Any] = {
        "rate_per_s": rate,
        "blocks": blocks,
        "round_s": round_s,
        "seed": seed,
        "margin": margin,
        "primary": primary,
        "out_dir": out,
    }
    if any(of_services.values()):
        misplaced = [word for word, given in of_designs.items() if given]
        if misplaced:
            raise UsageError(
                f"{misplaced[0]} belongs to a design, and {_given(of_services)} to services that already run; take one"
            )
        if not url or workload is None:
            raise UsageError("services are compared by --url A --url B --workload FILE, the baseline first")
        command = part("workbench.services", "services_command")
        with ended_by_signals():
            code = command(url, workload, pids=pid or (), allow_remote=allow_remote, **shared)
        raise typer.Exit(code)
    if design is None or knob is None:
        raise UsageError("name a design and one of its knobs, or two services: --url A --url B --workload FILE")
    chosen, name, alternatives = _alternatives(design, knob, values, assignments)
    command = part("workbench.comparison", "compare_command")
    with ended_by_signals():
        code = command(
            chosen,
            name,
            alternatives,
            assignments=tuple(assignments or ()),
            mix=mix,
            control=control,
            restart=not no_restart,
            faults=schedules_in(faults),
            record=record,
            **shared,
        )
    raise typer.Exit(code)


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="The run before: its folder, or a result.json.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="The run after.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines: also says why runs can't be compared.")] = False,
) -> None:
    """Compare two recorded runs of the same experiment, before and after a change.

    Exit code 0 whatever the difference; 2 when the runs are not comparable, with every reason.
    """
    code = part("workbench.diff", "diff_command")(first, second, as_json=as_json)
    raise typer.Exit(code)


@app.command("capacity-test")
def capacity_test(
    design: DesignName,
    words: Assignments = None,
    vary: Annotated[
        str, typer.Option(metavar="KNOB=V1,V2", help="A knob whose values are tested side by side, taking turns.")
    ] = "",
    slo: Annotated[
        str | None, typer.Option(metavar="pNN<LIMIT", help="The objective: p50, p90, p99 or p99.9 below a limit in ms or s.")
    ] = None,
    mix: Annotated[str | None, typer.Option(help="Who does what, in which ratios (else the design's usual mix).")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, max=50, help="How often each number of clients and each search.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Replays the same plans of requests.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the result and its report go.")] = None,
    step_s: Annotated[float | None, typer.Option(min=0.2, max=60, help="Seconds of a step with a number of clients.")] = None,
) -> None:
    """Find how much a design serves within an objective, and what was full then.

    A number of clients at a time, then rates until the objective is missed; about two minutes for each variant.
    """
    chosen, _ = design_and_knobs(design, words)
    knob, _, listed = vary.partition("=")
    knob = knob.replace("-", "_")
    values = tuple(dict.fromkeys(value for value in listed.split(",") if value))
    if vary and not values:
        raise UsageError(f"--vary {vary}: write a knob and its values, for example cache=none,aside")
    for value in values:
        design_and_knobs(design, [*(words or ()), f"{knob}={value}"])
    command = part("workbench.capacity_test", "capacity_command")
    with ended_by_signals():
        code = command(
            chosen,
            assignments=tuple(words or ()),
            knob=knob,
            values=values,
            slo=slo,
            mix=mix,
            repeats=repeats,
            step_s=step_s,
            seed=seed,
            out_dir=out,
        )
    raise typer.Exit(code)


@app.command()
def demo(
    name: Annotated[
        Literal["clicks", "coordinated-omission"],
        typer.Argument(help="A trade-off, or a stall that only one of two watches sees."),
    ] = "clicks",
) -> None:
    """Run a design and one of its trade-offs, end to end, or show what load tests get wrong."""
    with ended_by_signals():
        code = part("workbench.demo", "demo_command")(name)
    raise typer.Exit(code)


@app.command()
def capacity(
    design: DesignName,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Assumptions to change, e.g. reads_per_day=1e9.")
    ] = None,
) -> None:
    """The back-of-envelope estimate, with the assumptions it rests on."""
    from workbench.catalogue import design_named

    estimate = design_named(design).estimate()
    changed = _assumptions(estimate, words or [])
    try:
        follows = estimate(**changed).rows()
    except ValueError as error:
        raise UsageError(str(error)) from None
    usual = {name: each.default for name, each in inspect.signature(estimate).parameters.items()}
    assumed = [
        (name, value if isinstance(value, str) else f"{value:,.10g}", "changed" if name in changed else "assumed")
        for name, value in {**usual, **changed}.items()
    ]
    show_table(("figure", "value", "how"), assumed + [(row.figure, row.value, row.how) for row in follows])


@app.command()
def doctor() -> None:
    """What this machine has, what it lacks, and how to get it. Exit code 3 when the demo or the tests can't run."""
    from workbench.doctor import can_run, examine

    checks = examine()
    verdicts = {(True, True): "ok", (True, False): "ok", (False, True): "MISSING", (False, False): "note"}
    rows = [(check.name, verdicts[check.ok, check.needed], check.found, "" if check.ok else check.advice) for check in checks]
    show_table(("what", "verdict", "found", "advice"), rows)
    if not can_run(checks):
        raise typer.Exit(ExitCode.MISSING)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="redirect, growth, limiter, leases, black-hole, generator, fault-proxy or selftest.")],
    record: Annotated[bool, typer.Option("--record", help="Keep the figures for the documents.")] = False,
    links: Annotated[
        str, typer.Option(metavar="N,N...", help="growth: the numbers of links to compare (else 10000,100000,1000000).")
    ] = "",
    peers: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="limiter: those to measure beside ours, or none (else all that there are)."),
    ] = None,
    remove_peers: Annotated[
        bool, typer.Option("--remove-peers", help="limiter: measure nothing; remove what was installed for the others.")
    ] = False,
) -> None:
    """Run one of the book's measurements again."""
    with ended_by_signals():
        code = part("workbench.bench", "bench_command")(name, record=record, links=links, peers=peers, remove_peers=remove_peers)
    raise typer.Exit(code)


@app.command()
def claims(
    design: DesignName,
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Runs by their record (cache.mixed), or all of a knob (cache); else every run."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Measure nothing; judge what is recorded.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Print the claims and the commands behind them.")] = False,
) -> None:
    """Measure a design's claims again, record the runs, and say which claims hold.

    0: no claim is contradicted, though the runs may leave some unsettled; they are named. 1: a claim is contradicted, a run is
    missing, failed or was made under other conditions, or a safety check is not valid.
    """
    from workbench.catalogue import design_named

    command = part("workbench.remeasure", "claims_command")
    with ended_by_signals():
        code = command(design_named(design), runs or (), check=check, listing=listing)
    raise typer.Exit(code)


@app.command()
def docs(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail when a document is out of date.")] = False,
) -> None:
    """Regenerate the tables and figures in the documents."""
    code = part("workbench.docs", "docs_command")(check=check)
    raise typer.Exit(code)


app.add_typer(cli_faults.app)
app.add_typer(cli_stack.app)


def main() -> None:
    app()


def _alternatives(
    design: str, knob: str, values: list[str] | None, assignments: list[str] | None
) -> tuple[Design, str, tuple[str, ...]]:
    """The design, its knob and the values to compare, each of which it can take."""
    from designs.building_blocks.knobs import knob_table

    chosen, _ = design_and_knobs(design, assignments)
    rows = {row.name: row for row in knob_table(chosen.processes().KNOBS)}
    name = knob.replace("-", "_")
    if name not in rows:
        raise UsageError(f"there is no knob {knob!r}; the knobs are {', '.join(rows)}")
    alternatives = tuple(dict.fromkeys(values or rows[name].choices))
    if len(alternatives) < 2:
        raise UsageError(f"a comparison needs two values of {name} or more; name them, the baseline first")
    for value in alternatives:
        design_and_knobs(design, [*(assignments or ()), f"{name}={value}"])
    return chosen, name, alternatives


def _given(options: dict[str, Any]) -> str:
    return next(option for option, value in options.items() if value)


def _running(chosen: Design, turned: Knobs, **options: Any) -> RunningDesign:
    from workbench.launch import RunningDesign

    return RunningDesign(chosen, turned, redis_url=os.environ.get("REDIS_URL"), **options)


def _introduce(running: RunningDesign) -> None:
    for spec in running.specs:
        for url in (*([spec.url] if spec.role == "service" and spec.url else []), *spec.other_urls):
            say(f"service   {url}")
    if running.api_key:
        say(f"api key   {running.api_key}")
    say(f"data      {running.data_dir}")
    key = f" -H 'Authorization: Bearer {running.api_key}'" if running.api_key else ""
    say(f"try       curl -s{key} {running.urls[0]}/knobs")
    say("Ctrl-C ends it.")


def _assumptions(estimate: Callable[..., Any], words: list[str]) -> dict[str, int | float | str]:
    """Numbers, and words where the usual value is one."""
    known = inspect.signature(estimate).parameters
    assumptions: dict[str, int | float | str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.replace("-", "_")
        if not equals or name not in known:
            raise UsageError(f"{word!r} is no assumption: write name=value, where name is one of {', '.join(known)}")
        assumptions[name] = value if isinstance(known[name].default, str) else _number(name, value)
    return assumptions


def _number(name: str, value: str) -> int | float:
    """`100_000_000`, `1e9` (a whole number, so an int) or `0.2`."""
    try:
        number = float(value)
        return int(number) if number.is_integer() else number
    except (ValueError, OverflowError):
        raise UsageError(f"{name}={value}: {value!r} is not a number") from None


if __name__ == "__main__":
    main()
