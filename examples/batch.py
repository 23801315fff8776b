"""Enqueue many jobs as one batch, and print each result as it comes. The iterable may be of any length."""

from chatq import ChatQueue

questions = ({"custom_id": f"word-{n}", "prompt": f"Name a word with {n} letters."} for n in range(3, 13))

with ChatQueue() as queue:
    batch = queue.enqueue_batch(questions, connection="demo")
    for record in queue.results(batch.id, follow=True):
        print(record.custom_id, record.state, record.result.text if record.result else record.error)
    print(queue.batch(batch.id).counts)
