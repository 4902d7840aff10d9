"""The served OpenAPI document as a judge: is an answer one that it promises?"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jsonschema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Operation:
    """One call as the document describes it."""

    name: str
    method: str
    path: str
    described: dict[str, Any]

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)

    @property
    def body_schema(self) -> dict[str, Any] | None:
        body = self.described.get("requestBody")
        return body["content"]["application/json"]["schema"] if body else None

    @property
    def example(self) -> Any:
        body = self.described.get("requestBody")
        return body["content"]["application/json"].get("example") if body else None

    @property
    def is_websocket(self) -> bool:
        return "101" in self.described["responses"]


@dataclass(frozen=True)
class Answered:
    """An answer as it came: the HTTP status line's number and the whole text, read."""

    http: int
    whole: Any

    @property
    def status(self) -> int:
        return (
            int(self.whole["status"])
            if isinstance(self.whole, dict) and "status" in self.whole
            else 0
        )

    @property
    def data(self) -> Any:
        return self.whole["data"]


class Document:
    """The document, and whether answers keep to it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.operations = {operation.name: operation for operation in self._operations()}
        self._validators: dict[str, jsonschema.Draft202012Validator] = {}

    def _operations(self) -> Iterator[Operation]:
        for path, methods in self.document["paths"].items():
            for method, described in methods.items():
                if method in METHODS:
                    yield Operation(described["operationId"], method.upper(), path, described)

    def validator(self, schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
        """A validator for a schema that may refer to the document's components."""
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            whole = {**schema, "components": self.document["components"]}
            self._validators[key] = jsonschema.Draft202012Validator(whole)
        return self._validators[key]

    def faults(self, name: str, answered: Answered) -> list[str]:
        """What an answer has that the document does not promise for this operation."""
        operation = self.operations[name]
        response = operation.described["responses"].get(str(answered.http))
        if response is None:
            return [f"{name}: HTTP {answered.http} with status {answered.status} is not documented"]
        found = []
        if answered.http != 200:
            promised = {int(n) for n in re.findall(r"(?:^|; )(\d+):", response["description"])}
            if answered.status not in promised:
                found.append(f"{name}: status {answered.status} is not documented, only {promised}")
        schema = response["content"]["application/json"]["schema"]
        errors = self.validator(schema).iter_errors(answered.whole)
        return found + [f"{name}: {error.json_path} {error.message[:200]}" for error in errors]


async def call(
    http: aiohttp.ClientSession,
    base: str,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> Answered:
    """Call and read the whole answer."""
    given: dict[str, Any] = {} if body is None else {"json": body}
    async with http.request(method, base + path, headers=headers, **given) as response:
        return Answered(response.status, await response.json())
