"""The embedded server's errors. Each says what is wrong where, and the remedy."""

from __future__ import annotations

from chatq.contract.errors import EmbeddedServerError as EmbeddedServerError  # the base of the errors here


class FolderUnusable(EmbeddedServerError):
    """The folder cannot hold a server's data: not a folder, not writable, not private, another user's."""

    code = "embedded_folder"


class DiskFull(EmbeddedServerError):
    """The disk, or the quota, that holds the folder has no room."""

    code = "embedded_disk_full"
    retryable = True


class NoServerProgram(EmbeddedServerError):
    """No Valkey or Redis here can serve the folder; the message lists those looked at and why not."""

    code = "embedded_no_program"


class StartFailed(EmbeddedServerError):
    """The server ended while it was starting; the message quotes its log."""

    code = "embedded_start_failed"


class NotReady(EmbeddedServerError):
    """A server holds the folder but does not answer, or does not end, in time."""

    code = "embedded_not_ready"
    retryable = True


class SocketTaken(EmbeddedServerError):
    """What is at the socket's path is not our server, or no safe path for a socket is left."""

    code = "embedded_socket"


class ServerInUse(EmbeddedServerError):
    """`stop` without `force` while others are connected: `clients` connections besides our own."""

    code = "embedded_in_use"
    retryable = True

    def __init__(self, message: str, *, remedy: str, clients: int) -> None:
        super().__init__(message, remedy=remedy)
        self.clients = clients
