"""The `designs` command: pick a question, run its answer, turn a knob, load it, compare, break it.

Expected errors are one sentence on stderr and an exit code; a traceback means a mistake of ours. Heavy things are imported by
the command that needs them, so that `--help` and completion stay quick.
"""

from __future__ import annotations

import typer

from workbench import cli_compare, cli_designs, cli_estimate, cli_faults, cli_load, cli_stack, cli_upkeep
from workbench.cli_exit_codes import EXIT_CODES, SentenceErrors

# As `designs --help` lists them.
FAMILIES = (cli_designs, cli_load, cli_compare, cli_estimate, cli_upkeep, cli_faults, cli_stack)

app = typer.Typer(
    cls=SentenceErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="System design interview answers that run: turn a knob, load both sides, see what you buy and what you pay.",
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for family in FAMILIES:
    app.add_typer(family.app)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
