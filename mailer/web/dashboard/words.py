"""What the dashboard says: a file of words a family of screens, in `templates/dashboard/words`."""

from mailer import resources
from mailer.web import voices
from mailer.web.voices import Voice

FOLDER = resources.templates() / "dashboard" / "words"
WORDS = voices.read(FOLDER)
#: The languages of the dashboard, each by its own name.
SPOKEN = {language: words["language_name"] for language, words in WORDS.items()}


def voice(locale: str | None, accepted: str) -> Voice:
    """Return the language that a user chose, else the most wanted of the browser's, else English."""
    return voices.voice(WORDS, locale, accepted)
