"""Where the server is: `redis.url` of the settings as URLs for redis-py and for Celery."""

from __future__ import annotations

from urllib.parse import urlsplit

from chatq.contract.settings import Redis
from chatq.ledger.server import Locate


def locator(settings: Redis) -> Locate:
    """A function that gives redis-py's URL; for the embedded server it starts the server when it is not running.

    What it gives raises `EmbeddedServerError` when that fails.
    """
    folder = settings.embedded_folder
    if folder is None:
        url = redis_py_url(settings.url)
        return lambda: url

    def start() -> str:
        from chatq.embedded import ensure_running

        return ensure_running(folder, fsync=settings.fsync)

    return start


def redis_py_url(url: str) -> str:
    """A URL in redis-py's words: `redis+socket://` is its `unix://`."""
    parts = urlsplit(url)
    if parts.scheme == "redis+socket":
        # Not geturl(): it leaves the // out where there is no login, and redis-py wants it.
        query = f"?{parts.query.replace('virtual_host=', 'db=')}" if parts.query else ""
        return f"unix://{parts.netloc}{parts.path}{query}"
    return url


def broker_url(settings: Redis) -> str:
    """Celery's broker: `redis.broker_url`, else the ledger's own server."""
    from chatq.embedded import as_broker_url

    url = as_broker_url(settings.broker_url or locator(settings)())
    if url.startswith("rediss:") and "ssl_cert_reqs=" not in url:
        # kombu would take any certificate; redis-py does not.
        url += f"{'&' if '?' in url else '?'}ssl_cert_reqs=required"
    return url
