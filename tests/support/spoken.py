"""The frontend's own ``say``, run by Node.js in an interface of another language."""

from __future__ import annotations

import json
import re
import subprocess

from demo.importing import ROOT

LANGUAGE = ROOT / "js" / "language"


def script(language: str) -> str:
    """say.js and a language's table as one script without imports; the host's part answers with the language."""
    parts = [(LANGUAGE / f"{name}.js").read_text(encoding="utf-8") for name in (language, "say")]
    host = {"extensionManager": {"setting": {"get": "of"}}}
    stub = json.dumps(host).replace('"of"', f"() => {json.dumps(language)}")
    code = re.sub(r"^import .*;$", "", "\n".join(parts), flags=re.MULTILINE)
    return f"const app = {stub};\n" + re.sub(r"^export ", "", code, flags=re.MULTILINE)


def evaluated(language: str, expression: str) -> list:
    """The value of a JavaScript expression in which ``say``, ``sayLines`` and ``pattern`` are known."""
    code = f"{script(language)}\nconsole.log(JSON.stringify({expression}));"
    return json.loads(subprocess.run(["node", "-"], input=code, capture_output=True, text=True, check=True).stdout)


def spoken(language: str, texts: list[str], by: str = "say") -> list[str]:
    """What is shown for each of ``texts``."""
    return evaluated(language, f"{json.dumps(texts)}.map(one => {by}(one))")
