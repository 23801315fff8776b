"""chatq: a self-hosted queue for chat completions. This package is the caller's side."""
