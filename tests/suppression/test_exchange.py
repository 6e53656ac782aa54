"""Lists of ten systems, by the columns they really have: reason and date are kept, and nothing is made less of."""

from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from suppression.exchange import FORMS, FormName, Found, Item, Nothing, Options, Reader
from suppression.exchange.rows import column, moment, printable
from suppression.lines import Refusal, Unreadable
from suppression.rules import ALL, STREAM_PROMOTIONAL, Reason, Scope

AT = datetime(2025, 1, 7, 19, 25, 45, tzinfo=UTC)
NEWS, SALES = Scope("topic:newsletter"), Scope("topic:promotions")
TOPICS = Options(topics={"14": "newsletter", "weekly": "newsletter", "sales": "promotions"})


def read(form: str, text: str | bytes, options: Options = TOPICS, size: int = 7) -> list[Item]:
    data = text if isinstance(text, bytes) else text.encode()
    reader, found = Reader(FORMS[form], options), list[Item]()
    for start in range(0, len(data), size):
        found += reader.feed(data[start : start + size])
    return found + list(reader.close())


class Case(NamedTuple):
    form: str
    text: str
    #: Local part, reason, scope of each entry.
    entries: tuple[tuple[str, Reason, Scope], ...]
    nothing: int = 0
    at: datetime | None = AT


MAILCHIMP = (
    '"Email Address","First Name","Last Name",MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,'
    "LATITUDE,LONGITUDE,GMTOFF,DSTOFF,TIMEZONE,CC,REGION,{},LEID,EUID,NOTES,TAGS\n"
)
UNSUBSCRIBED = MAILCHIMP.format("UNSUB_TIME,UNSUB_CAMPAIGN_TITLE,UNSUB_CAMPAIGN_ID,UNSUB_REASON,UNSUB_REASON_OTHER")
CLEANED = MAILCHIMP.format("CLEAN_TIME,CLEAN_CAMPAIGN_TITLE,CLEAN_CAMPAIGN_ID")
PERSON = "@example.org,Ann,Lee,2,,,,,47.66,-117.5,-8,-7,,us,wa"
CASES = (
    Case(
        "ses",
        '{"EmailAddress": "ann@example.org", "Reason": "BOUNCE", "LastUpdateTime": "2025-01-07T21:25:45+02:00"}\n'
        '{"EmailAddress": "bob@example.org", "Reason": "COMPLAINT", "LastUpdateTime": 1736277945}\n',
        (("ann", Reason.HARD_BOUNCE, ALL), ("bob", Reason.COMPLAINT, STREAM_PROMOTIONAL)),
    ),
    Case(
        "ses",
        "ann@example.org,BOUNCE\nbob@example.org, COMPLAINT\n",
        (("ann", Reason.HARD_BOUNCE, ALL), ("bob", Reason.COMPLAINT, STREAM_PROMOTIONAL)),
        at=None,
    ),
    Case(
        "sendgrid-bounces",
        "status,reason,email,created\n"
        '5.1.1,"550 5.1.1 The account does not exist, ""sorry"".\nTry again",ann@example.org,1736277945\n'
        "4.2.2,552 mailbox full,bob@example.org,1736277945\n",
        (("ann", Reason.HARD_BOUNCE, ALL), ("bob", Reason.SOFT_BOUNCE, STREAM_PROMOTIONAL)),
    ),
    Case(
        "sendgrid-blocks",
        "status,reason,email,created\n4.0.0,550 blocked for spam,ann@example.org,1736277945\n"
        "5.7.1,554 5.7.1 blocked,bob@example.org,1736277945\n",
        (("ann", Reason.SOFT_BOUNCE, STREAM_PROMOTIONAL), ("bob", Reason.SOFT_BOUNCE, STREAM_PROMOTIONAL)),
    ),
    Case(
        "sendgrid-invalid",
        "reason,email,created\nMail domain mentioned in email address is unknown,ann@example.org,1736277945\n",
        (("ann", Reason.INVALID, ALL),),
    ),
    Case(
        "sendgrid-spam-reports",
        "email,ip,created\nann@example.org,192.0.2.7,1736277945\n",
        (("ann", Reason.COMPLAINT, STREAM_PROMOTIONAL),),
    ),
    Case(
        "sendgrid-unsubscribes",
        "email,created\nann@example.org,1736277945\n",
        (("ann", Reason.UNSUBSCRIBE, ALL),),
    ),
    Case(
        "sendgrid-groups",
        "email,group_id,group_name,created_at\nann@example.org,14,Weekly news,1736277945\n"
        "bob@example.org,15,Sales,1736277945\ncid@example.org,16,Odd ones,1736277945\n",
        (
            ("ann", Reason.UNSUBSCRIBE, NEWS),
            ("bob", Reason.UNSUBSCRIBE, SALES),
            ("cid", Reason.UNSUBSCRIBE, STREAM_PROMOTIONAL),
        ),
    ),
    Case(
        "postmark",
        '{"EmailAddress":"ann@example.org","SuppressionReason":"HardBounce","Origin":"Recipient",'
        '"CreatedAt":"2025-01-07T14:25:45-05:00"}\n'
        '{"EmailAddress":"bob@example.org","SuppressionReason":"SpamComplaint","Origin":"Recipient",'
        '"CreatedAt":"2025-01-07T14:25:45-05:00"}\n'
        '{"EmailAddress":"cid@example.org","SuppressionReason":"ManualSuppression","Origin":"Recipient",'
        '"CreatedAt":"2025-01-07T14:25:45-05:00"}\n'
        '{"EmailAddress":"dan@example.org","SuppressionReason":"ManualSuppression","Origin":"Customer",'
        '"CreatedAt":"2025-01-07T14:25:45-05:00"}\n',
        (
            ("ann", Reason.HARD_BOUNCE, ALL),
            ("bob", Reason.COMPLAINT, STREAM_PROMOTIONAL),
            ("cid", Reason.UNSUBSCRIBE, STREAM_PROMOTIONAL),
            ("dan", Reason.MANUAL, ALL),
        ),
    ),
    Case(
        "mailgun-bounces",
        'address,code,error,created_at\nann@example.org,550,"No such user","Tue, 07 Jan 2025 19:25:45 UTC"\n',
        (("ann", Reason.HARD_BOUNCE, ALL),),
    ),
    Case(
        "mailgun-unsubscribes",
        'address,tags,created_at\nann@example.org,*,"Tue, 07 Jan 2025 19:25:45 UTC"\n'
        'bob@example.org,"weekly,sales","Tue, 07 Jan 2025 19:25:45 +0000"\n',
        (
            ("ann", Reason.UNSUBSCRIBE, ALL),
            ("bob", Reason.UNSUBSCRIBE, NEWS),
            ("bob", Reason.UNSUBSCRIBE, SALES),
        ),
    ),
    Case(
        "mailgun-unsubscribes",
        '{"address": "ann@example.org", "tags": ["weekly", "other"], "created_at": "Tue, 07 Jan 2025 19:25:45 UTC"}\n',
        (("ann", Reason.UNSUBSCRIBE, NEWS), ("ann", Reason.UNSUBSCRIBE, STREAM_PROMOTIONAL)),
    ),
    Case(
        "mailgun-complaints",
        'address,created_at\nann@example.org,"Tue, 07 Jan 2025 19:25:45 UTC"\n',
        (("ann", Reason.COMPLAINT, STREAM_PROMOTIONAL),),
    ),
    Case(
        "mailchimp",
        f'{UNSUBSCRIBED}ann{PERSON},"2025-01-07 19:25:45",March,c1,"N/A (Unsubscribed by admin)",,1,e1,,\n'
        f'bob{PERSON},"2025-01-07 19:25:45",March,c1,"Abuse complaint",,2,e2,,\n',
        (("ann", Reason.UNSUBSCRIBE, STREAM_PROMOTIONAL), ("bob", Reason.COMPLAINT, STREAM_PROMOTIONAL)),
    ),
    Case(
        "mailchimp",
        f'{CLEANED.replace("Email Address", "Emailadresse")}ann{PERSON},"2025-01-07 19:25:45",March,c1,1,e1,,\n',
        (("ann", Reason.HARD_BOUNCE, ALL),),
    ),
    Case(
        "listmonk",
        "uuid,email,name,attributes,status,created_at,updated_at\n"
        'u1,ann@example.org,Ann,"{""city"": ""Kyiv""}",blocklisted,2020-01-01 00:00:00+00:00,'
        "2025-01-07T19:25:45.000Z\nu2,bob@example.org,Bob,{},enabled,2020-01-01,2025-01-07\n",
        (("ann", Reason.UNSUBSCRIBE, ALL),),
        nothing=1,
    ),
    Case(
        "listmonk",
        '{"id": 1, "email": "ann@example.org", "status": "enabled", "updated_at": "2025-01-07T19:25:45Z", "lists": '
        '[{"id": 14, "name": "Weekly", "subscription_status": "unsubscribed"}, '
        '{"id": 2, "name": "Other", "subscription_status": "confirmed"}]}\n',
        (("ann", Reason.UNSUBSCRIBE, NEWS),),
    ),
    Case(
        "mautic",
        "email,reason,channel,date_added,comments\nann@example.org,1,email,2025-01-07 19:25:45,clicked\n"
        "bob@example.org,2,email,2025-01-07 19:25:45,User unknown\n"
        "cid@example.org,3,email,2025-01-07 19:25:45,\ndan@example.org,1,sms,2025-01-07 19:25:45,\n",
        (
            ("ann", Reason.UNSUBSCRIBE, STREAM_PROMOTIONAL),
            ("bob", Reason.HARD_BOUNCE, ALL),
            ("cid", Reason.MANUAL, STREAM_PROMOTIONAL),
        ),
        nothing=1,
    ),
    Case(
        "mautic",
        "email,doNotEmail\nann@example.org,1\nbob@example.org,false\n",
        (("ann", Reason.UNSUBSCRIBE, STREAM_PROMOTIONAL),),
        nothing=1,
        at=None,
    ),
    Case(
        "list",
        "Email;Reason;Scope;Created at\nann@example.org;complaint;;2025-01-07T19:25:45Z\n"
        "bob@example.org;unsubscribe;topic:newsletter;2025-01-07 19:25:45\n",
        (("ann", Reason.COMPLAINT, STREAM_PROMOTIONAL), ("bob", Reason.UNSUBSCRIBE, NEWS)),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.form}-{CASES.index(case)}")
def test_a_list_means_what_its_system_says(case: Case) -> None:
    items = read(case.form, case.text)
    found = [item for item in items if isinstance(item, Found)]
    assert [(each.address.local, each.reason, each.scope) for each in found] == list(case.entries)
    assert sum(isinstance(item, Nothing) for item in items) == case.nothing
    assert not [item for item in items if isinstance(item, Refusal)]
    assert {each.at for each in found} == {case.at}


def test_every_list_has_a_name_and_a_case() -> None:
    assert set(FORMS) == set(FormName) == {case.form for case in CASES}


def test_what_the_other_system_said_is_kept_as_evidence() -> None:
    bounce = read("sendgrid-bounces", CASES[2].text)[0]
    assert isinstance(bounce, Found)
    assert bounce.note == '550 5.1.1 The account does not exist, "sorry". Try again'
    assert bounce.evidence == {"status": "5.1.1"}
    group = read("sendgrid-groups", CASES[7].text)[2]
    assert isinstance(group, Found)
    assert (group.widened, group.evidence) == ("Odd ones", {"group": "Odd ones"})


def test_a_group_without_a_topic_leaves_the_whole_stream_unless_one_is_named_for_all() -> None:
    text = "email,created\nann@example.org,1736277945\n"
    (widest,) = read("sendgrid-groups", text, Options())
    (named,) = read("sendgrid-groups", text, Options(topics={"": "newsletter"}))
    assert isinstance(widest, Found)
    assert widest.scope == STREAM_PROMOTIONAL
    assert isinstance(named, Found)
    assert named.scope == NEWS


def test_a_plain_list_of_addresses_wants_a_reason() -> None:
    plain = "ann@example.org\nbob@example.org\n"
    assert all(isinstance(item, Refusal) and "says no reason" in item.reason for item in read("list", plain, Options()))
    left = read("list", plain, Options(reason=Reason.UNSUBSCRIBE))
    assert [(item.reason, item.scope) for item in left if isinstance(item, Found)] == [(Reason.UNSUBSCRIBE, ALL)] * 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("email,reason\nnobody,unsubscribe", "the address has no @"),
        ("email,reason\n,unsubscribe", "the address is empty"),
        ("email,reason\nann@example.org,tired", "the reason is none that is known here"),
        ("email,reason\nann@example.org,unsubscribe,more", "has 3 fields, the header has 2"),
        ("email,reason\nann@example.org;unsubscribe", "has 1 field, the header has 2"),
        ("email,reason,scope\nann@example.org,hard_bounce,topic:news", "cannot have the scope"),
        ("email,reason,scope\nann@example.org,unsubscribe,everything", "the scope cannot be read"),
        ("email,reason,expires_at\nann@example.org,snooze,soon", "expires_at is no time"),
        ("email,reason\nann\x00@example.org,unsubscribe", "U+0000"),
        ('{"email": "a@b.example", "reason": "unsubscribe"}\n[1]', "must be an object"),
        ('{"email": "a@b.example", "reason": "unsubscribe"}\n{"email"', "is not a JSON object"),
        ('{"email": "a@b.example", "reason": "unsubscribe"}\n' + "[" * 60_000, "is not a JSON object"),
        ('{"email": 7, "reason": "unsubscribe"}', "the address must be text"),
        ('{"email": "a\\u0000@b.example", "reason": "unsubscribe"}', "control or invisible"),
        ('{"email": "a\\ud800@b.example", "reason": "unsubscribe"}', "control or invisible"),
    ],
)
def test_a_bad_line_is_told_with_its_reason_and_spoils_no_other(text: str, why: str) -> None:
    good = "\nzoe@example.org,unsubscribe" if text.startswith("email,reason\n") else ""
    items = read("list", text + good)
    (refusal,) = [item for item in items if isinstance(item, Refusal)]
    assert why in refusal.reason
    assert "ann@" not in refusal.reason
    assert bool(good) <= any(isinstance(item, Found) for item in items)


def test_an_address_of_another_encoding_is_refused_and_a_note_of_it_is_not() -> None:
    bad, good = read("list", b"email,reason,note\ncaf\xe9@example.org,manual,\nann@example.org,manual,caf\xe9")
    assert isinstance(bad, Refusal)
    assert "not UTF-8" in bad.reason
    assert isinstance(good, Found)
    assert good.note == "caf\ufffd"


@pytest.mark.parametrize(
    ("form", "text", "why"),
    [
        ("list", "", "the list is empty"),
        ("list", "\n\n", "the list is empty"),
        ("list", "name,city\nAnn,Kyiv", "a header with the column email"),
        ("list", '[\n{"email": "a@b.example"}\n]', "an object a line"),
        ("postmark", '{\n"Suppressions": []}', "an object a line"),
        ("list", "a" * 100_000, "longer than 64 KB"),
        ("sendgrid-bounces", "email,created\nann@example.org,1", "the column status"),
        ("mailgun-bounces", "address,created_at\nann@example.org,", "the column code"),
        ("mailchimp", "Email Address,LAST_CHANGED\nann@example.org,", "the column unsubtime"),
    ],
)
def test_another_list_is_refused_as_a_whole_before_anything_is_taken_for_what_it_is_not(
    form: str, text: str, why: str
) -> None:
    with pytest.raises(Unreadable, match=why):
        read(form, text)


def test_a_reader_goes_on_where_another_one_stopped() -> None:
    data = b"email,reason,note\n" + b"".join(
        b'p%d@example.org,unsubscribe,"two\nlines"\n' % place for place in range(50)
    )
    first, seen, positions = Reader(FORMS["list"], Options()), 0, list[tuple[int, int]]()
    for item in (item for start in range(0, len(data), 11) for item in first.feed(data[start : start + 11])):
        positions.append((first.position, seen))
        seen += isinstance(item, Found)
    for position, before in positions:
        again = Reader(FORMS["list"], Options(), position)
        rest = [*again.feed(data), *again.close()]
        assert [item.line for item in rest] == [2 + 2 * place for place in range(before, 50)]
        assert again.position == len(data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (1736277945, AT),
        ("1736277945", AT),
        ("1736277945000", AT),
        ("2025-01-07T19:25:45Z", AT),
        ("2025-01-07 19:25:45 UTC", AT),
        ("2025-01-07T14:25:45-05:00", AT),
        ("Tue, 07 Jan 2025 19:25:45 GMT", AT),
        ("Mon, 01 Jan 0001 00:00:00 UTC", None),
        ("99999999999999999999", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("yesterday", None),
        ("", None),
        (None, None),
        ([], None),
        (True, None),
    ],
)
def test_dates_of_every_kind(text: object, expected: datetime | None) -> None:
    assert moment(text) == expected


def test_an_opt_out_whose_date_cannot_be_read_is_an_opt_out_all_the_same() -> None:
    (found,) = read("sendgrid-unsubscribes", "email,created\nann@example.org,yesterday\n")
    assert isinstance(found, Found)
    assert (found.at, found.evidence) == (None, {"date": "yesterday"})


def test_columns_and_text() -> None:
    assert {column(name) for name in ("Email Address", "EmailAddress", "email_address", "EMAIL-ADDRESS")} == {
        "emailaddress"
    }
    assert printable("a\x00\ud800 b\n\tc") == "a b c"
    assert len(printable("x" * 9999)) == 500
