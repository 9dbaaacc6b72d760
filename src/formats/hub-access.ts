/**
 * How the hub is reached: its address, the user's token, and what its answers mean. Nothing said here holds the token.
 * The environment is that of the Python tools: HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME, HF_HUB_OFFLINE.
 */
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { HUB_URL, HubApiError } from "@huggingface/hub";
import { HubError, RankfoldError, UsageError } from "../errors.ts";
import { storage } from "./storage.ts";

/** What a long transfer tells whoever started it; a job of the pipeline is one. */
export interface TransferWatcher {
  progress(progress: { readonly stage: string; readonly done: number; readonly total: number; readonly unit: string }): void;
  note(line: string): void;
  /** Throws once the user has asked to stop. */
  checkpoint(): void;
}

/** Parameters of every call of the library. */
export interface HubAccess {
  readonly hubUrl: string;
  readonly fetch: typeof fetch;
  readonly accessToken?: string;
}

export interface HubId {
  /** `owner/name`. */
  readonly repo: string;
  /** A branch, a tag or a commit. */
  readonly revision: string | undefined;
}

/** `owner/name` or `owner/name@revision`; undefined for all that cannot be one, as paths and files are. */
export function parseHubId(text: string): HubId | undefined {
  const [, repo = "", revision] = /^([A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?$/.exec(text) ?? [];
  const isFile = revision === undefined && /\.(gguf|safetensors|json)$/.test(repo);
  const isOtherKind = /^(models?|datasets?|spaces?|buckets?|kernels?)\//.test(repo);
  if (repo === "" || isFile || isOtherKind || /\.\.|--/.test(repo)) return undefined;
  return revision !== undefined && !isRevision(revision) ? undefined : { repo, revision };
}

/** A revision names a file of the cache: it must stay in its folder. */
export const isRevision = (revision: string) =>
  /^[\w./-]+$/.test(revision) && revision.split("/").every((part) => part !== "" && !part.startsWith("."));

export const isOffline = () => /^(1|on|yes|true)$/i.test(process.env.HF_HUB_OFFLINE ?? "");

/** @throws UsageError for an endpoint or a token that cannot be one. */
export function hubAccess(): HubAccess {
  const hubUrl = endpoint();
  const accessToken = token();
  if (accessToken === undefined) return { hubUrl, fetch };
  if (!/^hf_[\x21-\x7e]+$/.test(accessToken))
    throw new UsageError("HF_TOKEN, or the token file: expected a token that begins with hf_, got something else");
  return { hubUrl, accessToken, fetch: guardedFetch(hubUrl, accessToken) };
}

function endpoint(): string {
  const given = process.env.HF_ENDPOINT;
  if (!given) return HUB_URL;
  if (!URL.canParse(given) || !/^https?:/.test(given))
    throw new UsageError(`HF_ENDPOINT: expected an http or https address, got ${given}`);
  return given.replace(/\/+$/, "");
}

/** Of the environment, else of the file that logging in wrote. */
function token(): string | undefined {
  const { HF_TOKEN, HF_TOKEN_PATH, HF_HOME, XDG_CACHE_HOME } = process.env;
  const home = HF_HOME ?? join(XDG_CACHE_HOME ?? join(homedir(), ".cache"), "huggingface");
  const file = HF_TOKEN_PATH ?? join(home, "token");
  const text = HF_TOKEN || (existsSync(file) ? storage(file, () => readFileSync(file, "utf8")) : "");
  return text.trim() || undefined;
}

/** The token goes to the hub alone, also where the hub's answers name other servers. */
function guardedFetch(hubUrl: string, accessToken: string): typeof fetch {
  const { origin } = new URL(hubUrl);
  return (input, init) => {
    const headers = new Headers(init?.headers);
    const isHub = new URL(input instanceof Request ? input.url : input).origin === origin;
    if (!isHub && headers.get("Authorization") === `Bearer ${accessToken}`) headers.delete("Authorization");
    return fetch(input, { ...init, headers });
  };
}

/** Runs one call of the library. @throws HubError that says what to do, never with the token. */
export async function hubCall<T>(repo: string, { accessToken }: HubAccess, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw hubError(repo, accessToken, error);
  }
}

function hubError(repo: string, accessToken: string | undefined, error: unknown): Error {
  if (error instanceof RankfoldError) return error;
  if (error instanceof HubApiError) {
    const { statusCode: status } = error;
    return new HubError(
      repo,
      refusal(status, accessToken) ?? `the hub answered ${status} (${plain(error, accessToken)})`,
      status,
    );
  }
  if (!(error instanceof TypeError && error.cause instanceof Error))
    return new HubError(repo, `the hub's answer could not be used (${plain(error, accessToken)}); check HF_ENDPOINT`);
  const reason = plain(error.cause, accessToken);
  return new HubError(repo, `the hub could not be reached (${reason}); check the connection, then try again`);
}

function refusal(status: number, accessToken: string | undefined): string | undefined {
  if (status === 401 && accessToken)
    return "the hub does not accept the token (401); give a valid one in HF_TOKEN, or log in again";
  if (status === 401) return "no such repository on the hub, or one that needs a token (401); check the name, or set HF_TOKEN";
  if (status === 403)
    return "the hub refuses this (403); accept the model's terms on its page, or use a token that may read or write it";
  if (status === 404) return "no such repository or revision on the hub (404), and no such local path; check the name";
  return undefined;
}

/** One line; without the token, should a server send it back. */
function plain(error: unknown, accessToken: string | undefined): string {
  const { message, code } = (error instanceof Error ? error : { message: String(error) }) as { message: string; code?: string };
  const line = (message || code || "no answer").replace(/\s+/g, " ").slice(0, 200);
  return accessToken ? line.replaceAll(accessToken, "[token]") : line;
}
