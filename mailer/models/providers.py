"""What is kept of providers' requests."""

from datetime import datetime

from sqlalchemy import LargeBinary
from sqlmodel import Field, SQLModel


class HeardToken(SQLModel, table=True):
    """The digest of a token that a provider may use once, so that what was overheard is worth nothing."""

    __tablename__ = "heard_token"

    digest: bytes = Field(sa_type=LargeBinary(32), primary_key=True)
    expires_at: datetime = Field(index=True)
