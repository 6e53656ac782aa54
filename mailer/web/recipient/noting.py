"""Noting that a picture was loaded or a link was followed: judged at once, written later."""

from starlette.datastructures import Headers
from starlette.types import Scope

from mailer.feedback.tracking.classes import classify
from mailer.feedback.tracking.sightings import Sighting
from mailer.links import Hit
from mailer.web.recipient.asking import Service


def note(service: Service, scope: Scope, hit: Hit) -> bool:
    """Keep what a request says was seen, and return whether there was room; never waits, never fails."""
    verdict = classify(Headers(scope=scope).get("user-agent"), scope["method"])
    return service.hits.add(Sighting(hit, verdict, service.now()))
