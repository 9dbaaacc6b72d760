/** Writes files to a repository of the hub, in one commit; makes the repository where there is none. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type CommitOutput, createBranch, createRepo, modelInfo, uploadFilesWithProgress } from "@huggingface/hub";
import { HubError, UsageError } from "../errors.ts";
import { type HubAccess, hubAccess, hubCall, type TransferWatcher } from "./hub-access.ts";

export interface Upload {
  /** `owner/name`. */
  readonly repo: string;
  /** Made where there is none. */
  readonly branch: string;
  /** Of a repository that is made; one that exists stays as it is. */
  readonly isPrivate: boolean;
  readonly folder: string;
  /** Names in the folder. */
  readonly files: readonly string[];
  readonly title: string;
}

export interface Uploaded {
  readonly commit: string;
  readonly url: string;
  /** Whether the repository was made. */
  readonly created: boolean;
}

/** @throws UsageError without a token, HubError when the hub refuses. */
export async function uploadModel(upload: Upload, watcher: TransferWatcher): Promise<Uploaded> {
  const { repo } = upload;
  const access = hubAccess();
  if (access.accessToken === undefined)
    throw new UsageError("push: expected a token that may write, found none; set HF_TOKEN or log in with the hub's tools");
  const { accessToken } = access;
  const created = await hubCall(repo, access, async () => {
    if (await exists(repo, access)) return false;
    await createRepo({ ...access, accessToken, repo, visibility: upload.isPrivate ? "private" : "public" });
    return true;
  });
  if (upload.branch !== "main") await ensureBranch(upload, access);
  const output = await hubCall(repo, access, () => commit(upload, access, watcher));
  if (!output) throw new HubError(repo, "the hub took the files but named no commit; look at the repository");
  return { commit: output.commit.oid, url: output.commit.url, created };
}

async function exists(repo: string, access: HubAccess): Promise<boolean> {
  try {
    await modelInfo({ ...access, name: repo });
    return true;
  } catch (error) {
    if ((error as { statusCode?: number }).statusCode === 404) return false;
    throw error;
  }
}

/** 409: it is there. */
async function ensureBranch({ repo, branch }: Upload, access: HubAccess): Promise<void> {
  await hubCall(repo, access, () => createBranch({ ...access, repo, branch })).catch((error: unknown) => {
    if (!(error instanceof HubError) || error.status !== 409) throw error;
  });
}

async function commit(upload: Upload, access: HubAccess, watcher: TransferWatcher): Promise<CommitOutput | undefined> {
  const { repo, branch, folder, files, title } = upload;
  const { hubUrl, accessToken } = access;
  const content = files.map((path) => ({ path, content: pathToFileURL(join(folder, path)) }));
  const events = uploadFilesWithProgress({
    repo,
    branch,
    hubUrl,
    files: content,
    commitTitle: title,
    ...(accessToken === undefined ? {} : { accessToken }),
  });
  const sent = new Set<string>();
  for (let step = await events.next(); ; step = await events.next()) {
    if (step.done) return step.value;
    watcher.checkpoint();
    const { value } = step;
    if (value.event === "fileProgress" && value.state === "uploading" && value.progress === 1) sent.add(value.path);
    watcher.progress({ stage: "push", done: sent.size, total: files.length, unit: "file" });
  }
}
