"""Loads that are written down in a file, for services that nobody here knows: `workload_file` reads, `declared_workload` asks."""
