"""The official openai client, as it is: a chat completion, a stream, a batch.

pip install openai; python openai_client.py [BASE_URL]
"""

import json
import sys
import time

from openai import OpenAI

client = OpenAI(base_url=sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8400/v1", api_key="none")
hi = [{"role": "user", "content": "Say hi"}]

completion = client.chat.completions.create(model="demo", messages=hi)
print(completion.choices[0].message.content)

for chunk in client.chat.completions.create(model="demo", messages=hi, stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()

lines = [
    {
        "custom_id": str(number),
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "demo",
            "messages": [{"role": "user", "content": f"Name a word with {number} letters."}],
        },
    }
    for number in range(3, 8)
]
source = client.files.create(
    file=("input.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode()), purpose="batch"
)
batch = client.batches.create(
    input_file_id=source.id, endpoint="/v1/chat/completions", completion_window="24h"
)
while batch.status not in {"completed", "failed", "expired", "cancelled"}:
    time.sleep(0.5)
    batch = client.batches.retrieve(batch.id)
print(batch.status, batch.request_counts)
if batch.output_file_id:
    print(client.files.content(batch.output_file_id).text)
