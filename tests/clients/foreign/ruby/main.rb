# SPDX-License-Identifier: Apache-2.0

# Runs steps of tests/support/foreign.py with net-ssh and net-sftp.
require 'net/sftp'

def flat(text)
  text.to_s.gsub(/\s+/, ' ').strip
end

def exec(session, command)
  status = ''
  said = +''
  session.open_channel do |channel|
    channel.exec(command) do |opened, success|
      said << 'request refused ' unless success
      opened.on_extended_data { |_, _, text| said << text }
      opened.on_request('exit-status') { |_, data| status = data.read_long }
    end
  end.wait
  [status, flat(said)]
end

def step(session, files, name, *words)
  case name
  when 'put' then files.upload!(*words)
  when 'get' then files.download!(*words)
  when 'list' then return files.dir.entries(words[0]).map(&:name) - %w[. ..]
  when 'symlink' then files.symlink!(*words)
  when 'readlink' then return [files.readlink!(words[0]).name]
  when 'rename' then files.rename!(*words)
  when 'mkdir' then files.mkdir!(words[0])
  when 'remove' then files.remove!(words[0])
  when 'exec' then return exec(session, words[0])
  else raise "unknown step #{name}"
  end
  []
end

def attempt
  puts ['ok', *yield].join("\t")
  true
rescue StandardError => e
  puts ['error', e.respond_to?(:code) ? e.code : '', flat(e.message)].join("\t")
  false
end

host, port, user, method, secret = ARGV
auth = method == 'key' ? { keys: [secret], keys_only: true } : { password: secret, auth_methods: ['password'] }
session = nil
files = nil
$stdout.sync = true
ready = attempt do
  session = Net::SSH.start(host, user, port: port.to_i, verify_host_key: :never, non_interactive: true, config: false,
                           use_agent: false, **auth)
  files = session.sftp.connect!
  []
end
$stdin.each_line { |line| attempt { step(session, files, *line.chomp.split("\t")) } } if ready
