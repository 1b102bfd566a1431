"""The open-loop load generator: `arrivals` draws a plan, `open_loop` sends it, `replay` keeps the order of what depends on what."""
