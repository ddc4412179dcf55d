// The TypeScript SDK, driven from outside: reads one JSON job per line, answers each with one JSON line.
//
// A job is {op, params, options}; the answer is {ok: value} or {error: {...}}. Jobs run one after the other.

import { createInterface } from 'node:readline';
import Anthropic, { toFile } from '@anthropic-ai/sdk';
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { jsonSchemaOutputFormat } from '@anthropic-ai/sdk/helpers/json-schema';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { z } from 'zod';
import { shapes } from './shapes.mjs';

function clientFor(job) {
  return new Anthropic(job.options);
}

// A client that adds the bodies that it sends to `sent`.
function listenedTo(job, sent) {
  const listening = (url, init) => {
    sent.push(JSON.parse(init.body));
    return fetch(url, init);
  };
  return new Anthropic({ ...job.options, fetch: listening });
}

// A client whose server is a string: every request is answered with these bytes as an event stream.
function clientOver(stream) {
  const fetch = async () =>
    new Response(Buffer.from(stream, 'base64'), { headers: { 'content-type': 'text/event-stream' } });
  return new Anthropic({ baseURL: 'http://127.0.0.1:9', apiKey: 'test-key', maxRetries: 0, fetch });
}

async function create(job) {
  const { data, response, request_id } = await clientFor(job).messages.create(job.params).withResponse();
  return { message: data, request_id, headers: Object.fromEntries(response.headers) };
}

async function stream(job) {
  const running = clientFor(job).messages.stream(job.params);
  const seen = { text: '', thinking: '', events: [] };
  running.on('text', (piece) => (seen.text += piece));
  running.on('thinking', (piece) => (seen.thinking += piece));
  running.on('streamEvent', (event) => seen.events.push(event.type));
  const message = await running.finalMessage();
  return { message, request_id: running.request_id, ...seen };
}

// The events as the SDK's raw stream gives them, without its accumulator.
async function rawStream(job) {
  const { data, response } = await clientFor(job).messages.create({ ...job.params, stream: true }).withResponse();
  const events = [];
  for await (const event of data) events.push(event);
  return { events, headers: Object.fromEntries(response.headers) };
}

// Goes away after the first piece of text.
async function abandon(job) {
  const running = clientFor(job).messages.stream(job.params);
  let text = '';
  running.on('text', (piece) => {
    text += piece;
    running.abort();
  });
  await running.done().catch((error) => {
    if (!(error instanceof Anthropic.APIUserAbortError)) throw error;
  });
  return { text, aborted: running.aborted };
}

async function toolRunner(job) {
  const calls = [];
  const sent = [];
  const weather = betaZodTool({
    name: 'get_weather',
    description: 'Weather for a city.',
    inputSchema: z.object({ city: z.string(), unit: z.enum(['c', 'f']).optional() }),
    run: (input) => {
      calls.push(input);
      return '21 degrees';
    },
  });
  const { more_tools: more = [], ...params } = job.params;
  const runner = listenedTo(job, sent).beta.messages.toolRunner({ ...params, tools: [weather, ...more] });
  if (!job.params.stream) return { message: await runner, calls, sent };
  let message;
  for await (const stream of runner) message = await stream.finalMessage();
  return { message, calls, sent };
}

async function edited(job) {
  const { messages } = clientFor(job).beta;
  const { max_tokens, ...counted } = job.params;
  return {
    message: await messages.create(job.params),
    streamed: await messages.stream(job.params).finalMessage(),
    counted: await messages.countTokens(counted),
  };
}

async function parse(job) {
  const { shape, json_schema: schema, stream, ...params } = job.params;
  const sent = [];
  const { messages } = listenedTo(job, sent);
  const format = schema ? jsonSchemaOutputFormat(schema) : zodOutputFormat(shapes[shape ?? 'person']);
  const asked = { ...params, output_config: { format } };
  const message = await (stream ? messages.stream(asked).finalMessage() : messages.parse(asked));
  return { message, parsed: message.parsed_output, sent };
}

async function models(job) {
  const found = [];
  for await (const model of clientFor(job).models.list(job.params)) found.push(model);
  return { models: found };
}

async function readStreams(job) {
  const messages = [];
  for (const bytes of job.streams) {
    try {
      messages.push({ ok: await clientOver(bytes).messages.stream(job.params).finalMessage() });
    } catch (error) {
      messages.push({ error: describe(error) });
    }
  }
  return { messages };
}

// Everything that is done with one file: `beta` chooses the namespace.
async function files(job) {
  const { beta, name, text, type } = job.params;
  const client = clientFor(job);
  const calls = beta ? client.beta.files : client.files;
  const file = await toFile(Buffer.from(text), name, { type });
  const uploaded = await calls.upload({ file, expires_in_seconds: 3600 });
  const second = await calls.upload({ file });
  const listed = [];
  for await (const known of calls.list({ limit: 1 })) listed.push(known.id);
  const some = [];
  for await (const known of calls.list({ ids: [uploaded.id, 'file_none'] })) some.push(known.id);
  const { data: retrieved, request_id } = await calls.retrieveMetadata(uploaded.id).withResponse();
  const content = await (await calls.download(uploaded.id)).text();
  const deleted = [await calls.delete(uploaded.id), await calls.delete(second.id)];
  return { uploaded, second, listed, some, retrieved, request_id, content, deleted };
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Everything that is done with one batch: `beta` chooses the namespace.
async function batches(job) {
  const { beta, requests } = job.params;
  const client = clientFor(job);
  const calls = beta ? client.beta.messages.batches : client.messages.batches;
  const { data: created, request_id } = await calls.create({ requests }).withResponse();
  let ended = created;
  while (ended.processing_status !== 'ended') {
    await sleep(20);
    ended = await calls.retrieve(created.id);
  }
  const listed = [];
  for await (const known of calls.list({ limit: 1 })) listed.push(known.id);
  const results = [];
  for await (const result of await calls.results(created.id)) results.push(result);
  const deleted = await calls.delete(created.id);
  return { created, request_id, ended, listed, results, deleted };
}

async function cancelBatch(job) {
  const { beta, requests } = job.params;
  const client = clientFor(job);
  const calls = beta ? client.beta.messages.batches : client.messages.batches;
  const created = await calls.create({ requests });
  return { canceled: await calls.cancel(created.id) };
}

const operations = {
  files,
  batches,
  cancel_batch: cancelBatch,
  create,
  stream,
  raw_stream: rawStream,
  abandon,
  tool_runner: toolRunner,
  edited,
  parse,
  models,
  model: async (job) => ({ model: await clientFor(job).models.retrieve(job.params.id) }),
  count_tokens: async (job) => clientFor(job).messages.countTokens(job.params),
  read_streams: readStreams,
};

function describe(error) {
  return {
    name: error.constructor.name,
    message: String(error.message),
    status: error.status,
    type: error.type,
    request_id: error.requestID,
    body: error.error,
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  let answer;
  try {
    answer = { ok: await operations[job.op](job) };
  } catch (error) {
    answer = { error: describe(error) };
  }
  process.stdout.write(JSON.stringify(answer) + '\n');
}
