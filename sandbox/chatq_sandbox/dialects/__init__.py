"""The dialects: one file a source."""
