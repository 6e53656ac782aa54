"""What a provider is answered."""

from pydantic import BaseModel


class HeardView(BaseModel):
    """What became of a request; it is answered when that is committed."""

    #: Reports that were taken in; those that were known count too.
    heard: int
    #: Events that say nothing which is recorded, such as opens.
    ignored: int
    #: The request had come before, and nothing of it was looked at.
    repeated: bool = False
    #: A sentence for each of the first events that could not be read; the others were taken in.
    errors: list[str] = []
