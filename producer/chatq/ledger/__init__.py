"""The ledger: the truth about every job, in Redis. Every change of a job is one script in `scripts/`.

`ledger.py` says what can be asked; `server.py` asks it, blocking or on an event loop. Model, invariants and
failure cases: the head of `shared/prelude.lua` and docs/architecture.md.
"""
