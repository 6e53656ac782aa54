"""Tables of reports as files for spreadsheets."""

from starlette.responses import Response

from mailer.web.dashboard.pages import HEADERS
from mailer.web.reporting import Sheet


def spreadsheet(name: str, sheet: Sheet) -> Response:
    """Return a table as a file; a text that a spreadsheet would run stands behind a '."""
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(sheet.csv, headers=headers, media_type="text/csv; charset=utf-8")
