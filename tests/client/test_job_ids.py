"""Ids of jobs, which a process draws by hundreds."""

from __future__ import annotations

import os

from chatq.core.jobs import new_job_id


def test_a_forked_process_draws_ids_of_its_own() -> None:
    new_job_id()  # so that there are some that both could give
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writes, "".join(new_job_id() for _ in range(300)).encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    of_child = [text[start : start + 32] for start in range(0, len(text), 32)]
    ours = [new_job_id() for _ in range(300)]
    assert len({*of_child, *ours}) == 600
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in of_child + ours)
