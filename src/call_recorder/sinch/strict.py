"""Strict models: for profiles, which operators write, and for SVAML, which this package writes.

The modules of strict models have no ``from __future__ import annotations``: it would turn every annotation
into a text, and pydantic would evaluate each text at every cold start.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema


class Strict(BaseModel):
    """A frozen model with camel-case names in JSON. It refuses unknown fields and values of another type."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
        defer_build=True,
    )


class FullMatch(NamedTuple):
    """Requires that the whole text matches a pattern. ``correction`` says what to write instead."""

    pattern: str
    correction: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Add the check after all other checks."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Add the pattern to the JSON schema, for editors."""
        return handler(schema) | {"pattern": f"^({self.pattern})$"}

    def _check(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise ValueError(self.correction)
        return text


class OneOf(NamedTuple):
    """Requires that a text is in a list. ``normalize`` returns its spelling in the list, or raises ValueError."""

    normalize: Callable[[str], str]
    values: Callable[[], list[str]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Add the check after all other checks."""
        return core_schema.no_info_after_validator_function(self.normalize, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Add the list to the JSON schema, for editors."""
        return handler(schema) | {"enum": self.values()}
