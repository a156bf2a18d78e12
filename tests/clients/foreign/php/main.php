<?php
// SPDX-License-Identifier: Apache-2.0

// Runs steps of tests/support/foreign.py; the first argument names the library: phpseclib3, phpseclib or ssh2.

error_reporting(E_ALL & ~E_DEPRECATED);
ini_set('display_errors', 'stderr');

/** One library: a step is a method; a value is the answer, an exception with the SFTP status as its code a failure. */
interface Library
{
    public function login(string $host, int $port, string $user, ?string $password, ?string $key): void;
}

/** phpseclib 2 and 3 differ in names only. */
final class Phpseclib implements Library
{
    private const CODES = ['NET_SFTP_STATUS_NO_SUCH_FILE' => 2, 'NET_SFTP_STATUS_PERMISSION_DENIED' => 3,
        'NET_SFTP_STATUS_FAILURE' => 4];
    private $files;

    public function __construct(private string $space)
    {
        require_once "/usr/share/php/$space/autoload.php";
    }

    public function login(string $host, int $port, string $user, ?string $password, ?string $key): void
    {
        $class = "{$this->space}\\Net\\SFTP";
        $this->files = new $class($host, $port);
        if ($key === null) {
            $secret = $password;
        } elseif ($this->space === 'phpseclib3') {
            $secret = \phpseclib3\Crypt\PublicKeyLoader::load(file_get_contents($key));
        } else {
            $secret = new \phpseclib\Crypt\RSA();
            $secret->loadKey(file_get_contents($key));
        }
        if (!$this->files->login($user, $secret)) {
            throw new RuntimeException('login refused', -1);
        }
    }

    private function checked($result)
    {
        if ($result === false) {
            $text = (string) $this->files->getLastSFTPError();
            throw new RuntimeException($text, self::CODES[strtok($text, ':')] ?? -1);
        }
        return $result;
    }

    public function put(string $local, string $remote): void
    {
        $this->checked($this->files->put($remote, $local, 1));  // SOURCE_LOCAL_FILE
    }

    public function get(string $remote, string $local): void
    {
        $this->checked($this->files->get($remote, $local));
    }

    public function list(string $path): array
    {
        return $this->checked($this->files->nlist($path));
    }

    public function symlink(string $target, string $link): void
    {
        $this->checked($this->files->symlink($target, $link));
    }

    public function readlink(string $path): array
    {
        return [$this->checked($this->files->readlink($path))];
    }

    public function rename(string $old, string $new): void
    {
        $this->checked($this->files->rename($old, $new));
    }

    public function mkdir(string $path): void
    {
        $this->checked($this->files->mkdir($path));
    }

    public function remove(string $path): void
    {
        $this->checked($this->files->delete($path, false));
    }

    public function exec(string $command): array
    {
        $this->files->enableQuietMode();
        $this->files->exec($command);
        return [(string) $this->files->getExitStatus(), $this->files->getStdError()];
    }
}

/** The ssh2 extension, which is libssh2. It tells no status. */
final class Ssh2 implements Library
{
    private $connection;
    private $files;

    public function login(string $host, int $port, string $user, ?string $password, ?string $key): void
    {
        $this->connection = ssh2_connect($host, $port);
        $done = $key === null
            ? @ssh2_auth_password($this->connection, $user, $password)
            : @ssh2_auth_pubkey_file($this->connection, $user, "$key.pub", $key);
        if (!$done) {
            throw new RuntimeException('login refused', -1);
        }
        $this->files = ssh2_sftp($this->connection);
    }

    private function checked($result)
    {
        if ($result === false) {
            throw new RuntimeException(error_get_last()['message'] ?? 'failed', -1);
        }
        return $result;
    }

    private function url(string $path): string
    {
        return 'ssh2.sftp://' . intval($this->files) . $path;
    }

    public function put(string $local, string $remote): void
    {
        $this->checked(@copy($local, $this->url($remote)));
    }

    public function get(string $remote, string $local): void
    {
        $this->checked(@copy($this->url($remote), $local));
    }

    public function list(string $path): array
    {
        return $this->checked(@scandir($this->url($path)));
    }

    public function symlink(string $target, string $link): void
    {
        $this->checked(@ssh2_sftp_symlink($this->files, $target, $link));
    }

    public function readlink(string $path): array
    {
        return [$this->checked(@ssh2_sftp_readlink($this->files, $path))];
    }

    public function rename(string $old, string $new): void
    {
        $this->checked(@ssh2_sftp_rename($this->files, $old, $new));
    }

    public function mkdir(string $path): void
    {
        $this->checked(@ssh2_sftp_mkdir($this->files, $path));
    }

    public function remove(string $path): void
    {
        $this->checked(@ssh2_sftp_unlink($this->files, $path));
    }

    public function scpput(string $local, string $remote): void
    {
        $this->checked(@ssh2_scp_send($this->connection, $local, $remote, 0644));
    }

    public function scpget(string $remote, string $local): void
    {
        $this->checked(@ssh2_scp_recv($this->connection, $remote, $local));
    }

    public function exec(string $command): array
    {
        $out = $this->checked(@ssh2_exec($this->connection, $command));
        $errors = ssh2_fetch_stream($out, SSH2_STREAM_STDERR);
        stream_set_blocking($out, true);
        stream_set_blocking($errors, true);
        $said = stream_get_contents($errors);
        stream_get_contents($out);
        return [(string) (stream_get_meta_data($out)['exit_status'] ?? ''), $said];
    }
}

function flat(string $text): string
{
    return trim(preg_replace('/\s+/', ' ', $text));
}

function attempt(callable $work): bool
{
    try {
        echo implode("\t", ['ok', ...array_map('flat', $work() ?? [])]), "\n";
        return true;
    } catch (Throwable $error) {
        echo "error\t", $error->getCode() > 0 ? $error->getCode() : '', "\t", flat($error->getMessage()), "\n";
        return false;
    }
}

[, $name, $host, $port, $user, $method, $secret] = $argv;
$library = $name === 'ssh2' ? new Ssh2() : new Phpseclib($name);
$key = $method === 'key' ? $secret : null;
if (attempt(fn() => $library->login($host, (int) $port, $user, $key === null ? $secret : null, $key))) {
    while (($line = fgets(STDIN)) !== false) {
        $words = explode("\t", rtrim($line, "\n"));
        attempt(function () use ($library, $words) {
            $values = $library->{array_shift($words)}(...$words);
            return $values === null ? [] : array_values(array_diff($values, ['.', '..']));
        });
    }
}
