"""The process as a whole, steered by our client and by requests as other clients of Toxiproxy send them."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from loadtests.faults.proxy.client import ProxyControl, ProxyRefused, ProxyState
from workbench.processes import free_port

START_WITHIN_S = 20.0


@pytest.fixture(scope="module")
def control_url() -> Iterator[str]:
    """A fault proxy in a process of its own."""
    port = free_port()
    argv = [sys.executable, "-m", "loadtests.faults.proxy", "--control-port", str(port), "--seed", "7"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        deadline = time.monotonic() + START_WITHIN_S
        while not accepts(port):
            assert process.poll() is None, "it ended"
            assert time.monotonic() < deadline, "it does not answer"
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=10)
    assert said == b"", "it says nothing unless something is wrong"
    assert process.returncode in (0, -signal.SIGTERM)


@pytest.fixture
def control(control_url: str) -> Iterator[ProxyControl]:
    control = ProxyControl(control_url)
    yield control
    for name in control.proxies():
        control.delete(name)


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of a server that answers each message with itself."""

    def serve() -> None:
        while True:
            try:
                accepted, _ = server.accept()
            except OSError:
                return
            with accepted:
                while data := accepted.recv(4096):
                    accepted.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answer_of(address: str, message: bytes) -> bytes:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(message)
        return connection.recv(4096)


def test_a_link_is_made_spoilt_healed_and_broken(control: ProxyControl, echo: str) -> None:
    listen = control.create("redis@replica-1", "127.0.0.1:0", echo)
    assert answer_of(listen, b"ping") == b"ping"
    assert control.add_toxic("redis@replica-1", "limit_data", {"bytes": 2.0}) == "limit_data_downstream"
    late = control.add_toxic("redis@replica-1", "latency", {"latency": 1, "jitter": 0.5}, stream="upstream", name="late")
    assert answer_of(listen, b"ping") == b"pi"
    assert control.proxies() == {
        "redis@replica-1": ProxyState(
            "redis@replica-1", listen, echo, True, {"limit_data_downstream": "limit_data", late: "latency"}
        )
    }
    control.remove_toxic("redis@replica-1", "limit_data_downstream")
    assert answer_of(listen, b"ping") == b"ping"
    control.set_enabled("redis@replica-1", False)
    with pytest.raises(ConnectionRefusedError):
        answer_of(listen, b"ping")
    control.reset()
    assert answer_of(listen, b"ping") == b"ping"
    assert control.proxies()["redis@replica-1"].toxics == {}
    control.delete("redis@replica-1")
    assert control.proxies() == {}


def test_a_refusal_is_one_sentence(control: ProxyControl) -> None:
    with pytest.raises(ProxyRefused, match=r"^the fault proxy refused POST /proxies/redis%40x/toxics: proxy not found$") as refused:
        control.add_toxic("redis@x", "latency", {"latency": 1})
    assert refused.value.status == 404
    control.create("a", "127.0.0.1:0", "127.0.0.1:1")
    with pytest.raises(ProxyRefused, match="latencyy"):
        control.add_toxic("a", "latency", {"latencyy": 1})
    with pytest.raises(ProxyRefused, match="stays on this machine"):
        control.create("b", "127.0.0.1:0", "10.0.0.1:6379")


def test_a_control_port_that_does_not_answer_is_one_sentence() -> None:
    with pytest.raises(ProxyRefused, match=r"^the fault proxy at 127\.0\.0\.1:\d+ does not answer: "):
        ProxyControl(f"http://127.0.0.1:{free_port()}").reset()
    with pytest.raises(ValueError, match="a control port is"):
        ProxyControl("127.0.0.1:8474")


def send(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, json.loads(text) if text else None


def test_requests_as_the_python_client_sends_them_work(control: ProxyControl, control_url: str, echo: str) -> None:
    """What toxiproxy-python 0.1.1 sends, seen when it was run against this port: every field named, changes by POST."""

    def sent(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return send(control_url, method, path, body, **{"User-Agent": "python-requests/2.34.2", "Content-Type": "application/json"})

    assert sent("GET", "/proxies") == (200, {})
    status, proxy = sent("POST", "/proxies", {"upstream": echo, "name": "x", "listen": "127.0.0.1:0"})
    assert status == 201
    assert {"name", "upstream", "enabled", "listen"} <= set(proxy)
    toxic = {"name": "latency_downstream", "type": "latency", "stream": "downstream", "toxicity": 1.0, "attributes": {}}
    assert sent("POST", "/proxies/x/toxics", toxic)[0] == 200
    assert sent("POST", "/proxies/x/toxics", toxic)[0] == 409
    (shown,) = sent("GET", "/proxies/x/toxics")[1]
    assert set(shown) == set(toxic)
    assert sent("POST", "/proxies/x", {"enabled": False})[1]["enabled"] is False
    assert sent("POST", "/proxies/x", {"enabled": True})[1]["enabled"] is True
    assert sent("DELETE", "/proxies/x/toxics/latency_downstream") == (204, None)
    assert sent("POST", "/reset") == (204, None)
    assert sent("DELETE", "/proxies/x") == (204, None)
    assert "version" in sent("GET", "/version")[1]


def test_requests_as_toxiproxys_own_command_line_sends_them_work(control: ProxyControl, control_url: str, echo: str) -> None:
    """What toxiproxy-cli 2.5 sends: a proxy is saved whole, as it was read, and updates claim to be plain text."""

    def sent(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return send(control_url, method, path, body, **{"User-Agent": "Go-http-client/1.1", "Content-Type": "text/plain"})

    new = {"name": "x", "listen": "localhost:0", "upstream": echo, "enabled": True, "toxics": None}
    status, proxy = sent("POST", "/proxies", new)
    assert status == 201
    toxic = {"name": "", "type": "slicer", "toxicity": 1, "attributes": {"average_size": 3, "size_variation": 1}}
    assert sent("POST", "/proxies/x/toxics", toxic)[1]["name"] == "slicer_downstream"
    assert sent("POST", "/proxies/x/toxics/slicer_downstream", {"attributes": {"delay": 10}, "toxicity": 0.5})[0] == 200
    shown = sent("GET", "/proxies/x")[1]
    status, toggled = sent("POST", "/proxies/x", {**shown, "enabled": False})
    assert (status, toggled) == (200, {**shown, "enabled": False}), "toxics in the body are ignored, and stay"
    assert sent("POST", "/proxies/x", {**shown, "enabled": True})[1] == shown
    assert proxy["listen"] == shown["listen"]
