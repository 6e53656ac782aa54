"""Noting that a picture was loaded or a link was followed: judged at once, written later."""

from starlette.requests import Request
from starlette.types import Scope

from mailer.feedback.tracking.classes import LOOKED_AT, classify
from mailer.feedback.tracking.sightings import Sighting, Trace
from mailer.links import Hit
from mailer.storable import printable
from mailer.web.clients import client_of
from mailer.web.recipient.asking import Service

_AGENT = b"user-agent"


def note(service: Service, scope: Scope, hit: Hit) -> bool:
    """Keep what a request says was seen, and return whether there was room; never waits, never fails.

    The network address is looked up in the lists and forgotten; of what names no person, the agent too.
    """
    lists = service.networks.lists
    address = client_of(Request(scope), service.settings) if lists else ""
    network = lists.find(address, clicked=hit.link is not None) if address else ""
    agent = next((value for name, value in scope["headers"] if name == _AGENT), b"").decode("latin-1")[:LOOKED_AT]
    trace = Trace(scope["method"], agent if agent.isprintable() else printable(agent, LOOKED_AT), network)
    verdict = classify(trace, lists.kinds)
    return service.hits.add(Sighting(hit, verdict, service.now(), trace if hit.email_id else None))
