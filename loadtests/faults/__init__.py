"""Faults on purpose: which there are, when they strike, and the proxy that spoils a connection."""
