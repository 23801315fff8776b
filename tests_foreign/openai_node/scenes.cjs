// What users do with the official Node client, each a function of a client that finds plain facts; and, in
// `node scenes.cjs`, the program that plays them: see foreign_client.py. The client is found by NODE_PATH.

const { OpenAI, APIError, toFile } = require("openai");

const ENDED = new Set(["completed", "failed", "expired", "cancelled"]);

const scenes = {
  // -- Files and batches

  async start_batch(client, { lines, ...keys }) {
    const file = await client.files.create({ file: await toFile(Buffer.from(lines), "in.jsonl"), purpose: "batch" });
    const batch = await client.batches.create({
      input_file_id: file.id,
      endpoint: "/v1/chat/completions",
      completion_window: "24h",
      ...keys,
    });
    return { file, batch };
  },

  async end_of_batch(client, { batch_id }) {
    let batch = await client.batches.retrieve(batch_id);
    while (!ENDED.has(batch.status)) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      batch = await client.batches.retrieve(batch_id);
    }
    return batch;
  },

  async lines_of_file(client, { file_id }) {
    const text = await (await client.files.content(file_id)).text();
    return text.trimEnd().split("\n").map((line) => JSON.parse(line));
  },

  async cancel_batch(client, { batch_id }) {
    return client.batches.cancel(batch_id);
  },

  async upload(client, { purpose = "batch" }) {
    return (await client.files.create({ file: await toFile(Buffer.from("{}\n"), "in.jsonl"), purpose })).id;
  },

  async newest_files(client, { count, page }) {
    return newest(client.files.list({ limit: page }), count);
  },

  async newest_batches(client, { count, page }) {
    return newest(client.batches.list({ limit: page }), count);
  },

  async file(client, { file_id }) {
    return client.files.retrieve(file_id);
  },

  async delete_file(client, { file_id }) {
    return (await client.files.delete(file_id)).deleted;
  },

  // -- Chat completions

  async complete(client, { content, model = "sim" }) {
    return client.chat.completions.create({ model, messages: [{ role: "user", content }] });
  },

  async stream(client, { content }) {
    const chunks = [];
    for await (const chunk of await client.chat.completions.create({
      model: "sim",
      messages: [{ role: "user", content }],
      stream: true,
      stream_options: { include_usage: true },
    })) {
      chunks.push(chunk);
    }
    return chunks;
  },

  async stream_helper(client, { content, ...keys }) {
    const deltas = [];
    const events = client.chat.completions.stream({ model: "sim", messages: [{ role: "user", content }], ...keys });
    events.on("content", (delta) => deltas.push(delta));
    return { deltas, whole: await events.finalChatCompletion() };
  },

  // -- Models

  async models(client) {
    const found = [];
    for await (const model of client.models.list()) found.push(model);
    return found;
  },

  async model(client, { model_id }) {
    return client.models.retrieve(model_id);
  },
};

async function newest(list, count) {
  const found = [];
  for await (const one of list) {
    found.push(one.id);
    if (found.length === count) break;
  }
  return found;
}

function factsOf(error) {
  const { status = null, code = null, param = null, type = null, message } = error;
  return { class: error.constructor.name, status, code, param, type, message };
}

async function main() {
  for await (const line of require("node:readline").createInterface({ input: process.stdin })) {
    const { scene, url, key, given } = JSON.parse(line);
    let answer;
    try {
      answer = { found: await scenes[scene](new OpenAI({ baseURL: url, apiKey: key }), given) };
    } catch (error) {
      if (!(error instanceof APIError)) throw error;
      answer = { error: factsOf(error) };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
}

main();
