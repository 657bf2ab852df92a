"""No packet but to this machine: the demo on the engine alone and on a ComfyUI server, watched by strace.

Every ``connect`` and ``sendto`` of every process is read, those of libraries in C++ too; the demo's workflow runs the
detector's networks by onnxruntime where they are at hand, and both backends on the small weights.

    python benchmarks/offline.py            # minutes; needs strace

Prints the addresses that were tried; ends with status 1 where one is not this machine. Writes no claim.
"""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"FRAMES": "5", "SEGMENT": "5", "STEPS": "1", "WEIGHTS": "small", "WAN_ANIMATE_EXAMPLES": "none"}
CALLS = "connect,sendto,sendmsg,sendmmsg"
ADDRESS = re.compile(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)')
ADDRESS6 = re.compile(r'sin6_port=htons\((\d+)\).*?inet_pton\(AF_INET6, "([^"]+)"')


def tried(mode: str, folder: Path, **more: str) -> Counter[str]:
    """Addresses that a run of the demo sent to."""
    log = folder / "strace"
    command = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(log), sys.executable, "-m", "demo.run"]
    env = {**os.environ, **SMALL, "MODE": mode, "OUT": str(folder), **more}
    subprocess.run(command, check=True, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    text = log.read_text(errors="replace")
    return Counter(f"{host} port {port}" for port, host in ADDRESS.findall(text) + ADDRESS6.findall(text))


def main() -> int:
    away = False
    for name, more in (("the engine alone", {"COMFYUI_PATH": "none"}), ("a ComfyUI server", {})):
        with tempfile.TemporaryDirectory() as folder:
            found = tried("replace", Path(folder), **more)
        print(f"{name}: {sum(found.values())} calls with an address")
        for address, count in sorted(found.items()):
            here = ipaddress.ip_address(address.split()[0]).is_loopback
            away |= not here
            print(f"  {count:5} to {address}{'' if here else '   NOT THIS MACHINE'}")
    return 1 if away else 0


if __name__ == "__main__":
    raise SystemExit(main())
