/** A stand-in for the hub on 127.0.0.1: the few endpoints that fetching and pushing call, with faults on demand. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface StandInRepo {
  commit: string;
  files: Map<string, Buffer>;
  isPrivate: boolean;
}

interface Request {
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
  readonly body: Buffer;
}

interface Reply {
  readonly status: number;
  readonly json: unknown;
}

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
const gitHash = (bytes: Buffer) => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
const isLarge = (name: string) => name.endsWith(".safetensors");

export class HubServer {
  readonly repos = new Map<string, StandInRepo>();
  readonly requests: Request[] = [];
  readonly branches: string[] = [];
  /** The one that is let in; a request with another, or none where one is needed, gets 401. */
  token: string | undefined;
  /** Every answer is 500, and tells what was sent. */
  broken = false;
  /** Break the connection after so many bytes of a large file. */
  cutAfter: number | undefined;
  /** Names that the listing holds besides. */
  extraNames: string[] = [];
  /** Send these bytes for a file instead of those of the listing. */
  readonly forged = new Map<string, Buffer>();
  private readonly stored = new Map<string, Buffer>();
  private readonly server: Server = createServer((request, response) => void this.answer(request, response));

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  get address(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  requestsFor(part: string): Request[] {
    return this.requests.filter(({ path }) => path.includes(part));
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request);
    const { pathname } = new URL(request.url ?? "/", this.address);
    const { authorization, range } = request.headers;
    this.requests.push({ method: request.method ?? "", path: decodeURIComponent(pathname), range, authorization, body });
    const isStorage = pathname.startsWith("/storage/");
    const isKnown = isStorage || (authorization ?? this.token) === undefined || authorization === `Bearer ${this.token}`;
    const [, ...parts] = pathname.split("/").map(decodeURIComponent);
    if (this.broken) send(response, { status: 500, json: { error: `Cannot serve ${authorization}` } });
    else if (!isKnown) send(response, { status: 401, json: { error: `Invalid credentials ${authorization}` } });
    else if (isStorage) send(response, this.store(parts[1] as string, body));
    else if (parts[0] === "api") send(response, this.api(parts.slice(1), body));
    else if (parts[1]?.endsWith(".git")) send(response, this.batch(body));
    else this.resolve(parts, range, response);
  }

  private api([kind, owner, name, action, revision = ""]: string[], body: Buffer): Reply {
    if (kind === "repos") return this.create(JSON.parse(body.toString()));
    const repo = this.repos.get(`${owner}/${name}`);
    if (!repo) return { status: 404, json: { error: "Repository not found" } };
    if (action === "revision") return this.revision(repo, `${owner}/${name}`, revision);
    if (action === "tree") return { status: 200, json: this.tree(repo) };
    if (action === "preupload") return { status: 200, json: { files: modes(JSON.parse(body.toString()).files) } };
    if (action === "branch") return this.branch(revision);
    return this.commit(repo, body.toString());
  }

  private create({ organization, name, visibility }: Record<string, string>): Reply {
    const isPrivate = visibility === "private";
    this.repos.set(`${organization}/${name}`, { commit: "0".repeat(40), files: new Map(), isPrivate });
    return { status: 200, json: { url: `${this.address}/${organization}/${name}`, id: "1" } };
  }

  private revision({ commit, isPrivate }: StandInRepo, id: string, revision: string): Reply {
    if (!["main", "HEAD", commit].includes(revision)) return { status: 404, json: { error: "Invalid rev id" } };
    const lastModified = "2026-01-01T00:00:00.000Z";
    return { status: 200, json: { _id: "1", id, sha: commit, lastModified, private: isPrivate } };
  }

  private tree({ files }: StandInRepo) {
    const listed = [...files].map(([path, bytes]) => {
      const lfs = isLarge(path) ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } } : {};
      return { type: "file", path, size: bytes.length, oid: gitHash(bytes), ...lfs };
    });
    return [...listed, ...this.extraNames.map((path) => ({ type: "file", path, size: 1, oid: "0".repeat(40) }))];
  }

  private branch(name: string): Reply {
    if (this.branches.includes(name)) return { status: 409, json: { error: "Reference already exists" } };
    this.branches.push(name);
    return { status: 200, json: {} };
  }

  private resolve(parts: string[], range: string | undefined, response: ServerResponse): void {
    const [owner, name, , , file = ""] = parts;
    const repo = this.repos.get(`${owner}/${name}`);
    const bytes = this.forged.get(file) ?? repo?.files.get(file);
    if (!repo || !bytes) {
      send(response, { status: 404, json: { error: "Entry not found" } });
      return;
    }
    const [, from = "0", to = ""] = /^bytes=(\d+)-(\d*)$/.exec(range ?? "") ?? [];
    const part = bytes.subarray(Number(from), to === "" ? bytes.length : Number(to) + 1);
    const contentRange = range ? { "Content-Range": `bytes ${from}-${Number(from) + part.length - 1}/${bytes.length}` } : {};
    const etag = isLarge(file) ? { "X-Linked-ETag": `"${sha256(bytes)}"` } : {};
    const headers = { ETag: `"${gitHash(bytes)}"`, "X-Repo-Commit": repo.commit, "Content-Length": part.length, ...etag };
    response.writeHead(range ? 206 : 200, { ...headers, ...contentRange });
    if (this.cutAfter === undefined || part.length <= this.cutAfter) response.end(part);
    else response.write(part.subarray(0, this.cutAfter), () => setTimeout(() => response.destroy(), 50));
  }

  private batch(body: Buffer): Reply {
    const { objects } = JSON.parse(body.toString()) as { objects: { oid: string; size: number }[] };
    const withAction = ({ oid, size }: { oid: string; size: number }) => {
      const upload = { href: `${this.address}/storage/${oid}`, header: {} };
      return { oid, size, authenticated: true, actions: { upload } };
    };
    return { status: 200, json: { transfer: "basic", objects: objects.map(withAction) } };
  }

  private store(oid: string, body: Buffer): Reply {
    this.stored.set(oid, body);
    return { status: 200, json: {} };
  }

  private commit(repo: StandInRepo, lines: string): Reply {
    for (const line of lines.split("\n")) {
      const { key, value } = JSON.parse(line);
      if (key === "file") repo.files.set(value.path, Buffer.from(value.content, "base64"));
      if (key === "lfsFile") repo.files.set(value.path, this.stored.get(value.oid) as Buffer);
    }
    repo.commit = "c".repeat(40);
    return { status: 200, json: { commitOid: repo.commit, commitUrl: `${this.address}/commit/${repo.commit}` } };
  }
}

const modes = (files: { path: string }[]) =>
  files.map(({ path }) => ({ path, uploadMode: isLarge(path) ? "lfs" : "regular", shouldIgnore: false }));

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces);
}

function send(response: ServerResponse, { status, json }: Reply): void {
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(json));
}
