"""Suppression lists of any length in and out, in flat memory."""

from mailer.exchanging.asking import options_of
from mailer.exchanging.exporting import Export
from mailer.exchanging.importing import Import
from mailer.exchanging.sink import Imported, Order
from mailer.exchanging.waiting import MOST, Waiting, drop, find, forget, keep, pack

__all__ = [
    "MOST",
    "Export",
    "Import",
    "Imported",
    "Order",
    "Waiting",
    "drop",
    "find",
    "forget",
    "keep",
    "options_of",
    "pack",
]
