"""Textbook variants with a known flaw, kept so that a test can show its checker catching each of them."""
