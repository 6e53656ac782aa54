"""A route that only answers 202, on the server that the API runs on: what accepting is compared with."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def accept(request: Request) -> JSONResponse:
    """Read the body and forget it."""
    await request.body()
    return JSONResponse({"id": "em_01k9z3v8q6n0w4x2r7t5y1b0ca", "status": "queued"}, status_code=202)


app = Starlette(routes=[Route("/v1/emails", accept, methods=["POST"])])
