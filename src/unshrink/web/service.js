// What the page asks of the service: the HTTP interface that everybody has (see /docs), nothing else.

const POLL = 500; // milliseconds between two looks at a job

let key = "";

/** The key to send from now on, where the service asks for one; it is kept as long as the page is open. */
export function useKey(text) {
  key = text;
}

/** The service said no, and why, in one sentence. */
export class Refusal extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

/** The installed weights: {name, scale, ...} each. */
export async function weights() {
  return (await (await ask("v1/models")).json()).models;
}

/**
 * Sends a picture to be made small ("downscale") or large ("upscale").
 *
 * Large pictures go as jobs, which report how far they are and outlive any timeout.
 *
 * @returns {blob, model, scale, seconds, notes}: the blob is byte for byte what the service made, notes a sentence or null.
 */
export async function transform(action, file, options, { large, signal, progress }) {
  if (file.type.startsWith("video/")) throw new Refusal(clips(action));
  const query = new URLSearchParams(options);
  const request = { method: "POST", body: file, signal };
  if (!large) return received(await ask(`v1/${action}?${query}`, request));
  return finished(await ask(`v1/jobs?action=${action}&${query}`, request), signal, progress);
}

/** What the service does with clips. */
function clips(action) {
  const url = new URL(`v1/jobs?action=${action}`, location.href);
  return `it is a video clip; this page shows pictures, and programs have clips done as jobs: curl --data-binary @clip.mp4 '${url}' (see /docs)`;
}

async function received(response) {
  const { headers } = response;
  return {
    blob: await response.blob(),
    model: headers.get("X-Unshrink-Model"),
    scale: Number(headers.get("X-Unshrink-Scale")),
    seconds: Number(headers.get("X-Unshrink-Seconds")),
    notes: headers.get("X-Unshrink-Notes"),
  };
}

/** The result of a job, once it is there; the service keeps nothing of a job that was fetched or given up. */
async function finished(created, signal, progress) {
  const { id, kind, action } = await created.json();
  const url = `v1/jobs/${id}`;
  try {
    if (kind === "clip") throw new Refusal(clips(action)); // of a type that the browser does not know
    for (;;) {
      const job = await (await ask(url, { signal })).json();
      if (job.status === "failed") throw new Refusal(job.error);
      if (job.status === "done") return await received(await ask(`${url}/result`, { signal }));
      progress(job.status === "queued" ? null : job.progress);
      await new Promise((resolve) => setTimeout(resolve, POLL));
    }
  } finally {
    ask(url, { method: "DELETE" }).catch(() => {});
  }
}

async function ask(url, request = {}) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  let response;
  try {
    response = await fetch(url, { ...request, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("the service does not answer: is it still running?");
  }
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new Refusal(error ?? `the service answered with status ${response.status}`, response.status);
}
