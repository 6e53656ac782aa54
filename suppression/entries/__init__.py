"""The list of what forbids mail: ask it, add to it, lift from it, forget a person in it."""

from suppression.entries.bulk import add_new, erased, page, standing
from suppression.entries.decision import (
    Consulted,
    Explanation,
    Question,
    check,
    check_many,
    explain,
    forbids,
    forbids_kin,
    in_force,
)
from suppression.entries.flagged import AFTER, AGAIN, confirm, lift_flagged
from suppression.entries.keeping import (
    EntryError,
    LiftError,
    NewEntry,
    UnknownEntry,
    add,
    add_many,
    by_ids,
    forget,
    lift,
    list_entries,
)
from suppression.entries.key_check import WrongKey, check_keys, retired_keys
from suppression.entries.kin import families, family, relate
from suppression.entries.table import Entry, KeyProof, Kin, KinKind, new_id
from suppression.entries.walking import STEP, Walked, Wanted, walk

__all__ = [
    "AFTER",
    "AGAIN",
    "STEP",
    "Consulted",
    "Entry",
    "EntryError",
    "Explanation",
    "KeyProof",
    "Kin",
    "KinKind",
    "LiftError",
    "NewEntry",
    "Question",
    "UnknownEntry",
    "Walked",
    "Wanted",
    "WrongKey",
    "add",
    "add_many",
    "add_new",
    "by_ids",
    "check",
    "check_keys",
    "check_many",
    "confirm",
    "erased",
    "explain",
    "families",
    "family",
    "forbids",
    "forbids_kin",
    "forget",
    "in_force",
    "lift",
    "lift_flagged",
    "list_entries",
    "new_id",
    "page",
    "relate",
    "retired_keys",
    "standing",
    "walk",
]
