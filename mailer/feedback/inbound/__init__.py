"""What comes back by mail or from a provider: bytes in, `Report`s out, each source in a file of its own."""

from mailer.feedback.inbound.listener import Leave, Mail, Reader, Receipt, listener, opt_outs
from mailer.feedback.inbound.postmaster import Keep, postmaster
from mailer.feedback.inbound.report import Category, Kind, Proof, Reading, Report

__all__ = [
    "Category",
    "Keep",
    "Kind",
    "Leave",
    "Mail",
    "Proof",
    "Reader",
    "Reading",
    "Receipt",
    "Report",
    "listener",
    "opt_outs",
    "postmaster",
]
