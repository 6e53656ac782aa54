"""What tracked links cost a mail: microseconds of composing, by how many links there are.

Run from the repository: `python -m tests.benchmarks.links`.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import partial
from time import process_time

from mailer.compose.clicks import Clicking
from mailer.compose.letter import OptOut, Order, PostalAddress, Promotional, Recipient, Sender, TopicInfo
from mailer.compose.mailing import Mailing
from mailer.compose.skeleton import compile_content
from mailer.compose.templates import Content, Parts
from mailer.compose.variables import Schema
from mailer.links import Audience, Links, one_of
from mailer.settings import Settings
from suppression.rules import Stream
from suppression.token import Ring

_MAILS = 1000
#: As workers compose them.
_TOGETHER = 64
_BASE = "https://mail.example.com"
_LINKS = Links(Settings(promotional_public_url=_BASE), Ring("a:a-secret-of-at-least-thirty-two-characters"))


def _content(fixed: int, dynamic: int) -> Content:
    links = [f'<p><a href="https://shop.example.com/products/{place}?ref=news">Offer</a></p>' for place in range(fixed)]
    links += [f'<p><a href="https://shop.example.com/{{{{ code }}}}/{place}">Yours</a></p>' for place in range(dynamic)]
    words = "<p>Some forty characters of a paragraph.</p>" * 60
    html = f"<html><body><p>Dear {{{{ name }}}}</p>{words}{''.join(links)}</body></html>"
    return Content(
        name="sample",
        stream=Stream.PROMOTIONAL,
        parts={"en": Parts("Hello {{ name }}", html, None)},
        schema=Schema.parse({"name": "text", "code": "text"}),
    )


def _mailing(content: Content) -> Mailing:
    purpose = Promotional(TopicInfo("newsletter"), PostalAddress("1 High Street"), "x.example")
    clicking = Clicking(_LINKS.ours())
    return Mailing(
        compile_content(content, "en"),
        Sender("mail@x.example"),
        purpose,
        clicking=clicking,
        sign=partial(_LINKS.clicks, Stream.PROMOTIONAL),
    )


def _orders(said: Callable[[], bytes | None]) -> Sequence[Order]:
    way_out = OptOut(f"{_BASE}/u/token", f"{_BASE}/p/token", None, f"{_BASE}/v/token")
    return [
        Order(
            recipient=Recipient(f"ann{number}@example.com", "Ann"),
            message_id=f"{number:020}@x.example",
            dated_at=datetime(2027, 3, 1, tzinfo=UTC),
            values={"name": f"Ann {number}", "code": f"c{number}"},
            opt_out=way_out,
            clicked=said(),
        )
        for number in range(_MAILS)
    ]


def _spent(mailing: Mailing, orders: Sequence[Order]) -> float:
    """Return the microseconds of CPU of one mail, the best of fifteen rounds."""
    rounds = []
    for _ in range(15):
        start = process_time()
        for first in range(0, len(orders), _TOGETHER):
            mailing.compose_all(orders[first : first + _TOGETHER])
        rounds.append((process_time() - start) / len(orders) * 1e6)
    return min(rounds)


def main() -> None:
    """Print a line a kind of content."""
    audience = Audience(1, Stream.PROMOTIONAL, "ca_0123456789abcdefghijklmnop", "newsletter", "news", date(2027, 3, 1))
    packed = audience.pack()
    untracked, tracked = _orders(lambda: None), _orders(lambda: one_of(packed))
    for fixed, dynamic in ((0, 0), (1, 0), (5, 0), (20, 0), (0, 5)):
        mailing = _mailing(_content(fixed, dynamic))
        before, after = _spent(mailing, untracked), _spent(mailing, tracked)
        print(f"{fixed} fixed, {dynamic} dynamic: {before:.0f} -> {after:.0f} us a mail, {after - before:+.1f}")


if __name__ == "__main__":
    main()
