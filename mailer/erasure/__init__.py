"""A person asks to be forgotten: what waits is taken back, what is known of them goes, that they want no mail stays."""

from mailer.erasure.edges import everywhere, view
from mailer.erasure.forgetting import Erased, erase

__all__ = ["Erased", "erase", "everywhere", "view"]
