"""Suppression lists of any length in and out, in flat memory."""

from mailer.exchanging.asking import options_of
from mailer.exchanging.exporting import Export
from mailer.exchanging.importing import Import
from mailer.exchanging.sink import Imported, Order

__all__ = ["Export", "Import", "Imported", "Order", "options_of"]
