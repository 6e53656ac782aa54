"""`mailer topic`: what people can leave."""

from typing import Annotated

import typer
from sqlmodel import Session

from mailer import tenancy
from mailer.cli import printing, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.cli.values import pairs
from mailer.drafts import TopicChange, TopicDraft, parse
from mailer.models import LeaveRule, Topic, TopicDefault, Visibility
from mailer.service import Service
from suppression.rules import Stream

app = typer.Typer(help="Topics: what people can leave.", no_args_is_help=True)


@app.command()
def create(
    key: Annotated[str, typer.Argument(help="A short name: lower-case letters, digits, hyphens.")],
    stream: Annotated[Stream, typer.Option(help="The stream whose mail it is.")],
    opt_out: Annotated[LeaveRule, typer.Option(help="Whether people may leave it.")] = LeaveRule.ALLOWED,
    default: Annotated[
        TopicDefault, typer.Option(help="opt_in: people get it until they leave; opt_out: only once they said yes.")
    ] = TopicDefault.OPT_IN,
    visibility: Annotated[
        Visibility, typer.Option(help="private: shown to nobody but who gets it.")
    ] = Visibility.PUBLIC,
    name: Annotated[list[str] | None, typer.Option(help="Its name in a language: `en=Newsletter`.")] = None,
    description: Annotated[list[str] | None, typer.Option(help="What it brings: `en=Once a month`.")] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Make a topic."""
    draft = parse(
        TopicDraft,
        {
            "key": key,
            "stream": stream,
            "opt_out": opt_out,
            "default": default,
            "visibility": visibility,
            "names": pairs(name, "--name"),
            "descriptions": pairs(description, "--description"),
        },
    )

    def make(_service: Service, session: Session) -> dict[str, object]:
        return _plain(tenancy.create_topic(session, chosen(session, tenant), draft))

    made = running.commit(make)
    if as_json:
        printing.as_json(made)
    else:
        printing.line(str(made["key"]))


@app.command(name="set")
def change(
    key: Annotated[str, typer.Argument(help="Its short name.")],
    opt_out: Annotated[LeaveRule | None, typer.Option(help="Whether people may leave it.")] = None,
    default: Annotated[
        TopicDefault | None,
        typer.Option(help="opt_in: people get it until they leave; opt_out: only once they said yes."),
    ] = None,
    visibility: Annotated[Visibility | None, typer.Option(help="private: shown to nobody but who gets it.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="All its names: `en=Newsletter`.")] = None,
    description: Annotated[list[str] | None, typer.Option(help="All its descriptions: `en=Once a month`.")] = None,
    retired: Annotated[
        bool | None, typer.Option("--retired/--current", help="No new mail, shown to nobody; or as before.")
    ] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Change a topic; what is not given stays. Its key and its stream stay always."""
    given: dict[str, object] = {"opt_out": opt_out, "default": default, "visibility": visibility}
    given["retired"] = retired
    if name:
        given["names"] = pairs(name, "--name")
    if description:
        given["descriptions"] = pairs(description, "--description")
    asked = parse(TopicChange, {field: value for field, value in given.items() if value is not None})

    def save(_service: Service, session: Session) -> dict[str, object]:
        return _plain(tenancy.change_topic(session, chosen(session, tenant), key, asked))

    made = running.commit(save)
    if as_json:
        printing.as_json(made)
    else:
        printing.line(str(made["key"]))


@app.command(name="list")
def listed(tenant: Chosen = None, as_json: Json = False) -> None:
    """List the topics."""

    def find(_service: Service, session: Session) -> list[dict[str, object]]:
        return [_plain(topic) for topic in tenancy.topics(session, chosen(session, tenant))]

    found = running.read(find)
    if as_json:
        printing.as_json({"data": found})
        return
    columns = ("key", "stream", "opt_out", "default", "visibility", "retired")
    rows = ([topic[column] for column in columns] + [topic["name"]] for topic in found)
    printing.table((*columns, "name"), rows)


def _plain(topic: Topic) -> dict[str, object]:
    return {
        "key": topic.key,
        "stream": topic.stream,
        "retired": topic.retired,
        "opt_out": topic.opt_out,
        "default": topic.default,
        "visibility": topic.visibility,
        "name": topic.name_in("en"),
        "names": topic.names,
        "descriptions": topic.descriptions,
    }
