"""What recipients' pages say, in the language of the mail or of the browser.

A sentence about the person has a twin ending in _you, for when the address is no longer known.
"""

import hashlib
from collections.abc import Mapping

from mailer import resources
from mailer.web import voices
from mailer.web.voices import Voice

FOLDER = resources.templates() / "page" / "words"
WORDS = voices.read(FOLDER)
#: The languages that the pages speak, each by its own name.
SPOKEN: Mapping[str, str] = {language: words["language_name"] for language, words in WORDS.items()}
#: Names this version of all words: it stands beside a recorded yes, and the words of a release are in its source.
EDITION = hashlib.blake2b(
    repr(sorted((k, sorted(w.items())) for k, w in WORDS.items())).encode(), digest_size=8
).hexdigest()


def voice(locale: str | None, accepted: str) -> Voice:
    """Return the language of the mail if we speak it, else the most wanted of the browser's, else English."""
    return voices.voice(WORDS, locale, accepted)
