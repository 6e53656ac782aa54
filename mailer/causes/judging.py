"""What codes and words mean: `codes.toml` and `words.toml` applied, pure (standards section 4)."""

import re
import tomllib
from collections.abc import Iterator
from enum import StrEnum
from importlib import resources
from typing import NamedTuple

from mailer.causes.category import Category

#: More is a transcript of something else; patterns are tried on no more than this.
_LONGEST = 2000


class Command(StrEnum):
    """Which SMTP command was refused."""

    #: MAIL FROM: our sender was judged, nobody else.
    SENDER = "sender"
    #: RCPT TO.
    RECIPIENT = "recipient"
    #: DATA or the final dot.
    CONTENT = "content"


class Said(NamedTuple):
    """What a server said, and to what."""

    text: str
    #: Reply code (RFC 5321), 0 where none is known.
    code: int = 0
    #: Enhanced status code (RFC 3463), "" where none is known.
    enhanced: str = ""
    command: Command | None = None
    #: Whose server, as a domain in lower case; some words mean more with some providers.
    provider: str = ""


class Cause(NamedTuple):
    """Why a mail was refused."""

    category: Category
    #: The address is the cause and will stay so: no stream may use it again.
    hard: bool = False
    #: Id of the row that decided.
    rule: str = "unknown"
    #: It was said in words that leave no doubt, whenever they are said.
    sure: bool = False


class _Words(NamedTuple):
    cause: Cause
    #: Goes before a clear code.
    firm: bool
    pattern: re.Pattern[str]
    unless: re.Pattern[str] | None
    codes: re.Pattern[str] | None
    provider: re.Pattern[str] | None


class _Code(NamedTuple):
    cause: Cause
    pattern: re.Pattern[str]


#: Four numbers are an IP address (`198.5.1.1 is listed`), which convicts nobody.
_ENHANCED = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?!\d|\.\d)")
_REPLY = re.compile(r"(?<![\w.:/@-])([245]\d\d)(?=[ \-:,;]|$|\n|\.\s)(?!-\d)")
_ADDRESS = re.compile(r"<[^<>\s]{0,320}@[^<>\s]{0,320}>|[^\s<>()\"\[\]]{1,256}@[^\s<>()\"'\[\]]{1,256}")
_LINK = re.compile(r"https?://\S{0,500}")
#: The beginning of a further line of one reply: `550-5.1.1 The account that you tried`.
_LINE_CODE = re.compile(r"(?<![\d.])[245]\d\d[- ]#?(?:[245]\.\d{1,3}\.\d{1,3})?[ :]*")
#: Codes that say no more than "permanent": X.Y.0 is "other", 5.5.x is what servers say who have no better one, 5.4.x
#: is said of domains that do not exist and of a network that is down. A clear text goes before them (R4.4). Not 5.6.0
#: and 5.7.0: content and policy are never the address's fault.
_VAGUE = re.compile(r"[45]\.(0|4|5|9)\.\d+|[45]\.[1-3]\.0")


def _rows(name: str) -> list[dict[str, str]]:
    table = resources.files("mailer.causes").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    found: list[dict[str, str]] = tomllib.loads(table)[name]
    return found


def _cause(row: dict[str, str]) -> Cause:
    return Cause(Category(row["category"]), bool(row.get("hard")), row["id"], bool(row.get("sure")))


def _pattern(row: dict[str, str], name: str) -> re.Pattern[str] | None:
    return re.compile(row[name], re.VERBOSE) if name in row else None


def _words() -> Iterator[_Words]:
    for row in _rows("words"):
        limits = (_pattern(row, name) for name in ("unless", "codes", "provider"))
        yield _Words(_cause(row), bool(row.get("firm")), re.compile(row["words"], re.VERBOSE), *limits)


_WORDS = tuple(_words())
_CODES = tuple(_Code(_cause(row), re.compile(row["code"])) for row in _rows("codes"))
#: Reply codes that speak for themselves (RFC 4954 section 6, RFC 7504 section 4).
_REPLIES = {
    530: Cause(Category.AUTH, rule="reply-530"),
    535: Cause(Category.AUTH, rule="reply-535"),
    556: Cause(Category.BAD_DOMAIN, hard=True, rule="reply-556"),
}


def enhanced_of(text: str) -> str:
    """Return the first enhanced status code in a text, empty where it has none."""
    found = _ENHANCED.search(text)
    return found[1] if found else ""


def code_of(text: str) -> int:
    """Return the first refusing reply code in a text, 0 where it has none."""
    return next((int(found[1]) for found in _REPLY.finditer(text) if found[1] >= "400"), 0)


def without_addresses(text: str, mark: str = "<>") -> str:
    """Return a text with `mark` for each address, which may hold any word and must not be kept."""
    return _ADDRESS.sub(mark, text) if "@" in text else text


def judge(said: Said) -> Cause:
    """Return why a server refused, as far as codes and words tell; what neither tells is `unknown` and never hard."""
    if said.code in _REPLIES:
        return _REPLIES[said.code]
    text = _plain(said.text)
    cause = (
        _by_words(said, text, firm=True)
        or (None if _VAGUE.fullmatch(said.enhanced) else _by_code(said.enhanced))
        or _by_words(said, text, firm=False)
        or _by_code(said.enhanced)
        or Cause(Category.UNKNOWN)
    )
    return _limited(cause, said)


def _limited(cause: Cause, said: Said) -> Cause:
    """Take back what such an answer cannot prove."""
    if not cause.hard:
        return cause
    if said.command is Command.SENDER:
        # "Sender address rejected: user unknown" is about us, and would else suppress a whole campaign's recipients.
        return Cause(Category.SENDER_INVALID, rule=cause.rule)
    # Who names the address after having taken the whole mail may mean anything (Japanese carriers filter so): then
    # only a code convicts. And 4xx says that it may become better.
    coded = bool(said.enhanced) and _VAGUE.fullmatch(said.enhanced) is None
    vague = said.command is Command.CONTENT and not coded and not cause.sure
    temporary = said.enhanced.startswith("4") or (400 <= said.code < 500 and not said.enhanced.startswith("5"))
    return cause._replace(hard=False) if vague or temporary else cause


def _plain(text: str) -> str:
    text = without_addresses(_LINK.sub(" ", text[:_LONGEST])).lower().replace("’", "'")
    return " ".join(_LINE_CODE.sub(" ", text).split())


def _by_words(said: Said, text: str, *, firm: bool) -> Cause | None:
    for row in _WORDS:
        fits = row.firm is firm and _fits(row, said) and row.pattern.search(text)
        if fits and (row.unless is None or not row.unless.search(text)):
            return row.cause
    return None


def _fits(row: _Words, said: Said) -> bool:
    if row.codes is not None and not row.codes.fullmatch(said.enhanced):
        return False
    return row.provider is None or row.provider.search(said.provider) is not None


def _by_code(enhanced: str) -> Cause | None:
    # Class 4 says the same as 5 of what it is about (RFC 3463 section 2).
    permanent = "5" + enhanced[1:]
    return next((row.cause for row in _CODES if enhanced and row.pattern.fullmatch(permanent)), None)
