"""Clients keep connections: the service does not close one under a request."""

import socket
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.stories.served import serving

#: Seconds for which HTTP libraries keep a connection that they do not use.
CLIENTS_KEEP = 5


def test_the_service_keeps_a_connection_longer_than_its_clients_do(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        place = urlsplit(served.url)
        with closing(socket.create_connection((place.hostname, place.port), timeout=CLIENTS_KEEP + 1)) as kept:
            kept.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert kept.recv(65536).startswith(b"HTTP/1.1 200")
            # Neither data nor an end comes while nothing is asked.
            with pytest.raises(TimeoutError):
                kept.recv(1)
            kept.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert kept.recv(65536).startswith(b"HTTP/1.1 200")
            # And an open one does not keep the service from ending (`serving` waits for that).
            assert served.process.end() == 0
