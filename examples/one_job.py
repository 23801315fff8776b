"""Enqueue a job, wait for it, print the answer."""

from chatq import ChatQueue

with ChatQueue() as queue:
    job = queue.enqueue("demo", "Say hi", params={"max_tokens": 50}, metadata={"for": "the example"})
    record = queue.wait(job.id, timeout=60)
    if record.result is not None:
        print(record.result.text)
    elif record.error is not None:
        print(record.state, record.error.message, record.error.remedy)
