"""What comes back by mail or from a provider: bytes in, `Report`s out, each source in a file of its own."""

from mailer.feedback.inbound.bounces import bounces
from mailer.feedback.inbound.boxes import Box, Collected, address_of, collect, watch
from mailer.feedback.inbound.complaints import complaints, signer
from mailer.feedback.inbound.counting import count_dropped
from mailer.feedback.inbound.imap import Imap
from mailer.feedback.inbound.listener import listener
from mailer.feedback.inbound.maildir import Maildir
from mailer.feedback.inbound.mailroom import KEPT, Mail, Mailroom, Reader, Receipt
from mailer.feedback.inbound.mailtos import Leave, opt_outs
from mailer.feedback.inbound.postmaster import Keep, postmaster
from mailer.feedback.inbound.report import Category, Kind, Proof, Reading, Report

__all__ = [
    "KEPT",
    "Box",
    "Category",
    "Collected",
    "Imap",
    "Keep",
    "Kind",
    "Leave",
    "Mail",
    "Maildir",
    "Mailroom",
    "Proof",
    "Reader",
    "Reading",
    "Receipt",
    "Report",
    "address_of",
    "bounces",
    "collect",
    "complaints",
    "count_dropped",
    "listener",
    "opt_outs",
    "postmaster",
    "signer",
    "watch",
]
