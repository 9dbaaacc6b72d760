/** `push`: a compressed model to the hub, in one commit. Only the files of the model go, whatever else lies beside them. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { z } from "zod";
import { UsageError } from "../errors.ts";
import { isRevision, parseHubId } from "../formats/hub-access.ts";
import { isComplete, shardNames } from "../formats/hub-cache.ts";
import { uploadModel } from "../formats/hub-upload.ts";
import { INDEX_FILE, SINGLE_FILE } from "../formats/safetensors.ts";
import { storage } from "../formats/storage.ts";
import { COMPANIONS } from "../models/load.ts";
import type { Job } from "./job.ts";
import { MANIFEST } from "./manifest.ts";
import { stopwatch } from "./measure.ts";
import type { pushOptions } from "./options.ts";
import type { PushResult } from "./results.ts";
import { MODELING_FILE } from "./write-model.ts";

type Options = z.output<typeof pushOptions>;

export async function push({ out, repo, private: isPrivate, revision }: Options, job: Job): Promise<PushResult> {
  const elapsed = stopwatch();
  checkRepository(repo, revision);
  const names = modelFiles(out);
  const others = storage(out, () => readdirSync(out)).filter((name) => !names.includes(name));
  if (others.length > 0) job.note(`not pushed, as no files of a model: ${others.join(", ")}`);
  const upload = { repo, branch: revision, isPrivate, folder: out, files: names, title: "Model compressed by rankfold" };
  const { commit, url, created } = await uploadModel(upload, job);
  if (isPrivate && !created) job.note(`${repo} exists: --private changed nothing`);
  const files = names.map((file) => ({ file, bytes: statSync(join(out, file)).size }));
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  return { out, repo, revision, commit, url, created, files, bytes, seconds: elapsed() };
}

function checkRepository(repo: string, revision: string): void {
  if (parseHubId(repo)?.repo !== repo)
    throw new UsageError(`push: expected a repository such as owner/name, got ${repo}; a branch goes to --revision`);
  if (!isRevision(revision)) throw new UsageError(`--revision: expected the name of a branch, got ${revision}`);
}

/** @throws UsageError unless rankfold wrote the folder, and wrote it whole. */
function modelFiles(out: string): string[] {
  if (!existsSync(join(out, MANIFEST)))
    throw new UsageError(`push ${out}: expected a folder that rankfold compress wrote, found no ${MANIFEST} there`);
  if (!isComplete(out)) throw new UsageError(`push ${out}: the config or weights are missing; compress the model again`);
  const weights = existsSync(join(out, SINGLE_FILE)) ? [SINGLE_FILE] : [INDEX_FILE, ...shardNames(join(out, INDEX_FILE))];
  const small = ["README.md", MANIFEST, "config.json", MODELING_FILE, ...COMPANIONS];
  return [...small.filter((name) => existsSync(join(out, name))), ...weights];
}
