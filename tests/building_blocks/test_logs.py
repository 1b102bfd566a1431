import io
from pathlib import Path
from typing import BinaryIO, cast

import pytest
import structlog

from designs.building_blocks.logs import BestEffort

FULL_DISK = Path("/dev/full")


@pytest.mark.skipif(not FULL_DISK.exists(), reason="no /dev/full on this system")
def test_a_full_disk_costs_a_line_of_the_log_and_not_the_request_it_tells_of() -> None:
    raw = io.FileIO(FULL_DISK, "w")
    output = io.BufferedWriter(raw, 256)
    log = structlog.BytesLogger(BestEffort(output))  # type: ignore[arg-type]
    try:
        with pytest.raises(OSError, match="No space left"):
            structlog.BytesLogger(output).info(b"how it was")
        for number in range(1_000):  # far more than the buffer holds
            log.info(b"line %d" % number)
    finally:
        raw.close()  # the buffer can't be flushed


def test_lines_are_written_again_once_the_disk_has_room() -> None:
    class Disk(io.BytesIO):
        full = False

        def write(self, line: object) -> int:
            if self.full:
                raise OSError("no space")
            return super().write(cast("bytes", line))

    disk = Disk()
    log = structlog.BytesLogger(cast("BinaryIO", BestEffort(disk)))
    log.info(b"one")
    disk.full = True
    log.info(b"two")
    disk.full = False
    log.info(b"three")
    assert disk.getvalue() == b"one\nthree\n"
