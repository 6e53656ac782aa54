"""Other systems' lists in, ours out."""

from suppression.exchange.found import Form, FormName, Found, LineError, Options, Restriction
from suppression.exchange.reader import FORMS, Item, Nothing, Reader
from suppression.exchange.writing import Syntax, head, written

__all__ = [
    "FORMS",
    "Form",
    "FormName",
    "Found",
    "Item",
    "LineError",
    "Nothing",
    "Options",
    "Reader",
    "Restriction",
    "Syntax",
    "head",
    "written",
]
