"""Addresses as reports write them."""

import re

_PLAIN = re.compile(
    r"[^\s<>()\[\],;:\"'@]{1,64}@(?:[\w\u0080-\uffff](?:[\w.\-\u0080-\uffff]{0,253}[\w\u0080-\uffff])?|\[[\d.:a-fA-F]{3,45}\])"
)
_QUOTED = re.compile(r"\"[^\"@<>]{1,64}\"@[\w.-]{1,255}")
#: RFC 3461 section 4: these two are written so where an address holds them. (Others need not be.)
_XTEXT = re.compile(r"\+(2B|3D)")
#: RFC 6533 section 3.
_UNICODE = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")


def first(text: str) -> str | None:
    """Return the first address in a text."""
    return next(iter(every(text)), None)


def every(text: str) -> list[str]:
    """Return the addresses in a text, each once, in their order."""
    found = [match[0].strip("'`.") for pattern in (_QUOTED, _PLAIN) for match in pattern.finditer(text[:8000])]
    return list(dict.fromkeys(address for address in found if not address.startswith(('"', "@")) or '"@' in address))


def typed(value: str) -> str | None:
    """Return the address of a field such as `rfc822; ann@example.org` (RFC 3464 section 2.3, RFC 6533 section 3)."""
    kind, semicolon, rest = value.partition(";")
    rest = rest if semicolon else kind
    if "utf-8" in kind.lower():
        rest = _UNICODE.sub(lambda found: _letter(found[1]), rest)
    return first(_XTEXT.sub(lambda found: chr(int(found[1], 16)), rest))


def domain(address: str) -> str:
    """Return the domain of an address in lower case, empty where it has none."""
    return address.rpartition("@")[2].lower() if "@" in address else ""


def _letter(code: str) -> str:
    number = int(code, 16)
    return chr(number) if 0x20 < number < 0xD800 or 0xDFFF < number < 0x110000 else ""
