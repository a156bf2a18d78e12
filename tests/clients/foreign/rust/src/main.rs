// SPDX-License-Identifier: Apache-2.0

//! Runs steps of tests/support/foreign.py with russh and russh-sftp.

use std::io::BufRead;
use std::sync::Arc;

use russh::client::{self, Handle};
use russh::keys::{load_secret_key, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::ChannelMsg;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::client::SftpSession;

struct Client;

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

type Failure = Box<dyn std::error::Error>;

fn flat(text: &str) -> String {
    text.replace(['\n', '\r', '\t'], " ")
}

fn answer(result: &Result<Vec<String>, Failure>) {
    match result {
        Ok(values) => {
            let words = std::iter::once("ok".to_string()).chain(values.iter().cloned());
            println!("{}", words.collect::<Vec<_>>().join("\t"));
        }
        Err(error) => {
            let code = match error.downcast_ref::<SftpError>() {
                Some(SftpError::Status(status)) => (status.status_code as u32).to_string(),
                _ => String::new(),
            };
            println!("error\t{code}\t{}", flat(&error.to_string()));
        }
    }
}

async fn login(words: &[String]) -> Result<(Handle<Client>, SftpSession), Failure> {
    let (host, port, user) = (words[1].clone(), words[2].parse::<u16>()?, &words[3]);
    let config = Arc::new(client::Config::default());
    let mut session = client::connect(config, (host, port), Client).await?;
    let result = if words[4] == "key" {
        let key = Arc::new(load_secret_key(&words[5], None)?);
        let hash = session.best_supported_rsa_hash().await?.flatten();
        session.authenticate_publickey(user, PrivateKeyWithHashAlg::new(key, hash)).await?
    } else {
        session.authenticate_password(user, &words[5]).await?
    };
    if !result.success() {
        return Err("login refused".into());
    }
    let channel = session.channel_open_session().await?;
    channel.request_subsystem(true, "sftp").await?;
    let files = SftpSession::new(channel.into_stream()).await?;
    Ok((session, files))
}

async fn put(files: &SftpSession, local: &str, remote: &str) -> Result<(), Failure> {
    let mut source = tokio::fs::File::open(local).await?;
    let mut target = files.create(remote).await?;
    tokio::io::copy(&mut source, &mut target).await?;
    target.close().await?;
    Ok(())
}

async fn get(files: &SftpSession, remote: &str, local: &str) -> Result<(), Failure> {
    let mut source = files.open(remote).await?;
    let mut target = tokio::fs::File::create(local).await?;
    tokio::io::copy(&mut source, &mut target).await?;
    tokio::io::AsyncWriteExt::flush(&mut target).await?;
    source.close().await?;
    Ok(())
}

async fn command(session: &Handle<Client>, line: &str) -> Result<Vec<String>, Failure> {
    let mut channel = session.channel_open_session().await?;
    channel.exec(true, line).await?;
    let (mut status, mut said) = (String::new(), Vec::new());
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::ExitStatus { exit_status } => status = exit_status.to_string(),
            ChannelMsg::ExtendedData { data, .. } => said.extend_from_slice(&data),
            ChannelMsg::Failure => said.extend_from_slice(b"request refused "),
            _ => {}
        }
    }
    Ok(vec![status, flat(String::from_utf8_lossy(&said).trim())])
}

async fn step(
    session: &Handle<Client>,
    files: &SftpSession,
    words: &[&str],
) -> Result<Vec<String>, Failure> {
    match words[0] {
        "put" => put(files, words[1], words[2]).await?,
        "get" => get(files, words[1], words[2]).await?,
        "list" => return Ok(files.read_dir(words[1]).await?.map(|entry| entry.file_name()).collect()),
        // The first argument goes first on the wire, whatever the parameters are called: as in the crate's example.
        "symlink" => files.symlink(words[1], words[2]).await?,
        "readlink" => return Ok(vec![files.read_link(words[1]).await?]),
        "rename" => files.rename(words[1], words[2]).await?,
        "mkdir" => files.create_dir(words[1]).await?,
        "remove" => files.remove_file(words[1]).await?,
        "exec" => return command(session, words[1]).await,
        other => return Err(format!("unknown step {other}").into()),
    }
    Ok(Vec::new())
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match login(&arguments).await {
        Ok((session, files)) => {
            answer(&Ok(Vec::new()));
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split('\t').collect();
                answer(&step(&session, &files, &words).await);
            }
        }
        Err(error) => answer(&Err(error)),
    }
}
