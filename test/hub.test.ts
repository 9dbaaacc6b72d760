import { spawn } from "node:child_process";
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { parseHubId } from "../src/formats/hub-access.ts";
import { loadModel } from "../src/models/load.ts";
import { evaluate } from "../src/pipeline/evaluate.ts";
import { inspect } from "../src/pipeline/inspect.ts";
import { silentJob } from "../src/pipeline/job.ts";
import { evaluateOptions, parseOptions, pushOptions } from "../src/pipeline/options.ts";
import { push } from "../src/pipeline/push.ts";
import { HubServer } from "./hub-server.ts";
import { compress, PEQUOD, TEXT, temporary, weightBytes } from "./pequod.ts";

const PROGRAM = fileURLToPath(new URL("../bin/rankfold.js", import.meta.url));
const TOKEN = "hf_secretSecretSecret";
const COMMIT = "a".repeat(40);
const ID = "ahab/pequod";
const MODEL = new Map(
  readdirSync(PEQUOD)
    .filter((name) => name !== "training-log.txt")
    .map((name) => [name, readFileSync(join(PEQUOD, name))]),
);

let hub: HubServer;
let home: string;
let notes: string[];
const job = { ...silentJob, note: (line: string) => void notes.push(line) };
const cached = (...parts: string[]) => join(home, "hub/models--ahab--pequod", ...parts);
const snapshot = (...parts: string[]) => cached("snapshots", COMMIT, ...parts);

async function failure(run: Promise<unknown>): Promise<Error> {
  const error = await run.then(
    () => undefined,
    (thrown: Error) => thrown,
  );
  expect(error).toBeInstanceOf(Error);
  expect(`${error?.message} ${error?.stack} ${JSON.stringify(error)}`).not.toContain("ecretSecret");
  return error as Error;
}

beforeEach(async () => {
  hub = new HubServer();
  await hub.start();
  hub.repos.set(ID, { commit: COMMIT, files: new Map(MODEL), isPrivate: false });
  home = temporary("hub");
  notes = [];
  const unset = {
    HF_HUB_CACHE: undefined,
    HUGGINGFACE_HUB_CACHE: undefined,
    HF_TOKEN_PATH: undefined,
    HF_HUB_OFFLINE: undefined,
  };
  for (const [name, value] of Object.entries({ HF_HOME: home, HF_ENDPOINT: hub.address, HF_TOKEN: undefined, ...unset }))
    vi.stubEnv(name, value);
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await hub.stop();
  rmSync(home, { recursive: true });
});

test.each([
  ["owner/name", { repo: "owner/name", revision: undefined }],
  ["owner/na.me_1-2@refs/pr/1", { repo: "owner/na.me_1-2", revision: "refs/pr/1" }],
  ["./owner/name", undefined],
  ["/owner/name", undefined],
  ["name", undefined],
  ["a/b/c", undefined],
  ["owner/name.gguf", undefined],
  ["datasets/name", undefined],
  ["owner/..", undefined],
  ["owner/name@../../x", undefined],
  ["owner/name@", undefined],
])("parseHubId(%j)", (text, id) => {
  expect(parseHubId(text)).toEqual(id);
});

describe("a model of the hub", () => {
  test("is fetched to the standard cache, pinned to its commit, without code", async () => {
    const model = await loadModel(ID, job);
    expect(model).toMatchObject({ path: snapshot(), source: `${ID}@${COMMIT}`, parameters: 5475584 });
    expect(readdirSync(snapshot()).sort()).toEqual([...MODEL.keys()].filter((name) => !name.endsWith(".py")).sort());
    expect(lstatSync(snapshot("config.json")).isSymbolicLink()).toBe(true);
    expect(readFileSync(snapshot("model.safetensors")).equals(MODEL.get("model.safetensors") as Buffer)).toBe(true);
    expect(readFileSync(cached("refs/main"), "utf8")).toBe(COMMIT);
    hub.requests.length = 0;
    await loadModel(ID, job);
    expect(hub.requestsFor("/resolve/")).toEqual([]);
    hub.requests.length = 0;
    await loadModel(`${ID}@${COMMIT}`, job);
    expect(hub.requests).toEqual([]);
  });

  test("a local folder of that name comes first", async () => {
    const folder = temporary("local");
    mkdirSync(join(folder, "ahab"));
    cpSync(PEQUOD, join(folder, ID), { recursive: true });
    const before = process.cwd();
    try {
      process.chdir(folder);
      expect((await inspect({ model: ID }, job)).model).toBe(ID);
    } finally {
      process.chdir(before);
    }
    expect(hub.requests).toEqual([]);
  });

  test("an interrupted download goes on where it stopped", async () => {
    hub.cutAfter = 4_000_000;
    const error = await failure(loadModel(ID, job));
    expect(error.message).toMatch(/model\.safetensors: the connection broke after \d+ of 10957216 bytes; the same command/);
    expect(existsSync(snapshot("model.safetensors"))).toBe(false);
    hub.cutAfter = undefined;
    hub.requests.length = 0;
    const seen: number[] = [];
    await loadModel(ID, { ...job, progress: ({ done }) => void seen.push(done) });
    const ranges = hub.requestsFor("/resolve/").map(({ range }) => range);
    expect(ranges).toEqual(["bytes=0-0", expect.stringMatching(/^bytes=[1-9]\d{5,6}-10957215$/)]);
    expect(seen.at(-1)).toBe(11);
    expect(readdirSync(cached("blobs")).filter((name) => name.endsWith(".incomplete"))).toEqual([]);
  });

  test("Ctrl-C keeps what came", async () => {
    const stop = () => {
      if (readdirSync(cached("blobs")).some((name) => name.endsWith(".incomplete") && name.length > 60)) throw new Error("stop");
    };
    await failure(loadModel(ID, { ...job, checkpoint: stop }));
    expect(existsSync(snapshot("model.safetensors"))).toBe(false);
    expect(existsSync(snapshot("tokenizer.json"))).toBe(true);
  });

  test("other bytes than the listing's hash are refused and forgotten", async () => {
    const forged = Buffer.from(MODEL.get("model.safetensors") as Buffer);
    forged[forged.length - 1] = (forged[forged.length - 1] as number) ^ 1;
    hub.forged.set("model.safetensors", forged);
    expect((await failure(loadModel(ID, job))).message).toMatch(/expected bytes with the hash [0-9a-f]{64}, got/);
    hub.forged.set("model.safetensors", forged.subarray(0, 1000));
    expect((await failure(loadModel(ID, job))).message).toContain("expected 10957216 bytes, the hub offers 1000");
    hub.forged.clear();
    await loadModel(ID, job);
  });

  test("a file of the cache that was cut short is fetched again", async () => {
    await loadModel(ID, job);
    truncateSync(snapshot("model.safetensors"), 5000);
    await loadModel(ID, job);
    expect(readFileSync(snapshot("model.safetensors")).length).toBe(10957216);
  });

  test.each(["../evil.safetensors", "/etc/evil", "a/../../evil", "C:\\evil", "..\\evil"])(
    "a listing with %s is refused",
    async (name) => {
      hub.extraNames = [name];
      expect((await failure(loadModel(ID, job))).message).toContain("leads out of its folder");
      expect(existsSync(cached("snapshots"))).toBe(false);
    },
  );

  test("an index whose shards lead out of the folder is refused", async () => {
    const files = hub.repos.get(ID)?.files;
    files?.delete("model.safetensors");
    const index = { weight_map: { "model.norm.weight": "../../../evil.safetensors" } };
    files?.set("model.safetensors.index.json", Buffer.from(JSON.stringify(index)));
    expect((await failure(loadModel(ID, job))).message).toContain("expected plain names of .safetensors files");
  });

  test("only pickle files: refused before anything is fetched", async () => {
    hub.repos.set(ID, { commit: COMMIT, files: new Map([["pytorch_model.bin", Buffer.from("x")]]), isPrivate: false });
    expect((await failure(loadModel(ID, job))).message).toContain("the repository has neither");
    expect(existsSync(cached())).toBe(false);
  });

  test("a repository or revision that is not there", async () => {
    expect((await failure(loadModel("ahab/nothing", job))).message).toMatch(/^ahab\/nothing: no such repository.*\(404\)/);
    expect((await failure(loadModel(`${ID}@v9`, job))).message).toContain("(404)");
  });
});

describe("without a network", () => {
  test("the cached model is used, with a note", async () => {
    await loadModel(ID, job);
    const address = hub.address;
    await hub.stop();
    vi.stubEnv("HF_ENDPOINT", address);
    expect((await loadModel(ID, job)).source).toBe(`${ID}@${COMMIT}`);
    expect(notes).toEqual([`${ID}: the hub could not be reached; using ${COMMIT.slice(0, 12)} from the cache`]);
    expect((await failure(loadModel("ahab/other", job))).message).toMatch(/could not be reached \(.*ECONNREFUSED/);
    await hub.start();
  });

  test("HF_HUB_OFFLINE asks nobody", async () => {
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect((await failure(loadModel(ID, job))).message).toContain("HF_HUB_OFFLINE is set");
    vi.stubEnv("HF_HUB_OFFLINE", undefined);
    await loadModel(ID, job);
    hub.requests.length = 0;
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await loadModel(ID, job);
    expect(hub.requests).toEqual([]);
    rmSync(snapshot("model.safetensors"));
    expect((await failure(loadModel(ID, job))).message).toContain("does not hold main whole");
  });
});

describe("the token", () => {
  test("of the environment or of the token file is sent, and never told", async () => {
    hub.token = TOKEN;
    expect((await failure(loadModel(ID, job))).message).toContain("needs a token (401)");
    vi.stubEnv("HF_TOKEN", "hf_wrongSecretSecret");
    expect((await failure(loadModel(ID, job))).message).toContain("does not accept the token (401)");
    vi.stubEnv("HF_TOKEN", "wrongSecretSecret");
    expect((await failure(loadModel(ID, job))).message).toContain("begins with hf_");
    vi.stubEnv("HF_TOKEN", undefined);
    writeFileSync(join(home, "token"), `${TOKEN}\n`);
    await loadModel(ID, job);
    expect(hub.requests.at(-1)?.authorization).toBe(`Bearer ${TOKEN}`);
    expect(notes.join()).not.toContain("ecretSecret");
  });

  test("that a broken server sends back is not repeated", async () => {
    hub.broken = true;
    vi.stubEnv("HF_TOKEN", TOKEN);
    expect((await failure(loadModel(ID, job))).message).toContain("the hub answered 500 (Cannot serve Bearer [token]");
  });

  test("is not in the output of the program, which stays one JSON object", async () => {
    hub.token = TOKEN;
    const run = async (token: string) => {
      const child = spawn(process.execPath, [PROGRAM, "inspect", ID, "--json"], { env: { ...process.env, HF_TOKEN: token } });
      let [stdout, stderr] = ["", ""];
      child.stdout.on("data", (text) => {
        stdout += text;
      });
      child.stderr.on("data", (text) => {
        stderr += text;
      });
      const status = await new Promise((resolve) => child.on("close", resolve));
      expect(stdout + stderr).not.toContain("ecretSecret");
      return { status, stdout, stderr };
    };
    expect(await run("hf_wrongSecretSecret")).toMatchObject({ status: 1, stdout: "", stderr: expect.stringContaining("(401)") });
    const { status, stdout, stderr } = await run(TOKEN);
    expect({ status, model: JSON.parse(stdout).model }).toEqual({ status: 0, model: `${ID}@${COMMIT}` });
    expect(stderr).toContain("fetch model.safetensors");
  });
});

describe("push", () => {
  const out = join(temporary("push"), "small");
  beforeAll(() => compress({ out, method: "svd", calibration: undefined, keep: 0.5 }));
  afterAll(() => rmSync(out, { recursive: true }));
  const pushed = (options: object) => push(parseOptions(pushOptions, { out, repo: "ahab/small", ...options }), job);

  test("makes the repository and writes the model's files in one commit; they load again", async () => {
    hub.token = TOKEN;
    vi.stubEnv("HF_TOKEN", TOKEN);
    writeFileSync(join(out, "notes.txt"), "mine");
    const result = await pushed({ private: true });
    rmSync(join(out, "notes.txt"));
    expect(result).toMatchObject({ out, repo: "ahab/small", revision: "main", commit: "c".repeat(40), created: true });
    expect(result.files.map(({ file }) => file).sort()).toEqual(readdirSync(out).sort());
    expect(notes).toEqual(["not pushed, as no files of a model: notes.txt"]);
    expect(hub.repos.get("ahab/small")).toMatchObject({ isPrivate: true });
    expect(hub.repos.get("ahab/small")?.files.get("model.safetensors")?.equals(weightBytes(out))).toBe(true);
    expect(hub.requestsFor("/storage/")[0]?.authorization).toBeUndefined();
    expect((await inspect({ model: "ahab/small" }, job)).compressedBy).toBe("svd");
    expect(JSON.stringify(result)).not.toContain("ecretSecret");
  });

  test("to a branch, made where there is none, of a repository that exists", async () => {
    vi.stubEnv("HF_TOKEN", TOKEN);
    hub.token = TOKEN;
    expect(await pushed({ repo: ID, revision: "small" })).toMatchObject({ created: false, revision: "small" });
    expect(hub.branches).toEqual(["small"]);
    await pushed({ repo: ID, revision: "small", private: true });
    expect(hub.requestsFor("/commit/small")).toHaveLength(2);
    expect(notes).toEqual([`${ID} exists: --private changed nothing`]);
  });

  test("what is made from a model of the hub says which, and at which commit", async () => {
    const made = join(temporary("from-hub"), "small");
    const files = hub.repos.get(ID)?.files as Map<string, Buffer>;
    files.set("tokenizer_config.json", Buffer.from('{"eos_token":"<|endoftext|>"}'));
    await compress({ model: ID, out: made, method: "svd", calibration: undefined });
    const read = (name: string) => readFileSync(join(made, name), "utf8");
    expect(JSON.parse(read("rankfold.json"))).toMatchObject({ model: `${ID}@${COMMIT}`, options: { model: ID } });
    expect(read("README.md")).toContain(`base_model: ${ID}\n`);
    const tokenizer = { eos_token: "<|endoftext|>", tokenizer_class: "PreTrainedTokenizerFast" };
    expect(JSON.parse(read("tokenizer_config.json"))).toEqual(tokenizer);
  });

  test("a wrong token, or none", async () => {
    hub.token = TOKEN;
    expect((await failure(pushed({}))).message).toContain("set HF_TOKEN");
    vi.stubEnv("HF_TOKEN", "hf_wrongSecretSecret");
    expect((await failure(pushed({}))).message).toContain("does not accept the token (401)");
    expect(hub.repos.has("ahab/small")).toBe(false);
  });

  test("evaluate --card writes into the card of such a folder, and of no other model", async () => {
    const options = parseOptions(evaluateOptions, { model: out, texts: [TEXT], window: 64, maxWindows: 2, card: true });
    const { texts } = await evaluate(options, job);
    const perplexity = texts[0]?.perplexity.toFixed(2);
    expect(readFileSync(join(out, "README.md"), "utf8")).toContain(`| 2 x 64 tokens | ${perplexity} |`);
    expect(notes).toEqual([`written: ${join(out, "README.md")}`]);
    expect((await failure(evaluate({ ...options, model: PEQUOD }, job))).message).toContain("leave --card out");
  });

  test("refuses folders that rankfold did not write, and names that are no repositories", async () => {
    expect((await failure(pushed({ out: PEQUOD }))).message).toContain("found no rankfold.json");
    expect((await failure(pushed({ out: join(out, "nowhere") }))).message).toContain("found no rankfold.json");
    expect((await failure(pushed({ repo: "small" }))).message).toContain("such as owner/name");
    expect((await failure(pushed({ repo: "ahab/small@v1" }))).message).toContain("--revision");
    expect((await failure(pushed({ revision: "../x" }))).message).toContain("name of a branch");
    expect(hub.requests).toEqual([]);
  });
});
