"""The words for why a mail did not arrive, or what came instead."""

from enum import StrEnum


class Category(StrEnum):
    """Why (standards R5.6)."""

    INVALID_RECIPIENT = "invalid_recipient"
    BAD_DOMAIN = "bad_domain"
    INACTIVE_MAILBOX = "inactive_mailbox"
    MAILBOX_FULL = "mailbox_full"
    TRANSIENT = "transient"
    EXPIRED = "expired"
    DNS = "dns"
    ROUTING = "routing"
    PROTOCOL = "protocol"
    AUTH = "auth"
    POLICY = "policy"
    SPAM_BLOCK = "spam_block"
    CONTENT = "content"
    TOO_LARGE = "too_large"
    VIRUS = "virus"
    RELAY_DENIED = "relay_denied"
    SENDER_INVALID = "sender_invalid"
    AUTOREPLY = "autoreply"
    UNSUBSCRIBE = "unsubscribe"
    COMPLAINT = "complaint"
    UNKNOWN = "unknown"
