"""The links of sent mail: signed for one purpose, and under the public address of their stream."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from mailer import ids
from mailer.links import Audience, Hit, Links, one_email, one_of
from mailer.settings import Settings
from suppression.rules import Stream
from suppression.token import OptOut, Ring, verify_opt_out

T, P = Stream.TRANSACTIONAL, Stream.PROMOTIONAL
RING = Ring("k1:" + "a" * 32)
EMAIL = ids.new("em", datetime(2026, 5, 4, tzinfo=UTC))
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
LEAVING = OptOut(7, b"f" * 16, P, "newsletter", ids.to_bytes(EMAIL))


def links(**settings: str) -> Links:
    return Links(Settings(**settings), RING)


def pixel(made: Links, opened: bytes) -> str:
    return str(made.of_mail(P, None, opened).pixel)


def token(url: str) -> str:
    return urlsplit(url).path.rpartition("/")[2].removesuffix(".gif")


def test_links_stand_under_the_public_address_of_their_stream() -> None:
    made = links(public_url="https://x.example", promotional_public_url="https://news.x.example/m/")
    assert made.ways_out(LEAVING).unsubscribe.startswith("https://news.x.example/m/u/")
    assert made.ways_out(LEAVING._replace(stream=T)).unsubscribe.startswith("https://x.example/u/")


def test_without_a_public_address_links_lead_to_this_very_process() -> None:
    assert str(links().ways_out(LEAVING).view).startswith("http://127.0.0.1:8000/v/")


def test_an_opt_out_link_says_who_leaves_what() -> None:
    assert verify_opt_out(RING, token(links().ways_out(LEAVING).unsubscribe)) == LEAVING


def test_a_preference_link_says_whose_preferences() -> None:
    made = links()
    assert made.read_preferences(token(made.ways_out(LEAVING).preferences)) == LEAVING


@pytest.mark.parametrize("opt_out", [LEAVING, OptOut(1 << 40, b"g" * 16, T), LEAVING._replace(topic=None)])
def test_a_link_for_editing_says_whose_preferences_until_its_end(opt_out: OptOut) -> None:
    made, end = links(), NOON + timedelta(days=1)
    url = made.edit(opt_out, end)
    assert made.read_edit(token(url), NOON) == opt_out
    assert made.read_edit(token(url), end - timedelta(seconds=1)) == opt_out
    assert made.read_edit(token(url), end) is None
    assert made.read_edit(token(url), end + timedelta(days=9999)) is None


def test_a_link_for_editing_stands_where_preferences_stand() -> None:
    made = links(public_url="https://x.example", promotional_public_url="https://news.x.example/m/")
    assert made.edit(LEAVING, NOON).startswith("https://news.x.example/m/p/")
    assert made.edit(LEAVING._replace(stream=T), NOON).startswith("https://x.example/p/")


def test_a_link_for_editing_cannot_be_given_another_end() -> None:
    made = links()
    first, second = (token(made.edit(LEAVING, NOON + timedelta(days=days))) for days in (1, 2))
    assert len(first) == len(second)
    # What stands before the end of the one, and from there on the other.
    mixed = {first[:cut] + second[cut:] for cut in range(len(first))} - {first, second}
    assert mixed
    assert not any(made.read_edit(text, NOON) for text in mixed)


def test_a_view_link_names_an_email() -> None:
    made = links()
    assert made.read_view(token(str(made.ways_out(LEAVING).view))) == EMAIL


def test_only_promotional_mail_is_shown_in_the_browser() -> None:
    assert links().ways_out(LEAVING._replace(stream=T)).view is None
    assert links().ways_out(LEAVING._replace(email=None)).view is None


def test_an_individual_pixel_names_an_email() -> None:
    made = links()
    url = pixel(made, one_email(ids.to_bytes(EMAIL)))
    assert url.endswith(".gif")
    assert made.read_open(token(url)) == Hit(EMAIL, None, b"")


def test_an_aggregate_pixel_names_an_audience_and_never_the_same_number_twice() -> None:
    made = links()
    audience = Audience(7, P, "spring", "newsletter", "", date(2026, 5, 4))
    first, second = (made.read_open(token(pixel(made, one_of(audience.pack())))) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.audience == second.audience == audience
    assert first.email_id is second.email_id is None
    assert first.mark != second.mark


def test_the_address_of_opt_outs_by_mail_needs_a_domain_that_receives() -> None:
    assert links().ways_out(LEAVING).mailto is None
    url = links(return_path_domain="bounce.x.example").ways_out(LEAVING).mailto
    assert url is not None
    local, _, domain = url.removeprefix("mailto:").partition("@")
    assert domain == "bounce.x.example"
    assert len(local) <= 64


def test_a_token_of_one_purpose_opens_no_other_door() -> None:
    made = links()
    tokens = {
        "preferences": token(made.ways_out(LEAVING).preferences),
        "view": token(str(made.ways_out(LEAVING).view)),
        "open": token(pixel(made, one_email(ids.to_bytes(EMAIL)))),
        "unsubscribe": token(made.ways_out(LEAVING).unsubscribe),
        "edit": token(made.edit(LEAVING, NOON)),
    }
    readers: dict[str, Callable[[str], object]] = {
        "preferences": made.read_preferences,
        "view": made.read_view,
        "open": made.read_open,
        "unsubscribe": lambda text: verify_opt_out(RING, text),
        "edit": lambda text: made.read_edit(text, NOON - timedelta(days=1)),
    }
    opened = {(door, key) for door, read in readers.items() for key, text in tokens.items() if read(text) is not None}
    assert opened == {(door, door) for door in readers}


@pytest.mark.parametrize("text", ["", "x", "a" * 500, "../../etc/passwd", "%00", "ї"])
def test_a_damaged_token_is_none(text: str) -> None:
    made = links()
    assert [made.read_open(text), made.read_view(text), made.read_preferences(text)] == [None] * 3
    assert made.read_edit(text, NOON) is None


def test_a_link_of_another_service_does_not_verify() -> None:
    other = Links(Settings(), Ring("k1:" + "b" * 32))
    assert links().read_view(token(str(other.ways_out(LEAVING).view))) is None


def test_a_return_path_names_its_email_whatever_servers_do_to_its_case() -> None:
    made = links(return_path_domain="b.example.org")
    address = str(made.return_path(EMAIL))
    local, _, domain = address.partition("@")
    assert (local[:2], domain) == ("b+", "b.example.org")
    assert len(local) <= 64
    assert local == local.lower()
    for written in (address, address.upper(), f"<{address}>", local, local.removeprefix("b+")):
        assert made.read_return_path(written) == EMAIL


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty", "another ring's", "a fullwidth letter"])
def test_a_return_path_that_is_not_ours_names_nothing(damage: str) -> None:
    made = links(return_path_domain="b.example.org")
    local = str(made.return_path(EMAIL)).partition("@")[0]
    forged = {
        "truncated": local[:-1],
        "changed": local[:10] + ("a" if local[10] != "a" else "b") + local[11:],
        "empty": "",
        "another ring's": str(Links(made.settings, Ring("k1:" + "z" * 32)).return_path(EMAIL)).partition("@")[0],
        "a fullwidth letter": local[:-1] + "ａ",
    }[damage]
    assert made.read_return_path(f"{forged}@b.example.org") is None


def test_a_token_of_another_kind_is_no_return_path() -> None:
    made = links(return_path_domain="b.example.org")
    mailto = str(made.ways_out(LEAVING).mailto).removeprefix("mailto:u-")
    assert made.read_return_path(f"b+{mailto}") is None


def test_without_a_domain_there_is_no_return_path() -> None:
    made = links().of_mail(P, LEAVING, b"i" + ids.to_bytes(EMAIL), ids.to_bytes(EMAIL))
    assert (made.return_path, made.envelope_id) == (None, "")


def test_links_signed_together_are_those_signed_apart() -> None:
    made = links(return_path_domain="b.example.org")
    whole = made.of_mail(P, LEAVING, one_email(ids.to_bytes(EMAIL)), ids.to_bytes(EMAIL))
    assert whole.ways_out == made.ways_out(LEAVING)
    assert whole.pixel == pixel(made, one_email(ids.to_bytes(EMAIL)))
    assert whole.return_path == made.return_path(EMAIL)
    assert whole.return_path == f"b+{whole.envelope_id}@b.example.org"
