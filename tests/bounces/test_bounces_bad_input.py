"""Whatever comes: no exception, no more than a second, and always a reading."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.feedback.inbound import Reading
from mailer.feedback.inbound.parsing import read

HEAD = b"From: MAILER-DAEMON@x.example\nSubject: failure notice\n"
REPORT = HEAD + b'Content-Type: multipart/report; report-type=delivery-status; boundary="B"\n\n'


def nested(depth: int) -> bytes:
    return (b"Content-Type: message/rfc822\n\n" * depth) + b"Subject: deep\n\nend"


def bomb(depth: int) -> bytes:
    mail = b"text"
    for number in range(depth):
        mark = b"b%d" % number
        mail = (
            b'Content-Type: multipart/mixed; boundary="' + mark + b'"\n\n' + (b"--" + mark + b"\n" + mail + b"\n") * 2
        )
    return HEAD + mail


BAD = {
    "nothing": b"",
    "nulls": b"\0" * 100_000,
    "long header": HEAD + b"X: " + b"a" * 1_000_000 + b"\n\nbody",
    "long folded header": HEAD + b"X: a\n" + b" folded\n" * 130_000 + b"\nbody",
    "long content type": HEAD + b"Content-Type: multipart/report; " + b'a="b"; ' * 100_000 + b"\n\nbody",
    "many headers": b"X: y\n" * 200_000 + b"\nbody",
    "no header": b"a" * 1_000_000,
    "one line": HEAD + b"\n" + b"user unknown " * 80_000,
    "many addresses": HEAD + b"\n" + b"<ann@dest.example>:\n550 user unknown\n" * 25_000,
    "at signs": HEAD + b"\n" + b"@" * 500_000,
    "at signs in a family": HEAD + b"\n" + b"@" * 30_000 + b"\nERROR_CODE :550, ERROR_CODE :5.1.1\n",
    "spaces in a family": HEAD
    + b"X-Mailer: <SMTP32 v8>\n\n"
    + b" " * 30_000
    + b"x"
    + b"\n" * 30_000
    + b"a - b\n" * 5_000,
    "lines in a family": HEAD + b"\nMessage not delivered to the following:\n" + b"\n \n" * 10_000 + b"-" * 9_000,
    "angle brackets": HEAD + b"\n" + b"<" * 500_000,
    "html": HEAD + b"Content-Type: text/html\n\n" + b"<style><script><head>" * 40_000,
    "spaces": HEAD + b"\n" + b" " * 900_000 + b"x",
    "blank lines": HEAD + b"\n" + b"\n" * 900_000,
    "encoded words": b"Subject: " + b"=?utf-8?b?" * 100_000 + b"\n\nbody",
    "strange charset": HEAD + b"Content-Type: text/plain; charset=punycode\n\n" + b"a-" * 400_000,
    "utf-16": HEAD + b"Content-Type: text/plain; charset=utf-16\n\nodd",
    "nested mails": HEAD + nested(100),
    "deeply nested mails": HEAD + nested(20_000),
    "mime bomb": bomb(16),
    "boundaries": REPORT + b"--B\n" * 200_000,
    "status without end": REPORT + b"--B\nContent-Type: message/delivery-status\n\n" + b"Action: failed\n\n" * 50_000,
    "many recipients": REPORT
    + b"--B\nContent-Type: message/delivery-status\n\n"
    + b"Final-Recipient: rfc822; a@x.example\nAction: failed\nStatus: 5.1.1\n\n" * 10_000,
    "long diagnostics": REPORT
    + b"--B\nContent-Type: message/delivery-status\n\n"
    + b"".join(
        b"Final-Recipient: rfc822; a%d@x.example\nAction: failed\nDiagnostic-Code: smtp; 550 %s\n\n"
        % (number, b"address is " * 700)
        for number in range(100)
    ),
    "long reasons": HEAD + b"\n" + b"".join(b"<a%d@x.example>:\n%s\n" % (at, b"mailbox " * 80) for at in range(100)),
    "status of junk": REPORT + b"--B\nContent-Type: message/delivery-status\n\n" + b"junk\n" * 100_000,
    "base64 of junk": REPORT + b"--B\nContent-Transfer-Encoding: base64\n\n" + b"=" * 500_000,
    "quoted-printable": REPORT + b"--B\nContent-Transfer-Encoding: quoted-printable\n\n" + b"=\n" * 300_000,
    "codes": HEAD + b"\n" + b"550-5.1.1 " * 100_000,
    "hosts": HEAD + b"\n" + b"host " * 100_000,
    "recipient marks": HEAD + b"\n" + b"to: recipient: address: " * 40_000,
}


@pytest.mark.parametrize("name", BAD)
def test_bad_mail_is_read_within_a_second(name: str) -> None:
    start = time.process_time()
    reading = read(BAD[name])
    assert time.process_time() - start < 1
    assert isinstance(reading, Reading)
    assert reading.reports or reading.dropped
    assert all(len(report.diagnostic or "") <= 500 for report in reading.reports)


def test_only_the_beginning_of_a_mail_of_50_mb_is_looked_at() -> None:
    raw = b"".join((HEAD, b"\n<ann@dest.example>:\n550 5.1.1 user unknown\n", b"x" * 50_000_000))
    start = time.process_time()
    reading = read(raw)
    assert time.process_time() - start < 1
    assert [report.recipient for report in reading.reports] == ["ann@dest.example"]


def test_a_date_that_is_none_is_none() -> None:
    for date in ("", "yesterday", "Thu, 99 Nov 99999 10:00:00 +9999", "0", "Thu, 05 Nov 2026 10:00:00 -9999999999"):
        fields = f"Final-Recipient: rfc822; a@x.example\nAction: failed\nStatus: 5.1.1\nLast-Attempt-Date: {date}\n"
        raw = REPORT + b"--B\nContent-Type: message/delivery-status\n\n" + fields.encode() + b"\n--B--\n"
        assert [report.at for report in read(raw).reports] == [None]


PIECES = st.sampled_from(
    [
        *(b"From: MAILER-DAEMON@x.example", b"Subject: failure notice", b"Subject: Re: =?utf-8?q?=E4?=", b"\n", b"\r"),
        *(b"Content-Type: multipart/report; boundary=B", b"--B", b"--B--", b"Content-Type: message/rfc822", b"\0"),
        *(b"Content-Type: message/delivery-status", b"Content-Type: message/feedback-report", b"Action: failed"),
        *(b"Final-Recipient: rfc822; ann@dest.example", b"Status: 5.1.1", b"Diagnostic-Code: smtp; 550 no", b": :"),
        *(b"Feedback-Type: abuse", b"<ann@dest.example>:", b"user unknown", b"550 5.1.1 no", b"Return-Path: <>"),
        *(
            b"Content-Transfer-Encoding: base64",
            b"charset=utf-16",
            b"=?x?b?\xff?=",
            b"Last-Attempt-Date: x",
            b"\xff\xfe",
        ),
    ]
)


@settings(max_examples=150, deadline=2000)
@given(st.lists(PIECES | st.binary(max_size=40), max_size=60))
def test_whatever_the_lines_are_something_is_read(lines: list[bytes]) -> None:
    reading = read(b"\n".join(lines))
    assert bool(reading.reports) != bool(reading.dropped)


@settings(max_examples=100, deadline=2000)
@given(st.binary(max_size=3000))
def test_whatever_the_bytes_are_something_is_read(raw: bytes) -> None:
    reading = read(raw)
    assert bool(reading.reports) != bool(reading.dropped)
