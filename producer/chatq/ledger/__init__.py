"""The ledger: the truth about every job, in Redis. Every change of a job is one script in `scripts/`.

`ledger.py` says what can be asked, `entry.py` and `call_facts.py` with what, `replies.py` what comes back; `server.py`
asks, blocking or on an event loop. Model, invariants and failure cases: the head of `shared/prelude.lua` and
docs/architecture.md.
"""
