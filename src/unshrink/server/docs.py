"""The page /docs: what programs can ask the service for, read from its OpenAPI description.

The usual pages load their scripts from other machines, and put scripts into the page; this one has none.
"""

from collections.abc import Iterator
from html import escape
from typing import Any

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>unshrink: what programs can ask for</title>
<link rel="stylesheet" href="/static/docs.css">
</head>
<body>
<h1>unshrink {version}</h1>
<p>{description} Errors are JSON, <code>{{"error": "one sentence"}}</code>. All this for programs: <a
href="/openapi.json">openapi.json</a>.</p>
{operations}
</body>
</html>
"""


def docs_page(openapi: dict[str, Any]) -> str:
    """The page, of a description as FastAPI makes it."""
    operations = [
        "".join(_operation(method.upper(), path, operation))
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    about = openapi["info"]
    return PAGE.format(
        version=escape(about["version"]), description=escape(about["description"]), operations="\n".join(operations)
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<section>\n<h2><code>{method} {escape(path)}</code></h2>\n<p>{escape(operation['description'])}</p>\n"
    if "requestBody" in operation:
        yield f"<p>Send: {escape(', '.join(operation['requestBody']['content']))}</p>\n"
    if parameters := operation.get("parameters"):
        yield "<table>\n<tr><th>Parameter<th>Values<th>Default<th>\n"
        yield from (_parameter(parameter) for parameter in parameters)
        yield "</table>\n"
    yield "<table>\n<tr><th>Status<th>Gives<th>\n"
    for status, response in sorted(operation["responses"].items()):
        kinds = ", ".join(response.get("content", {}))
        yield f"<tr><td>{escape(status)}<td>{escape(kinds)}<td>{escape(response['description'])}\n"
    yield "</table>\n</section>"


def _parameter(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    default = "required" if parameter["required"] else schema.get("default", "")
    cells = (parameter["name"], _values(schema), str(default), parameter.get("description", ""))
    return "<tr>" + "".join(f"<td>{escape(cell)}" for cell in cells) + "\n"


def _values(schema: dict[str, Any]) -> str:
    """What a parameter may be."""
    if "enum" not in schema:
        schema = next((option for option in schema.get("anyOf", []) if option.get("type") != "null"), schema)
    if "enum" in schema:
        return ", ".join(str(value) for value in schema["enum"] if value is not None)
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    return str(schema.get("type", ""))
