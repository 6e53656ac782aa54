"""Opt-outs soon after their mail was sent: a scanner may have made them, so they are marked, and hold all the same."""

from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network

from sqlmodel import Session

from mailer.feedback.optouts.acts import Act, Kind
from mailer.models import OptOutMark
from mailer.people import Left
from suppression.entries import AFTER, confirm

#: Scanners come in bursts that begin a median 43 s after the sending (836 of them; peers.md section 2.4).
SOON = timedelta(seconds=120)
#: What a machine can do with the links of a mail.
_MACHINE = frozenset({Kind.LINK, Kind.ONE_CLICK})
#: How much of an address is the network of whoever has several machines.
_PREFIX = {4: 24, 6: 48}


def seconds_after(act: Act, now: datetime) -> int | None:
    """Return how many seconds after its mail an act came that may be a machine's, None for every other."""
    email = act.email
    if act.how.kind not in _MACHINE or email is None or email.sent_at is None or email.address is None:
        return None
    after = now - email.sent_at
    return max(0, int(after.total_seconds())) if after <= SOON else None


def mark(session: Session, act: Act, left: Left, now: datetime) -> bool:
    """Mark what came suspiciously soon; take note of who says again, later or from elsewhere, that they want it.

    Return False where what they said again was taken back this very moment.
    """
    after, network, email = seconds_after(act, now), _network(act), act.email
    evidence = left.entry.evidence or {}
    if not left.created:
        again = (
            (AFTER in evidence and not _same_burst(evidence, after, network))
            # Said by support first, then by the person: now it is theirs, and support takes it back no more.
            or (evidence.get("channel") == Kind.SUPPORT and act.how.kind is not Kind.SUPPORT)
        )
        return confirm(session, left.entry, now) if again else True
    if after is not None and email is not None and email.address is not None:
        session.add(
            OptOutMark(
                tenant_id=act.opt_out.tenant_id,
                campaign_id=email.campaign_id,
                email_id=email.id,
                suppression_id=left.entry.id,
                domain=email.address.rpartition("@")[2].lower()[:255],
                network=network,
                after=after,
                at=now,
            )
        )
        session.flush()
    return True


def marked(act: Act, now: datetime) -> dict[str, object]:
    """Return what the evidence of a marked opt-out says besides: without it, no operator may ever undo it."""
    after = seconds_after(act, now)
    return {} if after is None else {AFTER: after, "network": _network(act)}


def _same_burst(evidence: dict[str, object], after: int | None, network: str) -> bool:
    """Return whether a machine may have asked again; what comes later or from elsewhere is the person's word."""
    return after is not None and evidence.get("network", "") == network


def _network(act: Act) -> str:
    if not act.how.ip or not act.tenant.keep_ip:
        return ""
    try:
        address = ip_address(act.how.ip)
    except ValueError:
        return ""
    return str(ip_network(f"{address}/{_PREFIX[address.version]}", strict=False))
