"""The OpenAPI document, made from the table of routes, so that it cannot say something else than the server does."""

import json
from typing import Any

import msgspec

from igrs_ras import __version__
from igrs_ras.api.route import Route, Who
from igrs_ras.status import Status

SECURITY: dict[Who, list[dict[str, list[str]]]] = {
    Who.USER: [{"cookie": []}, {"bearer": []}],
    Who.PENDING: [{"cookie": []}, {"bearer": []}],
    Who.GATEWAY: [{"gateway": []}],
}
PARAMETERS: dict[str, tuple[str, str]] = {
    "device": (
        "^[0-9A-F]{12}$",
        "Device identifier of the lock: 12 upper-case hex digits (ILP1 section 1).",
    ),
}
ID = ("^[0-9a-f]{32}$", "Identifier: 32 lower-case hex digits.")
REF = "#/components/schemas/{name}"


def statuses(route: Route) -> list[Status]:
    """Return what a route may answer besides done: its own statuses and those that follow from its form."""
    found = set(route.statuses) | {Status.MALFORMED, Status.FAILED, Status.NOT_READY}
    if route.body is not None:
        found.add(Status.TOO_LARGE)
    if "{" in route.path:
        found.add(Status.NOT_FOUND)
    found.add(Status.SIGN_IN)  # an Authorization header that is not valid is never ignored
    found.add(Status.NOT_PERMITTED)  # a foreign Origin
    if Who.ANYBODY not in route.who and Who.PENDING not in route.who:
        found.add(Status.SECOND_STEP)
    return sorted(found)


def _types(routes: list[Route]) -> list[Any]:
    found: dict[str, Any] = {}
    for route in routes:
        for kind in (route.body, route.answer):
            if kind is not None and found.setdefault(kind.__name__, kind) is not kind:
                raise ValueError(f"two types of the interface are named {kind.__name__}")
    return list(found.values())


def _envelope(data: dict[str, Any], status: Status | None = None) -> dict[str, Any]:
    number: dict[str, Any] = {"type": "integer", "description": "Table 1 of clause 7.6"}
    if status is not None:
        number["const"] = int(status)
    return {
        "type": "object",
        "required": ["status", "message", "data"],
        "properties": {"status": number, "message": {"type": "string"}, "data": data},
        "additionalProperties": False,
    }


def _operation(route: Route, names: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "x-principals": sorted(route.who),
        "x-listeners": sorted(route.listeners),
        "tags": [f"clause {route.clause}" if route.clause else "further"],
    }
    if route.handler.__doc__:
        operation["description"] = " ".join(route.handler.__doc__.split())
    parameters = [
        {
            "name": part[1:-1],
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": PARAMETERS.get(part[1:-1], ID)[0]},
            "description": PARAMETERS.get(part[1:-1], ID)[1],
        }
        for part in route.path.split("/")
        if part.startswith("{")
    ]
    parameters += [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": {"type": "string"},
            "description": text,
        }
        for name, text in route.query.items()
    ]
    if parameters:
        operation["parameters"] = parameters
    security = [item for who in sorted(route.who) for item in SECURITY.get(who, [{}])]
    operation["security"] = [item for n, item in enumerate(security) if item not in security[:n]]
    if route.body is not None:
        content: dict[str, Any] = {"schema": names[route.body], "example": route.example}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    operation["responses"] = _responses(route, names)
    return operation


def _responses(route: Route, names: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    if route.websocket:
        responses["101"] = {
            "description": "The WebSocket is open; docs/ras.md describes its messages."
        }
    elif route.name == "get_openapi":
        responses["200"] = {
            "description": "This document.", "content": {"application/json": {"schema": {"type": "object"}}}
        }  # fmt: skip
    else:
        data = names[route.answer] if route.answer is not None else {"type": "null"}
        content: dict[str, Any] = {"schema": _envelope(data, Status.DONE)}
        if route.answer_example:
            content["example"] = {"status": 0, "message": "done", "data": route.answer_example}
        responses["200"] = {"description": "0: done", "content": {"application/json": content}}
    by_line: dict[int, list[Status]] = {}
    for status in statuses(route):
        by_line.setdefault(int(status.http), []).append(status)
    for line, group in sorted(by_line.items()):
        responses[str(line)] = {
            "description": "; ".join(f"{int(status)}: {status.text}" for status in group),
            "content": {"application/json": {"schema": {"$ref": REF.format(name="Refusal")}}},
        }
    return responses


def build(routes: list[Route]) -> dict[str, Any]:
    """Return the document of these routes."""
    types = _types(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    names = dict(zip(types, schemas, strict=True))
    components["Refusal"] = _envelope(
        {
            "anyOf": [
                {"type": "null"},
                {
                    "type": "object",
                    "required": ["detail"],
                    "properties": {
                        "detail": {
                            "type": "string",
                            "description": "What is wrong with the request's form.",
                        }
                    },
                },
            ]
        }
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, names)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "IGRS Lock remote access server",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Interfaces of clause 7 of ISO/IEC 14543-5-104, as this project decided them. No conformity"
            " is claimed. Every answer is {status, message, data}; status 0 is success.",
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": f"clause {number}", "description": text}
            for number, text in (
                ("7.1", "User registration"),
                ("7.2", "User authentication"),
                ("7.3", "Discovery of a BSLD, with its authentication"),
                ("7.4", "Registration of a BSLD"),
                ("7.5", "Removal of a BSLD"),
                ("7.7", "Push"),
            )
        ]
        + [{"name": "further", "description": "Decided by this project"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "cookie": {
                    "type": "apiKey", "in": "cookie", "name": "__Host-igrs",
                    "description": "A session of the server's own pages.",
                },
                "bearer": {"type": "http", "scheme": "bearer", "description": "A session's token: u_…"},
                "gateway": {
                    "type": "http", "scheme": "bearer",
                    "description": "The token of a gateway's open link: g_…",
                },
            },
        },
        "x-statuses": {str(int(status)): {"text": status.text, "http": int(status.http)} for status in Status},
    }  # fmt: skip


def document() -> bytes:
    """Return the document of the public interface as JSON text."""
    from igrs_ras.api.routes import ROUTES  # noqa: PLC0415  the routes' modules import this package

    return (json.dumps(build(ROUTES), indent=2, ensure_ascii=False) + "\n").encode()
