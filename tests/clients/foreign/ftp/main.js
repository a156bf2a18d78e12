// SPDX-License-Identifier: Apache-2.0
// basic-ftp: uploads a tree, lists it, fetches it again and removes it. Words: see main.py.
'use strict';
const fs = require('node:fs');
const { Client } = require('basic-ftp');

async function main() {
  const [host, port, user, password, mode, ca, local, back] = process.argv.slice(2);
  const client = new Client(20000);
  try {
    await client.access({
      host, port: Number(port), user, password,
      secure: mode === 'implicit' ? 'implicit' : mode === 'tls',
      secureOptions: mode === 'plain' ? undefined : { ca: fs.readFileSync(ca) },
    });
    await client.ensureDir('/up');
    await client.uploadFromDir(local);
    console.log((await client.list('/up')).map((one) => one.name).sort().join('\n'));
    await client.downloadToDir(back, '/up');
    await client.rename('/up', '/moved');
    await client.removeDir('/moved');
  } finally {
    client.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
