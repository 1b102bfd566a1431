"""Which error means which exit code, and that an expected one is a sentence and no traceback."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from workbench.cli_words import ExitCode, NotInstalled, UsageError
from workbench.terminal import say_aside

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
