"""The museum's page, made from the declarations: what is wrong, where it is seen, why one writes it, what gives it away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loadtests.faults.named import read_schedule
from workbench.catalogue import design_named
from workbench.markdown import markdown_table, prose
from workbench.museum.exhibit import Exhibit, exhibits

INTRODUCTION = """\
# The bug museum

Made from `workbench/museum/`; change it there, then `make docs`.

Each exhibit is a design with one part exchanged for one as it is often written down. The design itself has no switch for it: the
museum starts the same processes and exchanges the part before they begin. Beside it runs the right variant, on processes, servers
and files of its own, under the same requests and the same faults from the same seed. The checker must find the one invalid and the
other valid. A checker that has never caught anything proves nothing; this one is shown what it has to catch.

    designs museum                        the list
    designs museum --run                  all of them, in a few minutes
    designs museum --run sticky_negative  one
"""


def museum_page() -> str:
    """`workbench/museum/README.md`, whole."""
    shown = exhibits()
    lines = [INTRODUCTION]
    for design, some in by_design(shown).items():
        lines += [f"## {design_named(design).title}", ""]
        rows = [[f"[{each.title}](#{anchor(each.title)})", conditions(each), prose(each.flagged_by)] for each in some]
        lines += [*markdown_table(["exhibit", "faults", "what the checker finds broken"], rows), ""]
        for each in some:
            lines += exhibit_section(each)
    return "\n".join(lines).rstrip("\n") + "\n"


def exhibit_section(exhibit: Exhibit) -> list[str]:
    knobs = " ".join(f"{name}={value}" for name, value in exhibit.knobs.items())
    return [
        f"### {exhibit.title}",
        "",
        prose(exhibit.wrong),
        "",
        f"**Seen in.** {prose(exhibit.seen_in)}",
        "",
        f"**Why it is written like this.** {prose(exhibit.tempting)}",
        "",
        f"**What gives it away.** {what_strikes(exhibit)} Seed {exhibit.seed}, {exhibit.seconds:g} s"
        + (f" of the mix `{exhibit.mix}`" if exhibit.mix else "")
        + (f", with `{knobs}`" if knobs else "")
        + f". The check that fails: *{prose(exhibit.flagged_by)}*.",
        "",
        f"**The right way, and what it costs.** {prose(exhibit.right_way)}",
        "",
        f"    designs museum --run {exhibit.name}",
        "",
    ]


def by_design(shown: Mapping[str, Exhibit]) -> dict[str, list[Exhibit]]:
    grouped: dict[str, list[Exhibit]] = {}
    for exhibit in shown.values():
        grouped.setdefault(exhibit.design, []).append(exhibit)
    return grouped


def what_strikes(exhibit: Exhibit) -> str:
    """The schedules' own sentences."""
    if not exhibit.schedules:
        return "No fault at all: the load is enough."
    return " ".join(f"{prose(read.what).rstrip('.')} (`{read.name}`)." for read in map(read_schedule, exhibit.schedules))


def conditions(exhibit: Exhibit) -> str:
    return ", ".join(schedule_names(exhibit.schedules)) or "none"


def schedule_names(schedules: Sequence[str]) -> list[str]:
    """Without the folder and the ending of a schedule that is the museum's own."""
    return [read_schedule(word).name for word in schedules]


def anchor(title: str) -> str:
    """As GitHub makes it from a heading."""
    return "".join(each for each in title.lower().replace(" ", "-") if each.isalnum() or each in "-_")
