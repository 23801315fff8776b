"""The HTTP front: OpenAI's API over the queue, and a few paths of our own. `python -m chatq.http` serves it.

Read `application.py` first: it lists the paths. The front holds nothing that the ledger or the disk does not: any
number of fronts may serve one queue, and one that is restarted goes on where it was.

    access.py       tokens: who asks, and what is theirs       guard.py       what is refused before it is looked at
    completions.py  chat completions, whole and in events      jobs.py        our own jobs
    files.py        uploads and downloads                      file_store.py  files on the disk
    batches.py      batches                                    batch_store.py their records on the disk
    batch_keeper.py the process that runs them          webhooks.py    telling others that one has ended
"""
