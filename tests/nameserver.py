"""A DNS server on loopback that knows the TXT records it is told."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from dns.resolver import Resolver


@dataclass
class Nameserver:
    """What it answers: the strings of each TXT record by name; a name with none has no TXT record."""

    port: int
    records: dict[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    silent: bool = False
    broken: bool = False

    @property
    def resolver(self) -> Resolver:
        """Return what asks this server and nobody else."""
        resolver = Resolver(configure=False)
        resolver.nameservers, resolver.port, resolver.timeout = ["127.0.0.1"], self.port, 0.2
        return resolver

    def publish(self, name: str, text: str) -> None:
        """Publish one record, in strings of 255 octets."""
        self.records[f"{name}."] = [[text[start : start + 255] for start in range(0, len(text), 255)]]

    def answer(self, wire: bytes) -> bytes:
        """Return the answer to a question."""
        query = dns.message.from_wire(wire)
        response = dns.message.make_response(query)
        name = query.question[0].name.to_text()
        if self.broken:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif name not in self.records:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif texts := self.records[name]:
            quoted = [" ".join(f'"{string}"' for string in strings) for strings in texts]
            response.answer.append(dns.rrset.from_text_list(name, 60, "IN", "TXT", quoted))
        response.flags |= dns.flags.AA
        return response.to_wire()


@contextmanager
def nameserver() -> Iterator[Nameserver]:
    """Start a server, and stop it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        server = Nameserver(listener.getsockname()[1])
        thread = threading.Thread(target=_serve, args=(listener, server), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", ("127.0.0.1", server.port))
            thread.join(5)


def _serve(listener: socket.socket, server: Nameserver) -> None:
    while True:
        wire, asker = listener.recvfrom(4096)
        if not wire:
            return
        if not server.silent:
            listener.sendto(server.answer(wire), asker)
