"""A peer's server in place of this process: `python -m bastide.engines.log.bench.peer PORT PROGRAM
NAME DIRECTORY SYNCS`, NAME being `redis` or `nats`, SYNCS `later` or `now`.

It is started through Python so that `running_module` starts all servers alike. `later` is what each
does by itself: Redis syncs its append-only file every second, JetStream every two minutes; what is
answered survives the process. `now`: what is answered is synced.
"""

import os
import sys
from pathlib import Path

NATS = """
listen: "127.0.0.1:{port}"
jetstream {{ store_dir: "{directory}", max_mem: 64MB, max_file: 64GB {sync} }}
"""


def command_of(program: str, name: str, port: str, directory: Path, syncs: str) -> list[str]:
    directory.mkdir(parents=True, exist_ok=True)
    if name == "redis":
        sync = "always" if syncs == "now" else "everysec"
        return [
            *(program, "--bind", "127.0.0.1", "--port", port, "--dir", str(directory)),
            *("--save", "", "--appendonly", "yes", "--appendfsync", sync),
            *("--loglevel", "warning"),
        ]
    sync = ", sync_interval: always" if syncs == "now" else ""
    settings = directory / "nats.conf"
    settings.write_text(NATS.format(port=port, directory=directory, sync=sync))
    return [program, "--config", str(settings), "--log", str(directory / "nats.log")]


if __name__ == "__main__":
    _port, _program, _name, _directory, _syncs = sys.argv[1:]
    _command = command_of(_program, _name, _port, Path(_directory), _syncs)
    os.execv(_program, _command)  # noqa: S606 (found on the path by who starts this)
