"""Packages that share file names: each file is the one that its owner brought."""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import distribution


def test_the_files_of_opentelemetry_proto_are_its_own_and_not_those_that_another_package_brings_along() -> None:
    files = [file for file in distribution("opentelemetry-proto").files or [] if file.hash is not None]
    assert files
    for file in files:
        assert file.hash is not None
        found = hashlib.new(file.hash.mode, file.read_binary()).digest()
        assert base64.urlsafe_b64encode(found).rstrip(b"=").decode() == file.hash.value, f"{file}: run scripts/setup again"
