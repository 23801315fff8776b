"""Imported for what it does: redis-py reads its own metadata anew for each connection, which takes 2 ms."""

import importlib.metadata
from functools import cache

importlib.metadata.version = cache(importlib.metadata.version)
