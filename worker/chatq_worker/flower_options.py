"""Flower's options: where each comes from, and which of them we refuse.

They come, each overriding the one before, from `DEFAULTS`, from `FLOWER_*` variables, from the file that `FLOWER_CONF`
names, and from the arguments of `chatq flower`. What there is: https://flower.readthedocs.io/en/latest/config.html
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from typing import Any, Final

import flower.command
from flower.options import options

from chatq.contract.errors import ChatQueueError
from chatq.contract.redaction import remember


def _with_reason(task: Any) -> Any:
    """A task as its row shows it: in place of a result why there is none, else one had to scroll for it."""
    task.result = task.result or task.exception
    return task


DEFAULTS: Final[Mapping[str, Any]] = {
    "address": "127.0.0.1",
    "port": 5555,
    # Not a flowerconfig.py that happens to lie in the working folder: it is Python, and would be run.
    "conf": os.devnull,
    "tasks_columns": "uuid,state,args,result,received,runtime,worker",
    "format_task": _with_reason,
    # Some 5 kB a row: 0.3 GB. What is older is in the ledger.
    "max_tasks": 50_000,
    # Every run of a worker has a name of its own: those that ended go.
    "max_workers": 500,
    "purge_offline_workers": 600,
    # Our workers always send events; asking all of them anew every five seconds would be noise.
    "enable_events": False,
    # Who may look may not, for that alone, cancel jobs and stop workers.
    "read_only": True,
    # Logging is ours.
    "logging": "none",
}
_LOGIN: Final = re.compile(r"[^:]+:.+")


class FlowerMisconfigured(ChatQueueError):
    """An option of Flower's is wrong, or would let everybody in."""

    code = "config"
    wrong_use = True


def set_options(address: str | None = None, port: int | None = None, read_only: bool | None = None) -> None:
    """Set Flower's options, which are global to the process.

    Raises `FlowerMisconfigured` for a wrong one, and for an address beyond loopback without a login: Flower shows who
    uses what, and can cancel jobs.
    """
    for name, value in DEFAULTS.items():
        setattr(options, name, value)
    try:
        flower.command.apply_env_options()
    except Exception as error:
        names = sorted(filter(flower.command.is_flower_envvar, os.environ))
        raise FlowerMisconfigured(
            f"A variable for Flower has a value it cannot have: {error}.", remedy=f"Check {', '.join(names)}."
        ) from None
    given = {"--address": address, "--port": port, "--read_only": read_only}
    arguments = [f"{name}={value}" for name, value in given.items() if value is not None]
    try:
        flower.command.apply_options("chatq flower", arguments)
    except Exception as error:
        # The file is Python: anything can come out of it.
        raise FlowerMisconfigured(
            f"Flower's options cannot be read: {type(error).__name__}: {error}.",
            remedy=f"Correct {options.conf}, which FLOWER_CONF names.",
        ) from None
    _check_login()
    flower.command.extract_settings()
    flower.command.setup_logging()


def _check_login() -> None:
    logins = options.basic_auth or []
    remember(login.partition(":")[2] for login in logins)
    if not all(_LOGIN.fullmatch(login) for login in logins):
        raise FlowerMisconfigured(
            "A login for Flower has no user or no password.",
            remedy="Write FLOWER_BASIC_AUTH=user:password (several: separated by commas).",
        )
    if logins or options.auth or options.unix_socket or _is_loopback(options.address):
        return
    raise FlowerMisconfigured(
        f"Flower would listen on {options.address or 'every address'} for everybody who can reach it.",
        remedy="Set FLOWER_BASIC_AUTH=user:password, or let it listen on 127.0.0.1.",
    )


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
