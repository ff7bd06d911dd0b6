// The official client for Node, against a running gateway: prints what it saw, as JSON.
import OpenAI from "openai";

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "Hello" }];
const saw = {};

saw.models = (await client.models.list()).data.map((one) => one.id);

const whole = await client.chat.completions.create({
  model, messages, max_tokens: 5, n: 2, logprobs: true, top_logprobs: 1,
  response_format: { type: "text" }, user: "ann",
  tools: [{ type: "function", function: { name: "look", parameters: { type: "object" } } }],
});
saw.choices = whole.choices.length;
saw.logprobs = whole.choices[0].logprobs !== null;
saw.completion_tokens = whole.usage.completion_tokens;

let pieces = 0;
let usage = null;
for await (const event of await client.chat.completions.create({
  model, messages, max_tokens: 5, stream: true, stream_options: { include_usage: true },
})) {
  if (event.choices[0]?.delta?.content) pieces += 1;
  usage = event.usage ?? usage;
}
saw.pieces = pieces;
saw.streamed_tokens = usage.completion_tokens;

const text = await client.completions.create({ model, prompt: [5, 6, 7], max_tokens: 3 });
saw.prompt_tokens = text.usage.prompt_tokens;

async function failure(asking) {
  try {
    await asking();
    return null;
  } catch (error) {
    return [error.constructor.name, error.status, error.code, error.param];
  }
}
saw.unknown_model = await failure(() =>
  client.chat.completions.create({ model: "another", messages }));
saw.malformed = await failure(() =>
  client.chat.completions.create({ model, messages, max_tokens: "many" }));
saw.wrong_key = await failure(() => client.withOptions({ apiKey: "wrong" }).models.list());

console.log(JSON.stringify(saw));
