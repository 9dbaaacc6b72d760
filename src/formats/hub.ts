/**
 * Models of the hub, fetched to the cache that its other tools use. Only what a model needs: never pickle, never code.
 *
 * The library's own download to the cache neither resumes a file nor checks one, and prints to stdout; so only its calls
 * are used (revision, listing, ranged contents), and the files are written here: resumed, checked by size and hash.
 */
import { closeSync, mkdirSync, openSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { downloadFile, listFiles, modelInfo } from "@huggingface/hub";
import { FormatError, HubError, RankfoldError, UnsupportedError } from "../errors.ts";
import { type HubAccess, type HubId, hubAccess, hubCall, isOffline, type TransferWatcher } from "./hub-access.ts";
import { HubCache, isCommit, isComplete, shardNames, sizeOf } from "./hub-cache.ts";
import { INDEX_FILE, SINGLE_FILE } from "./safetensors.ts";
import { storage } from "./storage.ts";

const MEGABYTE = 1e6;

export interface HubModel {
  /** Its folder in the cache. */
  readonly folder: string;
  /** `owner/name@commit`. */
  readonly source: string;
}

/** A file as the hub lists it. */
interface Entry {
  readonly name: string;
  readonly size: number;
  /** SHA-256 for files of LFS; else the hash that git gives a file. */
  readonly hash: string;
}

interface Fetch {
  readonly repo: string;
  readonly commit: string;
  readonly cache: HubCache;
  readonly access: HubAccess;
  readonly watcher: TransferWatcher;
}

/**
 * The model in the cache, fetched where it is not there yet. Without a network the one fetched last is used.
 * @param companions the files wanted beside the config and the weights, where the model has them.
 * @throws HubError when the hub does not give it, FormatError when what it gives is damaged or hostile.
 */
export async function fetchModel(id: HubId, companions: readonly string[], watcher: TransferWatcher): Promise<HubModel> {
  const { repo, revision = "main" } = id;
  const cache = new HubCache(repo);
  const cached = cachedCommit(cache, revision);
  if (cached !== undefined && isCommit(revision)) return modelAt(cache, repo, cached);
  if (isOffline()) {
    if (cached !== undefined) return modelAt(cache, repo, cached);
    throw new HubError(repo, `HF_HUB_OFFLINE is set, and the cache does not hold ${revision} whole; unset it to fetch the model`);
  }
  const access = hubAccess();
  const commit = await currentCommit(id, access).catch((error: unknown) => {
    if (cached === undefined || !isUnreachable(error)) throw error;
    watcher.note(`${repo}: the hub could not be reached; using ${cached.slice(0, 12)} from the cache`);
    return undefined;
  });
  if (commit === undefined) return modelAt(cache, repo, cached as string);
  await fetchSnapshot({ repo, commit, cache, access, watcher }, companions);
  cache.saveRef(revision, commit);
  return modelAt(cache, repo, commit);
}

const modelAt = (cache: HubCache, repo: string, commit: string): HubModel => ({
  folder: cache.snapshot(commit),
  source: `${repo}@${commit}`,
});

const isUnreachable = (error: unknown) => error instanceof HubError && (error.status === 0 || error.status >= 500);

function cachedCommit(cache: HubCache, revision: string): string | undefined {
  const commit = cache.commitOf(revision);
  return commit !== undefined && isComplete(cache.snapshot(commit)) ? commit : undefined;
}

async function currentCommit({ repo, revision = "main" }: HubId, access: HubAccess): Promise<string> {
  const { sha } = await hubCall(repo, access, () => modelInfo({ ...access, name: repo, revision, additionalFields: ["sha"] }));
  if (typeof sha === "string" && isCommit(sha)) return sha;
  throw new HubError(repo, `expected a commit of 40 hex digits from the hub, got ${JSON.stringify(sha)}; check HF_ENDPOINT`);
}

/** Weights last, so that a snapshot with weights has all the rest. */
async function fetchSnapshot(fetch: Fetch, companions: readonly string[]): Promise<void> {
  const entries = await listEntries(fetch);
  const has = (name: string) => entries.has(name);
  if (!has(SINGLE_FILE) && !has(INDEX_FILE)) throw noWeights(fetch.repo, [...entries.keys()]);
  const small = ["config.json", ...companions, ...(has(SINGLE_FILE) ? [] : [INDEX_FILE])].filter(has);
  await fetchFiles(fetch, entries, small);
  const weights = has(SINGLE_FILE) ? [SINGLE_FILE] : shardNames(join(fetch.cache.snapshot(fetch.commit), INDEX_FILE));
  await fetchFiles(fetch, entries, weights);
}

function noWeights(repo: string, names: readonly string[]): UnsupportedError {
  const gguf = names.find((name) => name.endsWith(".gguf"));
  const advice = gguf ? `download ${gguf} and give its path` : "choose a model that has them";
  return new UnsupportedError(`${repo}: expected ${SINGLE_FILE} or ${INDEX_FILE}, the repository has neither; ${advice}`);
}

/** The files at the top of the repository. @throws FormatError when any name leads out of it. */
function listEntries({ repo, commit, access }: Fetch): Promise<ReadonlyMap<string, Entry>> {
  return hubCall(repo, access, async () => {
    const entries = new Map<string, Entry>();
    for await (const { type, path, size, oid, lfs } of listFiles({ ...access, repo, revision: commit })) {
      checkName(repo, path);
      const entry = { name: path, size: lfs?.size ?? size, hash: lfs?.oid ?? oid ?? "" };
      if (type === "file" && !path.includes("/")) entries.set(path, entry);
    }
    return entries;
  });
}

function checkName(repo: string, path: unknown): void {
  const parts = typeof path === "string" ? path.split(/[/\\]/) : [""];
  if (parts.every((part) => part !== "" && part !== "." && part !== ".." && !/[:\0]/.test(part))) return;
  throw new FormatError(repo, `the hub lists a file named ${JSON.stringify(path)}, which leads out of its folder; do not use it`);
}

async function fetchFiles(fetch: Fetch, entries: ReadonlyMap<string, Entry>, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const entry = entries.get(name);
    if (!entry)
      throw new FormatError(`${fetch.repo}/${name}`, `expected this shard, which ${INDEX_FILE} lists, the hub has none`);
    if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(entry.hash) || !Number.isSafeInteger(entry.size) || entry.size < 0)
      throw new FormatError(`${fetch.repo}/${name}`, "expected its size and hash from the hub, got neither; check HF_ENDPOINT");
    await fetchFile(fetch, entry);
  }
}

async function fetchFile(fetch: Fetch, entry: Entry): Promise<void> {
  const { cache, commit, repo, watcher } = fetch;
  if (sizeOf(join(cache.snapshot(commit), entry.name)) === entry.size) return;
  if (sizeOf(cache.blob(entry.hash)) !== entry.size) {
    await fetchBlob(fetch, entry);
    cache.keep(repo, entry.name, entry.hash, () => watcher.checkpoint());
  }
  cache.link(entry.hash, commit, entry.name);
}

/** Fills `<hash>.incomplete`, from where an earlier run left it. */
async function fetchBlob(fetch: Fetch, { name, size, hash }: Entry): Promise<void> {
  const part = `${fetch.cache.blob(hash)}.incomplete`;
  storage(part, () => mkdirSync(dirname(part), { recursive: true }));
  if ((sizeOf(part) ?? 0) > size) rmSync(part);
  const start = sizeOf(part) ?? 0;
  if (start < size)
    await hubCall(`${fetch.repo}/${name}`, fetch.access, () => appendContents(fetch, { name, size, hash }, part, start));
  else if (size === 0) storage(part, () => writeFileSync(part, ""));
}

async function appendContents(fetch: Fetch, { name, size }: Entry, part: string, start: number): Promise<void> {
  const { access, repo, commit, watcher } = fetch;
  const contents = await downloadFile({ ...access, repo, path: name, revision: commit, xet: false });
  if (contents?.size !== size)
    throw new FormatError(`${repo}/${name}`, `expected ${size} bytes, the hub offers ${contents?.size ?? "none"}; try again`);
  const file = storage(part, () => openSync(part, "a"));
  let done = start;
  try {
    for await (const piece of contents.slice(start).stream()) {
      watcher.checkpoint();
      storage(part, () => writeFileSync(file, piece));
      done += piece.length;
      watcher.progress({ stage: `fetch ${name}`, done: megabytes(done), total: megabytes(size), unit: "MB" });
    }
  } catch (error) {
    throw error instanceof RankfoldError ? error : brokenOff(`${repo}/${name}`, done, size);
  } finally {
    closeSync(file);
  }
  if (done < size) throw brokenOff(`${repo}/${name}`, done, size);
}

const brokenOff = (file: string, done: number, size: number) =>
  new HubError(file, `the connection broke after ${done} of ${size} bytes; the same command goes on from there`);

const megabytes = (bytes: number) => Math.ceil(bytes / MEGABYTE);
