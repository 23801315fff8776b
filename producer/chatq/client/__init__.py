"""The caller's side: `ChatQueue` for blocking code, `AsyncChatQueue` for an event loop.

Both need nothing but the Redis URL, or the config.yaml: neither Celery nor the broker.
"""
