"""Prompt post-processing: chat messages written for one model family, made fit for stricter endpoints.

Pure: messages in, messages out; no other part of ours is imported. Read `post_processing.py` first.
The modes are explained for users in docs/post-processing.md.
"""

from chatq_worker.prompts.modes import MODES, UnknownMode, mode_keeps_tools, tools_variant
from chatq_worker.prompts.names import Names
from chatq_worker.prompts.post_processing import PLACEHOLDER, post_process

__all__ = [
    "MODES",
    "PLACEHOLDER",
    "Names",
    "UnknownMode",
    "mode_keeps_tools",
    "post_process",
    "tools_variant",
]
