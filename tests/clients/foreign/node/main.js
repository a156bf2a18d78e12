// SPDX-License-Identifier: Apache-2.0

// Runs steps of tests/support/foreign.py with ssh2; the first argument is the name it is installed under.
'use strict';

const fs = require('node:fs');

const [library, host, port, username, method, secret] = process.argv.slice(2);
const { Client } = require(library);
const flat = (text) => String(text).replace(/\s+/g, ' ').trim();
const say = (...words) => process.stdout.write(`${words.join('\t')}\n`);
const failed = (error) => say('error', typeof error.code === 'number' ? error.code : '', flat(error.message));

function exec(client, command) {
  return new Promise((resolve, reject) => {
    client.exec(command, (error, stream) => {
      if (error) return reject(error);
      let status = '';
      let said = '';
      stream.on('exit', (code) => { status = code; });
      stream.on('close', () => resolve([status, flat(said)]));
      stream.stderr.on('data', (data) => { said += data; });
      stream.resume();
    });
  });
}

function call(files, name, ...words) {
  return new Promise((resolve, reject) => {
    files[name](...words, (error, value) => (error ? reject(error) : resolve(value)));
  });
}

async function step(client, files, [name, ...words]) {
  switch (name) {
    case 'put': await call(files, 'fastPut', ...words); return [];
    case 'get': await call(files, 'fastGet', ...words); return [];
    case 'list': return (await call(files, 'readdir', words[0])).map((entry) => entry.filename);
    case 'symlink': await call(files, 'symlink', ...words); return [];
    case 'readlink': return [await call(files, 'readlink', words[0])];
    case 'rename': await call(files, 'rename', ...words); return [];
    case 'mkdir': await call(files, 'mkdir', words[0]); return [];
    case 'remove': await call(files, 'unlink', words[0]); return [];
    case 'exec': return exec(client, words[0]);
    default: throw new Error(`unknown step ${name}`);
  }
}

function login() {
  return new Promise((resolve, reject) => {
    const client = new Client();
    const auth = method === 'key' ? { privateKey: fs.readFileSync(secret) } : { password: secret };
    client.on('ready', () => resolve(client)).on('error', reject).connect({ host, port: Number(port), username, ...auth });
  });
}

async function main() {
  let client;
  let files;
  try {
    client = await login();
    files = await call(client, 'sftp');
  } catch (error) {
    failed(error);
    return;
  }
  say('ok');
  for (const line of fs.readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
    try {
      say('ok', ...await step(client, files, line.split('\t')));
    } catch (error) {
      failed(error);
    }
  }
  client.end();
}

main();
