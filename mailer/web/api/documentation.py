"""The page that explains the API: printed from the OpenAPI document, without script or anything from elsewhere."""

import json
from collections.abc import Mapping, Sequence
from typing import cast

from markupsafe import Markup, escape

from mailer.web.api.endpoints import Endpoint

_STYLE = Markup("""
:root{color-scheme:light dark;--ink:#1d2430;--soft:#5a6472;--line:#d9dee5;--paper:#fff;--tint:#f4f6f9;--mark:#0b5cad}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa5b3;--line:#333c48;--paper:#14181e;--tint:#1c222a;--mark:#7db8f5}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:56rem;margin:0 auto;padding:2rem 1rem 4rem}h1{font-size:1.7rem}h2{margin-top:2.5rem;font-size:1.25rem}
article{border:1px solid var(--line);border-radius:8px;margin:1rem 0;padding:.2rem 1rem 1rem}
h3{font:600 1rem/1.4 ui-monospace,monospace;overflow-wrap:anywhere}h3 b{color:var(--mark)}
table{border-collapse:collapse;width:100%}.wide{overflow-x:auto}
th,td{border-bottom:1px solid var(--line);padding:.35rem .8rem .35rem 0;text-align:left;vertical-align:top}
code,pre{font:.9em ui-monospace,monospace}pre{background:var(--tint);border-radius:6px;overflow-x:auto;padding:.8rem}
.soft{color:var(--soft)}a{color:var(--mark)}summary{cursor:pointer}
""")
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_EXAMPLE = """curl -X POST http://127.0.0.1:8000/v1/emails \\
  -H 'Authorization: Bearer mk_…' -H 'Content-Type: application/json' -H 'Idempotency-Key: order-48213' \\
  -d '{"stream": "transactional", "to": "ann@example.org", "subject": "Hello", "text": "It works."}'"""
_Json = Mapping[str, object]


def page(endpoints: Sequence[Endpoint], document: _Json) -> str:
    """Return the whole page."""
    components = cast("_Json", document["components"])
    schemas = cast("Mapping[str, _Json]", components["schemas"])
    groups: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        groups.setdefault(endpoint.path.split("/")[2], []).append(endpoint)
    sections = Markup().join(
        Markup("<section id={0}><h2>{0}</h2>{1}</section>").format(
            name, Markup().join(_endpoint(each, schemas) for each in group)
        )
        for name, group in groups.items()
    )
    contents = Markup(" · ").join(Markup('<a href="#{0}">{0}</a>').format(name) for name in groups)
    return Markup(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head><body><main>'
        "<h1>The API</h1><p>JSON over HTTP. Every request carries a key: <code>Authorization: Bearer mk_…</code>, made "
        "by <code>mailer key create NAME --scope …</code>. Errors are <code>application/problem+json</code> with "
        '<code>errors: [{{"path", "message"}}]</code>. Times are RFC 3339 with their offset. The machine-readable '
        'document is <a href="/openapi.json">/openapi.json</a>.</p><pre>{example}</pre><p>{contents}</p>{sections}'
        "</main></body></html>"
    ).format(style=_STYLE, example=_EXAMPLE, contents=contents, sections=sections)


def _endpoint(endpoint: Endpoint, schemas: Mapping[str, _Json]) -> Markup:
    parts = [
        Markup("<h3><b>{}</b> {}</h3><p>{}</p><p class=soft>Scopes: {} · answers {}</p>").format(
            endpoint.method,
            endpoint.path,
            endpoint.summary,
            " or ".join(sorted(endpoint.scopes)),
            endpoint.status.value,
        )
    ]
    if endpoint.query is not None:
        parts.append(_fields("Query", endpoint.query.model_json_schema()))
    if endpoint.body is not None:
        name = endpoint.body.__name__
        parts.append(_fields("Body", schemas.get(name) or schemas.get(f"{name}-Input") or {}))
    for model in endpoint.answers:
        schema = schemas.get(model.__name__) or {}
        parts.append(
            Markup("<details><summary>Answer: {}</summary><pre>{}</pre></details>").format(
                model.__name__, json.dumps(schema, indent=2, ensure_ascii=False)
            )
        )
    return Markup("<article>{}</article>").format(Markup().join(parts))


def _fields(title: str, schema: _Json) -> Markup:
    required = cast("Sequence[str]", schema.get("required", ()))
    rows = Markup().join(
        Markup("<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>").format(
            name, _kind(each), "required" if name in required else ""
        )
        for name, each in cast("Mapping[str, _Json]", schema.get("properties", {})).items()
    )
    return Markup("<h4>{}</h4><div class=wide><table>{}</table></div>").format(title, rows)


def _kind(schema: _Json) -> Markup:
    """Return a schema as a reader says it: "text or Mailbox or list of text"."""
    if isinstance(ref := schema.get("$ref"), str):
        return escape(ref.rpartition("/")[2])
    if isinstance(choices := schema.get("anyOf"), list):
        return Markup(" or ").join(dict.fromkeys(_kind(each) for each in choices))
    if isinstance(options := schema.get("enum"), list):
        return Markup(" | ").join(escape(option) for option in options)
    kind = str(schema.get("format") or schema.get("type") or "anything")
    if kind == "array":
        return Markup("list of {}").format(_kind(cast("_Json", schema.get("items") or {})))
    return escape({"string": "text", "object": "object", "null": "null"}.get(kind, kind))
