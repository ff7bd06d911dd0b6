"""The OpenAPI document as a page to read: plain HTML, which loads nothing from anywhere."""

from collections.abc import Iterator
from html import escape
from typing import Any

import orjson

_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>AdaSplit API</title><style>
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h2{margin-top:2.5rem;border-top:1px solid #ccc;padding-top:1rem}code,pre{font:14px/1.5 monospace}
pre{background:#f4f4f4;padding:.8rem;overflow:auto}table{border-collapse:collapse;width:100%}
td{border-top:1px solid #ddd;padding:.3rem .6rem;vertical-align:top}td:first-child{width:14rem}
@media(prefers-color-scheme:dark){:root{color-scheme:dark}pre{background:#262626}
td,h2{border-color:#444}a{color:#8bf}}</style>"""


def docs_page(document: dict[str, Any]) -> str:
    return "\n".join((_HEAD, *_body(document)))


def _body(document: dict[str, Any]) -> Iterator[str]:
    about = document["info"]
    yield f"<h1>{escape(about['title'])}</h1><p>{escape(about['description'])}</p>"
    yield "<p>For programs: <a href='/openapi.json'>/openapi.json</a>. With API keys set, requests "
    yield "carry <code>Authorization: Bearer KEY</code>.</p>"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _operation(path, method, operation)
    yield "<h2>Schemas</h2>"
    for name, schema in document["components"]["schemas"].items():
        shown = orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()
        yield f"<details id='{name}'><summary><code>{name}</code></summary>"
        yield f"<pre>{escape(shown)}</pre></details>"


def _operation(path: str, method: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
    yield f"<p>{escape(operation['summary'])} {escape(operation.get('description', ''))}</p><table>"
    for parameter in operation.get("parameters", ()):
        yield _row(f"{parameter['in']} {parameter['name']}", parameter.get("description", ""))
    if "requestBody" in operation:
        yield _row("body", _schema(operation["requestBody"]["content"]["application/json"]))
    for status, response in operation["responses"].items():
        kinds = ", ".join(response["content"])
        named = _schema(next(iter(response["content"].values())))
        yield _row(status, f"{response['description']} {kinds} {named}")
        if status == "200":
            for name, header in response.get("headers", {}).items():
                yield _row(f"header {name}", header["description"])
    yield "</table>"


def _schema(media: dict[str, Any]) -> str:
    return str(media.get("schema", {}).get("$ref", "")).rpartition("/")[2]


def _row(name: str, says: str) -> str:
    return f"<tr><td><code>{escape(name)}</code></td><td>{escape(says)}</td></tr>"
