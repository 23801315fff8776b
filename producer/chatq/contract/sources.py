"""What is known of each source beside how it is spoken to: where its keys are made, whether its prices are listed."""

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

LISTED: Final = frozenset({"openai", "claude", "mistralai", "deepseek", "cohere", "perplexity", "fireworks"})
"""Sources of which the price library has models; what others cost is known only by the connection's `price`."""
