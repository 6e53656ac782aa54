"""What became of a suppression list."""

from pydantic import Field

from mailer.web.api.shapes.campaigns import RefusalView
from mailer.web.api.shapes.problems import Shape


class ImportedView(Shape):
    """What became of a list; new, standing, nothing and refused count each entry of it once."""

    new: int = Field(description="Added, or to be added by what is no dry run.")
    standing: int = Field(description="Stood already, or named before.")
    nothing: int = Field(description="Forbids nothing: has ended, or a contact that may be written to.")
    refused: int
    kinds: dict[str, int] = Field(description="The new ones by reason and scope.")
    widened: dict[str, int] = Field(description="Groups without a topic: who left one left the promotional stream.")
    dry_run: bool
    resumed_at: int = Field(description="The lines before this byte were read by an import that was cut off.")
    lines: list[RefusalView] = Field(description="The first hundred of the refused lines.")
