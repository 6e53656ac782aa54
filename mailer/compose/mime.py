"""The parts of a mail put together: text first, HTML richer, files around them (R3.2, R3.6)."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from mailer.compose.encoding import wrapped
from mailer.compose.errors import ContentError
from mailer.compose.filled import Encoded
from mailer.compose.headers import Line, forbidden

_TYPE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
    r"(?:; ?[A-Za-z0-9-]{1,30}=(?:[A-Za-z0-9!#$&^_.+-]{1,60}|\"[A-Za-z0-9 !#$&^_.+:/-]{1,60}\"))*"
)
_CONTENT_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@-]{1,200}")
_FILE_NAME = re.compile(r"[A-Za-z0-9 ._()+,;=@#&'-]{1,55}")
_SEGMENT = 50


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a mail; with a content_id the HTML shows it by `cid:`."""

    filename: str
    content: bytes
    content_type: str = "application/octet-stream"
    content_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse what would break the headers of the part."""
        if not self.filename or len(self.filename) > 255 or (why := forbidden(self.filename)):
            raise ContentError(f"The file name {why}." if self.filename and why else "A file needs a name.")
        if not _TYPE.fullmatch(self.content_type):
            raise ContentError("The content type of a file must look like image/png.")
        if self.content_type.lower().startswith(("multipart/", "message/")):
            # RFC 2046 sections 5.1 and 5.2.1: these must not be encoded.
            raise ContentError(f"A file cannot be of the type {self.content_type}.")
        if self.content_id is not None and not _CONTENT_ID.fullmatch(self.content_id):
            raise ContentError("A content_id is letters, digits, dots and one @, without brackets.")


@dataclass(frozen=True, slots=True)
class Assembled:
    """The headers that describe a body, and the body."""

    headers: Sequence[Line]
    body: bytes


@dataclass(frozen=True, slots=True)
class Layout:
    """The headers that describe a body, and what stands before, between and behind its text and its HTML."""

    headers: Sequence[Line]
    pieces: tuple[bytes, bytes, bytes]


#: Where the text and the HTML will stand: no part holds such bytes.
_TEXT, _HTML = b"\0text", b"\0html"


def boundary(seed: str) -> str:
    """Return what separates the parts of a mail: `=_` stands in no quoted-printable and no base64 text."""
    return "=_" + hashlib.blake2b(seed.encode(), digest_size=12).hexdigest()


def layout(text: str, html: str | None, files: Sequence[Attachment], mark: str) -> Layout:
    """Return what is the same in all mail whose text and HTML (None: it has none) are encoded so."""
    whole = assemble(Encoded(text, _TEXT), None if html is None else Encoded(html, _HTML), files, mark)
    start, _, rest = whole.body.partition(_TEXT)
    between, _, end = rest.partition(_HTML)
    return Layout(whole.headers, (start, between, end))


def assemble(text: Encoded, html: Encoded | None, files: Sequence[Attachment], mark: str) -> Assembled:
    """Return multipart/alternative, with related and mixed around it where there are files."""
    if html is None:
        entity = _leaf("text/plain", text)
    else:
        shown = [file for file in files if file.content_id is not None]
        rich = _leaf("text/html", html)
        if shown:
            rich = _multipart("related", [rich, *map(_file, shown)], f"{mark}r")
        entity = _multipart("alternative", [_leaf("text/plain", text), rich], f"{mark}a")
    attached = [file for file in files if file.content_id is None or html is None]
    if attached:
        entity = _multipart("mixed", [entity, *map(_file, attached)], f"{mark}m")
    return entity


def _leaf(kind: str, part: Encoded) -> Assembled:
    headers = (("Content-Type", f'{kind}; charset="utf-8"'), ("Content-Transfer-Encoding", part.encoding))
    return Assembled(headers, part.lines)


def _multipart(kind: str, parts: Sequence[Assembled], mark: str) -> Assembled:
    pieces: list[bytes] = []
    opening = f"--{mark}\r\n"
    for part in parts:
        lines = "".join([f"{name}: {value}\r\n" for name, value in part.headers])
        pieces += ((opening + lines + "\r\n").encode("ascii"), part.body)
        opening = f"\r\n--{mark}\r\n"
    pieces.append(f"\r\n--{mark}--\r\n".encode("ascii"))
    related = '; type="text/html"' if kind == "related" else ""
    header = f'multipart/{kind}{related};\r\n boundary="{mark}"'
    return Assembled((("Content-Type", header),), b"".join(pieces))


def _file(file: Attachment) -> Assembled:
    headers = [("Content-Type", file.content_type.replace(";", ";\r\n ").replace("\r\n  ", "\r\n "))]
    headers.append(("Content-Transfer-Encoding", "base64"))
    place = "inline" if file.content_id is not None else "attachment"
    headers.append(("Content-Disposition", place + _filename(file.filename)))
    if file.content_id is not None:
        # RFC 2392: brackets here, none in the cid: URL.
        headers.append(("Content-ID", f"<{file.content_id}>"))
    return Assembled(headers, wrapped(file.content))


def _filename(name: str) -> str:
    """Return the parameter, in RFC 2231's segments where it is long or not plain ASCII."""
    if _FILE_NAME.fullmatch(name):
        return f';\r\n filename="{name}"'
    segments: list[str] = []
    run = "utf-8''"
    for character in name:
        escaped = quote(character, safe="", errors="replace")
        if len(run) + len(escaped) > _SEGMENT:
            segments.append(run)
            run = ""
        run += escaped
    segments.append(run)
    if len(segments) == 1:
        return f";\r\n filename*={segments[0]}"
    return "".join(f";\r\n filename*{index}*={segment}" for index, segment in enumerate(segments))
