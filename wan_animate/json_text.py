"""JSON of any form. Where a form is asked for: :mod:`.schema`."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """The value. Raises ValueError: no JSON, or nested too deeply (``json`` raises RecursionError)."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
