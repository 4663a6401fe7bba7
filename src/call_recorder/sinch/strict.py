"""What is written exactly: by operators in a profile, and by this package in SVAML."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema


class Strict(BaseModel):
    """A frozen model with camel-case names outside, in which a slip is refused and not passed over."""

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


@dataclass(frozen=True, slots=True)
class Written:
    """Holds a text to a pattern; of one that does not match, ``mend`` says what to write instead."""

    pattern: str
    mend: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the text after what else is asked of it."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Give editors the pattern."""
        return handler(schema) | {"pattern": f"^({self.pattern})$"}

    def _checked(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise ValueError(self.mend)
        return text


@dataclass(frozen=True, slots=True)
class Listed:
    """Holds a text to a list, ``values``. ``spelt`` returns a text as the list has it, or raises ValueError."""

    spelt: Callable[[str], str]
    values: Callable[[], list[str]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the text after what else is asked of it."""
        return core_schema.no_info_after_validator_function(self.spelt, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Give editors the list."""
        return handler(schema) | {"enum": self.values()}
