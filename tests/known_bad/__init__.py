"""Variants with a known flaw on the memory backends, and those of the museum, so that a test can show its checker catching each."""
