/**
 * The playground's server: a fixed list of files, read only, on this machine only. Each lies behind a token that is made anew
 * for every run and is the first part of its address, so that no other page in the browser can ask for it.
 */
import { randomBytes } from "node:crypto";
import { createReadStream, existsSync, readdirSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { StorageError, UsageError } from "../errors.ts";
import type { PlaygroundModel } from "./results.ts";

/** Built by scripts/build.mjs from playground/. */
const PAGE = fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "../../dist/playground" : "../playground", import.meta.url));
const LOOPBACK = "127.0.0.1";
/** What the page reads of a model beside its weights; those that it lacks are left out. */
const COMPANIONS = ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json", "chat_template.jinja"];

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json; charset=utf-8",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

const HEADERS = {
  "Content-Security-Policy": [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "worker-src 'self'",
    ...["style-src 'self'", "img-src 'self'", "connect-src 'self'"],
    ...["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
  ].join("; "),
  // Both together give the page shared memory, which onnxruntime's threads need.
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "Cache-Control": "no-store",
};

export interface Playground {
  readonly url: string;
  close(): Promise<void>;
}

/** What is behind an address: a file, or text of our own. */
type Content = { readonly file: string } | { readonly json: string };

/** @param port 0 takes a free one. @throws UsageError for a port that is taken. */
export async function servePlayground(models: readonly PlaygroundModel[], port: number): Promise<Playground> {
  const token = randomBytes(16).toString("hex");
  const contents = new Map([...pageContents(), ...modelContents(models)]);
  const server = createServer((request, response) => void answer(request, response, { token, contents }));
  await listen(server, port);
  const { port: taken } = server.address() as AddressInfo;
  return { url: `http://${LOOPBACK}:${taken}/${token}/`, close: () => closeServer(server) };
}

function pageContents(): [string, Content][] {
  if (!existsSync(join(PAGE, "index.html")))
    throw new StorageError(`${PAGE}: expected the playground's page, found none; run \`npm run build\``);
  const names = readdirSync(PAGE, { recursive: true }).map((name) => String(name).replaceAll("\\", "/"));
  const files = names.filter((name) => statSync(join(PAGE, name)).isFile());
  return [["", "index.html"], ...files.map((name) => [name, name])].map(([path, name]) => [
    path as string,
    { file: join(PAGE, name as string) },
  ]);
}

/** `models.json`, and the files of model N under `models/N/`. */
function modelContents(models: readonly PlaygroundModel[]): [string, Content][] {
  const files = models.flatMap(({ folder, graph, data }, n) => {
    const names = [...COMPANIONS.filter((name) => existsSync(join(folder, name))), graph, ...data];
    return names.map((name): [string, Content] => [`models/${n}/${name}`, { file: join(folder, name) }]);
  });
  const listed = models.map(({ folder: _, ...model }, n) => ({
    ...model,
    companions: COMPANIONS.filter((name) => files.some(([path]) => path === `models/${n}/${name}`)),
  }));
  return [["models.json", { json: JSON.stringify(listed) }], ...files];
}

interface Served {
  readonly token: string;
  readonly contents: ReadonlyMap<string, Content>;
}

async function answer(request: IncomingMessage, response: ServerResponse, { token, contents }: Served): Promise<void> {
  const [, given, ...rest] = (request.url ?? "/").replace(/\?.*$/s, "").split("/");
  const content = contents.get(rest.join("/"));
  // A name of another site that leads here is refused: that site's page would count as ours.
  const isOurs = request.headers.host === `${LOOPBACK}:${request.socket.localPort}`;
  if (!isOurs || given !== token) refuse(response, 403, "This page needs the whole address that rankfold open printed.");
  else if (request.method !== "GET" && request.method !== "HEAD") refuse(response, 405, "Only reading.");
  else if (!content) refuse(response, 404, "There is nothing here.");
  else await send(response, content, request.method === "HEAD");
}

function refuse(response: ServerResponse, status: number, line: string): void {
  response.writeHead(status, { ...HEADERS, "Content-Type": "text/plain; charset=utf-8" }).end(`${line}\n`);
}

async function send(response: ServerResponse, content: Content, isHead: boolean): Promise<void> {
  if ("json" in content) {
    response.writeHead(200, { ...HEADERS, "Content-Type": TYPES[".json"] }).end(isHead ? undefined : content.json);
    return;
  }
  const length = statSync(content.file, { throwIfNoEntry: false })?.size;
  if (length === undefined) return refuse(response, 404, "The file is gone.");
  const type = TYPES[extname(content.file)] ?? "application/octet-stream";
  response.writeHead(200, { ...HEADERS, "Content-Type": type, "Content-Length": length });
  if (isHead) response.end();
  else await pipeline(createReadStream(content.file), response).catch(() => response.destroy()); // the browser went away
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((done, fail) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      fail(new UsageError(`--port ${port}: cannot be listened on (${cause.code}); leave --port out for a free one`, { cause }));
    });
    server.listen(port, LOOPBACK, done);
  });
}

function closeServer(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((done) => server.close(() => done()));
}
