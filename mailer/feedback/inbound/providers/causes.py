"""Why a receiver refused, from what a provider passes on of its answer: the one table of codes and words decides."""

from mailer.causes import Category, Cause, Said, code_of, enhanced_of, judge


def code_in(*texts: str | None) -> str | None:
    """Return the first enhanced status code (RFC 3463) of some texts, None where there is none."""
    return next((found for text in texts if text and (found := enhanced_of(text))), None)


def cause(status: str | None, said: str | None) -> Cause | None:
    """Return what an enhanced code and the receiver's words mean together, None where they say nothing."""
    text = said or ""
    why = judge(Said(text, code_of(text), status or ""))
    return None if why.category is Category.UNKNOWN else why
