"""Submit a job from any Celery client. Nothing of ours is imported.

The task's id becomes the job's, and its idempotency key: send again with the same id when in doubt. The record is read
with any Redis client: `GET chatq:result:ID`, once the job is final.

    python from_celery.py [BROKER_URL]      default: the embedded server of `chatq up` in this folder
"""

import sys
import uuid
from pathlib import Path

from celery import Celery

socket = Path(".chatq/redis.sock").resolve()
app = Celery(broker=sys.argv[1] if len(sys.argv) > 1 else f"redis+socket://{socket}")
job_id = str(uuid.uuid4())
app.send_task(
    "chatq.submit",
    [{"connection": "demo", "prompt": "Say hi"}],
    task_id=job_id,
    queue="chatq",
    argsrepr="(...)",  # else Celery writes the prompt into the message's headers a second time
)
print(job_id)
