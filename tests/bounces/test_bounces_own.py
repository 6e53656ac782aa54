"""Mails of every family we know, written by us: what they are taken for, and that line ends make no difference."""

from pathlib import Path

import pytest

from mailer.cli.understanding import kind_of
from mailer.feedback.inbound.parsing import read
from tests.benchmarks.bounces import outcome, precision
from tests.bounces.labels import Label, labels

OWN = Path(__file__).parent / "own"
LABELS = list(labels(OWN / "labels.tsv"))


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label.name)
def test_a_mail_is_taken_for_what_it_is(label: Label) -> None:
    found = outcome(label, (OWN / label.name).read_bytes())
    assert found.kind == label.kind
    assert label.hard in {None, found.hard}
    if label.kind == "bounce" and label.category is not None:
        assert found.category == label.category


def test_every_mail_has_a_label_and_every_label_a_mail() -> None:
    assert sorted(path.name for path in OWN.glob("*.eml")) == sorted(label.name for label in LABELS)


def test_hard_is_said_of_what_is_hard() -> None:
    outcomes = [outcome(label, (OWN / label.name).read_bytes()) for label in LABELS]
    right, found = precision(outcomes)
    assert right >= 0.98
    assert found >= 0.95
    assert max(each.seconds for each in outcomes) < 1


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label.name)
def test_line_ends_of_every_kind_are_read_alike(label: Label) -> None:
    raw = (OWN / label.name).read_bytes()
    expected = read(raw)
    assert read(raw.replace(b"\n", b"\r\n")) == expected
    assert read(raw.replace(b"\n", b"\r")) == expected
    mixed = b"".join(line + (b"\r\n", b"\n", b"\r")[at % 3] for at, line in enumerate(raw.split(b"\n")))
    assert kind_of(read(mixed)) == kind_of(expected)
    assert [(each.recipient, each.hard) for each in read(mixed).reports] == [
        (each.recipient, each.hard) for each in expected.reports
    ]
