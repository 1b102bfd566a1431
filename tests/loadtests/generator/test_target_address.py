"""Where load may go: this machine alone, unless somebody says that the owner of another one agreed."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from loadtests.generator.open_loop import LoadGenerator
from loadtests.generator.target_address import any_address, loopback_address

ELSEWHERE = [
    "http://example.org",
    "http://192.0.2.1:80",
    "http://10.0.0.1",
    "http://localhost:80",
    "http://0.0.0.0:80",
    "http://127.0.0.1.example.org",
    "https://127.0.0.1",
    "https://example.org",
]
NOWHERE = [
    "http://127.0.0.1@192.0.2.1/",
    "127.0.0.1:80",
    "ftp://127.0.0.1",
    "http://",
    "http://h:0",
    "http://h:99999",
    "http://h:x",
    "",
]


@pytest.mark.parametrize("url", ELSEWHERE + NOWHERE)
def test_load_is_sent_to_this_machine_only(url: str) -> None:
    with pytest.raises(ValueError, match=r"load goes to|[Pp]ort"):
        LoadGenerator([url])


@pytest.mark.parametrize("url", ELSEWHERE)
def test_load_goes_elsewhere_when_its_owner_agreed(url: str) -> None:
    LoadGenerator([url], allow_remote=True)


@pytest.mark.parametrize("url", NOWHERE)
def test_what_is_no_address_is_refused_whoever_agreed(url: str) -> None:
    with pytest.raises(ValueError, match="load goes to"):
        LoadGenerator([url], allow_remote=True)


def test_loopback_addresses_are_accepted() -> None:
    assert loopback_address("http://127.0.0.2:8001/x") == ("127.0.0.2", 8001)
    assert loopback_address("http://[::1]:8001") == ("::1", 8001)


def test_any_host_has_the_port_of_its_scheme() -> None:
    assert any_address("http://shop.example") == ("shop.example", 80, False)
    assert any_address("https://shop.example/path") == ("shop.example", 443, True)
    assert any_address("https://[2001:db8::1]:8443") == ("2001:db8::1", 8443, True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
@pytest.mark.parametrize("trusted", [True, False])
def test_an_https_host_is_spoken_to_over_tls_when_its_certificate_is_trusted(
    trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(["openssl", *words.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> set[int]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_side)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        request = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
        generator = LoadGenerator([url], connections_per_url=2, allow_remote=True)
        try:
            exchanges = await generator.closed_loop([(0, request)], 2, 60.0, 10)
        finally:
            await generator.close()
            server.close()
            for _ in range(20):  # turns of the loop: both sides say good-bye
                await asyncio.sleep(0)
        return {exchange.status for exchange in exchanges}

    assert asyncio.run(main()) == ({200} if trusted else {0})
