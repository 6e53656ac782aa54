"""Mail to whoever runs this installation."""

from datetime import datetime

from sqlalchemy import LargeBinary
from sqlmodel import Field, SQLModel


class PostmasterMail(SQLModel, table=True):
    """A mail to `postmaster@`, kept for operators to read; it belongs to no tenant."""

    __tablename__ = "postmaster_mail"

    id: str = Field(primary_key=True, max_length=40)
    #: MAIL FROM; empty for a report of another server.
    sender: str = Field(max_length=320)
    #: Its beginning.
    raw: bytes = Field(sa_type=LargeBinary)
    at: datetime
