"""The OpenAPI 3.1 document, printed from the very types that check requests."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, cast

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from mailer.web.api.endpoints import Endpoint
from mailer.web.api.hooks import ERRORS, Hook
from mailer.web.api.shapes import ProblemDocument
from mailer.web.api.shapes.hooks import HeardView
from mailer.web.problems import MEDIA_TYPE
from mailer.webhooks.payloads import MESSAGES

_TITLE = "mailer"
_VERSION = "v1"
_REF = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"\{(\w+)\}")
#: Errors that every endpoint may answer.
_ALWAYS = {
    "401": "No key, or one that is unknown or revoked.",
    "403": "The key lacks the scope, or asks for what is the operator's.",
    "422": "A value is wrong; errors say which.",
    "503": "The database cannot be reached; nothing was done.",
    "507": "The disk of the database is full; nothing was done.",
}
_WITH_BODY = {"400": "The body is not JSON.", "413": "The body is larger than 25 MB."}
_WITH_ID = {"404": "There is no such thing for this tenant."}

#: What providers are answered.
_HEARD: tuple[type[BaseModel], JsonSchemaMode] = (HeardView, "serialization")

_Json = dict[str, object]
_Refs = Mapping[tuple[type[BaseModel], JsonSchemaMode], _Json]


def document(endpoints: Sequence[Endpoint], hooks: Sequence[Hook]) -> _Json:
    """Return the document of these endpoints, and of the addresses that providers call."""
    models = list(dict.fromkeys((*_models(endpoints), _HEARD)))
    refs, definitions = models_json_schema(models, ref_template=_REF)
    paths: dict[str, _Json] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, cast("_Refs", refs))
    for hook in hooks:
        paths[hook.path] = {"post": _called(hook, cast("_Refs", refs))}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": _TITLE,
            "version": _VERSION,
            "description": "Transactional and promotional email: send it, and learn what became of it.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "webhooks": {kind: _told(model, cast("_Refs", refs)) for kind, model in MESSAGES.items()},
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A key, mk_…"}},
        },
    }


def _models(endpoints: Sequence[Endpoint]) -> Iterator[tuple[type[BaseModel], JsonSchemaMode]]:
    yield ProblemDocument, "serialization"
    for model in MESSAGES.values():
        yield model, "serialization"
    for endpoint in endpoints:
        for model in endpoint.answers:
            yield model, "serialization"
        if endpoint.body is not None:
            yield endpoint.body, "validation"


def _told(model: type[BaseModel], refs: _Refs) -> _Json:
    """Return what we post to an endpoint, and what we make of its answer."""
    kind, string = (model.__doc__ or "").strip(), {"type": "string"}
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    return {
        "post": {
            "summary": kind,
            "description": "Signed as Standard Webhooks says; see docs/webhooks.md.",
            "security": [],
            "parameters": [_parameter(name, "header", dict(string), required=True) for name in names],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": refs[model, "serialization"]}},
            },
            "responses": {
                "2XX": {"description": "Taken."},
                "410": {"description": "Nothing is wanted any more: the endpoint is disabled."},
                "default": {"description": "Sent again later."},
            },
        }
    }


def _operation(endpoint: Endpoint, refs: _Refs) -> _Json:
    operation: _Json = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": [endpoint.path.split("/")[2]],
        "description": f"Scopes: {' or '.join(sorted(endpoint.scopes))}.",
        "responses": _responses(endpoint, refs),
    }
    if parameters := [*_path_parameters(endpoint.path), *_query_parameters(endpoint), *_header_parameters(endpoint)]:
        operation["parameters"] = parameters
    if endpoint.body is not None or endpoint.streamed:
        content: _Json = {kind: {"schema": {"type": "string"}} for kind in endpoint.streamed}
        if endpoint.body is not None:
            content = {"application/json": {"schema": refs[endpoint.body, "validation"]}, **content}
        operation["requestBody"] = {"required": endpoint.body_required, "content": content}
    return operation


def _responses(endpoint: Endpoint, refs: _Refs) -> _Json:
    schemas = [refs[model, "serialization"] for model in endpoint.answers]
    content: _Json = {kind: {"schema": {"type": "string"}} for kind in endpoint.files}
    if schemas:
        content["application/json"] = {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
    good = {"description": endpoint.status.phrase, "content": content}
    errors = dict(_ALWAYS)
    if endpoint.body is not None or endpoint.streamed:
        errors |= _WITH_BODY
    if "{" in endpoint.path:
        errors |= _WITH_ID
    if endpoint.method != "GET":
        errors["409"] = "The thing is in a state in which this cannot be done."
    problem = {MEDIA_TYPE: {"schema": refs[ProblemDocument, "serialization"]}}
    told = {status: {"description": errors[status], "content": problem} for status in sorted(errors)}
    return {str(endpoint.status.value): good, **told}


def _called(hook: Hook, refs: _Refs) -> _Json:
    """Return what a provider calls, whose body its own documents describe."""
    problem = {MEDIA_TYPE: {"schema": refs[ProblemDocument, "serialization"]}}
    good = {"description": "OK", "content": {"application/json": {"schema": refs[_HEARD]}}}
    errors = {str(status.value): {"description": ERRORS[status], "content": problem} for status in sorted(ERRORS)}
    operation: _Json = {
        "operationId": f"inbound_{hook.provider}{'_secret' if '{' in hook.path else ''}",
        "summary": hook.summary,
        "tags": ["inbound"],
        "description": f"The provider's signature or secret stands for a key. Needs {hook.setting}.",
        "security": [],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {}}}},
        "responses": {"200": good, **errors},
    }
    if parameters := _path_parameters(hook.path):
        operation["parameters"] = parameters
    return operation


def _path_parameters(path: str) -> list[_Json]:
    return [_parameter(name, "path", {"type": "string"}, required=True) for name in _PARAMETER.findall(path)]


def _query_parameters(endpoint: Endpoint) -> list[_Json]:
    if endpoint.query is None:
        return []
    schema = endpoint.query.model_json_schema(ref_template=_REF)
    definitions = cast("Mapping[str, _Json]", schema.get("$defs", {}))
    required = cast("Sequence[str]", schema.get("required", ()))
    return [
        _parameter(name, "query", _inlined(each, definitions), required=name in required)
        for name, each in cast("Mapping[str, _Json]", schema["properties"]).items()
    ]


def _inlined(schema: object, definitions: Mapping[str, _Json]) -> _Json:
    """Return a parameter's schema with its enums in place of references to them."""

    def walk(value: object) -> object:
        if isinstance(value, Mapping):
            if isinstance(name := value.get("$ref"), str):
                return definitions[name.rpartition("/")[2]]
            return {key: walk(each) for key, each in value.items()}
        return [walk(each) for each in value] if isinstance(value, list) else value

    return cast("_Json", walk(schema))


def _header_parameters(endpoint: Endpoint) -> list[_Json]:
    if not endpoint.once:
        return []
    schema: _Json = {"type": "string", "minLength": 1, "maxLength": 256}
    sentence = "The same key with the same body gets the same answer for 24 hours."
    return [{**_parameter("Idempotency-Key", "header", schema, required=False), "description": sentence}]


def _parameter(name: str, place: Literal["path", "query", "header"], schema: _Json, *, required: bool) -> _Json:
    return {"name": name, "in": place, "required": required, "schema": schema}
