"""The raw bytes of a mail as it arrived -> what is right and wrong with its ways out."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mailer import inbox
from mailer.compose import dkim_verify
from mailer.compose.dkim_verify import Field, Published, Signature
from mailer.doctor.findings import Finding, Verdict, told
from suppression.token import OptOut, Ring, verify_mailto, verify_opt_out

LIST_UNSUBSCRIBE, POST = "List-Unsubscribe", "List-Unsubscribe-Post"
_BOTH = (LIST_UNSUBSCRIBE.lower(), POST.lower())
_URI = re.compile(r"\s*<([^<>\s]+)>\s*(?:,|$)")
# RFC 2919 section 3: a phrase, then dot-atoms in angle brackets, nothing behind.
_LIST_ID = re.compile(r"[^<>]*<([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+)>")
#: What a mailbox file puts before a mail; some programs save it along.
_MBOX = re.compile(rb"^>?From [^\r\n]*\r?\n")
_FIRST_LINE = re.compile(rb"[!-9;-~]+[ \t]*:")
_TOKEN = re.compile(r"/u/([0-9A-Za-z]+)$")


class Ways(NamedTuple):
    """The ways out that a mail offers to programs."""

    url: str | None
    mailto: str | None
    #: What our token in the address says; None where it is not ours.
    opt_out: OptOut | None


class Examined(NamedTuple):
    """What a mail offers, and what is right and wrong with it."""

    ways: Ways
    findings: tuple[Finding, ...]


def examine(raw: bytes, ring: Ring, published: Published, *, expected: str | None, local: bool) -> Examined:
    """Read a mail as it arrived; `expected` is the address that we put in, `local`: it never left the house."""
    fields, _ = dkim_verify.fields_of(raw)
    links = _values(fields, LIST_UNSUBSCRIBE)
    ways = ways_of(raw, ring)
    found = [
        *_headers(fields, links, ways),
        *_address(ways, expected, local=local),
        _list_id(fields),
        *_signatures(fields, dkim_verify.verify(raw, published), local=local),
        _visible(raw, ways),
    ]
    return Examined(ways, tuple(found))


def is_mail(raw: bytes) -> bool:
    """Return whether this is a mail as it arrived: it begins with header fields that say from whom and when it came."""
    begins = _MBOX.sub(b"", raw.lstrip(b"\r\n"), count=1)
    names = {each.name.lower() for each in dkim_verify.fields_of(begins)[0]}
    # RFC 5322 section 3.6: these two every mail has, and whoever carries it adds a Received.
    return _FIRST_LINE.match(begins) is not None and b"from" in names and bool(names & {b"date", b"received"})


def ways_of(raw: bytes, ring: Ring) -> Ways:
    """Return the ways out that a mail offers, whatever is wrong with it."""
    links = _values(dkim_verify.fields_of(raw)[0], LIST_UNSUBSCRIBE)
    return _ways(links[0] if links else "", ring)


def _values(fields: Sequence[Field], name: str) -> list[str]:
    wanted = name.lower().encode()
    return [each.value.decode("utf-8", "replace") for each in fields if each.name.lower() == wanted]


def _ways(value: str, ring: Ring) -> Ways:
    plain = re.sub(r"\r\n(?=[ \t])", "", value)
    uris, place = list[str](), 0
    # RFC 2369 section 2: whatever follows something that is no <URI> is not read.
    while match := _URI.match(plain, place):
        uris.append(match[1])
        place = match.end()
    url = next((uri for uri in uris if uri.lower().startswith(("https:", "http:"))), None)
    mailto = next((uri for uri in uris if uri.lower().startswith("mailto:")), None)
    token = _TOKEN.search(url or "")
    return Ways(url, mailto, verify_opt_out(ring, token[1]) if token else None)


def _headers(fields: Sequence[Field], links: Sequence[str], ways: Ways) -> Iterator[Finding]:
    posts = _values(fields, POST)
    for name, found in ((LIST_UNSUBSCRIBE, links), (POST, posts)):
        bad = f"it stands {len(found)} times: the relay added or removed one" if found else "it is missing"
        yield told(f"one {name}", len(found) == 1, "it stands once", f"{bad}; clients then offer no button (RFC 8058)")
    if links:
        right = len(re.findall(r"<\s*https?:", links[0], re.IGNORECASE)) == 1 and ways.url is not None
        first = re.match(r"\s*<https?:", links[0], re.IGNORECASE) is not None
        yield told(
            "its form", right and first, "one web address, and it comes first", f"not to be read: {_short(links[0])}"
        )
    if posts:
        exact = posts[0].strip(" \t") == "List-Unsubscribe=One-Click" and "\n" not in posts[0]
        yield told("the one-click word", exact, "List-Unsubscribe=One-Click", f"it says {_short(posts[0])}")


def _short(text: str) -> str:
    return " ".join(text.split())[:120]


def _address(ways: Ways, expected: str | None, *, local: bool) -> Iterator[Finding]:
    if ways.url is None:
        return
    https = ways.url.lower().startswith("https:")
    bad = "it is http, which no mail provider posts to: set MAILER_PUBLIC_URL to an https address"
    yield told("https", https, "the address is https", bad, Verdict.WARNING if local else Verdict.FAILED)
    if expected is not None:
        bad = "the relay replaced it with an address of its own: switch its unsubscribe or click tracking off"
        yield told("left as it was", ways.url == expected, "the address is the one we put in", bad)
    bad = "its token is not one that this installation signed: the relay rewrote it, or the mail is another's"
    yield told("our token", ways.opt_out is not None, "the token in it is ours", bad)


def _list_id(fields: Sequence[Field]) -> Finding:
    found = _values(fields, "List-Id")
    if len(found) != 1:
        return Finding("List-Id", Verdict.FAILED, f"it stands {len(found)} times, and should stand once")
    match = _LIST_ID.fullmatch(" ".join(found[0].split()))
    senders = re.findall(r"@([A-Za-z0-9.-]+)", " ".join(_values(fields, "From")))
    owned = match is not None and any(match[1].lower().endswith("." + each.lower()) for each in senders)
    good = f"<{match[1]}>" if match else ""
    return told("List-Id", match is not None and owned, good, f"not a name below the From's domain: {_short(found[0])}")


def _signatures(fields: Sequence[Field], signatures: Sequence[Signature], *, local: bool) -> Iterator[Finding]:
    if not signatures:
        bad = "nobody signed it, so that no client offers the button (RFC 8058 section 4): see `mailer key dkim`"
        yield Finding("DKIM", Verdict.WARNING if local else Verdict.FAILED, bad)
        return
    good = [each for each in signatures if each.wrong is None]
    for each in signatures:
        if each.wrong is not None:
            verdict = Verdict.WARNING if good else Verdict.FAILED
            yield Finding("DKIM", verdict, f"the signature of {each.name} does not hold: {each.wrong}")
    if not good:
        return
    covering = [each for each in good if set(_BOTH) <= set(each.covers)]
    names = ", ".join(each.domain for each in covering)
    bad = f"the signatures that hold ({', '.join(each.domain for each in good)}) leave out List-Unsubscribe or its Post"
    yield told("DKIM covers both", bool(covering), f"signed by {names}, with both headers", bad)
    if covering:
        # Listed once more than it stands: what is added on the way breaks the signature.
        sealed = all(each.covers.count(name) > 1 for each in covering[:1] for name in _BOTH)
        yield told(
            "none can be added", sealed, "both are oversigned", "both are signed, not oversigned", Verdict.WARNING
        )
    senders = re.findall(r"@([A-Za-z0-9.-]+)", " ".join(_values(fields, "From")))
    aligned = any(f".{who}".lower().endswith(f".{each.domain}".lower()) for each in covering for who in senders)
    bad = "the domain that signs is not the From's"
    yield told("aligned", aligned, "the domain that signs is the From's", bad, Verdict.WARNING)


def _visible(raw: bytes, ways: Ways) -> Finding:
    read = inbox.read(raw)
    words = f"{read.html or ''}\n{read.text or ''}"
    origin = (ways.url or "").partition("/u/")[0]
    shown = bool(origin) and (f"{origin}/u/" in words or f"{origin}/p/" in words)
    bad = "no link of ours is left in the text: the relay's click tracking may have replaced it"
    return told("a link to see", shown, "the text has a link to leave", bad, Verdict.WARNING)


def mailto_token(ways: Ways, ring: Ring) -> OptOut | None:
    """Return what the local part of the mailto says; None where it is not ours."""
    local = (ways.mailto or "").removeprefix("mailto:").rpartition("@")[0]
    return verify_mailto(ring, local)
