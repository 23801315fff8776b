"""Where each source's keys are made. Shown to people, never called."""

from __future__ import annotations

from typing import Final

KEY_PAGES: Final[dict[str, str]] = {
    "openai": "platform.openai.com, API keys",
    "claude": "platform.claude.com, API keys",
    "mistralai": "console.mistral.ai, API keys",
    "deepseek": "platform.deepseek.com, API keys",
    "ai21": "studio.ai21.com, Account, API key",
    "cohere": "dashboard.cohere.com, API keys",
    "perplexity": "perplexity.ai, Settings, API",
    "fireworks": "app.fireworks.ai, API keys",
    "electronhub": "app.electronhub.ai, Dashboard, API keys",
    "custom": "your server's own configuration",
}
"""For each source, the page on which a key is made, as text."""
