// Submit a task to an agent's queue and wait for its result:
//
//   node producer.mjs redis://127.0.0.1:6379/0 default/writer "Write a haiku about queues" high
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "redis";

const [url, queue, prompt, priority = "normal"] = process.argv.slice(2);
if (prompt === undefined || !["high", "normal", "low"].includes(priority)) {
  console.error("usage: producer.mjs REDIS_URL NAMESPACE/AGENT PROMPT [high|normal|low]");
  process.exit(2);
}
const base = `ark:{${queue}}`;
const isNormal = priority === "normal";
const deadline = Date.now() + 5 * 60_000;

const client = createClient({ url, socket: { reconnectStrategy: false } });
client.on("error", () => {}); // whoever asks is told as well
try {
  await client.connect();
  const entry = await client.xAdd(isNormal ? `${base}:tasks` : `${base}:tasks:${priority}`, "*", { prompt });
  const task = isNormal ? entry : `${priority}-${entry}`;
  console.error("submitted", task);
  let result = {};
  for (let pause = 20; !result.status; pause = Math.min(2 * pause, 1000)) {
    if (Date.now() > deadline) throw new Error(`task ${task} is not finished yet, it stays in the queue`);
    await sleep(pause);
    result = await client.hGetAll(`${base}:results:${task}`);
  }
  if (result.status !== "completed") {
    throw new Error(`task ${task} is ${result.status}, attempts: ${result.attempts}. ${result.error ?? ""}`);
  }
  console.log(result.output);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  client.destroy();
}
