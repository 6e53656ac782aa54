"""A list as bytes -> what it forbids to whom, line by line."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from suppression import address
from suppression.address import Address, AddressError
from suppression.exchange import listmonk, mailchimp, mailgun, mautic, own, postmark, sendgrid, ses
from suppression.exchange.found import Form, Found, LineError, Options, Restriction
from suppression.exchange.rows import Row, column, moment
from suppression.lines import Line, Lines, Records, Refusal, Unreadable, delimiter_of, fields_of

#: Every form of list that is understood, by its name.
FORMS: Mapping[str, Form] = {
    form.name: form
    for module in (own, ses, sendgrid, postmark, mailgun, mailchimp, listmonk, mautic)
    for form in module.FORMS
}
_NO_TEXT = "the address is not UTF-8: save the list as UTF-8"
_DOCUMENT = "is a JSON document over several lines: write an object a line (jq -c '.[]' list.json)"
#: How many names of columns a sentence shows, and how much of each.
_SHOWN, _LONGEST = 12, 40


class Nothing(NamedTuple):
    """A record that forbids nothing: a contact that may be written to, an entry that was lifted."""

    line: int


Item: TypeAlias = Found | Nothing | Refusal


class Reader:
    """Takes bytes as they come and gives back what they forbid; it holds one record at most."""

    def __init__(self, form: Form, options: Options, skip_to: int = 0) -> None:
        """Begin before the first byte; lines that end at or before `skip_to` were read before, but for the header."""
        self._form, self._options, self._skip_to = form, options, skip_to
        self._lines = Lines()
        self._begun = False
        self._records: Records[Sequence[Item]] | None = None
        self._columns: list[str] = []
        self._address = ""
        #: The first byte that nothing was said of yet; a reader that skips to it says the rest.
        self.position = 0

    def feed(self, data: bytes) -> Iterator[Item]:
        """Return what the lines say that end in these bytes; raises `Unreadable` where the list is another one."""
        for line in self._lines.feed(data):
            yield from self._take(line)

    def close(self) -> Iterator[Item]:
        """Return what the last line says, and what was left open."""
        end = self.position
        for line in self._lines.close():
            end = line.end
            yield from self._take(line)
        if self._records is not None:
            for items in self._records.close():
                yield from self._said(items)
        self.position = max(end, self.position)
        if not self._begun:
            raise Unreadable("the list is empty")

    def _take(self, line: Line) -> Iterator[Item]:
        if not self._begun:
            if line.refused:
                raise Unreadable(f"the first line {line.refused.removeprefix('the line ')}")
            if line.text.strip():
                yield from self._begin(line)
        elif line.end <= self._skip_to:
            pass
        elif line.refused:
            yield Refusal(line.number, line.refused)
        elif self._records is None:
            yield from self._object(line)
        else:
            for items in self._records.take(line.number, line.text):
                yield from self._said(items)
        if self._records is None or self._records.whole:
            self.position = line.end

    @staticmethod
    def _said(items: Sequence[Item] | Refusal) -> Sequence[Item]:
        return (items,) if isinstance(items, Refusal) else items

    def _begin(self, line: Line) -> Iterator[Item]:
        self._begun = True
        first = line.text.lstrip()
        if first.startswith("["):
            raise Unreadable(f"the list {_DOCUMENT}")
        if first.startswith("{"):
            if first.strip() == "{":
                raise Unreadable(f"the list {_DOCUMENT}")
            if line.end > self._skip_to:
                yield from self._object(line)
            return
        delimiter = delimiter_of(line.text)
        names = fields_of(line.text, delimiter)
        self._records = Records(delimiter, self._record)
        if self._form.bare and "@" in (names or [""])[0]:
            self._columns, self._address = list(self._form.bare), self._form.bare[0]
            if line.end > self._skip_to:
                for items in self._records.take(line.number, line.text):
                    yield from self._said(items)
            return
        self._head([column(name) for name in names], names)

    def _head(self, columns: list[str], names: Sequence[str]) -> None:
        form = self._form
        self._columns = columns
        there = next((name for name in form.address if name in columns), columns[0] if form.first and columns else "")
        missing = [group[0] for group in form.needed if not any(name in columns for name in group)]
        if not there:
            missing.insert(0, form.address[0])
        if missing:
            has = ", ".join(name[:_LONGEST] for name in names[:_SHOWN]) or "nothing that we can read"
            raise Unreadable(
                f"the first line must be a header with the column {missing[0]}, as {form.name} has it ({form.source}); "
                f"it has {has}"
            )
        self._address = there

    def _record(self, number: int, fields: list[str]) -> Sequence[Item] | Refusal:
        wanted = len(self._columns)
        if len(fields) != wanted:
            return Refusal(number, f"has {len(fields)} field{'s' * (len(fields) != 1)}, the header has {wanted}")
        values = dict(zip(self._columns, fields, strict=True))
        return self._read(number, Row(values), values.get(self._address, ""))

    def _object(self, line: Line) -> Sequence[Item]:
        if not line.text.strip():
            return ()
        try:
            data: object = json.loads(line.text)
        except (ValueError, RecursionError):
            return (Refusal(line.number, "is not a JSON object on one line"),)
        if not isinstance(data, dict):
            return (Refusal(line.number, "must be an object, such as one with the field email"),)
        values = {column(str(name)): value for name, value in data.items()}
        where = next((values[name] for name in self._form.address if values.get(name)), "")
        return self._said(self._read(line.number, Row(values), where))

    def _read(self, number: int, row: Row, where: object) -> Sequence[Item] | Refusal:
        try:
            said = self._form.read(row, self._options)
            if not said:
                return (Nothing(number),)
            who = _address(where)
        except (LineError, AddressError) as error:
            return Refusal(number, str(error))
        return [_found(number, who, each) for each in said]


def _address(where: object) -> Address:
    if not isinstance(where, str):
        raise LineError("the address must be text")
    if "\ufffd" in where:
        raise LineError(_NO_TEXT)
    return address.parse(where.strip())


def _found(number: int, who: Address, said: Restriction) -> Found:
    at, evidence = moment(said.at) if said.at is not None else None, said.evidence
    if said.at is not None and at is None:
        # An opt-out whose date cannot be read is an opt-out all the same.
        evidence = {**evidence, "date": str(said.at)[:_LONGEST]}
    return Found(
        number,
        who,
        said.reason,
        said.scope,
        at,
        moment(said.expires_at) if said.expires_at is not None else None,
        said.note or None,
        evidence,
        said.widened,
    )
