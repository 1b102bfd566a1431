"""Starts one process of a design with the bad parts of an exhibit in it.

    python -m workbench.museum.serve EXHIBIT -- service --port 8000

What follows `--` is what the design's own `serve` is told.
"""

from __future__ import annotations

import argparse
import importlib
import sys


def main() -> int:
    parser = argparse.ArgumentParser(prog="workbench.museum.serve", description=__doc__)
    parser.add_argument("exhibit")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    told = parser.parse_args()

    from designs.building_blocks.serving import hurry
    from workbench.museum.exhibit import BadSwap, UnknownExhibit, chosen, exchange_parts

    try:
        (exhibit,) = chosen([told.exhibit])
        serve = importlib.import_module(f"designs.{exhibit.design}.serve")
        hurry()  # before the parts are loaded, as the design does
        exchange_parts(exhibit)
    except (UnknownExhibit, BadSwap) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    sys.argv = [serve.__name__, *(argument for argument in told.arguments if argument != "--")]
    code: int = serve.main()
    return code


if __name__ == "__main__":
    sys.exit(main())
