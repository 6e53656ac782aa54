"""The filters that templates may use: what prints, nothing that can grow without bound."""

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from jinja2 import filters as stock
from jinja2 import pass_environment, pass_eval_context
from jinja2.environment import Environment
from jinja2.exceptions import FilterArgumentError, SecurityError
from jinja2.nodes import EvalContext
from jinja2.runtime import Undefined
from markupsafe import Markup, escape

#: No text that a template makes out of others may be longer, in characters.
LONGEST = 512 * 1024

_MONTHS = {
    "en": (
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    ),
    "uk": (
        *("січня", "лютого", "березня", "квітня", "травня", "червня"),
        *("липня", "серпня", "вересня", "жовтня", "листопада", "грудня"),
    ),
}
_SYMBOLS = {
    "EUR": "€", "USD": "$", "GBP": "£", "UAH": "₴", "JPY": "¥", "PLN": "zł", "CZK": "Kč", "INR": "₹", "KRW": "₩",
    "ILS": "₪", "TRY": "₺", "GEL": "₾", "KZT": "₸", "NGN": "₦", "VND": "₫",
}  # fmt: skip
_AFTER_IN_ENGLISH = frozenset({"zł", "Kč"})
_NO_CENTS = frozenset({"JPY", "KRW", "VND", "CLP", "ISK", "XAF", "XOF", "PYG", "UGX", "RWF"})
_THREE_PLACES = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


def language(environment: Environment) -> str:
    """Return the language that dates and sums are printed in: "uk", else "en"."""
    locale = str(getattr(environment, "locale", "en"))
    return "uk" if locale.lower().partition("-")[0].partition("_")[0] == "uk" else "en"


@pass_environment
def money(environment: Environment, value: object) -> str:
    """Print {amount, currency}: €1,234.50 in English, 1 234,50 € in Ukrainian."""
    if not isinstance(value, Mapping):
        raise FilterArgumentError("money wants a variable of type money")
    currency = str(value.get("currency", ""))
    places = 0 if currency in _NO_CENTS else 3 if currency in _THREE_PLACES else 2
    try:
        amount = Decimal(str(value.get("amount"))).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
    except InvalidOperation:
        raise FilterArgumentError("money wants an amount such as 12.50") from None
    digits = f"{abs(amount):,.{places}f}"
    sign = "−" if amount < 0 else ""
    symbol = _SYMBOLS.get(currency, currency)
    if language(environment) == "uk":
        # A no-break space groups and binds, so that a sum is never torn at the end of a line.
        return f"{sign}{digits.replace(',', chr(0xA0)).replace('.', ',')}\xa0{symbol}"
    if symbol in _AFTER_IN_ENGLISH or symbol == currency:
        return f"{sign}{digits}\xa0{symbol}"
    return f"{sign}{symbol}{digits}"


@pass_environment
def print_date(environment: Environment, value: object) -> str:
    """Print an ISO date: 1 March 2027, 1 березня 2027."""
    day = _moment(value)
    return f"{day.day} {_MONTHS[language(environment)][day.month - 1]} {day.year}"


@pass_environment
def print_datetime(environment: Environment, value: object) -> str:
    """Print an RFC 3339 time in its own offset: 1 March 2027, 10:42 UTC."""
    moment = _moment(value)
    offset = moment.utcoffset() or timedelta()
    zone = "UTC" if not offset else f"UTC{_offset(offset)}"
    return f"{print_date(environment, value)}, {moment.hour:02}:{moment.minute:02} {zone}"


def _moment(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(value.isoformat() if isinstance(value, date) else str(value).upper())
    except ValueError:
        raise FilterArgumentError("date and datetime want an ISO date such as 2027-03-01") from None


def _offset(offset: timedelta) -> str:
    minutes = int(offset.total_seconds() // 60)
    return f"{'+' if minutes >= 0 else '-'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


@pass_eval_context
def nl2br(context: EvalContext, value: object) -> str:
    """Escape a text and make its line ends <br>; outside HTML the text stays as it is."""
    text = "" if value is None else str(value)
    if not context.autoescape:
        return text
    return Markup("<br>").join(escape(line) for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


def default(value: object, instead: object = "", boolean: bool = False) -> object:
    """Return the value, or what stands instead of it where it is absent (or, if asked, empty)."""
    if isinstance(value, Undefined) or value is None:
        return instead
    return instead if boolean and not value else value


def capped(text: str) -> str:
    """Return the text, unless it has grown past what a mail may hold."""
    if len(text) > LONGEST:
        raise SecurityError("a text grows too long")
    return text


@pass_eval_context
def replace(context: EvalContext, value: object, old: object, new: object) -> str:
    """Replace every occurrence, within bounds."""
    text: str = value if isinstance(value, str) else str(value)
    found, put = str(old), str(new)
    if context.autoescape:
        text, found, put = escape(text), str(escape(found)), str(escape(put))
    if len(text) + (text.count(found) * max(0, len(put) - len(found))) > LONGEST:
        raise SecurityError("a text grows too long")
    replaced = str(text).replace(found, put)
    return Markup(replaced) if context.autoescape else replaced  # noqa: S704  (both sides were escaped above)


@pass_eval_context
def join(context: EvalContext, values: Iterable[object], between: object = "", attribute: str | None = None) -> str:
    """Join the values of a list, within bounds."""
    items = [_attribute(value, attribute) for value in values]
    if sum(len(str(item)) + len(str(between)) for item in items) > LONGEST:
        raise SecurityError("a text grows too long")
    if context.autoescape:
        return escape(between).join(escape(item) for item in items)
    return str(between).join(str(item) for item in items)


def _attribute(value: object, name: str | None) -> object:
    if name is None:
        return value
    return value.get(name, "") if isinstance(value, Mapping) else ""


@pass_eval_context
def concatenate(context: EvalContext, values: Iterable[object]) -> str:
    """Do what `~` does, within bounds."""
    items = ["" if value is None else value for value in values]
    if context.autoescape:
        return capped(Markup().join(escape(item) for item in items))
    return capped("".join(str(item) for item in items))


def rounded(value: object, precision: object = 0, method: str = "common") -> float:
    """Round a number to at most twelve places: common, ceil or floor."""
    places = precision if isinstance(precision, int) else 0
    if not isinstance(value, int | float) or not 0 <= places <= 12 or abs(value) > 1e15:
        raise FilterArgumentError("round wants a number and 0 to 12 places")
    if method == "common":
        return round(float(value), places)
    if method not in ("ceil", "floor"):
        raise FilterArgumentError("round knows the methods common, ceil and floor")
    whole = math.ceil if method == "ceil" else math.floor
    return float(whole(value * 10**places) / 10**places)


def integer(value: object, instead: int = 0) -> int:
    """Return the whole number that a short text or a number stands for."""
    if isinstance(value, str) and len(value) > 30:
        return instead
    try:
        return int(float(value)) if isinstance(value, str | int | float) else instead
    except (ValueError, OverflowError):
        return instead


def length(value: object) -> int:
    """Return how many items or characters there are."""
    if value is None:
        return 0
    if isinstance(value, str | list | tuple | dict):
        return len(value)
    raise FilterArgumentError("length wants a text or a list")


ALLOWED: dict[str, Callable[..., object]] = {
    **{
        name: stock.FILTERS[name]
        for name in ("escape", "e", "upper", "lower", "title", "capitalize", "trim", "first", "last", "float", "abs")
    },
    **{name: stock.FILTERS[name] for name in ("list", "sort")},
    "default": default,
    "d": default,
    "replace": replace,
    "join": join,
    "length": length,
    "count": length,
    "round": rounded,
    "int": integer,
    "nl2br": nl2br,
    "money": money,
    "date": print_date,
    "datetime": print_datetime,
}
