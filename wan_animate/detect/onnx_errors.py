"""What onnxruntime's errors mean: they have no common base class, and are told apart by their words."""

from __future__ import annotations

import re


def brief(message: str) -> str:
    """The first line without its number, up to 160 characters."""
    text = re.sub(
        r"^\[ONNXRuntimeError\]\s*:\s*\d+\s*:\s*", "", message.strip().splitlines()[0] if message.strip() else ""
    )
    return text if len(text) <= 160 else text[:157] + "..."


def is_external(message: str) -> bool:
    """Whether a file beside the graph is missing or cut off."""
    return bool(
        re.search(r"external|GetFileLength|model_path must not be empty|\.onnx[._]data", message, re.IGNORECASE)
    )


def is_about_file(message: str) -> bool:
    return is_external(message) or "Protobuf" in message or "INVALID_PROTOBUF" in message


def is_out_of_memory(message: str) -> bool:
    said = (
        r"bad.?alloc|out of memory|is smaller than requested bytes|Failed to allocate|not enough memory|"
        r"(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"
    )
    return bool(re.search(said, message, re.IGNORECASE))
