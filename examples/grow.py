"""Print an answer while it grows."""

from chatq import ChatQueue

with ChatQueue() as queue:
    for piece in queue.stream("demo", "Tell me a short story"):
        print(piece, end="", flush=True)
    print()
