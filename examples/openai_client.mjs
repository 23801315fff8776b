// The official openai client for Node, as it is: a chat completion, a stream, a batch.
//
//     npm install openai; node openai_client.mjs [BASE_URL]

import OpenAI, { toFile } from 'openai';

const client = new OpenAI({ baseURL: process.argv[2] ?? 'http://127.0.0.1:8400/v1', apiKey: 'none' });
const messages = [{ role: 'user', content: 'Say hi' }];

const completion = await client.chat.completions.create({ model: 'demo', messages });
console.log(completion.choices[0].message.content);

const stream = await client.chat.completions.create({ model: 'demo', messages, stream: true });
for await (const chunk of stream) process.stdout.write(chunk.choices[0].delta.content ?? '');
console.log();

const lines = [3, 4, 5].map((number) => JSON.stringify({
  custom_id: String(number),
  method: 'POST',
  url: '/v1/chat/completions',
  body: { model: 'demo', messages: [{ role: 'user', content: `Name a word with ${number} letters.` }] },
}));
const source = await client.files.create({
  file: await toFile(Buffer.from(lines.join('\n')), 'input.jsonl'),
  purpose: 'batch',
});
let batch = await client.batches.create({
  input_file_id: source.id,
  endpoint: '/v1/chat/completions',
  completion_window: '24h',
});
while (!['completed', 'failed', 'expired', 'cancelled'].includes(batch.status)) {
  await new Promise((resolve) => setTimeout(resolve, 500));
  batch = await client.batches.retrieve(batch.id);
}
console.log(batch.status, batch.request_counts);
if (batch.output_file_id) console.log(await (await client.files.content(batch.output_file_id)).text());
