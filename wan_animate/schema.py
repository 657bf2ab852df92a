"""JSON and values from outside, by a schema: the one place where an error of parsing becomes a sentence."""

from __future__ import annotations

import json
import math
from dataclasses import is_dataclass
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from .errors import InputError
from .limits import FARTHEST, MOST_FRAMES, MOST_PIXELS, RATES

SHOWN = 60  # characters of what was found


class Schema(BaseModel):
    """Fields by name. Types are taken as they are (``"5"`` is no number), further fields are let be."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("it is no finite number")
    return number


Finite = Annotated[float, AfterValidator(_finite)]
Side = Annotated[int, Field(ge=1, le=MOST_PIXELS)]
FrameNumber = Annotated[int, Field(ge=0, le=MOST_FRAMES)]
Rate = Annotated[float, Field(ge=RATES[0], le=RATES[1])]
Pixels = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST)]


@lru_cache(maxsize=128)
def _adapter(schema: Any) -> TypeAdapter[Any]:
    # a Schema brings its own configuration, and a dataclass takes none
    own = isinstance(schema, type) and (issubclass(schema, BaseModel) or is_dataclass(schema))
    return TypeAdapter(schema) if own else TypeAdapter(schema, config=ConfigDict(strict=True, allow_inf_nan=False))


def read_json(text: str | bytes, schema: Any, what: str, remedy: str) -> Any:
    """JSON as ``schema``, a type that pydantic knows.

    Args:
        what: names the text in the error.
        remedy: what to do.

    Raises:
        InputError: no JSON, nested beyond 200, or of another form; one sentence with the first place that is wrong.
    """
    try:
        return _adapter(schema).validate_json(text)
    except ValidationError as error:
        raise InputError(_sentence(error, what, remedy)) from error


def read_values(values: Any, schema: Any, what: str, remedy: str) -> Any:
    """As :func:`read_json`, of Python values."""
    try:
        return _adapter(schema).validate_python(values)
    except (ValidationError, RecursionError) as error:
        raise InputError(_sentence(error, what, remedy)) from error


def shown(value: Any) -> str:
    """A value in a message: short, on one line, and in characters that every console has."""
    if isinstance(value, (bytes, bytearray)):
        return ascii(bytes(value[:SHOWN]))
    if isinstance(value, (str, int, float, bool, type(None))):
        try:
            text = json.dumps(value)
        except ValueError:  # an int of thousands of digits
            return "a number of thousands of digits"
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    return f"a {type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else f"a {type(value).__name__}"


def _sentence(error: ValidationError | RecursionError, what: str, remedy: str) -> str:
    if isinstance(error, RecursionError):
        return f"{what} cannot be read (it holds itself, or is nested too deeply): {remedy}."
    first = error.errors(include_url=False, include_context=False)[0]
    said = first["msg"].removeprefix("Value error, ").rstrip(".")
    if first["type"] in ("json_invalid", "string_unicode"):
        said = said.removeprefix("Invalid JSON: ")
        return f"{what} cannot be read: it is not JSON ({said[:160]}); {remedy}."
    place = ".".join(str(part)[:SHOWN] for part in first["loc"] if not isinstance(part, str) or part.isprintable())
    found = "is not there" if first["type"] == "missing" else f"is {shown(first['input'])} ({said[:120]})"
    return f"{what} cannot be read: {f'its {place}' if place else 'it'} {found}; {remedy}."
