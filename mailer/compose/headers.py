"""Header lines: what is structured goes out as it is, encoded-words only where people read (R3.1, R3.3)."""

import binascii
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from email.errors import HeaderParseError, MessageError
from email.header import decode_header
from functools import lru_cache

from mailer.compose.errors import ContentError
from suppression import address as addresses

#: A header: its name, and its value with every fold in place.
Line = tuple[str, str]

#: Headers that a caller cannot set: we set them, relays do, or they would undo what we promise (spec §8, R1.14).
RESERVED = frozenset(
    {
        *("from", "to", "cc", "bcc", "subject", "date", "message-id", "sender", "mime-version", "auto-submitted"),
        *("x-auto-response-suppress", "feedback-id", "precedence", "return-path", "received", "dkim-signature"),
        *("arc-seal", "arc-message-signature", "arc-authentication-results", "authentication-results"),
        *("received-spf", "delivered-to", "envelope-to", "errors-to", "return-receipt-to"),
        *("disposition-notification-to", "resent-from", "resent-to", "resent-cc", "resent-bcc", "resent-sender"),
        *("resent-date", "resent-message-id"),
    }
)
RESERVED_PREFIXES = ("list-", "cfbl-", "content-", "arc-")

_SOFT = 78  # RFC 5322 section 2.1.1: should
_HARD = 998  # and must
_WORD_LINE = 76  # RFC 2047 section 2: a line with an encoded-word

_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_FIELD_NAME = re.compile(r"[!-9;-~]{1,100}")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_SIMPLE_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:(?!xn--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}"
)
_URI = re.compile(r"<[!#-;=?-~]+>")
_MESSAGE_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+")
_Q_SAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def forbidden(text: str) -> str | None:
    """Return why this text cannot stand in a header, before or after RFC 2047 decoding; None when it can (R3.3)."""
    if _FORBIDDEN.search(text):
        return "holds a line end or another control character"
    if "=?" in text and _FORBIDDEN.search(_decoded(text)):
        return "holds an encoded line end or another encoded control character"
    return None


def forbidden_name(name: str) -> str | None:
    """Return why a caller cannot set a header of this name, None when it can."""
    if not _FIELD_NAME.fullmatch(name):
        return "is not a header name: letters, digits and hyphens"
    lowered = name.lower()
    if lowered in RESERVED or lowered.startswith(RESERVED_PREFIXES):
        return "is set by the mailer"
    return None


def _decoded(text: str) -> str:
    try:
        return "".join(
            part.decode(charset or "ascii", "replace") if isinstance(part, bytes) else part
            for part, charset in decode_header(text)
        )
    except (LookupError, MessageError, HeaderParseError, ValueError):
        return "\x00"  # what cannot be decoded is not let through


def checked(text: str, what: str) -> str:
    """Return the text, or raise ContentError when it cannot stand in a header."""
    why = None if text.isprintable() and text.isascii() and "=?" not in text else forbidden(text)
    if why:
        raise ContentError(f"The {what} {why}.")
    return text


_SINGLE_SPACE = re.compile(r"(?<! ) (?! )")


@lru_cache(maxsize=1024)
def unstructured(name: str, text: str) -> Line:
    """Return a header of free text, such as Subject: folded at its spaces, or as encoded-words."""
    value = text.strip()
    if value.isascii() and value.isprintable() and "=?" not in value:
        if len(name) + 2 + len(value) <= _SOFT:
            return name, value
        folded = _fold_words(value, len(name) + 2)
        if folded is not None:
            return name, folded
    return name, _encoded(value, len(name) + 2)


def _fold_words(value: str, column: int) -> str | None:
    """Fold before single spaces; None where a word is too long for a line."""
    lines: list[str] = []
    line = ""
    for word in _SINGLE_SPACE.split(value):
        if line and column + len(line) + 1 + len(word) > _SOFT:
            lines.append(line)
            line, column = word, 1
        else:
            line = f"{line} {word}" if line else word
        if column + len(line) > _SOFT:
            return None
    return "\r\n ".join([*lines, line])


def _encoded(text: str, column: int) -> str:
    """Return encoded-words of whole characters, each at most 75 long, a line each (RFC 2047 sections 2 and 5)."""
    data = text.encode("utf-8", "replace")
    in_q = _q_cost(data)
    plain = in_q <= len(data) * 4 / 3
    words: list[str] = []
    run, cost = bytearray(), 0
    room = _WORD_LINE - column - 12  # =?utf-8?q??=
    if (in_q if plain else (len(data) + 2) // 3 * 4) <= room:
        return _word(data, plain=plain)
    for character in text:
        octets = character.encode("utf-8", "replace")
        added = _q_cost(octets) if plain else 0
        grown = cost + added if plain else (len(run) + len(octets) + 2) // 3 * 4
        if run and grown > room:
            words.append(_word(run, plain=plain))
            run, cost, room = bytearray(), 0, _WORD_LINE - 1 - 12
        run += octets
        cost += added
    words.append(_word(run, plain=plain))
    return "\r\n ".join(words)


def _q_cost(octets: bytes) -> int:
    return len(octets) + 2 * len(octets.translate(None, _Q_SAFE + b" "))


def _word(data: bytes | bytearray, *, plain: bool) -> str:
    if not plain:
        return f"=?utf-8?b?{binascii.b2a_base64(data, newline=False).decode('ascii')}?="
    letters = [chr(byte) if byte in _Q_SAFE else "_" if byte == 0x20 else f"={byte:02X}" for byte in data]
    return f"=?utf-8?q?{''.join(letters)}?="


@lru_cache(maxsize=2048)
def phrase(name: str, column: int) -> str:
    """Return a display name: as atoms, quoted, or as encoded-words (RFC 5322 section 3.2.5)."""
    checked(name, "name")
    text = " ".join(name.split())
    if text.isascii() and "=?" not in text and len(text) <= _SOFT - column - 4:
        if _ATOMS.fullmatch(text):
            return text
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        if len(escaped) <= _SOFT - column - 4:
            return f'"{escaped}"'
    return _encoded(text, column)


def addr_spec(address: str, *, smtputf8: bool = False) -> str:
    """Return a bare address with its domain as A-labels; what is not ASCII before the @ needs SMTPUTF8 (R3.7, R3.8)."""
    if _SIMPLE_ADDRESS.fullmatch(address):
        return address
    try:
        parsed = addresses.parse(address)
    except addresses.AddressError as error:
        raise ContentError(f"An address cannot be used: {error}.") from None
    if parsed.is_eai and not smtputf8:
        raise ContentError("An address is not ASCII before the @, so that it needs SMTPUTF8.")
    return parsed.envelope


def mailboxes(name: str, entries: Iterable[tuple[str, str]], *, smtputf8: bool = False) -> Line:
    """Return a header of (address, display name) pairs, folded between them."""
    column = len(name) + 2
    shown: list[str] = []
    for address, display in entries:
        bare = addr_spec(address, smtputf8=smtputf8)
        shown.append(bare if not display.strip() else _named(display, bare, column))
        column = 1
    return name, shown[0] if len(shown) == 1 else fold_list(name, shown)


@lru_cache(maxsize=1024)
def mailbox(name: str, address: str, display: str) -> Line:
    """Return a header of one address that many mails share, such as From."""
    return mailboxes(name, [(address, display)])


def _named(display: str, bare: str, column: int) -> str:
    if len(display) <= 30 and _ATOMS.fullmatch(display) and "=?" not in display and column + len(bare) + 33 < _SOFT:
        return f"{display} <{bare}>"
    words = phrase(display, column)
    last = words.rpartition("\r\n")[2]
    limit = _WORD_LINE if "=?" in last else _SOFT
    start = column if last is words or "\r\n" not in words else 0
    between = " " if start + len(last) + len(bare) + 4 <= limit else "\r\n "
    return f"{words}{between}<{bare}>"


def fold_list(name: str, items: Sequence[str]) -> str:
    """Join items by commas; a line ends only after a comma, so that no item is torn."""
    value = ""
    column = len(name) + 2
    for index, item in enumerate(items):
        first, _, _ = item.partition("\r\n")
        if index and column + 3 + len(first) > _SOFT:
            value += ",\r\n "
            column = 1
        elif index:
            value += ", "
            column += 2
        value += item
        column = len(value) - value.rfind("\r\n") - 2 if "\r\n" in value else column + len(item)
    return value


def structured(name: str, value: str) -> Line:
    """Return a header of ASCII tokens as it stands, folded at spaces where it is long; no token is ever torn."""
    if len(name) + 2 + len(value) <= _SOFT:
        return name, value
    lines: list[str] = []
    line, column = "", len(name) + 2
    # A line begins with a word: where several spaces stand together none of them is lost.
    for token in _SINGLE_SPACE.split(value):
        if line and column + len(line) + 1 + len(token) > _SOFT:
            lines.append(line)
            line, column = token, 1
        else:
            line = f"{line} {token}" if line else token
    lines.append(line)
    if any(len(part) > _HARD - len(name) - 2 for part in lines):
        raise ContentError(f"The header {name} holds a word that is too long for a line.")
    return name, "\r\n ".join(lines)


def list_unsubscribe(url: str, mailto: str | None) -> Line:
    """Return the one-click address first, whole, then the mailto (RFC 8058 section 3.1, R1.1, R1.3)."""
    uris = [f"<{url}>", f"<{mailto}>"] if mailto else [f"<{url}>"]
    for uri in uris:
        if not _URI.fullmatch(uri):
            raise ContentError("An address to unsubscribe at holds a character that a header cannot hold.")
        if len("List-Unsubscribe: ") + len(uri) > _HARD:
            raise ContentError("An address to unsubscribe at is too long for a header line.")
    return "List-Unsubscribe", uris[0] if len(uris) == 1 else fold_list("List-Unsubscribe", uris)


@lru_cache(maxsize=1024)
def list_id(name: str, key: str, domain: str) -> Line:
    """Return the list's identifier; Gmail refuses encoded-words here, so only an ASCII name is shown (R1.14)."""
    label = f"<{key}.{addr_spec(f'list@{domain}').partition('@')[2]}>"
    if len(label) > 255:
        raise ContentError("The identifier of a list is longer than 255 octets.")
    checked(name, "name of the topic")
    shown = name if name.isascii() and "=?" not in name else key
    shown = shown.replace("\\", "").replace('"', "'")[:60].strip()
    return structured("List-Id", f'"{shown}" {label}')


@lru_cache(maxsize=1024)
def feedback_id(fields: tuple[str, ...]) -> Line:
    """Return campaign:topic:stream:sender for Gmail's reports; the sender has 5 to 15 characters (R2.2)."""
    if not 1 <= len(fields) <= 4 or not 5 <= len(fields[-1]) <= 15:
        raise ContentError("A Feedback-ID has at most four fields, the last a sender of 5 to 15 characters.")
    named = [field for field in fields if field]
    if any(not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", field) for field in named) or len(set(named)) < len(named):
        raise ContentError("The fields of a Feedback-ID are different words of letters, digits, dots and hyphens.")
    return "Feedback-ID", ":".join(fields)


def message_id(identifier: str) -> Line:
    """Return the Message-ID in its brackets (RFC 5322 section 3.6.4)."""
    bare = identifier.removeprefix("<").removesuffix(">")
    if not _MESSAGE_ID.fullmatch(bare) or len(bare) > 900:
        raise ContentError("A Message-ID is letters, digits and dots around one @.")
    return "Message-ID", f"<{bare}>"


def date(moment: datetime) -> Line:
    """Return the Date with its real offset (R3.5)."""
    return _date(moment.replace(microsecond=0))


@lru_cache(maxsize=1024)
def _date(moment: datetime) -> Line:
    offset = moment.utcoffset()
    if offset is None:
        raise ContentError("The date of a mail needs an offset.")
    minutes = int(offset.total_seconds() // 60)
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
    day = f"{_DAYS[moment.weekday()]}, {moment.day:02} {_MONTHS[moment.month - 1]} {moment.year:04}"
    return "Date", f"{day} {moment.hour:02}:{moment.minute:02}:{moment.second:02} {zone}"


def custom(name: str, value: str) -> Line:
    """Return a caller's own header, or raise ContentError where it may not be set."""
    if why := forbidden_name(name) or forbidden(value):
        raise ContentError(f"The header {name!r} {why}.")
    if name.lower() == "reply-to":
        raise ContentError("Reply-To is given as addresses, not as a header.")
    if value.isascii() and max(map(len, value.split(" "))) <= _HARD - len(name) - 2 and "=?" not in value:
        return structured(name, value.strip())
    return unstructured(name, value)


def serialized(lines: Sequence[Line]) -> str:
    """Return header lines as they go out."""
    return "".join([f"{name}: {value}\r\n" for name, value in lines])
