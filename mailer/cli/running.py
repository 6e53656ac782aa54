"""How a command meets the service: settings from the environment, one transaction, an end in order."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlmodel import Session

from mailer.cli import logs
from mailer.service import Service
from mailer.settings import Settings

T = TypeVar("T")
Asked = Callable[[Service, Session], T]


def settings() -> Settings:
    """Return the settings of the environment."""
    return Settings.read(os.environ)


@asynccontextmanager
async def opened(chosen: Settings) -> AsyncIterator[Service]:
    """Open a service that does nothing by itself, and close it; its log is quiet, for the command says what it did."""
    logs.quiet()
    service = Service.build(chosen)
    try:
        await service.prepare()
        yield service
    finally:
        await service.stop()


def commit(asked: Asked[T]) -> T:
    """Run one transaction that may write, and return what it returned.

    Nobody rings: a running server looks for what is due twice a second.
    """

    async def work() -> T:
        async with opened(settings()) as service:
            return await service.database.run(lambda session: asked(service, session), conclusive=True)

    return asyncio.run(work())


def work(asked: Callable[[Service], Awaitable[T]]) -> T:
    """Do more than one transaction, and return what it returned."""

    async def inside() -> T:
        async with opened(settings()) as service:
            return await asked(service)

    return asyncio.run(inside())


def read(asked: Asked[T]) -> T:
    """Run one transaction that only reads, and return what it returned."""

    async def work() -> T:
        async with opened(settings()) as service:
            return await service.database.read(lambda session: asked(service, session))

    return asyncio.run(work())
