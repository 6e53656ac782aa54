"""What callers may ask: every request body, checked field by field; the same types print the OpenAPI document."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal, Self, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from mailer.compose import headers as header_rules
from mailer.compose import mime
from mailer.compose.errors import ContentError
from mailer.drafts_values import Base64, Moment
from mailer.errors import Invalid, Problem
from mailer.models import LeaveRule, Opens
from suppression import address as addresses
from suppression import rules
from suppression.rules import Reason, Stream

B = TypeVar("B", bound=BaseModel)
