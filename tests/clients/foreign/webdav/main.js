// SPDX-License-Identifier: Apache-2.0
// The npm package `webdav` against a server: URL, user and password are arguments; prints "ok" at the end.
"use strict";

const assert = require("node:assert");

async function main() {
  const { createClient } = await import("webdav");
  const [url, username, password] = process.argv.slice(2);
  const client = createClient(url, { username, password });
  const content = Buffer.alloc(300000, "x");

  await client.createDirectory("/made/inner", { recursive: true });
  assert(await client.putFileContents("/made/f\u00e9 1.txt", content));
  assert(!(await client.putFileContents("/made/f\u00e9 1.txt", "no", { overwrite: false })));
  assert.deepStrictEqual(await client.getFileContents("/made/f\u00e9 1.txt"), content);
  const names = (await client.getDirectoryContents("/made")).map((one) => [one.basename, one.type, one.size]);
  assert.deepStrictEqual(names.sort(), [["f\u00e9 1.txt", "file", 300000], ["inner", "directory", 0]]);
  assert((await client.stat("/made/f\u00e9 1.txt")).etag);
  await client.copyFile("/made/f\u00e9 1.txt", "/made/inner/copy");
  await client.moveFile("/made/inner/copy", "/moved");
  assert(await client.exists("/moved"));
  assert((await client.getQuota()).available > 0);
  const lock = await client.lock("/moved", { timeout: "Second-60" });
  await assert.rejects(client.putFileContents("/moved", "no"), { status: 423 });
  await client.unlock("/moved", lock.token);
  await client.partialUpdateFileContents("/moved", 1, 3, "abc").catch((error) => {
    throw error;
  });
  assert.strictEqual((await client.getFileContents("/moved", { format: "text" })).slice(0, 5), "xabcx");
  await client.deleteFile("/moved");
  await client.deleteFile("/made");
  assert.deepStrictEqual(await client.getDirectoryContents("/"), []);
  console.log("ok");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
