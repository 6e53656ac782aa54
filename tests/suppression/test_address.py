import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from suppression.address import Address, AddressError, Fingerprints, _parse, mask, parse
from suppression.keys import KeyRingError

ATEXT = "abcXYZ019!#$%&'*+/=?^_`{|}~-"
words = st.text(
    st.sampled_from(ATEXT) | st.characters(exclude_categories=["C", "Z"], min_codepoint=0x80), min_size=1, max_size=8
)
locals_ = st.lists(words, min_size=1, max_size=3).map(".".join)
labels = st.from_regex(r"[a-zA-Z0-9]{1,10}(-[a-zA-Z0-9]{1,5})?", fullmatch=True) | st.sampled_from(
    ["faß", "Bücher", "пошта", "XN--FA-HIA"]
)
domains = st.tuples(labels, st.sampled_from(["org", "EXAMPLE", "укр"])).map(".".join)


def parsed(text: str) -> Address:
    try:
        return parse(text)
    except AddressError:
        assume(False)
        raise


@given(locals_, domains)
def test_parsing_a_canonical_address_changes_nothing(local: str, domain: str) -> None:
    address = parsed(f"{local}@{domain}")
    assert parsed(address.canonical).canonical == address.canonical


@given(locals_, domains)
def test_an_envelope_reads_as_the_same_mailbox(local: str, domain: str) -> None:
    address = parsed(f"  {local}@{domain} ")
    again = parse(address.envelope)
    assert (again.local, again.domain, again.canonical) == address[1:]
    assert address.local == unicodedata.normalize("NFC", local)
    assert address.domain.isascii()
    assert len(address.envelope.encode()) <= 254


@given(locals_, domains)
def test_case_and_composition_do_not_make_another_mailbox(local: str, domain: str) -> None:
    address = parsed(f"{local}@{domain}")
    for form in ("NFC", "NFD"):
        assert parsed(unicodedata.normalize(form, f"{local}@{domain}")).canonical == address.canonical
    assert parsed(f"{local.casefold()}@{domain.upper() if domain.isascii() else domain}").canonical == address.canonical


@given(st.text(max_size=40) | st.text(st.sampled_from('a.@[]"<> \t\r\n\0\x7f\x85\u202e'), max_size=12))
def test_whatever_is_given_is_parsed_or_refused_with_a_printable_sentence(text: str) -> None:
    try:
        address = parse(text)
    except AddressError as refusal:
        assert str(refusal).isprintable()  # noqa: PT017 - either outcome is right
    else:
        assert address.envelope.isprintable()
        assert address.envelope.count("@") == 1


def test_the_original_spelling_is_sent_and_the_folded_one_is_matched() -> None:
    address = parse(" Ann.Lee+News@Bücher.EXAMPLE ")
    assert address == Address(
        "Ann.Lee+News@Bücher.EXAMPLE", "Ann.Lee+News", "xn--bcher-kva.example", "ann.lee+news@xn--bcher-kva.example"
    )
    assert address.envelope == "Ann.Lee+News@xn--bcher-kva.example"
    assert not address.is_eai


def test_dots_and_plus_tags_are_kept() -> None:
    assert len({parse(text).canonical for text in ("a.b@x.org", "ab@x.org", "ab+c@x.org")}) == 3


def test_sharp_s_names_another_domain_than_double_s() -> None:
    assert parse("a@faß.de").domain == "xn--fa-hia.de"
    assert parse("a@fass.de").domain == "fass.de"
    assert parse("a@XN--FA-HIA.de").canonical == parse("a@faß.de").canonical


def test_a_local_part_beyond_ascii_needs_smtputf8() -> None:
    address = parse("Олена@пошта.укр")
    assert address.is_eai
    assert address.canonical == "олена@xn--80a1acn3a.xn--j1amh"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "ann",
        "@example.org",
        "ann@",
        "ann@localhost",
        "ann@[192.0.2.1]",
        "ann@192.0.2.1",
        "ann@[IPv6:::1]",
        "ann@example.org.",
        "ann@.example.org",
        "ann@example..org",
        "ann@-example.org",
        "ann@example-.org",
        "ann@ex_ample.org",
        "ann@exa mple.org",
        "ann@example.123",
        "ann@xn--.org",
        "ann@xn--a\u00e9.org",
        "ann@" + "a" * 64 + ".org",
        "ann@" + "a." * 126 + "org",
        ".ann@example.org",
        "ann.@example.org",
        "a..nn@example.org",
        "a@b@example.org",
        "a nn@example.org",
        "ann,bob@example.org",
        '"ann lee"@example.org',
        "Ann <ann@example.org>",
        "<ann@example.org>",
        "ann@example.org\n",
        "ann@example.org\r\nBcc: x@y.org",
        "ann\0@example.org",
        "ann\x7f@example.org",
        "ann\x85@example.org",
        "an\u202en@example.org",
        "an\u200bn@example.org",
        "an\u00a0n@example.org",
        "an\ud800n@example.org",
        "a" * 65 + "@example.org",
        "й" * 33 + "@example.org",
        "a" * 64 + "@" + ("b" * 60 + ".") * 3 + "example.org",
    ],
)
def test_what_is_no_bare_mailbox_is_refused_with_a_printable_sentence(text: str) -> None:
    with pytest.raises(AddressError) as refusal:
        parse(text)
    assert str(refusal.value).isprintable()
    assert mask(text) == "•••"


def test_the_longest_parts_are_accepted() -> None:
    assert parse("a" * 64 + "@example.org").local == "a" * 64
    whole = "a" * 64 + "@" + "b" * 61 + "." + "c" * 61 + "." + "d" * 61 + ".or"
    assert len(whole) + 1 <= 254
    assert parse(whole.removesuffix("or") + "org").envelope.endswith(".org")


def test_pages_show_a_masked_address() -> None:
    assert mask("ann@example.org") == "a•••@example.org"
    assert mask("a@faß.de") == "a•••@faß.de"


RING = "new:a secret of the new year,old:a secret of the old year"


def test_a_fingerprint_depends_on_tenant_mailbox_and_key() -> None:
    fingerprints = Fingerprints(RING)
    seen = {fingerprints.of(tenant, mailbox) for tenant in (1, 2) for mailbox in ("a@x.org", "b@x.org")}
    seen.add(Fingerprints("old:a secret of the old year").of(1, "a@x.org"))
    assert len(seen) == 5
    assert {len(one) for one in seen} == {16}


def test_every_key_of_the_ring_reads_and_the_first_one_writes() -> None:
    ring, old = Fingerprints(RING), Fingerprints("old:a secret of the old year")
    assert ring.primary_id == "new"
    assert ring.all_of(7, "a@x.org") == (ring.of(7, "a@x.org"), old.of(7, "a@x.org"))


def test_a_proof_names_every_key_and_is_the_same_at_each_start() -> None:
    assert Fingerprints(RING).proof() == Fingerprints(RING).proof()
    assert set(Fingerprints(RING).proof()) == {"new", "old"}
    assert Fingerprints(RING).proof() != Fingerprints("new:a secret of the n€w year").proof()


def test_a_ring_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(KeyRingError):
        Fingerprints("no colon here at all")


@given(st.integers(0, 2**63), locals_)
def test_a_fingerprint_is_always_the_same(tenant_id: int, canonical: str) -> None:
    assert Fingerprints(RING).of(tenant_id, canonical) == Fingerprints(RING).of(tenant_id, canonical)


_LOCALS = st.text("aZ09.+-_'é\u200b @", min_size=0, max_size=70)
_LABELS = st.text("aZ09-ßx.n[]", min_size=0, max_size=66)
_NEARLY = st.builds("{}{}@{}.{}".format, st.sampled_from(["", " "]), _LOCALS, _LABELS, _LABELS)
_PLAIN = st.from_regex(r"[A-Za-z0-9+._-]{1,12}@([A-Za-z0-9-]{1,8}\.){1,3}[A-Za-z0-9-]{1,6}", fullmatch=True)


@given(
    st.one_of(_NEARLY, _PLAIN, st.sampled_from(["a" * 64 + "@b.example", "a" * 65 + "@b.example", "a@xn--b.example"]))
)
def test_the_short_way_reads_an_address_as_the_long_way_does(text: str) -> None:
    def told(read: Callable[[str], Address]) -> Address | str:
        try:
            return read(text)
        except AddressError as error:
            return str(error)

    assert told(parse) == told(_parse)
